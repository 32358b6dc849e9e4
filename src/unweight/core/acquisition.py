"""What the scanner gave: the volumes of one series on one grid, and how they were timed."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from types import MappingProxyType
from typing import final

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from unweight.core.errors import InputError, ProtocolError
from unweight.core.protocol import Protocol


class SignalKind(Enum):
    """What the numbers in the volumes are."""

    MAGNITUDE = "magnitude"
    SIGNED = "signed"
    COMPLEX = "complex"


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Acquisition:
    """Volumes of one series, aligned, with their protocol. It checks itself when built.

    Attributes:
        signal: The volumes, last axis; real for magnitude and signed data.
        protocol: Timings, one value per volume.
        kind: Magnitude, signed (real part, polarity kept) or complex.
        mask: Voxels to work on; None for all.
        affine: Voxel index to millimetres (RAS+), as NIfTI defines it.
        known: Maps given from elsewhere, by parameter name (`B1`, `B`), without the volume axis.
        saturated: Voxels that reached the top of their number format in some volume.
        noise_sd: Standard deviation of the noise in one channel, if it is known.
    """

    signal: Float[Tensor, "*voxels volumes"] | Complex[Tensor, "*voxels volumes"]
    protocol: Protocol
    kind: SignalKind = SignalKind.MAGNITUDE
    # Shapes that are checked here, with a message, are left open in the types.
    mask: Bool[Tensor, "..."] | None = None
    affine: Float[Tensor, "4 4"] | None = None
    known: Mapping[str, Tensor] = field(default_factory=lambda: MappingProxyType({}))
    saturated: Bool[Tensor, "..."] | None = None
    noise_sd: float | None = None

    def __post_init__(self) -> None:
        if self.signal.ndim < 1 or self.signal.shape[-1] != self.protocol.n_volumes:
            raise ProtocolError(
                f"{self.signal.shape[-1] if self.signal.ndim else 0} volumes, but timings for "
                f"{self.protocol.n_volumes}",
                remedy="Give one value per volume for each timing.",
            )
        if self.signal.is_complex() != (self.kind is SignalKind.COMPLEX):
            raise InputError(
                f"{self.kind.value} volumes held as {self.signal.dtype}",
                remedy="Use complex numbers for complex data and real ones otherwise.",
            )
        for name, given in (("mask", self.mask), ("saturated", self.saturated), *self.known.items()):
            if given is not None and given.shape != self.voxels:
                raise InputError(
                    f"the {name} has shape {tuple(given.shape)}, the volumes {tuple(self.voxels)}",
                    remedy="Resample all to one grid.",
                )
        if self.kind is SignalKind.MAGNITUDE and bool((self.signal < 0).any()):
            raise InputError(
                "magnitude volumes with negative values",
                remedy="Declare them as signed (real part), or check the program that wrote them.",
            )
        if self.noise_sd is not None and not 0 < self.noise_sd < math.inf:
            raise InputError(f"noise_sd must be positive and finite, not {self.noise_sd:g}")

    def to(self, device: torch.device) -> "Acquisition":
        """Return the acquisition on another device."""
        return replace(
            self,
            signal=self.signal.to(device),
            mask=None if self.mask is None else self.mask.to(device),
            saturated=None if self.saturated is None else self.saturated.to(device),
            known=MappingProxyType({name: value.to(device) for name, value in self.known.items()}),
        )

    @property
    def voxels(self) -> torch.Size:
        """Shape without the volume axis."""
        return self.signal.shape[:-1]

    @property
    def inside(self) -> Bool[Tensor, "*voxels"]:
        """The mask, or all voxels that are finite in every volume."""
        finite = torch.isfinite(self.signal).all(-1)
        return finite if self.mask is None else self.mask & finite
