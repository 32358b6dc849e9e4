"""The contract of a signal model, checked on one example.

    check_signal_model(SpinEcho(), theta, protocol)

The derivative is compared with [S(θ + h) − S(θ − h)]/2h in double precision, h = 6·10⁻⁶·max(|θ|, 1),
or ·|θ| where the parameter has a logarithmic scale. Choose theta inside the believed ranges and away
from the zeros of a magnitude.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from unweight.core.errors import ProtocolError
from unweight.core.parameter import ParameterSpec, Scale
from unweight.core.protocol import PER_VOLUME, Protocol
from unweight.signals.model import SeparableModel, Signal, SignalModel, derivative, linear_basis
from unweight.testing.contract import demand

STEP = 6e-6
SLOPE_TOLERANCE = 1e-6
ROUNDING = 1e-12


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Example:
    """One model with something to compute.

    Attributes:
        model: The model under check.
        theta: Parameters of at least two voxels.
        protocol: Timings.
        known: Maps that are given.
    """

    model: SignalModel
    theta: Float[Tensor, "*voxels parameters"]
    protocol: Protocol
    known: Mapping[str, Tensor]

    @property
    def name(self) -> str:
        """How messages call the model."""
        return type(self.model).__name__

    def signal(self) -> Signal:
        """Return what the model gives."""
        return self.model(self.theta, self.protocol, self.known)

    def at(self, theta: Float[Tensor, "*voxels parameters"]) -> Signal:
        """Return what the model gives for other parameters of the same voxels."""
        return self.model(theta, self.protocol, self.known)

    def to(self, target: torch.dtype | torch.device) -> "Example":
        """Return the same example in another precision, or on another device."""
        known = {name: given.to(target) for name, given in self.known.items()}
        return replace(self, theta=self.theta.to(target), known=known)

    def voxel(self, index: int) -> "Example":
        """Return one voxel, without any voxel axis."""
        known = {name: given.reshape(-1)[index] for name, given in self.known.items()}
        return replace(self, theta=self.theta.flatten(0, -2)[index], known=known)


def check_signal_model(
    model: SignalModel,
    theta: Float[Tensor, "*voxels parameters"],
    protocol: Protocol,
    known: Mapping[str, Tensor] | None = None,
) -> None:
    """Check parameters, timings, shape, dtype, device, independence of voxels, derivative, and linearity.

    Args:
        model: The model to check.
        theta: Parameters of at least two different voxels, inside the believed ranges.
        protocol: Timings that the model accepts.
        known: Maps that are given, shaped like the voxels.

    Raises:
        ContractError: A promise is broken; the message says which.
    """
    example = Example(
        model=model, theta=theta, protocol=protocol, known=MappingProxyType(dict(known or {}))
    )
    _check_parameters(example)
    _check_theta(example)
    _check_timings(example)
    _check_shape(example)
    for dtype in (torch.float32, torch.float64):
        _check_dtype(example.to(dtype))
    _check_device(example)
    exact = example.to(torch.float64)
    _check_purity(exact)
    _check_independence(exact)
    _check_derivative(exact)
    _check_batched_timings(exact)
    _check_linear_basis(exact)


def _check_parameters(example: Example) -> None:
    specs = example.model.parameters
    names = [spec.name for spec in specs]
    demand(bool(specs), f"{example.name} has no parameters")
    demand(len(set(names)) == len(names), f"{example.name} names a parameter twice: {names}")
    for spec in specs:
        where = f"{example.name}, parameter {spec.name!r}"
        demand(bool(spec.name), f"{example.name} has a parameter without a name")
        demand(bool(spec.unit), f"{where} has no unit; write 1 for a ratio")
        demand(spec.suffix.isalnum(), f"{where} has no BIDS suffix: {spec.suffix!r} is not alphanumeric")
        demand(spec.lower < spec.upper, f"{where} has an empty range")


def _check_theta(example: Example) -> None:
    specs, theta = example.model.parameters, example.theta
    demand(
        theta.shape[-1] == len(specs),
        f"the example gives {theta.shape[-1]} parameters, but {example.name} has {len(specs)}",
    )
    demand(
        theta.ndim > 1 and bool((theta != theta.flatten(0, -2)[0]).any()),
        "the example needs at least two different voxels",
    )
    for index, spec in enumerate(specs):
        inside = (theta[..., index] >= spec.lower) & (theta[..., index] <= spec.upper)
        demand(
            bool(inside.all()),
            f"the example leaves the range of {spec.name}: {spec.lower:g} to {spec.upper:g}",
        )


def _check_timings(example: Example) -> None:
    for name in example.model.timings:
        demand(name in PER_VOLUME, f"{example.name} needs {name!r}, which no protocol has")
        demand(
            getattr(example.protocol, name) is not None,
            f"the example gives no {name}, which {example.name} needs",
        )
        try:
            example.model(example.theta, _without(name, example), example.known)
        except ProtocolError as error:
            demand(
                name in str(error),
                f"{example.name} without {name} raises a ProtocolError that does not name it: {error}",
            )
        except Exception as error:
            demand(
                False,
                f"{example.name} without {name} must raise a ProtocolError, "
                f"not {type(error).__name__}: {error}",
            )
        else:
            demand(False, f"{example.name} lists {name} among its timings but works without it")


def _without(name: str, example: Example) -> Protocol:
    """Return the protocol less one timing. If that was all, one the model does not need takes its place."""
    changed: dict[str, Any] = {name: None}
    if not set(example.protocol.as_dict()) & (set(PER_VOLUME) - {name}):
        spare = next(other for other in PER_VOLUME if other not in example.model.timings)
        changed[spare] = torch.full((example.protocol.n_volumes,), 0.01)
    return replace(example.protocol, **changed)


def _check_shape(example: Example) -> None:
    volumes = example.protocol.n_volumes
    flat = replace(
        example,
        theta=example.theta.flatten(0, -2),
        known={name: given.reshape(-1) for name, given in example.known.items()},
    )
    for case in (example, flat, example.voxel(0)):
        expected = (*case.theta.shape[:-1], volumes)
        result = tuple(case.signal().shape)
        demand(
            result == expected,
            f"{example.name} gives shape {result} for theta of shape {tuple(case.theta.shape)} and "
            f"{volumes} volumes; it must be {expected}",
        )


def _check_dtype(example: Example) -> None:
    dtype = example.theta.dtype
    result = example.signal().dtype
    demand(
        result in (dtype, dtype.to_complex()),
        f"{example.name} gives {result} for {dtype}; it must keep the precision of theta",
    )
    demand(
        bool(torch.isfinite(example.signal()).all()),
        f"{example.name} gives a signal that is not finite in {dtype}",
    )


def _check_device(example: Example) -> None:
    result = example.signal().device
    demand(
        result == example.theta.device,
        f"{example.name} gives a signal on {result} for theta on {example.theta.device}",
    )
    try:
        away = example.to(torch.device("meta")).signal().device
    except (RuntimeError, NotImplementedError) as error:
        demand(
            False,
            f"{example.name} fails when theta lives on another device than the protocol ({error}); "
            "bring every timing to it with `.to(theta)`, and take no decision on values of theta",
        )
    else:
        demand(away.type == "meta", f"{example.name} gives a signal on {away} for theta elsewhere")


def _check_purity(example: Example) -> None:
    before = example.theta.clone()
    first, second = example.signal(), example.signal()
    demand(torch.equal(first, second), f"{example.name} gives another signal when called again")
    demand(torch.equal(before, example.theta), f"{example.name} changes theta in place")


def _check_independence(example: Example) -> None:
    together = example.signal().flatten(0, -2)
    for index in range(together.shape[0]):
        alone = example.voxel(index).signal()
        demand(
            torch.allclose(together[index], alone, rtol=ROUNDING, atol=ROUNDING * float(alone.abs().max())),
            f"{example.name} gives voxel {index} another signal in a batch than alone",
        )


def _check_derivative(example: Example) -> None:
    slopes = derivative(example.model, example.theta, example.protocol, example.known)
    for index, spec in enumerate(example.model.parameters):
        step = torch.zeros_like(example.theta)
        step[..., index] = STEP * _size(spec, example.theta[..., index])
        width = step[..., index]
        rise = example.at(example.theta + step) - example.at(example.theta - step)
        finite = rise / (2 * width.unsqueeze(-1))
        error = (slopes[..., index] - finite).abs().amax(-1)
        largest = finite.abs().amax(-1)
        allowed = SLOPE_TOLERANCE * largest + ROUNDING * example.signal().abs().amax(-1) / width
        worst = int((error - allowed).argmax())
        demand(
            bool((error <= allowed).all()),
            f"{example.name}: the derivative by {spec.name} is off by {error.flatten()[worst]:.3g}, where "
            f"finite differences reach {largest.flatten()[worst]:.3g}; is every step differentiable, and "
            "nothing detached?",
        )


def _size(spec: ParameterSpec, value: Float[Tensor, "*voxels"]) -> Float[Tensor, "*voxels"]:
    return value.abs() if spec.scale is Scale.LOG else value.abs().clamp(min=1)


def _check_batched_timings(example: Example) -> None:
    """Timings that stand once per voxel give what one protocol for all gives."""
    protocol, shape = example.protocol, example.theta.shape[:-1]
    values = {name: getattr(protocol, name) for name in PER_VOLUME}
    repeated: dict[str, Any] = {
        name: value.expand(*shape, protocol.n_volumes).clone()
        for name, value in values.items()
        if value is not None
    }
    each = example.model(example.theta, replace(protocol, **repeated), example.known)
    whole = example.signal()
    demand(
        each.shape == whole.shape
        and torch.allclose(each, whole, rtol=ROUNDING, atol=ROUNDING * float(whole.abs().max())),
        f"{example.name} gives another signal for timings that stand once per voxel; timings have the axes "
        "of the voxels before that of the volumes",
    )


def _check_linear_basis(example: Example) -> None:
    """A separable model is its amplitude times its basis, up to the sign that a modulus takes."""
    model = example.model
    if not isinstance(model, SeparableModel):
        return
    names = [spec.name for spec in model.parameters]
    demand(
        1 <= len(model.amplitude) <= 2 and all(spec in model.parameters for spec in model.amplitude),
        f"{example.name} must name one or two of its parameters as amplitude, and its phase",
    )
    columns = [example.theta[..., names.index(spec.name)] for spec in model.amplitude]
    size, phase = columns[0].unsqueeze(-1), columns[1:]
    basis = linear_basis(model, example.theta, example.protocol, example.known)
    demand(
        model.before_modulus.parameters == model.parameters,
        f"{example.name} takes other parameters before its modulus",
    )
    expected = size * basis
    if phase:
        expected = expected * torch.polar(torch.ones_like(phase[0]), phase[0]).unsqueeze(-1)
    signal = example.signal()
    near = torch.isclose(signal, expected, rtol=1e-9, atol=1e-9 * float(signal.abs().max()))
    if not signal.is_complex() and bool((signal >= 0).all()):
        near |= torch.isclose(signal, expected.abs(), rtol=1e-9, atol=1e-9 * float(signal.abs().max()))
    demand(bool(near.all()), f"{example.name} is not its amplitude times its linear basis")
