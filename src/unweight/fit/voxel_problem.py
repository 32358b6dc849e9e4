"""A signal model beside the data of many voxels: residuals and their slopes in free parameters.

Free parameters live on the real line (`ParameterSpec.to_free`): ln T1 instead of T1. Slopes are those of
forward-mode differentiation through the model, one pass per free parameter for all voxels. A parameter is
held where a map of it is known, or at one value; the other maps that are known (B1) go to the model.

A magnitude has a kink where the signal changes its sign, at which a descent gets stuck. So for models with
a signed basis (`SeparableModel`) the signs of each voxel's volumes can be given, and the signal is then
followed through zero.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from jaxtyping import Complex, Float, Int8
from torch import Tensor
from torch.func import jvp

from unweight.core.parameter import ParameterSpec
from unweight.core.protocol import Protocol
from unweight.signals.model import SeparableModel, SignalModel, linear_basis

Free = Float[Tensor, "voxels free"]
Theta = Float[Tensor, "*voxels parameters"]
Known = Mapping[str, Tensor]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class VoxelProblem:
    """What a fit needs of some voxels.

    Attributes:
        model: Any signal model.
        protocol: Timings; those of each voxel if they differ.
        data: The volumes.
        known: Maps of the voxels, by name. One named like a parameter holds it.
        fixed: Values that hold a parameter in all voxels, by name.
        signs: +1 or −1, the signs that magnitudes had, if they are taken to be known.
    """

    model: SignalModel
    protocol: Protocol
    data: Float[Tensor, "voxels volumes"] | Complex[Tensor, "voxels volumes"]
    known: Mapping[str, Float[Tensor, " voxels"]]
    fixed: Mapping[str, float]
    signs: Int8[Tensor, "voxels volumes"] | None = None

    def __len__(self) -> int:
        return len(self.data)

    @property
    def free(self) -> tuple[ParameterSpec, ...]:
        """The parameters that are sought."""
        return tuple(spec for spec in self.model.parameters if spec.name not in self.held)

    @property
    def held(self) -> frozenset[str]:
        """Names of the parameters that are held."""
        names = {spec.name for spec in self.model.parameters}
        return frozenset(names & (self.known.keys() | self.fixed.keys()))

    @property
    def is_shared(self) -> bool:
        """Whether equal parameters give equal signals in all voxels."""
        return not self.known and not self.protocol.voxels

    def take(self, voxels: slice | Tensor) -> "VoxelProblem":
        """Return the problem of these voxels."""
        known = {name: values[voxels] for name, values in self.known.items()}
        signs = None if self.signs is None else self.signs[voxels]
        protocol = self.protocol.at(voxels)
        return replace(self, data=self.data[voxels], known=known, protocol=protocol, signs=signs)

    def theta(self, free: Float[Tensor, "*voxels free"]) -> Theta:
        """Return the parameters of the model."""
        return self._theta(free, self.known)

    def _theta(self, free: Float[Tensor, "*voxels free"], known: Known) -> Theta:
        columns: list[Tensor] = []
        place = 0
        for spec in self.model.parameters:
            if spec.name in known:
                columns.append(known[spec.name].to(free).expand(free.shape[:-1]))
            elif spec.name in self.fixed:
                columns.append(torch.full_like(free[..., 0], self.fixed[spec.name]))
            else:
                columns.append(spec.from_free(free[..., place]))
                place += 1
        return torch.stack(columns, dim=-1)

    def signal(self, free: Float[Tensor, "*voxels free"]) -> Tensor:
        """Return the signal of the model, or with signs what they make of its signed signal."""
        theta = self.theta(free)
        if self.signs is None:
            return self.model(theta, self.protocol, self.known)
        return self.signs * self._signed(theta, self.protocol, self.known)

    def signed_at(
        self, points: Float[Tensor, "points free"]
    ) -> Float[Tensor, "..."] | Complex[Tensor, "..."]:
        """Return the signal before the modulus at points that all voxels share.

        It is that of the model where it tells no basis. Before the axes of points and volumes stands that
        of the voxels, if what is known differs from voxel to voxel.
        """
        if self.is_shared:
            return self._signed(self.theta(points), self.protocol, self.known)
        count = len(points)
        known = {name: values[:, None].expand(-1, count) for name, values in self.known.items()}
        protocol = self.protocol.at((slice(None), None)) if self.protocol.voxels else self.protocol
        free = points.expand(len(self), *points.shape)
        return self._signed(self._theta(free, known), protocol, known)

    def _signed(self, theta: Theta, protocol: Protocol, known: Known) -> Tensor:
        if not isinstance(self.model, SeparableModel) or self.data.is_complex():
            return self.model(theta, protocol, known)
        place = self.model.parameters.index(self.model.amplitude[0])
        return theta[..., place : place + 1] * linear_basis(self.model, theta, protocol, known)

    def signal_and_slopes(
        self, free: Free
    ) -> tuple[Float[Tensor, "voxels samples"], Float[Tensor, "voxels samples free"]]:
        """Return the signal and its derivative, both channels of complex volumes one after the other."""
        columns: list[Tensor] = []
        for index in range(free.shape[-1]):
            tangent = torch.zeros_like(free)
            tangent[..., index] = 1.0
            pushed = jvp(self.signal, (free,), (tangent,))
            signal = pushed[0]
            columns.append(samples_of(pushed[1]))
        return samples_of(signal), torch.stack(columns, dim=-1)

    def bounds(self) -> tuple[Float[Tensor, " free"], Float[Tensor, " free"]]:
        """Return the ends of the believed ranges on the real line; a phase has none."""
        ranges = [(-torch.inf, torch.inf) if spec.unit == "rad" else spec.free_range for spec in self.free]
        ends = torch.tensor(ranges).to(self.data.real)
        return ends[:, 0], ends[:, 1]


def samples_of(signal: Tensor) -> Float[Tensor, "voxels samples"]:
    """Return real numbers: the volumes, or real and imaginary part of each."""
    return torch.view_as_real(signal).flatten(-2) if signal.is_complex() else signal


def place_of(specs: Sequence[ParameterSpec], name: str) -> int | None:
    """Return where a parameter stands, or None."""
    return next((place for place, spec in enumerate(specs) if spec.name == name), None)
