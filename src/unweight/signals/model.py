"""The contract of a signal model, and the derivative that every model has for free.

A model says what the signal of a voxel is, and whatever needs a signal takes the model: the simulator, the
fit (`fit.least_squares`), the bound (`signals.precision`). Most signals are proportional to an amplitude,

    S = c·φ(θ),    c = PD, or PD·exp(i·phase) for a complex signal,

and a model that says so (`SeparableModel`) spares a fit the search for c.
"""

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
            protocol: One value per volume for each timing; axes before that of the volumes are those of
                the voxels.
            known: Maps that are given, shaped like the voxels.

        Raises:
            ProtocolError: A timing is missing.
        """


class SeparableModel(SignalModel):
    """A signal model that is proportional to an amplitude."""

    @property
    @abstractmethod
    def amplitude(self) -> tuple[ParameterSpec, ...]:
        """Which of the parameters the amplitude is; then its phase, if the signal has one."""

    @property
    @abstractmethod
    def before_modulus(self) -> "SeparableModel":
        """The model of the signal before any modulus, in which the amplitude is a factor."""


def linear_basis(
    model: SeparableModel,
    theta: Float[Tensor, "*voxels parameters"],
    protocol: Protocol,
    known: Mapping[str, Tensor] | None = None,
) -> Signal:
    """Return φ: the signal of unit amplitude and no phase, before any modulus.

    Args:
        model: The signal.
        theta: Its parameters; the amplitude and phase in them do not matter.
        protocol: As for the signal.
        known: As for the signal.

    Raises:
        ProtocolError: A timing is missing.
    """
    return model.before_modulus(_unit_amplitude(model, theta), protocol, known)


def _unit_amplitude(
    model: SeparableModel, theta: Float[Tensor, "*voxels parameters"]
) -> Float[Tensor, "*voxels parameters"]:
    """Return the parameters with an amplitude of 1 and a phase of 0."""
    names = [spec.name for spec in model.parameters]
    columns = list(theta.unbind(-1))
    for spec, value in zip(model.amplitude, (1.0, 0.0), strict=False):
        place = names.index(spec.name)
        columns[place] = torch.full_like(columns[place], value)
    return torch.stack(columns, dim=-1)


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
