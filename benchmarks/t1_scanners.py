"""T1 of scanners nobody trained for: bias and sharpness of the fit, the posterior and what `auto` takes.

For each plate of the system phantom (spheres 1 to 10) and the tubes of another phantom:

    nominal      median difference of T1 from nominal [%], spheres 1 to 9
    sd/spread    stated SD over the robust spread within a sphere, median over spheres
    holds 90     voxels whose 90 % interval holds the median of their sphere, mean over spheres [%]
    short        T1 of spheres 10 to 12 against that of the fit [%]

What spreads in a sphere is noise, ringing and inhomogeneity; what all its voxels share does not show. For
the brain: the same of white matter (fitted T1 0.7 to 1.1 s), about the fit's median over 5 × 5 neighbours.
Needs the folders named below of the shared data beside the repository; those that are absent are left out,
with a line. Usage: t1_scanners.py [WEIGHTS].
"""

import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import scipy.io
import torch
from scipy import ndimage
from torch import Tensor

from unweight.bids.read import find_inputs
from unweight.core.acquisition import Acquisition, SignalKind
from unweight.core.maps import ParameterMaps
from unweight.core.protocol import protocol_from_values
from unweight.fit.inversion_recovery import InversionRecoveryFit
from unweight.learn.t1.posterior import PosteriorT1, posterior_doubts
from unweight.learn.training.trainable import load_estimator
from unweight.phantom.finder import find_plates
from unweight.phantom.spheres import ROI_RADIUS_MM

SHARED = Path(__file__).parents[2] / "shared" / "data"
Z_90, ROBUST = 1.6449, 1.4826
NOMINAL = {
    1: (1989, 1454, 984.1, 706, 496.7, 351.5, 247.13, 175.3, 125.9, 89.0, 62.7, 44.53, 30.84, 21.719),
    2: (1884, 1330, 987, 690, 485, 342, 241, 175, 121, 85, 60, 43, 30, 21),
}
FREIBURG_TI = (0.05, 0.075, 0.1, 0.125, 0.15, 0.25, 1.0, 1.5, 2.0, 3.0)
SEPAL_TI = (0.03, 0.33, 0.53, 0.78, 1.03, 1.53)
FSANTINI_TI = (0.05, 0.1, 0.2, 0.5, 2.0, 4.0)


@dataclass(frozen=True)
class ScannerSet:
    """One acquisition with its regions.

    Attributes:
        name: Of the row.
        acquisition: Volumes and timings.
        regions: Number of the region of each voxel, −1 outside.
        nominal: T1 of each region [s], where it is known.
    """

    name: str
    acquisition: Acquisition
    regions: Tensor
    nominal: tuple[float, ...] = ()


def plate(name: str, acquisition: Acquisition, version: int) -> ScannerSet:
    """Find the spheres of a T1 plate."""
    maps = InversionRecoveryFit()(acquisition)
    found = find_plates(acquisition, maps, version=version)[0]
    regions = torch.full(acquisition.voxels, -1)
    plane = found.plane.cut(regions)
    for number, disc in enumerate(found.plane.discs(plane.shape, found.centres_mm, ROI_RADIUS_MM)):
        plane[disc] = number
    return ScannerSet(name, acquisition, regions, tuple(t1 / 1e3 for t1 in NOMINAL[version]))


def hazen(site: str) -> ScannerSet:
    acquisition = find_inputs([SHARED / "nist_ir_hazen" / "T1" / site])[0].read().acquisition
    return plate(f"nist_ir_hazen {site}", acquisition, version=1)


def freiburg() -> ScannerSet:
    content = scipy.io.loadmat(SHARED / "nist_ir_freiburg" / "T1_mapping_images_reconstructed.mat")
    images = next(value for name, value in content.items() if not name.startswith("_"))
    acquisition = Acquisition(
        signal=torch.from_numpy(np.abs(images).astype(np.float32))[:, :, None].contiguous(),
        protocol=protocol_from_values(inversion_time=list(FREIBURG_TI), repetition_time=[4.5] * 10),
        affine=torch.diag(torch.tensor([250 / 128, 250 / 128, 6.0, 1.0], dtype=torch.float64)),
    )
    return plate("nist_ir_freiburg", acquisition, version=2)


def sepal() -> ScannerSet:
    images = [nibabel.load(SHARED / "phantom_ir_sepal" / f"rSeries0{k}.nii") for k in range(3, 9)]
    signal = np.stack([image.get_fdata(dtype=np.float32) for image in images], axis=-1)[:, :, None]
    acquisition = Acquisition(
        signal=torch.from_numpy(signal).clamp(min=0),  # interpolation left −0.5 of 1400 in the background
        protocol=protocol_from_values(inversion_time=list(SEPAL_TI), repetition_time=[1.55] * 6),
    )
    t1 = InversionRecoveryFit()(acquisition).value("T1")[:, :, 0].nan_to_num().numpy()
    tubes = ndimage.binary_opening(ndimage.median_filter(t1, 5) > 0.4, iterations=3)
    parts, count = ndimage.label(tubes)
    regions, number = np.full(parts.shape, -1), 0
    for part in range(1, count + 1):
        inside = ndimage.binary_erosion(parts == part, iterations=4)
        if 100 < inside.sum() < 1000:
            regions[inside], number = number, number + 1
    return ScannerSet("phantom_ir_sepal", acquisition, torch.from_numpy(regions)[:, :, None])


