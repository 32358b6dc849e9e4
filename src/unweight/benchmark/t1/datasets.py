"""What T1 methods are benchmarked on: the system phantom, independent voxels, and a user's own data.

Heads and small structures are in `benchmark.t1.heads`. The noise of an acquisition is given only in the
set with the exact posterior, which needs it: a user's files do not give it either. Nobody knows the truth
of real data, so methods are compared with the maximum-likelihood fit where that has a usable value: in each
sphere of a plate, and voxel by voxel elsewhere.

Published T1 of the spheres: S. Wang et al., arXiv 2407.16477, Table 1, plate 5 of the system phantom,
version 2, at 3 T and 20 °C, seven inversions, TR 10 s; mean and standard deviation in a region of each
sphere. Theirs is a scan and ours a simulation of the same spheres under the same timings, so the numbers
stand side by side but do not race.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from unweight.benchmark.core.run import Case, Dataset, dataset_of, everything
from unweight.benchmark.t1.methods import FIT
from unweight.bids.read import Series, find_inputs
from unweight.bids.series.overrides import NOTHING_GIVEN, ProtocolOverrides
from unweight.core.acquisition import Acquisition
from unweight.core.errors import UsageError
from unweight.core.maps import ParameterMaps, VoxelStatus
from unweight.core.seeding import seeded_generator
from unweight.fit.grid_posterior import GridPosterior
from unweight.fit.inversion_recovery import InversionRecoveryFit
from unweight.metrics.accuracy import T1_BIN_NAMES, t1_bins
from unweight.metrics.scores import Groups
from unweight.phantom.digital import DigitalPhantom, SliceGrid, digital_phantom
from unweight.phantom.facts import N_SPHERES, sphere_array
from unweight.phantom.finder import FoundPlate, find_plates
from unweight.phantom.spheres import ROI_RADIUS_MM
from unweight.signals.inversion_recovery import InversionRecovery
from unweight.signals.noise import Rician
from unweight.synth.iid_voxels import ScatterPrior, scatter
from unweight.synth.protocols.standard import seven_inversions
from unweight.synth.simulate import simulate_phantom

SNR = 50.0
STORED = 1000.0  # intensity of a PD of 1, as scanners store it
PHANTOM, SCATTERED = "phantom", "scattered"
REAL_PHANTOM, REAL_BRAIN = "real phantom", "real brain"
EXACT = "exact"
PLATE, VERSION, FIELD = 5, 2, 3.0
FIELD_OF_VIEW = 240  # voxels along each axis of the plane
VOXEL_MM = (1.0, 1.0, 2.0)
ANY_PD = (0.02, 10.0)
SCATTERED_SHAPE = (32, 48)
SCATTER_PRIOR = ScatterPrior(level=0.0, snr=(SNR, SNR))
SPHERES_MS = (1884, 1330, 987, 690, 485, 342, 241, 175, 121, 85, 60, 43, 30, 21)
SPHERE_NAMES = tuple(f"{t1} ms" for t1 in SPHERES_MS)


@final
@dataclass(frozen=True, kw_only=True)
class PublishedSpheres:
    """One column of the table.

    Attributes:
        method: As the paper calls it.
        mean_ms: T1 of spheres 1 to 14 [ms].
        sd_ms: Standard deviation in each region [ms].
    """

    method: str
    mean_ms: tuple[int, ...]
    sd_ms: tuple[int, ...]


PUBLISHED = (
    PublishedSpheres(
        method="ResNet",
        mean_ms=(1534, 4575, 2452, 1654, 617, 175, 139, 121, 124, 89, 78, 60, 66, 117),
        sd_ms=(72, 1203, 418, 415, 139, 62, 26, 13, 12, 10, 11, 9, 9, 31),
    ),
    PublishedSpheres(
        method="RIM",
        mean_ms=(1835, 1365, 966, 683, 504, 354, 211, 186, 101, 90, 1053, 68, 26, 34),
        sd_ms=(39, 22, 17, 18, 15, 16, 18, 23, 31, 140, 62, 98, 18, 41),
    ),
    PublishedSpheres(
        method="Diffusor",
        mean_ms=(1772, 1353, 1003, 695, 503, 370, 263, 224, 176, 161, 139, 116, 100, 118),
        sd_ms=(36, 20, 15, 16, 13, 14, 12, 14, 15, 25, 21, 19, 19, 31),
    ),
)


def binned(t1: Float[Tensor, " voxels"]) -> Groups:
    """Return groups by true T1."""
    return Groups(names=T1_BIN_NAMES, index=t1_bins(t1.contiguous()))


def known_maps(values: Float[Tensor, "*voxels parameters"]) -> dict[str, Float[Tensor, "*voxels"]]:
    """Return known T1, PD and B by name; NaN in any of them says that there is none."""
    held = values.masked_fill(~torch.isfinite(values).all(-1)[..., None], torch.nan)
    return dict(zip(("T1", "PD", "B"), held.unbind(-1), strict=True))


def maps_by_name(maps: ParameterMaps) -> Mapping[str, Float[Tensor, "*voxels"]]:
    """Return all maps by name."""
    return {spec.name: maps.value(spec.name) for spec in maps.specs}


def plate(margin: int = 0) -> DigitalPhantom:
    """Return plate 5 as it lies in one slice, with more field of view on every side [voxels]."""
    size = FIELD_OF_VIEW + 2 * margin
    grid = SliceGrid(shape=(size, size, 1), voxel_mm=VOXEL_MM)
    return digital_phantom(sphere_array(PLATE, VERSION, FIELD), grid=grid)


def phantom_scan(phantom: DigitalPhantom, seed: int) -> Acquisition:
    """Return the seven inversions of a phantom at an SNR of 50 (PD of 1 over noise)."""
    acquisition = simulate_phantom(
        phantom,
        InversionRecovery(),
        seven_inversions().protocol,
        Rician(sigma=1.0 / SNR),
        seeded_generator(seed, "evaluation", PHANTOM),
    )
    return replace(acquisition, signal=(STORED * acquisition.signal).float())


def spheres_of(phantom: DigitalPhantom) -> tuple[Bool[Tensor, "x y z"], Groups]:
    """Return the voxels well inside the spheres, as the analyser has them, and the sphere of each."""
    sphere = torch.full(phantom.labels.shape, -1)
    x, y = (
        torch.arange(count, dtype=torch.float64) * size
        for count, size in zip(phantom.labels.shape[:2], VOXEL_MM[:2], strict=True)
    )
    for number, (first, second) in enumerate(phantom.centres_mm.tolist()):
        disc = (x[:, None] - first) ** 2 + (y - second) ** 2 <= ROI_RADIUS_MM**2
        sphere[disc[..., None] & phantom.pure & (phantom.labels == number + 1)] = number
    scored = sphere >= 0
    return scored, Groups(names=SPHERE_NAMES, index=sphere[scored])


def phantom_set(n_seeds: int) -> Dataset[Acquisition]:
    """Return plate 5 with different noise.

    Raises:
        UsageError: No seed is asked for.
    """
    if n_seeds < 1:
        raise UsageError(f"--seeds {n_seeds} is not possible", remedy="Give at least 1.")
    phantom = plate()
    scored, spheres = spheres_of(phantom)
    truth = maps_by_name(phantom.truth)
    groups = (everything(int(scored.sum())), spheres, binned(truth["T1"][scored]))
    cases = [
        Case(input=phantom_scan(phantom, seed), truth=truth, scored=scored, groups=groups)
        for seed in range(n_seeds)
    ]
    return dataset_of(PHANTOM, cases, homogeneous=True)


def scattered_set(shape: tuple[int, int] = SCATTERED_SHAPE) -> Dataset[Acquisition]:
    """Return voxels drawn alone, of which `exact_posterior` is the best estimate.

    B is drawn for each voxel too, so that nothing is to be learnt from neighbours, and the noise is known.
    """
    scan = seven_inversions()
    drawn = scatter(SCATTER_PRIOR, scan, shape, seeded_generator(0, "evaluation", SCATTERED))
    t1 = drawn.truth[..., 0].reshape(-1)
    case = Case(
        input=Acquisition(signal=drawn.signal, protocol=scan.protocol, noise_sd=drawn.noise_sd),
        truth=known_maps(drawn.truth),
        scored=torch.ones(shape, dtype=torch.bool),
        groups=(everything(len(t1)), binned(t1)),
    )
    return dataset_of(SCATTERED, [case])


def exact_posterior() -> GridPosterior:
    """Return the posterior under the prior that `scattered_set` draws from."""
    return GridPosterior(
        pd_range=ANY_PD,  # no method knows the unit of PD
        t1_range=SCATTER_PRIOR.t1,
        b_range=SCATTER_PRIOR.efficiency,
        complete=None,  # as the scan has it: its TR term follows B
    )


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class RealSeries:
    """A series that a user gave.

    Attributes:
        name: Of its set.
        acquisition: Volumes and timings.
    """

    name: str
    acquisition: Acquisition


def read_real(
    kind: str, inputs: Sequence[Path], given: ProtocolOverrides = NOTHING_GIVEN
) -> tuple[RealSeries, ...]:
    """Read every series of one input; a series is named after its folder or files.

    Args:
        kind: REAL_PHANTOM or REAL_BRAIN, the first word of the name.
        inputs: A BIDS tree, a folder of DICOM or NIfTI, or NIfTI files of one series.
        given: What the user says about the files.

    Raises:
        InputError: Nothing there can be read.
    """
    listed = find_inputs(inputs, given)
    place = inputs[0].resolve()
    short = f"{place.parent.name}/{place.name}" if place.is_dir() else place.name
    names = [f"{kind} {short}{f' {series.label}' if len(listed) > 1 else ''}" for series in listed]
    return tuple(_series(name, series.read()) for name, series in zip(names, listed, strict=True))


def real_phantom_set(series: RealSeries, version: int) -> Dataset[Acquisition]:
    """Return the spheres of all plates in a series.

    Args:
        series: What was read.
        version: Of the phantom; its nominal T1 tell which sphere is which.

    Raises:
        InputError: There is no plate.
        ProtocolError: It cannot be fitted.
    """
    acquisition = series.acquisition
    fitted = InversionRecoveryFit()(acquisition)
    plates = find_plates(acquisition, fitted, version=version)
    sphere = torch.full(acquisition.voxels, -1)
    for number, place in enumerate(plates):
        _mark(sphere, place, number * N_SPHERES)
    names = tuple(
        f"plate {each.array.plate} sphere {number + 1}" for each in plates for number in range(N_SPHERES)
    )
    scored = sphere >= 0
    case = Case(
        input=acquisition,
        truth=_reference(fitted),
        scored=scored,
        groups=(everything(int(scored.sum())), Groups(names=names, index=sphere[scored])),
    )
    return dataset_of(series.name, [case], reference=FIT, homogeneous=True)


def real_brain_set(series: RealSeries) -> Dataset[Acquisition]:
    """Return all voxels of a series that hold signal; those with a usable fit can be compared.

    Raises:
        ProtocolError: It cannot be fitted.
    """
    fitted = InversionRecoveryFit()(series.acquisition)
    reference = _reference(fitted)
    scored = (fitted.status != VoxelStatus.MASKED) & (fitted.status != VoxelStatus.NO_SIGNAL)
    t1 = reference["T1"][scored]
    case = Case(
        input=series.acquisition,
        truth=reference,
        scored=scored,
        groups=(everything(len(t1)), binned(t1)),
    )
    return dataset_of(series.name, [case], reference=FIT)


def _reference(fitted: ParameterMaps) -> dict[str, Float[Tensor, "*voxels"]]:
    """Return the fit where it is usable."""
    return known_maps(fitted.values.masked_fill(~fitted.usable[..., None], torch.nan))


def _mark(sphere: Int[Tensor, "*voxels"], place: FoundPlate, first: int) -> None:
    """Number the voxels well inside the spheres of a plate, from a first number on."""
    plane = place.plane.cut(sphere if sphere.ndim == 3 else sphere[..., None])
    discs = place.plane.discs(plane.shape, place.centres_mm, ROI_RADIUS_MM)
    for number, disc in enumerate(discs):
        plane[disc] = first + number


def _series(name: str, read: Series) -> RealSeries:
    return RealSeries(name=name, acquisition=read.acquisition)
