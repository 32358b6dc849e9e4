"""What an estimator gives: maps with their uncertainty, and a status for every voxel."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from types import MappingProxyType
from typing import final

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from unweight.core.errors import UsageError
from unweight.core.parameter import ParameterSpec


class VoxelStatus(IntEnum):
    """Status of a voxel. A failed voxel is NaN; a suspect voxel keeps its value."""

    OK = 0
    MASKED = 1
    NO_SIGNAL = 2
    NOT_CONVERGED = 3
    OUT_OF_RANGE = 4
    IMPLAUSIBLE = 5
    POLARITY_AMBIGUOUS = 6
    SATURATED = 7
    AT_LIMIT = 8

    @property
    def failed(self) -> bool:
        """Whether the voxel has no value."""
        return self in FAILED

    @property
    def outside(self) -> bool:
        """Whether the voxel lies outside the mask or has no signal, so that there is nothing to judge."""
        return self in OUTSIDE

    @property
    def suspect(self) -> bool:
        """Whether the voxel has a value that should not be trusted as it is."""
        return not self.failed and self is not VoxelStatus.OK

    @property
    def meaning(self) -> str:
        """One sentence for sidecars and reports."""
        return MEANINGS[self]


FAILED = frozenset(
    {
        VoxelStatus.MASKED,
        VoxelStatus.NO_SIGNAL,
        VoxelStatus.NOT_CONVERGED,
        VoxelStatus.OUT_OF_RANGE,
    }
)
OUTSIDE = frozenset({VoxelStatus.MASKED, VoxelStatus.NO_SIGNAL})
MEANINGS = {
    VoxelStatus.OK: "the voxel can be used",
    VoxelStatus.MASKED: "outside the mask, or not finite in the input; no value",
    VoxelStatus.NO_SIGNAL: "the signal is not above the noise; no value",
    VoxelStatus.NOT_CONVERGED: "the fit did not converge; no value",
    VoxelStatus.OUT_OF_RANGE: "a parameter of interest is outside its plausible range; no value",
    VoxelStatus.IMPLAUSIBLE: "the residuals of the signal model exceed the noise",
    VoxelStatus.POLARITY_AMBIGUOUS: "another polarity fits equally well, with a different T1",
    VoxelStatus.SATURATED: "the input reached the maximum of its number format",
    VoxelStatus.AT_LIMIT: "a nuisance parameter is at its limit; the other estimates depend on it",
}


def failed_voxels(status: UInt8[Tensor, "*voxels"]) -> Bool[Tensor, "*voxels"]:
    """Return where a status says that there is no value."""
    return torch.isin(status, torch.tensor(sorted(FAILED), dtype=torch.uint8, device=status.device))


CHI_SQUARE = "Reduced chi-square of the signal model; about 1 if the residuals are noise"
# The same in sidecars of earlier versions.
EARLIER_CHI_SQUARE = "Reduced chi-square of the signal model; 1 is what noise explains"
RMS_OF_LOG = (
    "Root mean square, over the images, of the logarithm of the image over that synthesised from the maps, "
    "gains and receive sensitivity taken out"
)
PHASE_RESIDUAL = "Residual of the phase about a line in echo time, weighted with magnitude [rad]"


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class ParameterMaps:
    """Maps, parameters on the last axis. A voxel that failed is NaN, and its status says why.

    Attributes:
        specs: What each map is, in the order of the last axis.
        values: The maps [unit of each spec].
        std: Standard deviation of each value.
        status: A `VoxelStatus` per voxel.
        lower: Lower end of the interval, where one was computed.
        upper: Upper end of the interval.
        interval_level: Nominal coverage of the interval, 0.9.
        draws: Draws from the posterior.
        misfit: How badly the signal model explains each voxel, as `misfit_meaning` says.
        noise_sd: The noise the uncertainties rest on, in the unit of the input.
        affine: Voxel index to millimetres (RAS+).
        notes: Facts about the run for the sidecar, by name.
        misfit_meaning: What the numbers of `misfit` are.
    """

    specs: tuple[ParameterSpec, ...]
    values: Float[Tensor, "*voxels parameters"]
    std: Float[Tensor, "*voxels parameters"]
    status: UInt8[Tensor, "*voxels"]
    lower: Float[Tensor, "*voxels parameters"] | None = None
    upper: Float[Tensor, "*voxels parameters"] | None = None
    interval_level: float | None = None
    draws: Float[Tensor, "draws *voxels parameters"] | None = None
    misfit: Float[Tensor, "*voxels"] | None = None
    noise_sd: float | None = None
    affine: Float[Tensor, "4 4"] | None = None
    notes: Mapping[str, str | float | int] = field(default_factory=lambda: MappingProxyType({}))
    misfit_meaning: str = CHI_SQUARE

    def __post_init__(self) -> None:
        if len(self.specs) != self.values.shape[-1]:
            raise UsageError(
                f"{len(self.specs)} parameters are named, but the maps hold {self.values.shape[-1]}"
            )
        failed = self.failed
        if bool((~torch.isnan(self.values[failed])).any()):
            raise UsageError("a failed voxel must be NaN in every map")
        if bool(torch.isnan(self.values[~failed]).any()):
            raise UsageError("a voxel with a value must not be NaN in any map")

    @property
    def failed(self) -> Bool[Tensor, "*voxels"]:
        """Voxels without a value."""
        return failed_voxels(self.status)

    @property
    def usable(self) -> Bool[Tensor, "*voxels"]:
        """Voxels whose status is OK."""
        return self.status == VoxelStatus.OK

    def value(self, name: str) -> Float[Tensor, "*voxels"]:
        """Return the map of one parameter."""
        return self.values[..., self._index(name)]

    def deviation(self, name: str) -> Float[Tensor, "*voxels"]:
        """Return the standard deviation of one parameter."""
        return self.std[..., self._index(name)]

    def count(self) -> dict[VoxelStatus, int]:
        """Return how many voxels have each status, those that occur only."""
        counts = torch.bincount(self.status.reshape(-1).long(), minlength=len(VoxelStatus))
        return {status: int(counts[status]) for status in VoxelStatus if counts[status] > 0}

    def _index(self, name: str) -> int:
        names = [spec.name for spec in self.specs]
        if name not in names:
            raise UsageError(f"no map of {name} here", remedy="There are " + ", ".join(names) + ".")
        return names.index(name)


def assemble_maps(
    specs: tuple[ParameterSpec, ...],
    values: Float[Tensor, "*voxels parameters"],
    std: Float[Tensor, "*voxels parameters"],
    status: UInt8[Tensor, "*voxels"],
    *,
    like: Tensor,
    interval: tuple[Float[Tensor, "*voxels parameters"], Float[Tensor, "*voxels parameters"]] | None = None,
    interval_level: float | None = None,
    draws: Sequence[Float[Tensor, "*voxels parameters"]] | None = None,
    misfit: Float[Tensor, "*voxels"] | None = None,
    misfit_meaning: str = CHI_SQUARE,
    noise_sd: float | None = None,
    affine: Float[Tensor, "4 4"] | None = None,
    notes: Mapping[str, str | float | int] = MappingProxyType({}),
) -> ParameterMaps:
    """Return maps with NaN in every voxel that failed, on the device and in the dtype of the input.

    Args:
        specs: What each map is.
        values: Estimates, of any dtype and on any device.
        std: Standard deviation of each.
        status: A `VoxelStatus` per voxel.
        like: The signal of the input.
        interval: Lower and upper ends.
        interval_level: Nominal coverage of the interval.
        draws: Draws from the posterior.
        misfit: How badly the model explains each voxel.
        misfit_meaning: What the numbers of `misfit` are.
        noise_sd: The noise the uncertainties rest on.
        affine: Voxel index to millimetres (RAS+).
        notes: Facts about the run.
    """
    failed = failed_voxels(status)

    def placed(part: Tensor) -> Tensor:
        return part.masked_fill(failed.to(part.device)[..., None], math.nan).to(like)

    lower, upper = (None, None) if interval is None else (placed(end) for end in interval)
    return ParameterMaps(
        specs=specs,
        values=placed(values),
        std=placed(std),
        status=status,
        lower=lower,
        upper=upper,
        interval_level=interval_level,
        draws=None if draws is None else torch.stack([placed(draw) for draw in draws]),
        misfit=None if misfit is None else placed(misfit[..., None])[..., 0],
        misfit_meaning=misfit_meaning,
        noise_sd=noise_sd,
        affine=affine,
        notes=notes,
    )
