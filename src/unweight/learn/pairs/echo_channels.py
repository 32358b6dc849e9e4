"""Input of a network from a multi-echo gradient echo: channels that do not depend on the echo times.

    decay     ln S(τ_k) − ln S(τ_0),  τ_0 = 4 ms, τ_k = 10, 18, 28 ms
    level     ln S(τ_0) less its bias field and its median
    R2*       over 50 1/s
    χ         over 0.1 ppm, less its median

S(τ) lies on the straight lines between the logarithms of neighbouring echoes; before the first and beyond
the last echo, on the line of the two nearest echoes at least 8 ms apart. The bias field is what is left of
ln S(τ_0) after voxels far below the median (fluid) are excluded and the rest is smoothed over 30 mm. R2*
and χ are conditions that may be withheld from a network: then they are 0, and a channel marks this.

Channels of the slab about one slice are all of its own, and those of LEVEL, R2STAR and CHI of two slices
on either side.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import avg_pool3d, conv3d, interpolate

from unweight.core.errors import InputError, ProtocolError
from unweight.learn.pairs.scan_range import BASELINE

REFERENCE, TIMES = 0.004, (0.010, 0.018, 0.028)  # [s]
R2STAR_UNIT, CHI_UNIT = 50.0, 0.1  # [1/s], [ppm]
DECAYS, LEVEL, R2STAR, CHI, MASK = (0, 1, 2), 3, 4, 5, 6
N_CHANNELS = 7
NEIGHBOURS = (-2, -1, 1, 2)
BESIDE = slice(LEVEL, MASK)  # LEVEL, R2STAR and CHI
N_BESIDE = MASK - LEVEL
FLAGS = 2  # whether R2* is given, and χ
N_SLAB = N_CHANNELS + len(NEIGHBOURS) * N_BESIDE + FLAGS
FLUID = -0.3  # ln S so far below the median says nothing of the bias field
SMOOTH_MM, COARSE_MM = 30.0, 6.0
DECAY_LIMIT, LEVEL_LIMIT, OTHER_LIMIT = 4.0, 2.0, 3.0
SMALLEST = 1e-6


class Conditions(NamedTuple):
    """Which of the maps a network gets, and the scan as `scan_range.scan_features` returns it."""

    r2star: bool = True
    chi: bool = True
    scan: tuple[float, ...] | None = None


EVERYTHING = Conditions()


def echo_channels(
    magnitude: Float[Tensor, "x y z echoes"],
    echo_time: Float[Tensor, " echoes"],
    maps: tuple[Float[Tensor, "x y z"], Float[Tensor, "x y z"] | None],
    mask: Bool[Tensor, "x y z"],
    voxel_mm: tuple[float, float, float],
) -> Float[Tensor, "7 x y z"]:
    """Return the channels of a volume, 0 outside the mask.

    Args:
        magnitude: The echoes.
        echo_time: TE [s], rising.
        maps: R2* [1/s], and χ [ppm] or None; a voxel without a value is taken as the median.
        mask: The brain.
        voxel_mm: Size of a voxel [mm].

    Raises:
        ProtocolError: The echoes are too few or too near.
        InputError: The mask is empty, or there is no signal in it.
    """
    _check(echo_time)
    lit = mask & (magnitude[..., 0] > 0)
    if not bool(lit.any()):
        raise InputError("no voxel of the mask has a signal", remedy="Give another mask.")
    rows = magnitude[mask].double().nan_to_num()
    rows = rows.clamp(min=SMALLEST * float(rows.median().clamp(min=SMALLEST))).log()
    levels = _at(rows, echo_time.double(), (REFERENCE, *TIMES))
    first = levels[:, 0]
    channels = magnitude.new_zeros(N_CHANNELS, *mask.shape)
    for place, column in zip(DECAYS, (levels[:, 1:] - first[:, None]).unbind(-1), strict=True):
        channels[place, mask] = column.clamp(-DECAY_LIMIT, DECAY_LIMIT).to(channels)
    whole = magnitude.new_zeros(mask.shape)
    whole[mask] = (first - first.median()).to(channels)
    flat = whole - _bias(whole, mask, voxel_mm)
    channels[LEVEL, mask] = (flat - flat[mask].median())[mask].clamp(-LEVEL_LIMIT, LEVEL_LIMIT)
    r2star, chi = maps
    channels[R2STAR] = _filled(r2star, mask, about=0.0).to(channels) / R2STAR_UNIT
    if chi is not None:
        channels[CHI] = _filled(chi, mask, about=None).to(channels) / CHI_UNIT
    channels[R2STAR : CHI + 1].clamp_(-OTHER_LIMIT, OTHER_LIMIT)
    channels[MASK] = mask.to(channels)
    return channels


def slabs_of(
    channels: Float[Tensor, "7 x y z"],
    axis: int,
    indices: Sequence[int],
    conditions: Conditions = EVERYTHING,
) -> Float[Tensor, "slices slab rows columns"]:
    """Return the input of a network for several slices: N_SLAB channels of each.

    Args:
        channels: Of the volume.
        axis: Across the slices: 0, 1 or 2.
        indices: Of the slices; beyond the ends the last slice stands in for neighbours.
        conditions: Which conditions the network gets as input.
    """
    last = channels.shape[axis + 1] - 1
    home = channels.device
    middle = channels.index_select(axis + 1, torch.tensor(list(indices), device=home)).movedim(axis + 1, 0)
    parts = [middle.float()]
    for step in NEIGHBOURS:
        near = torch.tensor([min(max(0, index + step), last) for index in indices], device=home)
        beside = channels[BESIDE].index_select(axis + 1, near).movedim(axis + 1, 0)
        parts.append(beside.float())
    flags = torch.ones(len(indices), FLAGS, *middle.shape[2:], device=home)
    return told_only(torch.cat([*parts, flags], dim=1), conditions)


def told_only(slabs: Float[Tensor, "batch slab rows columns"], conditions: Conditions) -> Tensor:
    """Return slabs without the conditions that are withheld."""
    given = torch.tensor([[conditions.r2star, conditions.chi]]).expand(len(slabs), 2)
    return with_conditions(slabs, given)


def with_conditions(
    slabs: Float[Tensor, "batch slab rows columns"], given: Bool[Tensor, "batch 2"]
) -> Float[Tensor, "batch slab rows columns"]:
    """Return slabs in which each item has only the conditions given to it, R2* first, then χ."""
    factor = torch.ones(len(slabs), N_SLAB, device=slabs.device, dtype=slabs.dtype)
    for column, place in enumerate((R2STAR, CHI)):
        factor[:, hidden_with(place, column)] = given[:, column, None].to(factor)
    return slabs * factor[:, :, None, None]


def hidden_with(place: int, column: int) -> list[int]:
    """Return the channels of a slab that show one condition, and the flag that says it is given."""
    beside = [N_CHANNELS + step * N_BESIDE + place - LEVEL for step in range(len(NEIGHBOURS))]
    return [place, *beside, N_SLAB - FLAGS + column]


def _check(echo_time: Float[Tensor, " echoes"]) -> None:
    times = echo_time.tolist()
    if len(times) < 2 or times[-1] - times[0] < BASELINE - SMALLEST or times != sorted(times):
        raise ProtocolError(
            f"echoes of {', '.join(f'{1e3 * te:g}' for te in times)} ms do not show the decay",
            remedy=f"Give at least two by rising TE, {1e3 * BASELINE:g} ms apart.",
        )


def _at(
    levels: Float[Tensor, "voxels echoes"], times: Float[Tensor, " echoes"], wanted: Sequence[float]
) -> Float[Tensor, "voxels wanted"]:
    """Return the logarithm of the signal at other times."""
    known = times.tolist()
    columns = []
    for time in wanted:
        if time <= known[0]:
            low = 0
            high = next(i for i, te in enumerate(known) if te - known[0] >= BASELINE - SMALLEST)
        elif time >= known[-1]:
            high = len(known) - 1
            low = max(i for i, te in enumerate(known) if known[-1] - te >= BASELINE - SMALLEST)
        else:
            high = next(i for i, te in enumerate(known) if te >= time)
            low = high - 1
        share = (time - known[low]) / (known[high] - known[low])
        columns.append(levels[:, low] + share * (levels[:, high] - levels[:, low]))
    return torch.stack(columns, dim=-1)


def _filled(
    values: Float[Tensor, "x y z"], mask: Bool[Tensor, "x y z"], about: float | None
) -> Float[Tensor, "x y z"]:
    """Return a map with its median where it has no value, 0 outside the mask, less the median if wanted."""
    valued = mask & torch.isfinite(values)
    if not bool(valued.any()):
        raise InputError(
            "a map has no value inside the mask", remedy="Check that map and mask are of the same images."
        )
    middle = float(values[valued].median())
    away = middle if about is None else about
    return torch.where(valued, values - away, torch.full_like(values, middle - away)) * mask


def _bias(
    level: Float[Tensor, "x y z"], mask: Bool[Tensor, "x y z"], voxel_mm: tuple[float, float, float]
) -> Float[Tensor, "x y z"]:
    """Return the smooth part of ln S, found on voxels of a few millimetres."""
    weight = (mask & (level > FLUID)).to(level)
    steps = [max(1, min(round(COARSE_MM / size), n)) for size, n in zip(voxel_mm, mask.shape, strict=True)]
    sums = torch.stack([weight * level, weight])[:, None]
    coarse = avg_pool3d(sums, steps, ceil_mode=True)
    for axis, (step, size) in enumerate(zip(steps, voxel_mm, strict=True)):
        coarse = _smoothed(coarse, axis, SMOOTH_MM / (step * size))
    smooth = coarse[0] / coarse[1].clamp(min=SMALLEST)
    shape = [n * step for n, step in zip(smooth.shape[1:], steps, strict=True)]
    fine = interpolate(smooth[None], size=shape, mode="trilinear", align_corners=False)[0, 0]
    x, y, z = mask.shape
    return fine[:x, :y, :z]


def _smoothed(image: Float[Tensor, "two 1 x y z"], axis: int, sd: float) -> Float[Tensor, "two 1 x y z"]:
    reach = max(1, math.ceil(3 * sd))
    place = torch.arange(-reach, reach + 1).to(image)
    kernel = torch.exp(-0.5 * (place / sd) ** 2)
    shape, padding = [1, 1, 1, 1, 1], [0, 0, 0]
    shape[axis + 2], padding[axis] = len(kernel), reach
    return conv3d(image, (kernel / kernel.sum()).reshape(shape), padding=padding)
