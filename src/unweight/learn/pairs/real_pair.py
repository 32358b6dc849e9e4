"""A pair to learn from, of real images: read, registered, checked.

    echoes → brain                       T1w → rigidly onto the first echo → resampled once
           → R2*, χ                          → turned upright, bias field out, white matter at 1

A T1w that lies on the grid of the echoes voxel by voxel is taken as it is. Wherever it comes from, its
place is checked: with the first echo it must share at least twice the information in the brain,

    I = Σ p(a, b) ln [p(a, b)/(p(a) p(b))],

that it shares 12 mm away in any direction. Of one head this is four to eight times as much, whatever the
contrasts; of another head, registered as well as can be, at most 1.7 times (published T1w, T2w and FLAIR,
and simulated heads).
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Float64, UInt8
from torch import Tensor

from unweight.bids.nifti.canonical import Turn, turn_of
from unweight.bids.nifti.grid import Grid, Placement
from unweight.bids.nifti.volume import Volume, open_volume
from unweight.bids.read import entry_of
from unweight.bids.sidecar import Part
from unweight.core.acquisition import Acquisition
from unweight.core.errors import InputError
from unweight.fit.susceptibility import SusceptibilityFit
from unweight.learn.pairs.pair import EchoMaps, Pair, make_pair, maps_of_echoes
from unweight.learn.pairs.real_subjects import PairedSubject
from unweight.metrics.structures import LABELS
from unweight.prepare.brain_mask import grown
from unweight.prepare.echo_mask import find_brain_in_echoes
from unweight.prepare.lattice import PlacedImage, VoxelGrid
from unweight.prepare.qsm_series import direction_of
from unweight.prepare.resample import resampled, resampled_labels, resampled_mask, thinned
from unweight.prepare.rigid import RigidRegistration
from unweight.prepare.segmenters import STRUCTURE_OF
from unweight.susceptibility.geometry import geometry_of

LOG = logging.getLogger(__name__)
MARGIN_MM = 8.0  # around the brain, where registration looks too
CHECKED_MM, AWAY_MM = 3.0, 12.0
BINS = 32
FEWEST = 1000  # voxels that information is estimated from
OUTSTANDING = 2.0  # information in place over that away
COVERED = 0.95  # share of the brain
NEGATIVE = 0.01  # share of voxels: splines leave some at edges
REMEDY = "Check that both are of one head, or exclude this subject."
N_NAMED = 8


class _Home(NamedTuple):
    """What the T1w is brought onto."""

    echo: PlacedImage
    mask: Bool[Tensor, "x y z"]
    grid: Grid


class _Brought(NamedTuple):
    """The T1w on the grid of the echoes, and the way there: from a point of theirs to one of its own."""

    values: Float[Tensor, "x y z"]
    way: Float64[Tensor, "4 4"]


def real_pair(subject: PairedSubject, fit: SusceptibilityFit | None = None) -> Pair:
    """Read both images of a subject and make a pair of them, axes to the right, front and top.

    Args:
        subject: As it was found.
        fit: How χ is found; where it names no direction of the field, the one of the sidecars is taken.

    Raises:
        InputError: A file is unusable, no brain is found, or the images do not fit each other.
        ProtocolError: Echo times or the field strength are absent or unusable.
        UsageError: SimpleITK is not installed.
    """
    series = subject.series.read()
    acquisition, echo = _with_brain(series.acquisition)
    mask, affine = acquisition.mask, acquisition.affine
    if mask is None or affine is None or mask.ndim != 3:
        raise InputError("is not a single 3D volume", path=series.files[0])
    affine = affine.double()
    home = _Home(
        echo=PlacedImage(values=echo, affine=affine),
        mask=mask,
        grid=Grid(shape=tuple(mask.shape), placement=Placement(affine=affine), path=series.files[0]),
    )
    t1w = _read_t1w(subject.t1w)
    brought = _onto(home, t1w)
    covered = mask & torch.isfinite(brought.values)
    structures = None if subject.labels is None else _read_labels(subject.labels, home, brought.way)
    fit = SusceptibilityFit() if fit is None else fit
    if fit.direction is None:
        fit = replace(fit, direction=direction_of(series).direction)
    maps = replace(maps_of_echoes(acquisition, fit), mask=covered)
    for note in (*subject.notes, *series.notes, *t1w.notes, *maps.notes):
        LOG.info("%s: %s", subject.label, note)
    turn = turn_of(affine, tuple(mask.shape), series.files[0])
    return make_pair(
        _turned(maps, turn),
        turn.apply(brought.values),
        turn.affine,
        None if structures is None else turn.apply(structures),
        _about(subject),
    )


def _about(subject: PairedSubject) -> dict[str, object]:
    """Return what may be recorded of a person: neither names of files nor dates."""
    info = {"name": subject.label, "age": subject.age, "male": subject.male}
    return {key: value for key, value in info.items() if value is not None}


def _with_brain(acquisition: Acquisition) -> tuple[Acquisition, Float[Tensor, "x y z"]]:
    """Return the echoes with a brain mask, and the magnitude of the first."""
    order = acquisition.protocol.require("echo_time", "a pair").argsort()
    magnitude = acquisition.signal.abs()[..., order].float()
    if acquisition.mask is None and acquisition.affine is not None:
        size = geometry_of(acquisition.affine).voxel_mm
        acquisition = replace(acquisition, mask=find_brain_in_echoes(magnitude, size))
    return acquisition, magnitude[..., 0]


def _read_t1w(path: Path) -> Volume:
    """Read one magnitude volume."""
    part = entry_of(path).part
    if part not in (None, Part.MAGNITUDE):
        raise InputError(f"is a {part.name.lower()} image", remedy="Give the magnitude.", path=path)
    volume = open_volume(path)
    values = volume.data
    if values.ndim != 3:
        raise InputError(
            f"contains {values.shape[3]} volumes instead of one",
            remedy="Give a T1w image of one volume.",
            path=path,
        )
    if float((values < 0).float().mean()) > NEGATIVE:
        raise InputError("holds many negative values", remedy="Give the magnitude image.", path=path)
    return replace(volume, data=values.float().clamp(min=0))


def _onto(home: _Home, t1w: Volume) -> _Brought:
    """Return the T1w on the grid of the echoes, its place checked."""
    moving = PlacedImage(values=t1w.data, affine=t1w.grid.affine)
    echoes = home.grid.path.name
    if t1w.grid.same_as(home.grid):
        brought = _Brought(moving.values, torch.eye(4, dtype=torch.float64))
    else:
        region = grown(home.mask, MARGIN_MM, home.echo.lattice.voxel_mm)
        try:
            way = RigidRegistration()(home.echo, moving, region).matrix
        except InputError as error:
            raise InputError(
                f"cannot be registered to {echoes}: {error.problem}", remedy=REMEDY, path=t1w.grid.path
            ) from error
        brought = _Brought(resampled(moving, home.echo.lattice, way), way)
    share = float(torch.isfinite(brought.values[home.mask]).float().mean())
    if share < COVERED:
        raise InputError(
            f"shows only {100 * share:.0f} % of the brain in {echoes}", remedy=REMEDY, path=t1w.grid.path
        )
    here, away = _information(home, moving, brought.way)
    if not here > OUTSTANDING * away:
        raise InputError(
            f"does not show the head in {echoes}: where it fits best they share {here:.2f} nat of "
            f"information, and {away:.2f} nat {AWAY_MM:g} mm away",
            remedy=REMEDY,
            path=t1w.grid.path,
        )
    return brought


def _information(home: _Home, moving: PlacedImage, way: Float64[Tensor, "4 4"]) -> tuple[float, float]:
    """Return what the images share in the brain, in place, and at most at six places around it [nat]."""
    echo, thin = thinned(home.echo, CHECKED_MM), thinned(moving, CHECKED_MM)
    mask = resampled_mask(home.mask, home.echo.lattice, echo.lattice)
    ways = [way]
    for axis in range(3):
        for sign in (-1.0, 1.0):
            step = torch.eye(4, dtype=torch.float64)
            step[axis, 3] = sign * AWAY_MM
            ways.append(way @ step)
    here, *away = (_shared(echo.values[mask], resampled(thin, echo.lattice, item)[mask]) for item in ways)
    return here, max(away)


def _shared(item: Float[Tensor, " voxels"], other: Float[Tensor, " voxels"]) -> float:
    """Return the mutual information of two images, by a histogram with as many voxels in each row [nat]."""
    known = torch.isfinite(item) & torch.isfinite(other)
    if int(known.sum()) < FEWEST:
        return 0.0
    rows, columns = _ranked(item[known]), _ranked(other[known])
    joint = torch.bincount(rows * BINS + columns, minlength=BINS * BINS).double().view(BINS, BINS)
    joint = joint / joint.sum()
    apart = joint.sum(1, keepdim=True) * joint.sum(0, keepdim=True)
    filled = joint > 0
    return float((joint[filled] * (joint[filled] / apart[filled]).log()).sum())


def _ranked(values: Float[Tensor, " voxels"]) -> Tensor:
    """Return the bin of each value."""
    ordered = values.double().sort().values
    places = torch.arange(1, BINS) * len(ordered) // BINS
    return torch.bucketize(values.double(), ordered[places])


def _turned(maps: EchoMaps, turn: Turn) -> EchoMaps:
    x, y, z = (maps.voxel_mm[axis] for axis in turn.order)
    return replace(
        maps,
        magnitude=turn.apply(maps.magnitude),
        mask=turn.apply(maps.mask),
        r2star=turn.apply(maps.r2star),
        chi=None if maps.chi is None else turn.apply(maps.chi),
        voxel_mm=(x, y, z),
    )


def _read_labels(path: Path, home: _Home, way: Float64[Tensor, "4 4"]) -> UInt8[Tensor, "x y z"]:
    """Return FreeSurfer's numbers as structures on the grid of the echoes."""
    volume = open_volume(path)
    if volume.data.ndim != 3:
        raise InputError("is a series; labels are one volume", path=path)
    numbers = torch.unique(volume.data).tolist()
    _check_numbers(numbers, path)
    x, y, z = volume.data.shape
    source = VoxelGrid(shape=(x, y, z), affine=volume.grid.affine)
    structures = torch.zeros((x, y, z), dtype=torch.long)
    for name, label in LABELS.items():
        own = torch.tensor([number for number in numbers if STRUCTURE_OF[int(number)] == name])
        if label and len(own):
            structures[torch.isin(volume.data, own)] = label
    return resampled_labels(structures, source, home.echo.lattice, way).to(torch.uint8)


def _check_numbers(numbers: Sequence[float], path: Path) -> None:
    unknown = [number for number in numbers if number not in STRUCTURE_OF]
    if unknown:
        listed = ", ".join(f"{number:g}" for number in unknown[:N_NAMED])
        more = " …" if len(unknown) > N_NAMED else ""
        raise InputError(
            f"holds labels that FreeSurfer does not have: {listed}{more}",
            remedy="Give labels of SynthSeg, FastSurfer or FreeSurfer.",
            path=path,
        )
