"""From what a fit knows of each voxel inside the mask to maps on the grid of the acquisition."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import final

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from unweight.core.acquisition import Acquisition
from unweight.core.maps import ParameterMaps, VoxelStatus, assemble_maps, failed_voxels
from unweight.core.parameter import ParameterSpec

Columns = Float[Tensor, "inside parameters"]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class VoxelEstimates:
    """Estimates of the voxels inside the mask, in the order of `signal[inside]`.

    Attributes:
        values: The parameters.
        std: Their standard deviations.
        status: A `VoxelStatus` each; what stands in a failed voxel does not matter.
        misfit: Reduced chi-square; None if nothing is left over to tell it.
        lower: Lower ends of the intervals, if there are any.
        upper: Upper ends.
        interval_level: Nominal coverage of the intervals.
    """

    values: Columns
    std: Columns
    status: UInt8[Tensor, " inside"]
    misfit: Float[Tensor, " inside"] | None = None
    lower: Columns | None = None
    upper: Columns | None = None
    interval_level: float | None = None


def maps_on_grid(
    acquisition: Acquisition,
    specs: tuple[ParameterSpec, ...],
    estimates: VoxelEstimates,
    *,
    noise_sd: float | None = None,
    notes: Mapping[str, str | float | int] = MappingProxyType({}),
) -> ParameterMaps:
    """Put the voxels back where they came from: NaN where there is no value, MASKED outside.

    Args:
        acquisition: What was fitted; its saturated voxels become SATURATED unless they failed.
        specs: The parameters.
        estimates: Of the voxels inside.
        noise_sd: What the standard deviations rest on; not kept if it is not a number.
        notes: Facts for the sidecar.
    """
    inside = acquisition.inside
    everywhere = bool(inside.all())
    like = acquisition.signal.real
    status = estimates.status
    if acquisition.saturated is not None:
        clipped = acquisition.saturated[inside] & ~failed_voxels(status)
        status = status.masked_fill(clipped, int(VoxelStatus.SATURATED))

    def spread(voxels: Tensor, outside: float) -> Tensor:
        shape = (*acquisition.voxels, *voxels.shape[1:])
        if everywhere:
            return voxels.reshape(shape)
        return torch.full(shape, outside).to(voxels).index_put((inside,), voxels)

    def placed(voxels: Tensor) -> Tensor:
        return spread(voxels.to(like), math.nan)

    ends = None
    if estimates.lower is not None and estimates.upper is not None:
        ends = placed(estimates.lower), placed(estimates.upper)
    return assemble_maps(
        specs,
        placed(estimates.values),
        placed(estimates.std),
        spread(status, int(VoxelStatus.MASKED)),
        like=like,
        interval=ends,
        interval_level=estimates.interval_level,
        misfit=None if estimates.misfit is None else placed(estimates.misfit),
        noise_sd=noise_sd if noise_sd is not None and math.isfinite(noise_sd) else None,
        affine=acquisition.affine,
        notes=notes,
    )
