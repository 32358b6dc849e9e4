from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import final

import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from unweight.core.acquisition import SignalKind
from unweight.core.errors import UsageError
from unweight.core.parameter import ParameterSpec
from unweight.core.protocol import Protocol, protocol_from_values
from unweight.signals.flair import Flair
from unweight.signals.gradient_echo import GradientEcho
from unweight.signals.inversion_recovery import InversionRecovery
from unweight.signals.model import SignalModel
from unweight.signals.mprage import Mprage
from unweight.signals.parameters import PD, T2
from unweight.signals.spin_echo import SpinEcho
from unweight.testing.check_signal_model import check_signal_model
from unweight.testing.contract import ContractError

THETA = torch.tensor([[0.05, 1.0], [0.08, 2.0], [0.2, 0.5]])
PROTOCOL = protocol_from_values(echo_time=[0.01, 0.03, 0.1])


def decay(theta: Tensor, protocol: Protocol) -> Tensor:
    return theta[..., 1:2] * torch.exp(-protocol.require("echo_time", "Decay").to(theta) / theta[..., 0:1])


@final
@dataclass(frozen=True, kw_only=True)
class Decay(SignalModel):
    """PD exp(-TE/T2), or whatever a careless author makes of it."""

    formula: Callable[[Tensor, Protocol], Tensor] = decay
    specs: tuple[ParameterSpec, ...] = (T2, PD)
    needs: tuple[str, ...] = ("echo_time",)

    @property
    def parameters(self) -> tuple[ParameterSpec, ...]:
        return self.specs

    @property
    def timings(self) -> tuple[str, ...]:
        return self.needs

    def __call__(
        self,
        theta: Float[Tensor, "*voxels parameters"],
        protocol: Protocol,
        known: Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        return self.formula(theta, protocol)


def refuse(message: str) -> Callable[[Tensor, Protocol], Tensor]:
    def formula(theta: Tensor, protocol: Protocol) -> Tensor:
        if protocol.echo_time is None:
            raise UsageError(message)
        return decay(theta, protocol)

    return formula


def on_plain_numbers(theta: Tensor, protocol: Protocol) -> Tensor:
    """Leave TE where the protocol keeps it."""
    return theta[..., 1:2] * torch.exp(
        -protocol.require("echo_time", "D").to(theta.dtype) / theta[..., 0:1]
    )


def in_place(theta: Tensor, protocol: Protocol) -> Tensor:
    signal = decay(theta, protocol)
    theta.mul_(1.5)
    return signal


def stays_on_the_cpu(theta: Tensor, protocol: Protocol) -> Tensor:
    return decay(theta, protocol) if theta.device.type == "cpu" else torch.ones(3, 3)


def without_echo_time(theta: Tensor, protocol: Protocol) -> Tensor:
    return theta[..., 1:2] * torch.ones(protocol.n_volumes).to(theta)


BROKEN = {
    "another shape": (lambda t, p: decay(t, p)[..., :-1], r"gives shape \(3, 2\).*it must be \(3, 3\)"),
    "double precision": (lambda t, p: decay(t, p).double(), "gives torch.float64 for torch.float32"),
    "not finite": (lambda t, p: decay(t, p) / 0, "not finite"),
    "TE left behind": (on_plain_numbers, "fails when theta lives on another device than the protocol"),
    "always on the CPU": (stays_on_the_cpu, "a signal on cpu for theta elsewhere"),
    "voxels mix": (lambda t, p: decay(t, p) / t.mean(), "gives voxel 0 another signal in a batch"),
    "detached": (lambda t, p: decay(t.detach(), p), "the derivative by T2 is off by"),
    "in place": (in_place, "changes theta in place|gives another signal when called again"),
    "TE forgotten": (without_echo_time, "lists echo_time among its timings but works without it"),
    "the wrong error": (refuse("no TE"), "must raise a ProtocolError, not UsageError: no TE"),
}


def test_a_model_that_keeps_its_contract_passes() -> None:
    check_signal_model(Decay(), THETA, PROTOCOL)
    check_signal_model(Decay(), THETA.double().reshape(3, 1, 2), PROTOCOL)


@pytest.mark.parametrize(("formula", "message"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_formula_is_caught(formula, message) -> None:
    with pytest.raises(ContractError, match=f"Decay.*({message})"):
        check_signal_model(Decay(formula=formula), THETA.clone(), PROTOCOL)


def test_a_draw_in_the_model_is_caught() -> None:
    generator = torch.Generator().manual_seed(1)

    def noisy(theta: Tensor, protocol: Protocol) -> Tensor:
        return decay(theta, protocol) * (1 + 0.1 * torch.rand(1, generator=generator).to(theta))

    with pytest.raises(ContractError, match="another signal when called again"):
        check_signal_model(Decay(formula=noisy), THETA, PROTOCOL)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"unit": ""}, "parameter 'T2' has no unit"),
        ({"suffix": ""}, "parameter 'T2' has no BIDS suffix"),
        ({"suffix": "T2_map"}, "'T2_map' is not alphanumeric"),
        ({"name": "PD"}, "names a parameter twice"),
        ({"name": ""}, "a parameter without a name"),
    ],
)
def test_a_poor_parameter_is_caught(change, message) -> None:
    with pytest.raises(ContractError, match=message):
        check_signal_model(Decay(specs=(replace(T2, **change), PD)), THETA, PROTOCOL)


