"""How weighted images enter the published networks, and how their maps leave.

The volumes are divided by one number for the whole acquisition, the 95th percentile of its brightest
volume (`synth.scanner.measure.reference_intensity`), so that PD comes out relative to it and is scaled
back. As published, this depends on content: a wider field of view or another object changes the number,
and what the network sees of the same tissue. A mask does not: the networks see the whole image, and a
mask only says where maps are wanted.

The networks work on slices, the first two axes of a volume. (x, y) is one slice, (x, y, z) has z of them;
a list of voxels is an image of one column, in which neighbours are those in the list.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from unweight.core.acquisition import Acquisition
from unweight.core.errors import InputError, UsageError
from unweight.core.maps import ParameterMaps, VoxelStatus, failed_voxels
from unweight.core.parameter import ParameterSpec
from unweight.fit.noise_level import noise_from_background
from unweight.learn.t1.tanh_scaling import LARGEST
from unweight.signals.parameters import PD, T1, B
from unweight.synth.scanner.measure import reference_intensity

SPECS: tuple[ParameterSpec, ...] = (T1, PD, B)
SIGNAL_TO_NOISE = 3.0  # the strongest volume of a voxel that holds signal, over sigma
LEVEL, NORMAL_QUANTILE = 0.9, 1.645


def as_slices(volumes: Float[Tensor, "*voxels channels"]) -> Float[Tensor, "slices channels x y"]:
    """Return the slices of volumes; further axes than x and y are counted through."""
    voxels = volumes.shape[:-1]
    wide = (*voxels, *(1,) * (2 - len(voxels))) if len(voxels) < 2 else tuple(voxels)
    image = volumes.reshape(wide[0], wide[1], math.prod(wide[2:]), volumes.shape[-1])
    return image.permute(2, 3, 0, 1)


def from_slices(
    slices: Float[Tensor, "slices channels x y"], voxels: Sequence[int]
) -> Float[Tensor, "*voxels channels"]:
    """Return volumes of these voxels, the way back from `as_slices`."""
    return slices.permute(2, 3, 0, 1).reshape(*voxels, slices.shape[1])


def channels_first(batch: Float[Tensor, "batch *space channels"]) -> Float[Tensor, "batch channels x y"]:
    """Turn a collated signal or truth, (batch, x, y, 1, n) or (batch, x, y, n), into what networks take.

    Raises:
        UsageError: The slabs are thicker than one voxel.
    """
    if batch.ndim == 5 and batch.shape[3] == 1:
        batch = batch.squeeze(3)
    if batch.ndim != 4:
        raise UsageError(
            f"a batch of shape {tuple(batch.shape)} does not hold single slices",
            remedy="Draw slabs of shape (x, y, 1).",
        )
    return batch.permute(0, 3, 1, 2)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Entered:
    """An acquisition as the networks see it.

    Attributes:
        images: The volumes of each slice, in the order of the channels, over the scale.
        scale: The reference intensity [unit of the input].
        status: What is known of each voxel beforehand: OK, MASKED or NO_SIGNAL.
        wanted: Slices with a voxel to estimate.
        noise_sd: Noise in one channel [unit of the input]; NaN where it is not known.
    """

    images: Float[Tensor, "slices channels x y"]
    scale: float
    status: UInt8[Tensor, "*voxels"]
    wanted: tuple[int, ...]
    noise_sd: float


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Estimate:
    """What a network says of each slice: T1 [s], PD relative to the scale, B.

    Attributes:
        values: The maps.
        std: Standard deviation of each.
        draws: Draws from the posterior, where there are any.
        at_limit: Voxels that leaned on an end stop.
    """

    values: Float[Tensor, "slices 3 x y"]
    std: Float[Tensor, "slices 3 x y"]
    draws: Float[Tensor, "draws slices 3 x y"] | None = None
    at_limit: Bool[Tensor, "slices x y"] | None = None


def enter(acquisition: Acquisition, order: Sequence[int]) -> Entered:
    """Bring volumes to the networks' unit and shape.

    A voxel holds no signal if its strongest volume stays below three times the noise, which is given or
    measured in the background; of pure background about one voxel in fourteen rises above that.

    Args:
        acquisition: What to map.
        order: Which volume belongs to each channel.

    Raises:
        InputError: There is nothing to work on.
    """
    inside = acquisition.inside
    if not bool(inside.any()):
        raise InputError(
            "no voxel to work on: the mask is empty, or no voxel is finite",
            remedy="Check the mask and the images.",
        )
    signal = acquisition.signal[..., list(order)].nan_to_num(0.0, 0.0, 0.0)
    scale = reference_intensity(signal)
    if not scale > 0:
        raise InputError(
            "the 95th percentile of the brightest volume is 0: there is no intensity to refer to",
            remedy="Crop the volumes to the object.",
        )
    sigma = acquisition.noise_sd
    if sigma is None:
        sigma = noise_from_background(signal.reshape(-1, signal.shape[-1]))
    floor = SIGNAL_TO_NOISE * sigma if sigma > 0 else 0.0
    status = torch.full(acquisition.voxels, int(VoxelStatus.OK), dtype=torch.uint8, device=signal.device)
    status[signal.amax(-1) <= floor] = VoxelStatus.NO_SIGNAL
    status[~inside] = VoxelStatus.MASKED
    open_voxels = as_slices((status == VoxelStatus.OK)[..., None].to(signal)).flatten(1).any(1)
    return Entered(
        images=as_slices(signal / scale),
        scale=scale,
        status=status,
        wanted=tuple(open_voxels.nonzero().flatten().tolist()),
        noise_sd=sigma,
    )


def leave(
    acquisition: Acquisition,
    entered: Entered,
    estimate: Estimate,
    notes: Mapping[str, str | float | int],
) -> ParameterMaps:
    """Put estimates back on the grid and in the unit of the input, and judge each voxel.

    A value that is not strictly inside its believed range is no value (OUT_OF_RANGE); PD is believed up
    to ten times the reference intensity.
    """
    like, voxels = acquisition.signal, acquisition.voxels
    status = entered.status.clone()
    relative = from_slices(estimate.values, voxels).to(device=like.device, dtype=torch.float64)
    lower, upper = relative.new_tensor([[T1.lower, 0.0, B.lower], [T1.upper, LARGEST, B.upper]])
    believed = ((relative > lower) & (relative < upper)).all(-1)
    valued = status == VoxelStatus.OK
    status[valued & ~believed] = VoxelStatus.OUT_OF_RANGE
    valued = valued & believed
    if estimate.at_limit is not None:
        stopped = from_slices(estimate.at_limit[:, None].to(relative), voxels)[..., 0].bool()
        status[valued & stopped] = VoxelStatus.AT_LIMIT
    if acquisition.saturated is not None:
        status[valued & acquisition.saturated] = VoxelStatus.SATURATED
    unit = relative.new_tensor([1.0, entered.scale, 1.0])
    failed = failed_voxels(status)[..., None]

    def placed(maps: Tensor) -> Tensor:
        there = from_slices(maps, voxels).to(unit) * unit
        return there.masked_fill(failed, math.nan).to(like)

    values, std = placed(estimate.values), placed(estimate.std)
    drawn = estimate.draws
    reach = None if drawn is None else NORMAL_QUANTILE * std
    return ParameterMaps(
        specs=SPECS,
        values=values,
        std=std,
        status=status,
        lower=None if reach is None else values - reach,
        upper=None if reach is None else values + reach,
        interval_level=None if reach is None else LEVEL,
        draws=None if drawn is None else torch.stack([placed(draw) for draw in drawn]),
        noise_sd=entered.noise_sd if math.isfinite(entered.noise_sd) else None,
        affine=acquisition.affine,
        notes={"reference_intensity": entered.scale, **notes},
    )


def home_of(network: nn.Module) -> Tensor:
    """Return an empty tensor on the device and in the precision of a network, for `Tensor.to`."""
    for weight in network.parameters():
        return weight.new_empty(0)
    return torch.empty(0)
