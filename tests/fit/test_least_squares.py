"""The fit of any model: truth from closed forms, the special fits' minima, and the Cramér–Rao bound."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from tests.fit.acquisitions import acquire, parameters
from unweight.core.acquisition import Acquisition, SignalKind
from unweight.core.errors import ProtocolError, UsageError
from unweight.core.maps import VoxelStatus
from unweight.core.parameter import ParameterSpec
from unweight.core.protocol import Protocol, protocol_from_values
from unweight.core.seeding import seeded_generator
from unweight.fit.inversion_recovery import InversionRecoveryFit
from unweight.fit.least_squares import LeastSquaresFit
from unweight.fit.nonlinear_decay import NonlinearDecay
from unweight.fit.recovery_search import rician_log_likelihood
from unweight.fit.relaxation import RelaxationFit
from unweight.signals.exponential_decay import ExponentialDecay
from unweight.signals.flair import Flair
from unweight.signals.gradient_echo import GradientEcho
from unweight.signals.inversion_recovery import InversionRecovery
from unweight.signals.model import SignalModel
from unweight.signals.noise import Gaussian
from unweight.signals.parameters import R2STAR, T1, T2
from unweight.signals.precision import cramer_rao_bound
from unweight.signals.spin_echo import SpinEcho
from unweight.signals.variable_flip_angle import VariableFlipAngle
from unweight.testing.check_estimator import check_estimator

ONE_ANGLE = {"echo_time": [0.01, 0.02, 0.03], "repetition_time": [0.04] * 3, "flip_angle": [0.3] * 3}
ANGLES = protocol_from_values(
    flip_angle=[math.radians(angle) for angle in (3, 6, 12, 20)], repetition_time=[0.02] * 4
)
ECHOES = protocol_from_values(echo_time=[0.01 * n for n in range(1, 9)])


def uniform(count: int, *ranges: tuple[float, float], seed: int = 0) -> Float[Tensor, "voxels columns"]:
    drawn = torch.rand(count, len(ranges), generator=seeded_generator(seed, "uniform"), dtype=torch.float64)
    low, high = (torch.tensor(ends, dtype=torch.float64) for ends in zip(*ranges, strict=True))
    return low + (high - low) * drawn


def noisy(signal: Tensor, sigma: float, protocol: Protocol, **more: object) -> Acquisition:
    drawn = Gaussian(sigma=sigma).draw(signal, seeded_generator(1, "noise"))
    kind = SignalKind.COMPLEX if signal.is_complex() else SignalKind.MAGNITUDE
    return Acquisition(signal=drawn, protocol=protocol, kind=kind, **more)


def test_contract() -> None:
    theta = uniform(40, (0.3, 3.0), (0.5, 1.5))
    acquisition = noisy(VariableFlipAngle()(theta, ANGLES), 1e-4, ANGLES, noise_sd=1e-4)
    maps = check_estimator(LeastSquaresFit(model=VariableFlipAngle()), acquisition)
    assert bool(maps.usable.all())
    assert [spec.suffix for spec in maps.specs] == ["T1map", "M0map"]


@pytest.mark.parametrize("known", [False, True])
def test_noiseless_truth_is_found(known: bool) -> None:
    theta = uniform(300, (0.1, 5.0), (200.0, 3000.0))
    maps = {"B1": uniform(300, (0.6, 1.4), seed=1)[:, 0]} if known else {}
    acquisition = Acquisition(
        signal=VariableFlipAngle()(theta, ANGLES, maps), protocol=ANGLES, known=maps, noise_sd=1e-3
    )
    fitted = LeastSquaresFit(model=VariableFlipAngle())(acquisition)
    assert torch.allclose(fitted.values, theta, rtol=1e-6)


@pytest.mark.parametrize(
    ("kind", "sigma"),
    [(SignalKind.SIGNED, 0.02), (SignalKind.MAGNITUDE, 0.01), (SignalKind.MAGNITUDE, 1e-4)],
)
def test_inversion_recovery_has_the_minimum_of_the_special_fit(kind: SignalKind, sigma: float) -> None:
    acquisition = acquire(parameters(1500, (0.1, 4.0)), sigma, complete=2.0, kind=kind)
    model = InversionRecovery(kind=kind, complete=2.0)
    ours = LeastSquaresFit(model=model, rician=False)(acquisition)
    special = InversionRecoveryFit(rician=False)(acquisition)
    assert ours.noise_sd == pytest.approx(special.noise_sd, rel=1e-6)
    unique = ours.usable & special.usable
    assert float(unique.double().mean()) > 0.98
    difference = (ours.value("T1") / special.value("T1") - 1).abs()[unique]
    assert float(difference.max()) < 1e-3
    assert torch.allclose(ours.std[unique], special.std[unique], rtol=5e-3)
    assert torch.allclose(ours.misfit[unique], special.misfit[unique], rtol=1e-3, atol=1e-4)
    # The two search other starts for rivals; what has no value is the same.
    assert float((ours.failed != special.failed).double().mean()) < 0.002


def test_the_rician_maximum_is_that_of_the_special_fit() -> None:
    acquisition = acquire(parameters(800, (0.2, 2.5)), 0.03, complete=2.0)
    acquisition = Acquisition(signal=acquisition.signal, protocol=acquisition.protocol, noise_sd=0.03)
    ours = LeastSquaresFit(model=InversionRecovery(complete=2.0))(acquisition)
    special = InversionRecoveryFit()(acquisition)
    plain = LeastSquaresFit(model=InversionRecovery(complete=2.0), rician=False)(acquisition)
    assert ours.notes["likelihood"] == "Rician"
    likelihood, of_special, of_plain = (
        rician_log_likelihood(
            acquisition.signal.T, InversionRecovery(complete=2.0)(maps.values, acquisition.protocol).T, 0.03
        )
        for maps in (ours, special, plain)
    )
    both = ours.usable & special.usable
    # The special fit stops after the same number of rounds, in some voxels before the maximum.
    assert float((likelihood - of_special)[both].min()) > -1e-3
    assert float((likelihood - of_plain)[both].min()) >= 0
    assert float((likelihood - of_plain)[both].max()) > 0.1
    apart = (ours.value("T1") - special.value("T1")).abs() / special.deviation("T1")
    assert float(apart[both].median()) < 1e-3


@pytest.mark.parametrize("quantity", [T2, R2STAR])
def test_decays_have_the_minimum_of_the_special_fit(quantity: ParameterSpec) -> None:
    theta = uniform(1000, (0.02, 0.15), (0.5, 1.5))
    signal = theta[:, 1:] * torch.exp(-ECHOES.require("echo_time", "") / theta[:, :1])
    acquisition = noisy(signal, 1e-4, ECHOES)
    ours = LeastSquaresFit(model=ExponentialDecay(quantity=quantity))(acquisition)
    special = RelaxationFit(solver=NonlinearDecay(), quantity=quantity)(acquisition)
    both = ours.usable & special.usable
    assert float(both.double().mean()) > 0.99
    # Near the end of its decay the special fit knows the noise floor, which moves it by less than that.
    near = (ours.values[..., 0] / special.values[..., 0] - 1).abs()[both]
    assert float(near.max()) < 1e-3
    expected = theta[:, 0] if quantity.unit == "s" else 1 / theta[:, 0]
    assert torch.allclose(ours.values[..., 0], expected, rtol=0.01)


def test_errors_reach_the_bound_and_are_told() -> None:
    sigma = 2e-3
    theta = torch.tensor([1.2, 1.0], dtype=torch.float64).expand(20_000, 2)
    acquisition = noisy(VariableFlipAngle()(theta, ANGLES), sigma, ANGLES)
    maps = LeastSquaresFit(model=VariableFlipAngle(), rician=False)(acquisition)
    bound = cramer_rao_bound(VariableFlipAngle(), theta[:1], ANGLES, Gaussian(sigma=sigma))[0]
    error = (maps.values - theta)[maps.usable]
    for place in range(2):
        assert float(error[:, place].square().mean().sqrt()) == pytest.approx(float(bound[place]), rel=0.1)
    inside = error.abs() < maps.std[maps.usable]
    assert float(inside[:, 0].double().mean()) == pytest.approx(0.683, abs=0.02)
    assert maps.noise_sd == pytest.approx(sigma, rel=0.02)


def test_complex_echoes_give_frequency_and_phase() -> None:
    model = GradientEcho(kind=SignalKind.COMPLEX)
    protocol = protocol_from_values(
        echo_time=[0.004 * n for n in range(1, 6)], repetition_time=[0.04] * 5, flip_angle=[0.3] * 5
    )
    theta = uniform(200, (1.0, 1.0), (0.5, 1.5), (5.0, 80.0), (-100.0, 100.0), (-3.0, 2.9))
    acquisition = noisy(model(theta, protocol), 1e-5, protocol)
    maps = LeastSquaresFit(model=model, fixed={"T1": 1.0})(acquisition)
    assert bool((maps.value("T1")[~maps.failed] == 1.0).all())
    assert float(maps.failed.double().mean()) == 0.0
    assert torch.allclose(maps.value("R2star"), theta[:, 2], rtol=0.02)
    assert torch.allclose(maps.value("frequency"), theta[:, 3], atol=0.05)
    assert torch.allclose(maps.value("phase"), theta[:, 4], atol=0.01)
    assert bool((maps.deviation("T1") == 0).all())


def test_timings_of_each_voxel_are_used() -> None:
    theta = uniform(60, (0.3, 3.0), (0.5, 1.5))
    angles = ANGLES.require("flip_angle", "") * uniform(60, (0.7, 1.3), seed=3)
    each = Protocol(flip_angle=angles, repetition_time=ANGLES.require("repetition_time", ""))
    signal = VariableFlipAngle()(theta, each)
    grid = Acquisition(
        signal=signal.reshape(3, 20, 4),
        protocol=Protocol(flip_angle=angles.reshape(3, 20, 4), repetition_time=each.repetition_time),
        noise_sd=1e-4,
    )
    maps = LeastSquaresFit(model=VariableFlipAngle())(grid)
    assert torch.allclose(maps.values.reshape(60, 2), theta, rtol=1e-6)


def test_a_map_of_a_parameter_holds_it() -> None:
    theta = parameters(200, (0.3, 3.0), b=(1.7, 2.0))
    acquisition = acquire(theta, 0.003, complete=2.0, kind=SignalKind.SIGNED)
    held = Acquisition(
        signal=acquisition.signal,
        protocol=acquisition.protocol,
        kind=SignalKind.SIGNED,
        known={"B": theta[:, 2]},
    )
    model = InversionRecovery(kind=SignalKind.SIGNED, complete=2.0)
    ours, special = LeastSquaresFit(model=model)(held), InversionRecoveryFit()(held)
    both = ours.usable & special.usable
    assert torch.equal(ours.value("B")[both], theta[:, 2][both])
    assert torch.allclose(ours.values[both], special.values[both], rtol=1e-3)
    assert torch.allclose(ours.std[both], special.std[both], rtol=1e-3)


def test_spin_echoes_of_two_repetition_times_give_t1_and_t2() -> None:
    protocol = protocol_from_values(
        echo_time=[0.02, 0.08, 0.02, 0.08, 0.02, 0.08], repetition_time=[0.5, 0.5, 1.5, 1.5, 4.0, 4.0]
    )
    theta = uniform(200, (0.3, 2.0), (0.03, 0.15), (0.5, 1.5))
    acquisition = Acquisition(signal=SpinEcho()(theta, protocol), protocol=protocol, noise_sd=1e-4)
    maps = LeastSquaresFit(model=SpinEcho())(acquisition)
    assert torch.allclose(maps.values, theta, rtol=1e-5)


def test_voxels_without_a_value_say_why() -> None:
    theta = torch.tensor([[1.0, 1.0], [1.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
    signal = VariableFlipAngle()(theta, ANGLES)
    signal[2] = torch.tensor([1e-3, 1e-3, 1.0, 0.02])
    mask = torch.tensor([True, True, True, False])
    signal = torch.cat([signal, signal[:1]])
    maps = LeastSquaresFit(model=VariableFlipAngle())(
        Acquisition(signal=signal, protocol=ANGLES, noise_sd=1e-3, mask=mask)
    )
    assert maps.status.tolist()[:2] == [VoxelStatus.OK, VoxelStatus.NO_SIGNAL]
    assert maps.status[2] in (VoxelStatus.OUT_OF_RANGE, VoxelStatus.IMPLAUSIBLE)
    assert maps.status[3] == VoxelStatus.MASKED


@final
@dataclass(frozen=True, kw_only=True)
class Saturation(SignalModel):
    """A model that says nothing of amplitudes: 1 − exp(−TR/T1)."""

    @property
    def parameters(self) -> tuple[ParameterSpec, ...]:
        return (T1,)

    @property
    def timings(self) -> tuple[str, ...]:
        return ("repetition_time",)

    def __call__(
        self,
        theta: Float[Tensor, "*voxels parameters"],
        protocol: Protocol,
        known: Mapping[str, Tensor] | None = None,
    ) -> Float[Tensor, "*voxels volumes"]:
        return -torch.expm1(-protocol.require("repetition_time", "Saturation").to(theta) / theta)


def test_a_model_without_amplitude_is_fitted() -> None:
    protocol = protocol_from_values(repetition_time=[0.3, 1.0, 3.0])
    theta = uniform(100, (0.2, 3.0))
    acquisition = Acquisition(signal=Saturation()(theta, protocol), protocol=protocol, noise_sd=1e-3)
    assert torch.allclose(LeastSquaresFit(model=Saturation())(acquisition).values, theta, rtol=1e-6)


@pytest.mark.parametrize(
    ("model", "protocol", "problem"),
    [
        (
            GradientEcho(),
            {"echo_time": [0.01, 0.02, 0.03], "repetition_time": [0.04] * 3, "flip_angle": [0.3] * 3},
            "T1",
        ),
        (SpinEcho(), {"echo_time": [0.01, 0.02, 0.03]}, "T1"),
        (Flair(kind=SignalKind.SIGNED), {}, "signed"),
        (VariableFlipAngle(), {"flip_angle": [0.1, 0.3, 0.5]}, "repetition_time"),
        (VariableFlipAngle(), {"flip_angle": [0.1, 0.3], "repetition_time": [0.02] * 2}, "the noise"),
    ],
)
def test_what_cannot_be_fitted_is_refused(
    model: SignalModel, protocol: dict[str, list[float]], problem: str
) -> None:
    times = protocol or {"inversion_time": [1.0] * 3, "repetition_time": [5.0] * 3, "echo_time": [0.1] * 3}
    volumes = len(next(iter(times.values())))
    acquisition = Acquisition(signal=torch.rand(5, volumes), protocol=protocol_from_values(**times))
    with pytest.raises(ProtocolError, match=problem):
        LeastSquaresFit(model=model)(acquisition)


def test_held_values_are_checked() -> None:
    with pytest.raises(UsageError, match="no parameter T9"):
        LeastSquaresFit(model=SpinEcho(), fixed={"T9": 1.0})
    with pytest.raises(UsageError, match="cannot be fixed at 100"):
        LeastSquaresFit(model=SpinEcho(), fixed={"T1": 100.0})