def test_timings_that_do_not_exist_or_are_not_used_are_caught() -> None:
    with pytest.raises(ContractError, match="needs 'te', which no protocol has"):
        check_signal_model(Decay(needs=("te",)), THETA, PROTOCOL)
    both = protocol_from_values(echo_time=[0.01, 0.03, 0.1], repetition_time=[3.0] * 3)
    with pytest.raises(ContractError, match="lists repetition_time among its timings but works without"):
        check_signal_model(Decay(needs=("echo_time", "repetition_time")), THETA, both)


@pytest.mark.parametrize(
    ("theta", "message"),
    [
        (THETA[:1], "at least two different voxels"),
        (THETA[0], "at least two different voxels"),
        (torch.ones(2, 3), "gives 3 parameters, but Decay has 2"),
        (torch.tensor([[0.05, 1.0], [9.0, 1.0]]), "leaves the range of T2: 0.001 to 5"),
    ],
)
def test_an_example_that_shows_nothing_is_refused(theta, message) -> None:
    with pytest.raises(ContractError, match=message):
        check_signal_model(Decay(), theta, PROTOCOL)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_our_models_keep_their_contract_on_a_gpu() -> None:
    brain = torch.tensor([[0.9, 0.08, 1.0], [0.3, 0.02, 2.0]], device="cuda")
    whole = protocol_from_values(
        echo_time=[0.003],
        repetition_time=[2.3],
        inversion_time=[0.9],
        flip_angle=[0.16],
        readout_time=[0.1],
        echo_spacing=[0.007],
        train_length=[176.0],
        centre_index=[88.0],
    )
    known = {"B1": torch.tensor([0.9, 1.1], device="cuda"), "B": torch.tensor([1.9, 1.8], device="cuda")}
    decaying = torch.tensor([[0.9, 1.0, 20.0], [0.3, 2.0, 50.0]], device="cuda")
    turning = torch.cat([decaying, torch.tensor([[9.0, 0.3], [-40.0, 1.0]], device="cuda")], dim=-1)
    check_signal_model(InversionRecovery(), torch.tensor([[0.9, 1, 2], [0.3, 2, 1.8]]).cuda(), whole)
    for model, theta in (
        (SpinEcho(), brain),
        (Flair(), brain),
        (Mprage(), decaying),
        (GradientEcho(), decaying),
    ):
        check_signal_model(model, theta, whole, known)
    check_signal_model(GradientEcho(kind=SignalKind.COMPLEX), turning, whole, known)
