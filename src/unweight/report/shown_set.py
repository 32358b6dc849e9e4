"""One stored set made ready to be shown: turned upright, cut to its values, each image with its colours."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float, Float64, UInt8
from matplotlib.colors import Colormap, Normalize
from numpy.typing import NDArray
from torch import Tensor

from unweight.bids.derivatives.stored import (
    Condition,
    StoredImage,
    StoredSet,
    affine_of,
    check_same,
    read_image,
)
from unweight.bids.nifti.canonical import Turn, turn_of
from unweight.core.errors import InputError
from unweight.core.maps import VoxelStatus, failed_voxels
from unweight.core.parameter import ParameterSpec
from unweight.registry import quantity
from unweight.registry.records import Quantity
from unweight.report.colours import UNCERTAINTY, colour_map, colours_for
from unweight.report.figures import MISFITS

SLAB = 0.35  # of the longest side; a volume thinner than this is looked at in one plane
MISFIT_STEPS = 250
SHARE_SHOWN = 0.98
END = re.compile(
    "(lower|upper)([0-9]{1,2})"
)  # `desc` of the ends of an interval, with its level in per cent
STEPS = 500  # of a map without a scale of its own, between 0 and its 99th percentile


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Layer:
    """One image and how it is shown.

    Attributes:
        title: `T1`, `SD of T1`.
        values: NaN where there is none.
        unit: As people read it.
        step: In which it is displayed.
        colours: Its colour map.
        norm: Its scale.
    """

    title: str
    values: Float[Tensor, "x y z"]
    unit: str
    step: float
    colours: Colormap
    norm: Normalize

    @property
    def digits(self) -> int:
        """How many decimal places are displayed."""
        return digits_of(self.step)

    @property
    def window(self) -> tuple[float, float]:
        """The shown range."""
        return float(self.norm.vmin or 0.0), float(self.norm.vmax if self.norm.vmax is not None else 1.0)

    def at(self, where: Tensor) -> NDArray[np.float64]:
        """Return the finite values in some voxels."""
        result = self.values[where].double()
        kept: NDArray[np.float64] = result[result.isfinite()].numpy()
        return kept


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class ShownInterval:
    """The ends of the prediction interval of a map.

    Attributes:
        title: `90 % interval`.
        lower: Lower ends; NaN where there are none.
        upper: Upper ends.
    """

    title: str
    lower: Float[Tensor, "x y z"]
    upper: Float[Tensor, "x y z"]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class ShownMap:
    """One map with its standard deviation.

    Attributes:
        quantity: What it is.
        suffix: Of its file.
        description: What its sidecar says it is.
        value: The map.
        sd: Its standard deviation, if it is there.
        interval: Its prediction interval, if it is there.
    """

    quantity: Quantity
    suffix: str
    description: str
    value: Layer
    sd: Layer | None
    interval: ShownInterval | None = None


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class ShownSet:
    """One set, ready to be shown.

    Attributes:
        stored: Where it comes from.
        maps: Those that can be read, in the order of the set.
        misfit: How badly the model explains each voxel, if it is there.
        misfit_meaning: What its numbers are.
        status: Status of each voxel.
        affine: Voxel index to millimetres, of the turned and cut volume.
        counts: Voxels of each status in the whole volume.
        shape: Of the whole volume, as it lies on disk.
        problems: What is missing or damaged, in sentences.
    """

    stored: StoredSet
    maps: tuple[ShownMap, ...]
    misfit: Layer | None
    misfit_meaning: str
    status: UInt8[Tensor, "x y z"]
    affine: Float64[Tensor, "4 4"]
    counts: Mapping[VoxelStatus, int]
    shape: tuple[int, ...]
    problems: tuple[str, ...]

    @property
    def inside(self) -> int:
        """Voxels with signal inside the mask."""
        return sum(count for status, count in self.counts.items() if not status.outside)

    @property
    def shares(self) -> tuple[float, float, float]:
        """Shares of them that are usable, suspect and failed."""
        total = max(1, self.inside)
        usable = self.counts.get(VoxelStatus.OK, 0)
        suspect = sum(count for status, count in self.counts.items() if status.suspect)
        return usable / total, suspect / total, (self.inside - usable - suspect) / total

    @property
    def slab(self) -> int | None:
        """The axis across a slab, or None for a whole volume."""
        size = self.affine[:3, :3].norm(dim=0) * torch.tensor(self.status.shape)
        thin = int(size.argmin())
        return thin if float(size[thin]) < SLAB * float(size.max()) else None


def show_set(stored: StoredSet) -> ShownSet:
    """Read a set and make it ready; what is missing is said, not raised."""
    problems = list(stored.faults)
    values = {}
    for image in stored.images:
        if image.condition is Condition.MISSING or not _wanted(image, stored):
            continue
        try:
            values[image.path.name] = read_image(image)
        except InputError as error:
            problems.append(f"{image.path.name} {error.problem}")
    try:
        check_same(stored)
    except InputError as error:
        problems.append(f"{stored.sidecar.name} {error.problem}")
        values = {}
    shapes = {tuple(value.shape) for value in values.values()}
    if len(shapes) > 1:
        problems.append("its images have different shapes; none is displayed")
        values = {}
    return _shown(stored, values, problems)


def _wanted(image: StoredImage, stored: StoredSet) -> bool:
    """Whether an image is shown: maps, their standard deviations and intervals, misfit and status."""
    if image.name.suffix == "dseg":
        return True
    own = stored.name.entities.get("desc", "")
    if image.name.suffix in ("mask", "fieldmap"):
        return False
    return image.desc in ("", own, "std", "misfit") or END.fullmatch(image.desc) is not None


def _shown(stored: StoredSet, values: dict[str, Tensor], problems: list[str]) -> ShownSet:
    there = [image for image in stored.images if image.path.name in values]
    own = stored.name.entities.get("desc", "")
    maps = [image for image in there if image.name.suffix != "dseg" and image.desc == own]
    if not maps:
        problems.append("none of its maps could be read")
        empty = torch.zeros(0, 0, 0)
        return _nothing(stored, problems, empty)
    shape = tuple(values[maps[0].path.name].shape)
    status = _status(there, values, maps, problems)
    counts = torch.bincount(status.reshape(-1).long(), minlength=len(VoxelStatus))
    turn, cut = _upright(maps[0], status, problems)
    kept = turn.apply(status)[cut]
    valued = ~failed_voxels(kept)
    ready = {name: torch.where(valued, turn.apply(value)[cut], torch.nan) for name, value in values.items()}
    misfits = [image for image in there if image.desc == "misfit"]
    affine = turn.affine.clone()
    affine[:3, 3] += affine[:3, :3] @ torch.tensor([float(part.start) for part in cut], dtype=torch.float64)
    return ShownSet(
        stored=stored,
        maps=tuple(_map(image, there, ready) for image in maps),
        misfit=_misfit(misfits[0], ready) if misfits else None,
        misfit_meaning=misfits[0].description if misfits else "",
        status=kept,
        affine=affine,
        counts={status: int(counts[status]) for status in VoxelStatus if counts[status] > 0},
        shape=shape,
        problems=tuple(problems),
    )


def _nothing(stored: StoredSet, problems: list[str], empty: Tensor) -> ShownSet:
    return ShownSet(
        stored=stored,
        maps=(),
        misfit=None,
        misfit_meaning="",
        status=empty.to(torch.uint8),
        affine=torch.eye(4, dtype=torch.float64),
        counts={},
        shape=(),
        problems=tuple(problems),
    )


def _status(
    there: list[StoredImage], values: dict[str, Tensor], maps: list[StoredImage], problems: list[str]
) -> UInt8[Tensor, "x y z"]:
    """Return the status of each voxel; where it is not stored, a voxel with a value counts as usable."""
    first = values[maps[0].path.name]
    for image in there:
        if image.name.suffix == "dseg":
            value = values[image.path.name]
            known = (value >= 0) & (value < len(VoxelStatus)) & (value == value.round())
            if bool(known.all()):
                status = value.to(torch.uint8)
                lost = ~torch.isfinite(first) & ~failed_voxels(status)
                return torch.where(lost, torch.tensor(int(VoxelStatus.NOT_CONVERGED)).to(status), status)
            problems.append(f"{image.path.name} contains invalid status values")
    problems.append("the voxel status is missing: every voxel with a value counts as usable")
    nothing = torch.tensor(int(VoxelStatus.MASKED), dtype=torch.uint8)
    return torch.where(torch.isfinite(first), torch.zeros_like(nothing), nothing)


def _upright(
    image: StoredImage, status: UInt8[Tensor, "x y z"], problems: list[str]
) -> tuple[Turn, tuple[slice, ...]]:
    """Return how the volume is turned, and which box of the turned one holds all voxels with a value."""
    try:
        turn = turn_of(affine_of(image), tuple(status.shape), image.path)
    except InputError as error:
        problems.append(f"{image.path.name} {error.problem}; it is displayed in its voxel axes")
        turn = turn_of(torch.eye(4, dtype=torch.float64), tuple(status.shape))
    valued = ~failed_voxels(turn.apply(status))
    if not bool(valued.any()):
        problems.append("no voxel has a value")
        return turn, tuple(slice(0, size) for size in valued.shape)
    box = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        held = valued.any(dim=others[1]).any(dim=others[0]).nonzero()[:, 0]
        box.append(slice(int(held[0]), int(held[-1]) + 1))
    return turn, tuple(box)


def _map(image: StoredImage, there: list[StoredImage], ready: Mapping[str, Tensor]) -> ShownMap:
    kind, unit = quantity(image.name.suffix), unit_shown(image.unit)
    values = ready[image.path.name].float()
    finite = _finite(values)
    colours, norm = colours_for(spec_of(image.name.suffix, image.unit), finite)
    step = kind.step or step_for(float(norm.vmax or 1.0))
    spread = [item for item in there if item.desc == "std" and item.name.suffix == image.name.suffix]
    sd = None
    if spread:
        result = ready[spread[0].path.name].float()
        top = _round_up(float(np.quantile(_finite(result), SHARE_SHOWN)) if _finite(result).size else 0.0)
        sd = Layer(
            title=f"SD of {kind.symbol}",
            values=result,
            unit=unit,
            step=kind.sd_step or step,
            colours=colour_map(UNCERTAINTY),
            norm=Normalize(0.0, top or 1.0, clip=True),
        )
    value = Layer(title=kind.symbol, values=values, unit=unit, step=step, colours=colours, norm=norm)
    return ShownMap(
        quantity=kind,
        suffix=image.name.suffix,
        description=image.description,
        value=value,
        sd=sd,
        interval=_interval(image, there, ready),
    )


def _interval(
    image: StoredImage, there: list[StoredImage], ready: Mapping[str, Tensor]
) -> ShownInterval | None:
    """Return the interval of a map if both of its ends are there."""
    ends: dict[tuple[str, str], Tensor] = {}
    for item in there:
        match = END.fullmatch(item.desc)
        if match is not None and item.name.suffix == image.name.suffix:
            ends[match[2], match[1]] = ready[item.path.name].float()
    for level in dict.fromkeys(level for level, _ in ends):
        lower, upper = ends.get((level, "lower")), ends.get((level, "upper"))
        if lower is not None and upper is not None:
            return ShownInterval(title=f"{level} % interval", lower=lower, upper=upper)
    return None


def _misfit(image: StoredImage, ready: Mapping[str, Tensor]) -> Layer:
    title, top = MISFITS.get(image.description, ("Misfit", 0.5))
    return Layer(
        title=title,
        values=ready[image.path.name].float(),
        unit="",
        step=top / MISFIT_STEPS,
        colours=colour_map(UNCERTAINTY),
        norm=Normalize(0.0, top, clip=True),
    )


def _finite(values: Tensor) -> NDArray[Any]:
    kept: NDArray[Any] = values[values.isfinite()].numpy()
    return kept


def _round_up(value: float) -> float:
    """Return a round number that is not below a positive value."""
    if not (math.isfinite(value) and value > 0):
        return 0.0
    unit = 10.0 ** math.floor(math.log10(value))
    return next(part * unit for part in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if part * unit >= value * 0.9999)


def spec_of(suffix: str, unit: str) -> ParameterSpec:
    """Return a map as the colours want to know it."""
    return ParameterSpec(
        name=quantity(suffix).name, unit=unit, lower=-math.inf, upper=math.inf, suffix=suffix
    )


def unit_shown(unit: str) -> str:
    """Return a unit as people read it; nothing for a ratio."""
    return {"1": "", "arbitrary": "a.u.", "1/s": "s⁻¹"}.get(unit, unit)


def step_for(top: float) -> float:
    """Return a round step that divides 0 … top into about 500."""
    if not (math.isfinite(top) and top > 0):
        return 1e-3
    return float(10.0 ** math.floor(math.log10(top / STEPS) + 0.5))


def digits_of(step: float) -> int:
    """Return how many digits behind the point tell a step."""
    return max(0, math.ceil(-math.log10(step) - 1e-9))
