"""T2 of scanners by one exponential and with stimulated echoes, against nominal values and each other.

For each plate of the system phantom the median T2 of every sphere by both methods, its difference from
nominal [%], B1, and how much of the signal the fit leaves (root mean square over the strongest echo, median
over a sphere). For a brain slice the medians of T2, and of the misfit. Needs the folders named below of the
shared data beside the repository; those that are absent are left out, with a line.

    python benchmarks/t2_scanners.py
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import scipy.io
import torch
from torch import Tensor

from unweight.bids.read import find_inputs
from unweight.core.acquisition import Acquisition
from unweight.core.estimator import Estimator
from unweight.core.maps import ParameterMaps
from unweight.core.protocol import protocol_from_values
from unweight.fit.echo_train import EchoTrainFit
from unweight.fit.nonlinear_decay import NonlinearDecay
from unweight.fit.relaxation import RelaxationFit
from unweight.phantom.facts import Relaxation, sphere_array
from unweight.phantom.finder import find_plates
from unweight.phantom.plate_pose import plate_pose
from unweight.phantom.slice_plane import SlicePlane
from unweight.phantom.sphere_order import template_symmetries
from unweight.phantom.spheres import ROI_RADIUS_MM
from unweight.signals.parameters import T2

SHARED = Path(__file__).parents[2] / "shared" / "data"
FREIBURG_TE = tuple(0.007 * number for number in range(1, 24))
METHODS: tuple[tuple[str, Estimator[Acquisition]], ...] = (
    ("nonlinear", RelaxationFit(solver=NonlinearDecay(), quantity=T2, skip_first=1)),
    ("epg", EchoTrainFit()),
)


@dataclass(frozen=True)
class Plate:
    """One acquisition of a plate with the spheres found in it.

    Attributes:
        name: Of its rows.
        acquisition: Echoes of one slice.
        discs: Voxels of each sphere, from the first on.
        nominal: Relaxation times, by the version of the phantom.
    """

    name: str
    acquisition: Acquisition
    discs: Tensor
    nominal: dict[int, Relaxation]


def plate_of(name: str, acquisition: Acquisition, number: int, versions: tuple[int, ...]) -> Plate:
    """Find the spheres by their pattern; T2, which falls from sphere to sphere, tells their numbers."""
    if acquisition.affine is None:
        raise SystemExit(f"{name} has no affine")
    images = acquisition.signal[:, :, 0].double()
    size = acquisition.affine[:3, :3].norm(dim=0)
    plane = SlicePlane(axis=2, index=0, voxel_mm=(float(size[0]), float(size[1])))
    pose = plate_pose(images, plane.voxel_mm)
    if pose is None:
        raise SystemExit(f"no plate in {name}")
    field = acquisition.protocol.field_strength or 3.0
    nominal = {version: sphere_array(number, version, field).nominal for version in versions}
    discs = plane.discs(images.shape[:2], pose.centres_mm, ROI_RADIUS_MM)
    t2 = METHODS[0][1](acquisition).value("T2")[:, :, 0]
    measured = torch.stack([t2[disc].nanmedian() for disc in discs]).double().nan_to_num(1e-3)
    first = next(iter(nominal.values())).t2
    expected = torch.tensor(first, dtype=torch.float64)
    order = min(
        template_symmetries(), key=lambda order: float((measured[order] / expected).log().abs().sum())
    )
    return Plate(name, acquisition, discs[order], nominal)


def freiburg() -> Plate:
    content = scipy.io.loadmat(SHARED / "nist_ir_freiburg" / "T2_mapping_images_reconstructed.mat")
    images = np.abs(next(value for name, value in content.items() if not name.startswith("_")))
    acquisition = Acquisition(
        signal=torch.from_numpy((1000 * images / images.max()).astype(np.float32))[:, :, None].contiguous(),
        protocol=protocol_from_values(echo_time=list(FREIBURG_TE), field_strength=3.0),
        affine=torch.diag(torch.tensor([250 / 128, 250 / 128, 6.0, 1.0], dtype=torch.float64)),
    )
    return plate_of("nist_ir_freiburg", acquisition, 4, (2, 1))


def siemens() -> Plate:
    folder = SHARED / "nist_ir_hazen" / "T2" / "site1_20200218" / "plate4"
    return plate_of("nist_ir_hazen site1", find_inputs([folder])[0].read().acquisition, 4, (1, 2))


def ge(number: int) -> Plate:
    root = SHARED / "nist_ir_hazen"
    acquisition = find_inputs([root / "T2" / "site3_ge" / f"plate{number}"])[0].read().acquisition
    recovery = find_inputs([root / "T1" / "site3_ge" / f"plate{number}"])[0].read().acquisition
    (found,) = find_plates(recovery, version=1)
    if acquisition.affine is None:
        raise SystemExit("the images have no affine")
    axes = [torch.arange(count, dtype=torch.float64) for count in (*acquisition.voxels[:2], 1)]
    voxels = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)[:, :, 0]
    places = voxels @ acquisition.affine[:3, :3].T + acquisition.affine[:3, 3]
    across = torch.linalg.cross(acquisition.affine[:3, 0], acquisition.affine[:3, 1])
    across = across / across.norm()
    away = places - found.centres_world_mm[:, None, None]
    away = away - (away @ across)[..., None] * across
    nominal = {version: sphere_array(number, version, 1.5).nominal for version in (1, 2)[: 7 - number - 1]}
    discs = away.norm(dim=-1) <= ROI_RADIUS_MM
    return Plate(f"nist_ir_hazen site3 plate {number}", acquisition, discs, nominal)


PLATES: tuple[tuple[str, Callable[[], Plate]], ...] = (
    ("nist_ir_freiburg", freiburg),
    ("nist_ir_hazen", siemens),
    ("nist_ir_hazen", lambda: ge(4)),
    ("nist_ir_hazen", lambda: ge(5)),
)


def brain() -> Acquisition:
    folder = SHARED / "mese_vfa_qmrust"
    signal = nibabel.load(folder / "mono_t2.nii.gz").get_fdata(dtype=np.float32)
    mask = nibabel.load(folder / "mono_t2_mask.nii.gz").get_fdata() > 0
    times = [0.0128 * number for number in range(1, signal.shape[-1] + 1)]
    return Acquisition(
        signal=torch.from_numpy(signal).clamp(min=0),
        protocol=protocol_from_values(echo_time=times),
        mask=torch.from_numpy(mask).reshape(signal.shape[:3]),
    )


def timed(fit: Estimator[Acquisition], acquisition: Acquisition) -> tuple[ParameterMaps, float]:
    """Fit on one core, and return the processor time beside the maps [s]."""
    began = time.process_time()
    return fit(acquisition), time.process_time() - began


def rows_of(plate: Plate, method: str, maps: ParameterMaps) -> list[str]:
    """Return a row of T2 and a row of differences for each version of the phantom, and what is left."""
    t2 = torch.stack([maps.value("T2")[:, :, 0][disc].nanmedian() for disc in plate.discs]).double()
    rows = [
        f"{plate.name} | {method} | T2 [ms] | " + " | ".join(f"{1e3 * value:.1f}" for value in t2.tolist())
    ]
    for version, nominal in plate.nominal.items():
        away = 100 * (t2 / torch.tensor(nominal.t2, dtype=torch.float64) - 1)
        cells = " | ".join(f"{value:+.1f}" for value in away.tolist())
        rows.append(f"{plate.name} | {method} | over version {version} [%] | {cells}")
    if maps.misfit is not None and maps.noise_sd is not None:
        peak = plate.acquisition.signal.amax(-1)
        left = 100 * maps.misfit.sqrt() * maps.noise_sd / peak
        cells = [f"{float(left[:, :, 0][disc].nanmedian()):.2f}" for disc in plate.discs]
        rows.append(f"{plate.name} | {method} | left [%] | " + " | ".join(cells))
    if "B1" in [spec.name for spec in maps.specs]:
        cells = [f"{float(maps.value('B1')[:, :, 0][disc].nanmedian()):.2f}" for disc in plate.discs]
        rows.append(f"{plate.name} | {method} | B1 | " + " | ".join(cells))
    return rows


def main() -> None:
    torch.set_num_threads(1)
    spheres = " | ".join(str(number) for number in range(1, 15))
    print(f"set | method | what | {spheres}\n--- | --- | --- |" + " ---: |" * 14)
    seconds = []
    for folder, read in PLATES:
        if not (SHARED / folder).is_dir():
            print(f"{folder} is not there")
            continue
        plate = read()
        for name, fit in METHODS:
            maps, took = timed(fit, plate.acquisition)
            print("\n".join(rows_of(plate, name, maps)), flush=True)
            chosen = maps.notes.get("slice_profile", "")
            seconds.append(
                f"{plate.name} | {name} | {int(maps.usable.sum())} usable | {took:.1f} s | {chosen}"
            )
    if (SHARED / "mese_vfa_qmrust").is_dir():
        acquisition = brain()
        for name, fit in METHODS:
            maps, took = timed(fit, acquisition)
            fitted = maps.value("T2")[~maps.failed]
            middle = [1e3 * float(fitted.quantile(share)) for share in (0.25, 0.5, 0.75)]
            misfit = float("nan") if maps.misfit is None else float(maps.misfit[~maps.failed].median())
            left = misfit**0.5 * (maps.noise_sd or float("nan"))
            seconds.append(
                f"mese_vfa_qmrust | {name} | {int(maps.usable.sum())} usable | {took:.1f} s | T2 quartiles "
                f"{middle[0]:.1f}, {middle[1]:.1f}, {middle[2]:.1f} ms, left {left:.3g}, "
                f"{maps.notes.get('slice_profile', '')}"
            )
    print("\nset | method | voxels | processor time | notes\n--- | --- | ---: | ---: | ---")
    print("\n".join(seconds))


if __name__ == "__main__":
    main()
