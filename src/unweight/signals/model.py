"""The contract of a signal model, and the derivative that every model has for free."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from jaxtyping import Complex, Float
from torch import Tensor
from torch.func import jvp

from unweight.core.parameter import ParameterSpec
from unweight.core.protocol import Protocol

Signal = Float[Tensor, "*voxels volumes"] | Complex[Tensor, "*voxels volumes"]


class SignalModel(ABC):
    """Signal of one voxel as a function of its parameters. Stateless and differentiable."""

    @property
    @abstractmethod
    def parameters(self) -> tuple[ParameterSpec, ...]:
        """What it takes, in the order of the last axis of theta."""

    @property
    @abstractmethod
    def timings(self) -> tuple[str, ...]:
        """The fields of the protocol it cannot do without."""

    @abstractmethod
    def __call__(
        self,
        theta: Float[Tensor, "*voxels parameters"],
        protocol: Protocol,
        known: Mapping[str, Tensor] | None = None,
    ) -> Signal:
        """Return the noise-free signal: device and dtype (or its complex form) of theta.

        Args:
            theta: Parameters, in their units, in the order of `parameters`.
            protocol: One value per volume for each timing.
            known: Maps that are given, shaped like the voxels.

        Raises:
            ProtocolError: A timing is missing.
        """


def derivative(
    model: SignalModel,
    theta: Float[Tensor, "*voxels parameters"],
    protocol: Protocol,
    known: Mapping[str, Tensor] | None = None,
) -> Float[Tensor, "*voxels volumes parameters"] | Complex[Tensor, "*voxels volumes parameters"]:
    """Return dS/dtheta by forward-mode differentiation, exact to rounding.

    Voxels do not see each other, so one pass per parameter serves all of them.
    """
    columns = []
    for index in range(theta.shape[-1]):
        tangent = torch.zeros_like(theta)
        tangent[..., index] = 1.0
        columns.append(jvp(lambda value: model(value, protocol, known), (theta,), (tangent,))[1])
    return torch.stack(columns, dim=-1)
