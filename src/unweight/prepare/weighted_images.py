"""From the files of a user to an examination: read, bring onto one grid, find the brain.

Images on one grid are taken as they are. Others are registered rigidly to the reference and resampled once.
Everything is turned so that the third axis runs up the head, because networks look at axial slices; maps
are turned back, so that they lie on the reference voxel by voxel.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import degrees
from pathlib import Path
from types import MappingProxyType
from typing import final

from jaxtyping import Bool, Float
from torch import Tensor

from unweight.bids.names import image_stem, parse_stem
from unweight.bids.nifti.canonical import Turn, turn_of
from unweight.bids.nifti.grid import Grid, Placement
from unweight.bids.nifti.philips import check_one_unit
from unweight.bids.nifti.volume import Volume, open_volume
from unweight.bids.read import agreed_fields, entities_of, source_of, tree_of
from unweight.bids.read import entry_of as entry_of_file
from unweight.bids.series.inversion_cycle import EstimatedCycle
from unweight.bids.series.part import Entry
from unweight.bids.series.weighted import (
    CONTRASTS,
    GivenWeighting,
    estimated_repetition,
    told_of,
    weighting_from,
)
from unweight.bids.sidecar import Part
from unweight.core.errors import (
    InputError,
    MissingValue,
    MissingValuesError,
    ProtocolError,
    UsageError,
)
from unweight.core.examination import WeightedImage, WeightedImageSet
from unweight.core.weighting import Weighting
from unweight.prepare.bias_field import without_bias
from unweight.prepare.brain_finder import BrainFinder, ClassicalBrain, FoundBrain
from unweight.prepare.brain_mask import find_brain, grown
from unweight.prepare.computing_memory import check_memory
from unweight.prepare.lattice import PlacedImage, VoxelGrid
from unweight.prepare.resample import resampled, resampled_mask
from unweight.prepare.rigid import REMEDY as REGISTER_ELSEWHERE
from unweight.prepare.rigid import RigidRegistration
from unweight.signals.variable_train import EquivalentTrain, equivalent_train

LOG = logging.getLogger(__name__)
NOTHING_GIVEN = GivenWeighting()
BRIGHT = 0.99
DIP, RINGING = 0.02, 0.01  # at the edge of a stripped brain splines ring below zero, in so few voxels
SAME_FIELD = 0.15
# An image is stripped if so few voxels around the brain, over those in it, are brighter than
# so much of its median.
FAINT, STRIPPED = 0.05, 0.02
AGENT = "T1 of vessels and of enhancing tissue is that after the agent"
MARGIN_MM = 8.0  # around the brain, where registration looks too
THIN_MM = 20.0  # of a slab whose registration may fail because it is thin


@final
@dataclass(frozen=True, kw_only=True)
class MapsFiles:
    """What the caller gave.

    Attributes:
        images: Files by contrast.
        given: What is said of each.
        mask: A brain mask; None to find the brain.
        field_strength: [T]; None for what the sidecars say.
        reference: The contrast whose grid maps lie on; None for the first there is.
        register: Whether images on other grids are registered, or only resampled.
        correct_bias: Whether N4 takes the bias field out first.
        finder: What finds the brain, where there is no mask.
        entries: Of images whose sidecars do not lie beside them, by contrast.
        contrast_agent: Whether images after a contrast agent are accepted.
    """

    images: Mapping[str, Path]
    given: Mapping[str, GivenWeighting] = field(default_factory=lambda: MappingProxyType({}))
    mask: Path | None = None
    field_strength: float | None = None
    reference: str | None = None
    register: bool = True
    correct_bias: bool = False
    finder: BrainFinder = field(default_factory=ClassicalBrain)
    entries: Mapping[str, Entry] = field(default_factory=lambda: MappingProxyType({}))
    contrast_agent: bool = False

    def entry(self, name: str) -> Entry:
        """Return the image of a contrast with its sidecar."""
        return self.entries[name] if name in self.entries else entry_of_file(self.images[name])


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class ReadExamination:
    """An examination as it was read.

    Attributes:
        examination: Upright, on one grid.
        turn: From the axes of the reference image to upright ones.
        placement: Where the header of the reference image places its voxels.
        entities: BIDS entities that name what is derived from it.
        sources: What derivatives name as their sources.
        root: Of the BIDS tree the files lie in, if they lie in one.
        settings: Timings, registrations and choices, for the sidecar.
        acquired: Fields on which the sidecars agree.
        notes: What a careful reader should know.
        skull_stripped: Whether nothing but the brain is shown.
        remarks: Notes that belong on the page of the subject, too.
        choice: Which images of an exam were chosen and why, line by line; empty if they were named.
        faults: What is missing of an exam, in sentences.
    """

    examination: WeightedImageSet
    turn: Turn
    placement: Placement
    entities: Mapping[str, str]
    sources: tuple[str, ...]
    root: Path | None
    settings: Mapping[str, object]
    acquired: Mapping[str, object]
    notes: tuple[str, ...]
    skull_stripped: bool = False
    remarks: tuple[str, ...] = ()
    choice: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class _Read:
    """One image with what is known of it; the time between inversions if it was estimated."""

    entry: Entry
    estimate: EstimatedCycle | None
    weighting: Weighting
    values: Float[Tensor, "x y z"]
    grid: Grid


def read_examination(files: MapsFiles) -> ReadExamination:
    """Read the files of one examination.

    Raises:
        InputError: A file is unusable, or the images do not belong together.
        ProtocolError: A timing is absent or impossible.
        UsageError: There are too few images, or registration is not installed.
    """
    names = [name for name in CONTRASTS if name in files.images]
    if len(names) < 2:
        raise UsageError("T1, T2 and PD need at least two images", remedy="Give --t1w, --t2w and --flair.")
    read = _read_all(names, files)
    home = files.reference or names[0]
    if home not in read:
        raise UsageError(f"the reference {home} is not given", remedy=f"There are {', '.join(names)}.")
    strength = _field_strength(read, files.field_strength)
    grid = read[home].grid
    check_memory("maps", (*grid.shape, len(read)))
    turn = turn_of(grid.affine, grid.shape, grid.path)
    notes: list[str] = []
    moved: dict[str, object] = {}
    signals: dict[str, Tensor] = {}
    given = None if files.mask is None else _given_mask(files.mask, grid)
    apart = any(not value.grid.same_as(grid) for value in read.values())
    region = _region(_placed(read[home]), given) if apart and files.register else None
    for name, entry in read.items():
        values, info = _onto(entry, read[home], files.register, region)
        signals[name] = turn.apply(values)
        if info:
            moved[name] = info
            notes.append(f"{name} was resampled to the grid of {home}: {info}")
    try:
        brain = (
            files.finder.in_images(tuple(signals.values()), turn.affine)
            if given is None
            else FoundBrain(mask=turn.apply(given), how="given")
        )
    except InputError as error:
        raise _no_brain(error, signals, read, home) from error
    mask = brain.mask
    notes += brain.remarks
    if not any(bool(((values > 0) & mask).any()) for values in signals.values()):
        raise InputError(
            "the mask contains no voxel in which the images have a signal",
            remedy="Give the mask of these images.",
            path=files.mask or grid.path,
        )
    if files.correct_bias:
        signals = {name: without_bias(values, mask, turn.affine) for name, values in signals.items()}
        notes.append("bias fields were corrected by N4")
    images = tuple(
        WeightedImage(name=name, weighting=read[name].weighting, signal=values)
        for name, values in signals.items()
    )
    paths = tuple(value.entry.path for value in read.values())
    roots = {tree_of(path) for path in paths}
    root = roots.pop() if len(roots) == 1 else None
    estimates = {
        name: f"TR {item.estimate.seconds:g} s: {item.estimate.source}"
        for name, item in read.items()
        if item.estimate is not None
    }
    remarks = [
        f"the time between inversions of the {name} was estimated: {text}"
        for name, text in estimates.items()
    ]
    nominal = {name: item.weighting.time("nominal_echo_time") for name, item in read.items()}
    trains = {
        name: _equivalent(equivalent_train(time)) for name, time in nominal.items() if time is not None
    }
    remarks += [f"the echo time of the {name} was estimated: {text}" for name, text in trains.items()]
    estimates |= {name: "; ".join(filter(None, (estimates.get(name), trains[name]))) for name in trains}
    assumed = {name: _assumed(item.weighting) for name, item in read.items() if item.weighting.alternatives}
    remarks += [
        f"the time between inversions of the {name} is not in the header: {text}. SD and intervals include "
        f"this uncertainty; give the time with --{name.lower()}-tr"
        for name, text in assumed.items()
    ]
    estimates |= {name: "; ".join(filter(None, (estimates.get(name), assumed[name]))) for name in assumed}
    remarks += [f"the {name} was acquired after a contrast agent; {AGENT}" for name in _after_agent(read)]
    for note in notes:
        LOG.info(note)
    return ReadExamination(
        examination=WeightedImageSet(images=images, mask=mask, field_strength=strength, affine=turn.affine),
        turn=turn,
        placement=grid.placement,
        entities=entities_of(paths),
        sources=tuple(source_of(path, root) for path in paths),
        root=root,
        settings={
            "Images": {name: told_of(item.weighting) for name, item in read.items()},
            **({"Estimated": estimates} if estimates else {}),
            "MagneticFieldStrength": strength,
            "Reference": home,
            "Registered": moved,
            "BrainMask": brain.how,
            "BiasFieldCorrection": "N4" if files.correct_bias else "none",
        },
        acquired={
            **agreed_fields([value.entry for value in read.values()]),
            "MagneticFieldStrength": strength,
        },
        notes=(*notes, *remarks),
        remarks=tuple(remarks),
        skull_stripped=all(_is_stripped(values, mask) for values in signals.values()),
    )


def _assumed(weighting: Weighting) -> str:
    """Return an assumed time between inversions, with its limits."""
    cycles = [float(other.require("repetition_time", "an MPRAGE")[0]) for other in weighting.alternatives]
    middle = weighting.time("repetition_time")
    return f"TR {middle:.3g} s is assumed ({min(cycles):.3g} to {max(cycles):.3g} s)"


def _equivalent(train: EquivalentTrain) -> str:
    """Return a sentence about a train of low angles."""
    return (
        f"the nominal echo time of {train.nominal_echo_time:.3g} s is that of a train of low refocusing "
        f"angles; its contrast is that of a spin echo at {train.echo_time:.3g} s ({train.lowest:.2g} to "
        f"{train.highest:.2g} s, depending on the angles, which are not in the header)"
    )


def _read_all(names: Sequence[str], files: MapsFiles) -> dict[str, _Read]:
    """Read each image; all timings that are missing are asked for at once.

    Raises:
        MissingValuesError: Some are.
    """
    read: dict[str, _Read] = {}
    missing: list[MissingValue] = []
    path = None
    for name in names:
        try:
            read[name] = _read(name, files)
        except MissingValuesError as error:
            missing += error.missing
            path = path or error.path
    if not missing:
        return read
    sidecars = (files.entry(name).sidecar for name in names)
    if files.field_strength is None and all(
        sidecar.fields.get("MagneticFieldStrength") is None for sidecar in sidecars
    ):
        missing.append(MissingValue(field="MagneticFieldStrength", of="all images", option="--field T"))
    raise MissingValuesError(missing, path=path)


def _read(name: str, files: MapsFiles) -> _Read:
    entry, given = files.entry(name), files.given.get(name, NOTHING_GIVEN)
    _check_kind(entry, contrast_agent=files.contrast_agent)
    weighting = weighting_from(name, entry.sidecar, given)
    volume = open_volume(entry.path)
    check_one_unit(entry.sidecar, volume)
    values = volume.data.float()
    if values.ndim != 3:
        raise InputError(
            f"contains {values.shape[3]} volumes instead of one",
            remedy=f"Give a {name} image of one volume.",
            path=entry.path,
        )
    return _Read(
        entry=entry,
        estimate=estimated_repetition(name, entry.sidecar, given),
        weighting=weighting,
        values=_magnitude(values, entry.path),
        grid=volume.grid,
    )


def _check_kind(entry: Entry, *, contrast_agent: bool) -> None:
    """Refuse what is no magnitude, and what was made after a contrast agent, which changes T1."""
    if entry.part not in (None, Part.MAGNITUDE):
        raise InputError(
            f"is a {entry.part.name.lower()} image", remedy="Give the magnitude.", path=entry.path
        )
    if not contrast_agent and _has_agent(entry):
        raise InputError(
            "was acquired after a contrast agent, which is not modelled",
            remedy="Give a pre-contrast image, or omit this one; --contrast-agent accepts it.",
            path=entry.path,
        )


def _has_agent(entry: Entry) -> bool:
    name = parse_stem(image_stem(entry.path) or "")
    return bool(
        (name is not None and "ce" in name.entities)
        or entry.sidecar.fields.get("ContrastBolusIngredient")
        or entry.sidecar.fields.get("ContrastBolusAgent")
    )


def _after_agent(read: Mapping[str, _Read]) -> list[str]:
    return [name for name, item in read.items() if _has_agent(item.entry)]


def _magnitude(values: Float[Tensor, "x y z"], path: Path) -> Float[Tensor, "x y z"]:
    """Return the image without the negative values that splines leave at edges.

    Raises:
        InputError: They are too many for that.
    """
    known = values.nan_to_num()
    bright = float(known.flatten().kthvalue(max(1, int(BRIGHT * known.numel()))).values)
    lowest = float(known.min())
    low, visited = int((known < -DIP * max(bright, 1e-12)).sum()), int((known != 0).sum())
    if low > RINGING * visited:
        raise InputError(
            f"has values far below 0 ({low}, minimum {lowest:g}; bright voxels have {bright:g})",
            remedy="Give the magnitude image.",
            path=path,
        )
    if lowest < 0:
        LOG.warning("%s: %d negative values are set to 0", path.name, int((known < 0).sum()))
    return values.clamp(min=0)


def _field_strength(read: Mapping[str, _Read], given: float | None) -> float:
    if given is not None:
        return given
    info = {name: entry.weighting.protocol.field_strength for name, entry in read.items()}
    known = {name: value for name, value in info.items() if value is not None}
    if not known:
        raise ProtocolError(
            "MagneticFieldStrength of these images is unknown",
            remedy="Write it into a sidecar, or give --field, in tesla.",
            path=next(iter(read.values())).entry.path,
        )
    if max(known.values()) - min(known.values()) > SAME_FIELD:
        text = ", ".join(f"{name} {value:g} T" for name, value in known.items())
        raise ProtocolError(
            f"images of different field strengths: {text}", remedy="Give images of one examination."
        )
    return next(iter(known.values()))


def _onto(
    item: _Read, home: _Read, registered: bool, region: Bool[Tensor, "x y z"] | None
) -> tuple[Float[Tensor, "x y z"], str]:
    """Return an image on the grid of the reference, and how it got there."""
    if item.grid.same_as(home.grid):
        return item.values, ""
    moving, reference = _placed(item), _placed(home)
    if not registered:
        return resampled(moving, reference.lattice), "resampled only"
    try:
        rigid = RigidRegistration()(reference, moving, region)
    except InputError as error:
        raise _not_registered(error, item, home) from error
    shift = ", ".join(f"{value:.2f}" for value in rigid.shift_mm)
    turn = ", ".join(f"{degrees(angle):.2f}" for angle in rigid.angles)
    text = f"shift {shift} mm, rotation {turn} degrees"
    return resampled(moving, reference.lattice, rigid.matrix), text


def _not_registered(error: InputError, item: _Read, home: _Read) -> InputError:
    """Return why an image is not registered, with both files, and how thin the thinner one is."""
    thinner = min((item, home), key=lambda image: _thickness_mm(image.grid))
    what = "this image" if thinner is item else "the latter"
    reason, remedy = error.problem, error.remedy
    if min(thinner.grid.shape) == 1:
        reason, remedy = f"{what} has a single slice, which is too thin", REGISTER_ELSEWHERE
    elif _thickness_mm(thinner.grid) < THIN_MM:
        reason += f"; {what} is only {_thickness_mm(thinner.grid):.3g} mm thick"
    problem = f"cannot be registered to {home.entry.path.name}: {reason}"
    return type(error)(problem, remedy=remedy, path=item.entry.path)


def _thickness_mm(grid: Grid) -> float:
    return min(n * size for n, size in zip(grid.shape, grid.voxel_mm, strict=True))


def _no_brain(
    error: InputError, signals: Mapping[str, Tensor], read: Mapping[str, _Read], home: str
) -> InputError:
    """Return why no brain was found, with the file of an image without signal or else of the reference."""
    if error.path is not None:
        return error
    for name, values in signals.items():
        if not bool((values > 0).any()):
            alone = not bool((read[name].values > 0).any())
            problem = "has no positive value" if alone else f"does not overlap {read[home].entry.path.name}"
            return InputError(problem, remedy="Check this image, or omit it.", path=read[name].entry.path)
    return type(error)(error.problem, remedy=error.remedy, path=read[home].entry.path)


def _given_mask(path: Path, grid: Grid) -> Bool[Tensor, "x y z"]:
    """Read a mask onto the grid of the reference.

    Raises:
        InputError: It is unusable, or empty there.
    """
    volume: Volume = open_volume(path)
    values = volume.data.float()
    if values.ndim != 3:
        raise InputError("is not a single 3D volume", remedy="Give a 3D mask.", path=path)
    result = values > 0
    if not volume.grid.same_as(grid):
        result = resampled_mask(result, _lattice(volume.grid), _lattice(grid))
    if not bool(result.any()):
        raise InputError(
            "the mask is empty on the grid of the images", remedy="Give the mask of this head.", path=path
        )
    return result


def _is_stripped(values: Float[Tensor, "x y z"], mask: Bool[Tensor, "x y z"]) -> bool:
    """Whether there is next to nothing outside the brain."""
    inside, outside = values[mask].nan_to_num(), values[~mask].nan_to_num()
    known = int((outside > FAINT * inside.median()).sum())
    return bool(len(outside)) and known < STRIPPED * len(inside)


def _placed(item: _Read) -> PlacedImage:
    return PlacedImage(values=item.values, affine=item.grid.affine)


def _lattice(grid: Grid) -> VoxelGrid:
    x, y, z = grid.shape
    return VoxelGrid(shape=(x, y, z), affine=grid.affine)


def _region(reference: PlacedImage, given: Bool[Tensor, "x y z"] | None) -> Bool[Tensor, "x y z"] | None:
    """Return the brain with some margin, where registration looks; None if it is not found in one image."""
    try:
        brain = find_brain((reference.values,), reference.lattice.voxel_mm) if given is None else given
    except InputError:
        return None
    return grown(brain, MARGIN_MM, reference.lattice.voxel_mm)