SETS: tuple[tuple[str, Callable[[], ScannerSet]], ...] = (
    ("nist_ir_hazen", lambda: hazen("site1_20200218/plate5")),
    ("nist_ir_hazen", lambda: hazen("site2_20180925/plate5")),
    ("nist_ir_hazen", lambda: hazen("site3_ge/plate5")),
    ("nist_ir_freiburg", freiburg),
    ("phantom_ir_sepal", sepal),
)


def ends_of(maps: ParameterMaps) -> tuple[Tensor, Tensor]:
    if maps.lower is not None and maps.upper is not None:
        return maps.lower[..., 0], maps.upper[..., 0]
    reach = Z_90 * maps.deviation("T1")
    return maps.value("T1") - reach, maps.value("T1") + reach


def rows_of(of: ScannerSet, maps: ParameterMaps, fitted: ParameterMaps) -> tuple[float, ...]:
    """Return nominal difference, sd/spread, holds 90 and short spheres of one method."""
    t1, sd, (lower, upper) = maps.value("T1"), maps.deviation("T1"), ends_of(maps)
    middles, sharpness, holds, against = [], [], [], []
    for number in range(int(of.regions.max()) + 1):
        inside = (of.regions == number) & torch.isfinite(t1) & torch.isfinite(sd)
        values = t1[inside].double()
        middle = values.median()
        spread = ROBUST * (values - middle).abs().median()
        middles.append(float(middle))
        sharpness.append(float(sd[inside].double().median() / spread))
        within = (lower[inside] <= middle) & (middle <= upper[inside])
        holds.append(100 * float(within.double().mean()))
        against.append(100 * float(middle / fitted.value("T1")[of.regions == number].nanmedian() - 1))
    away = [100 * (t1 / true - 1) for t1, true in zip(middles[:9], of.nominal[:9], strict=False)]
    return (
        float(np.mean(np.abs(away))) if away else math.nan,
        float(np.median(sharpness[:10])),
        float(np.mean(holds[:10])),
        float(np.mean(against[9:12])) if len(against) > 11 else math.nan,
    )


def brain(posterior: PosteriorT1) -> Iterator[str]:
    folder = SHARED / "brain_ir_se_fsantini"
    signal = torch.from_numpy(np.load(folder / "t1dataset.npy").astype(np.float32))[:, :, None]
    acquisition = Acquisition(
        signal=signal,
        protocol=protocol_from_values(inversion_time=list(FSANTINI_TI), repetition_time=[15.0] * 6),
        kind=SignalKind.SIGNED,
    )
    fitted, mapped = InversionRecoveryFit()(acquisition), posterior(acquisition)
    doubts = posterior_doubts(mapped, posterior.protocols)
    t1 = fitted.value("T1")[:, :, 0]
    plain = t1.masked_fill(~fitted.usable[:, :, 0], torch.nan)
    around = torch.nn.functional.pad(plain, (2, 2, 2, 2), value=math.nan).unfold(0, 5, 1).unfold(1, 5, 1)
    middle = around.flatten(2).nanmedian(-1).values
    white = (t1 > 0.7) & (t1 < 1.1) & fitted.usable[:, :, 0] & mapped.usable[:, :, 0]
    for name, maps in (("fit", fitted), ("posterior", mapped)):
        lower, upper = (end[:, :, 0] for end in ends_of(maps))
        holds = ((lower <= middle) & (middle <= upper))[white].double().mean()
        stated = (maps.deviation("T1") / maps.value("T1"))[:, :, 0][white].median()
        taken = "taken" if (name == "fit") == bool(doubts.fall_back) else ""
        cells = f"{100 * stated:.1f} % | {100 * holds:.0f} | {taken}"
        yield f"brain_ir_se_fsantini, white matter | {name} | {cells}"


def main() -> None:
    posterior, _ = load_estimator("t1-posterior", Path(sys.argv[1]) if len(sys.argv) > 1 else None)
    if not isinstance(posterior, PosteriorT1):
        raise SystemExit("the weights of t1-posterior are not those of a posterior")
    print(
        "set | method | nominal % | sd/spread | holds 90 % | short vs fit % | sd/bound | B | taken by auto"
    )
    print("--- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---")
    for folder, read in SETS:
        if not (SHARED / folder).is_dir():
            print(f"{folder} is not there")
            continue
        of = read()
        fitted, mapped = InversionRecoveryFit()(of.acquisition), posterior(of.acquisition)
        doubts = posterior_doubts(mapped, posterior.protocols)
        for name, maps in (("fit", fitted), ("posterior", mapped)):
            nominal, sharpness, holds, short = rows_of(of, maps, fitted)
            taken = "taken" if (name == "fit") == bool(doubts.fall_back) else ""
            ratio = float(mapped.notes["stated_sd_over_bound_of_fit"]) if name == "posterior" else math.nan
            efficiency = float(mapped.notes["inversion_efficiency_of_scan"])
            print(
                f"{of.name} | {name} | {nominal:.1f} | {sharpness:.2f} | {holds:.0f} | {short:+.1f} | "
                f"{ratio:.2f} | {efficiency:.2f} | {taken}"
            )
    if (SHARED / "brain_ir_se_fsantini").is_dir():
        print("\nset | method | states | holds 90 % | taken by auto\n--- | --- | ---: | ---: | ---")
        print("\n".join(brain(posterior)))


if __name__ == "__main__":
    main()
