import math

import pytest
import torch

from unweight.core.acquisition import SignalKind
from unweight.core.errors import UsageError
from unweight.core.protocol import protocol_from_values
from unweight.core.seeding import seeded_generator
from unweight.phantom.digital import VOID, WATER, DigitalPhantom, SliceGrid, digital_phantom
from unweight.phantom.facts import sphere_array
from unweight.signals.inversion_recovery import InversionRecovery
from unweight.signals.noise import Gaussian, Rician
from unweight.synth.simulate import simulate, simulate_phantom

SEVEN = protocol_from_values(
    inversion_time=[0.05, 0.10, 0.25, 0.50, 0.85, 1.50, 2.50], repetition_time=[10.0] * 7
)
SHORT = protocol_from_values(inversion_time=[0.05, 0.4, 0.8], repetition_time=[1.0, 1.26, 2.46])
MAGNITUDE = InversionRecovery(kind=SignalKind.MAGNITUDE)
SIGNED = InversionRecovery(kind=SignalKind.SIGNED)
THETA = torch.tensor([[1.2, 1.0, 1.9], [0.3, 0.7, 2.0]], dtype=torch.float64)


@pytest.fixture(scope="module")
def phantom() -> DigitalPhantom:
    grid = SliceGrid(shape=(101, 101, 1), voxel_mm=(2.0, 2.0, 5.0), n_parts=4)
    return digital_phantom(sphere_array(5, 2, 3.0), grid=grid)


@pytest.mark.parametrize("protocol", [SEVEN, SHORT], ids=["seven", "short"])
@pytest.mark.parametrize("model", [MAGNITUDE, SIGNED], ids=["magnitude", "signed"])
def test_pure_voxels_follow_the_signal_model(phantom, model, protocol) -> None:
    made = simulate_phantom(phantom, model, protocol, None, seeded_generator(1))
    voxels = phantom.pure & (phantom.labels != VOID)
    expected = model(phantom.truth.values[voxels], protocol)
    torch.testing.assert_close(made.signal[voxels], expected, rtol=1e-6, atol=1e-12)
    assert made.kind is model.kind
    assert made.affine is phantom.affine


def test_mixed_voxels_mean_signals_and_not_parameters(phantom) -> None:
    made = simulate_phantom(phantom, SIGNED, SEVEN, None, seeded_generator(1))
    fractions = phantom.fractions
    mixed = (fractions[..., WATER] > 0.2) & (fractions[..., WATER] < 0.8) & (fractions[..., VOID] > 0.2)
    by_hand = fractions[..., WATER, None] * SIGNED(phantom.theta(WATER), SEVEN)
    alone = mixed & (fractions[..., WATER] + fractions[..., VOID] > 1 - 1e-9)
    assert int(alone.sum()) > 100
    torch.testing.assert_close(made.signal[alone], by_hand[alone])
    everything = sum(fractions[..., m, None] * SIGNED(phantom.theta(m), SEVEN) for m in range(1, 16))
    torch.testing.assert_close(made.signal, everything)


def test_magnitude_is_taken_after_the_mean(phantom) -> None:
    signed = simulate_phantom(phantom, SIGNED, SEVEN, None, seeded_generator(1)).signal
    magnitude = simulate_phantom(phantom, MAGNITUDE, SEVEN, None, seeded_generator(1)).signal
    torch.testing.assert_close(magnitude, signed.abs())


def test_background_is_rayleigh(phantom) -> None:
    made = simulate_phantom(phantom, MAGNITUDE, SEVEN, Rician(sigma=0.04), seeded_generator(2))
    air = made.signal[phantom.fractions[..., VOID] == 1]
    # The mean of a Rayleigh law; its own standard error over some 10⁴ samples is below 1 %.
    assert float(air.mean()) == pytest.approx(0.04 * math.sqrt(math.pi / 2), rel=0.02)


def test_simulate_is_the_model_and_a_draw() -> None:
    made = simulate(SIGNED, THETA, SEVEN, Gaussian(sigma=0.02), seeded_generator(3))
    expected = Gaussian(sigma=0.02).draw(SIGNED(THETA, SEVEN), seeded_generator(3))
    assert torch.equal(made.signal, expected)
    assert made.kind is SignalKind.SIGNED
    assert made.protocol is SEVEN


@pytest.mark.parametrize(
    ("model", "noise", "kind"),
    [
        (SIGNED, None, SignalKind.SIGNED),
        (SIGNED, Rician(sigma=0.1), SignalKind.MAGNITUDE),
        (MAGNITUDE, None, SignalKind.MAGNITUDE),
        (MAGNITUDE, Rician(sigma=0.1), SignalKind.MAGNITUDE),
    ],
)
def test_kind_of_the_data(model, noise, kind: SignalKind) -> None:
    assert simulate(model, THETA, SEVEN, noise, seeded_generator(4)).kind is kind


def test_voxels_without_truth_are_silent() -> None:
    theta = THETA.clone()
    theta[0] = torch.nan
    made = simulate(MAGNITUDE, theta, SEVEN, None, seeded_generator(5))
    assert bool((made.signal[0] == 0).all()) and bool((made.signal[1] > 0).any())


def test_the_global_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    simulate(MAGNITUDE, THETA, SEVEN, Rician(sigma=0.1), seeded_generator(6))
    assert torch.equal(before, torch.get_rng_state())


def test_additive_noise_on_a_magnitude_is_refused() -> None:
    with pytest.raises(UsageError, match="Gaussian noise on a magnitude would make it negative"):
        simulate(MAGNITUDE, THETA, SEVEN, Gaussian(sigma=0.1), seeded_generator(7))
