import math

import pytest
import torch

from unweight.core.acquisition import SignalKind
from unweight.core.errors import ProtocolError, UsageError
from unweight.core.protocol import protocol_from_values
from unweight.core.seeding import seeded_generator
from unweight.signals.gradient_echo import GradientEcho
from unweight.signals.inversion_recovery import InversionRecovery
from unweight.signals.noise import Gaussian, Rician
from unweight.signals.precision import cramer_rao_bound, fisher_information
from unweight.signals.spin_echo import SpinEcho

SEVEN = protocol_from_values(inversion_time=[0.05, 0.1, 0.25, 0.5, 0.85, 1.5, 2.5])
EIGHT_ECHOES = protocol_from_values(
    echo_time=[0.004 * (1 + i) for i in range(8)], repetition_time=[0.036] * 8, flip_angle=[0.26] * 8
)
COMPLEX = GradientEcho(kind=SignalKind.COMPLEX)


def row(*values: float) -> torch.Tensor:
    return torch.tensor([values], dtype=torch.float64)


def estimate(model, theta, protocol, noise, observed, known):
    """Maximum likelihood by Fisher scoring from the truth; parameters in `known` stay."""
    free = [i for i, spec in enumerate(model.parameters) if spec.name not in known]
    estimated = theta.clone()
    for _ in range(10):
        estimated.requires_grad_()
        likelihood = noise.log_likelihood(observed, model(estimated, protocol, known)).sum()
        (score,) = torch.autograd.grad(likelihood, estimated)
        estimated = estimated.detach()
        information = fisher_information(model, estimated, protocol, noise, known)
        step = torch.linalg.solve(information[..., free, :][..., free], score[..., free])
        estimated[..., free] += step
    assert float((step.abs() / estimated[..., free].abs().mean(0)).max()) < 1e-3
    return estimated[..., free], free


@pytest.mark.parametrize(
    ("t1", "bound"),
    [
        (4.3, 1.410),
        (1.884, 0.172),
        (0.987, 0.044),
        (0.485, 0.016),
        (0.241, 0.0083),
        (0.06, 0.0042),
        (0.03, 0.0055),
    ],
)
def test_bound_of_seven_inversion_times_at_snr_50(t1, bound) -> None:
    """Independently computed table, given to two or three digits: B = 2 and free, PD = 1, TR infinite."""
    found = cramer_rao_bound(InversionRecovery(), row(t1, 1.0, 2.0), SEVEN, Gaussian(sigma=1 / 50))
    assert float(found[0, 0]) == pytest.approx(bound, rel=0.035)


def test_a_known_b_helps_t1_and_has_no_error_itself() -> None:
    """The same table with B held at 1.9: 32 ms at 1.884 s, 16 ms at 0.987 s, 1.4 ms at 0.06 s."""
    theta = torch.cat([row(t1, 1.0, 1.5) for t1 in (1.884, 0.987, 0.06)])
    known = {"B": torch.full((3,), 1.9)}
    found = cramer_rao_bound(InversionRecovery(), theta, SEVEN, Gaussian(sigma=1 / 50), known)
    expected = torch.tensor([0.032, 0.016, 0.0014], dtype=torch.float64)
    torch.testing.assert_close(found[:, 0], expected, rtol=0.04, atol=0)
    assert found[:, 2].tolist() == [0.0, 0.0, 0.0]


def test_bound_of_two_echoes_is_the_propagated_error() -> None:
    """1/T2 = ln(S1/S2)/ΔTE, so std(T2) = T2² σ/ΔTE sqrt(1/S1² + 1/S2²); T1 is not seen at all."""
    protocol = protocol_from_values(echo_time=[0.02, 0.09])
    found = cramer_rao_bound(SpinEcho(), row(1.0, 0.08, 2.0), protocol, Gaussian(sigma=0.01))
    first, second = 2 * math.exp(-0.02 / 0.08), 2 * math.exp(-0.09 / 0.08)
    expected = 0.08**2 * 0.01 / 0.07 * math.hypot(1 / first, 1 / second)
    assert float(found[0, 1]) == pytest.approx(expected, rel=1e-10)
    assert float(found[0, 0]) == math.inf


def test_bound_of_repeated_volumes_falls_with_the_root() -> None:
    once = cramer_rao_bound(InversionRecovery(), row(0.9, 1, 2), SEVEN, Gaussian(sigma=0.02))
    four = cramer_rao_bound(
        InversionRecovery(), row(0.9, 1, 2), SEVEN.select(list(range(7)) * 4), Gaussian(sigma=0.02)
    )
    torch.testing.assert_close(four, once / 2)


def test_complex_data_uses_both_channels() -> None:
    """The magnitude alone gives R2* as well as complex data do; a phase costs σ/S/sqrt(n) if f is known."""
    theta = row(1.0, 1.0, 20.0, 13.0, 0.4)
    noise = Gaussian(sigma=0.002)
    both = cramer_rao_bound(COMPLEX, theta, EIGHT_ECHOES, noise)
    magnitude = cramer_rao_bound(GradientEcho(), theta[:, :3], EIGHT_ECHOES, noise)
    torch.testing.assert_close(both[:, 2], magnitude[:, 2])
    known = {"frequency": theta[:, 3]}
    held = cramer_rao_bound(COMPLEX, theta, EIGHT_ECHOES, noise, known)
    power = COMPLEX(theta, EIGHT_ECHOES).abs().square().sum()
    assert float(held[0, 4]) == pytest.approx(0.002 / math.sqrt(float(power)), rel=1e-10)


def test_estimates_from_complex_data_reach_the_bound() -> None:
    """3000 voxels at SNR 50: a standard deviation is known to 1.3 %; 4 % is three of those."""
    theta = row(1.0, 1.0, 25.0, 13.0, 0.4).repeat(3000, 1)
    noise = Gaussian(sigma=0.0013)
    observed = noise.draw(COMPLEX(theta, EIGHT_ECHOES), seeded_generator(1, "complex"))
    estimated, free = estimate(COMPLEX, theta, EIGHT_ECHOES, noise, observed, {"T1": theta[:, 0]})
    known = {"T1": theta[:1, 0]}
    bound = cramer_rao_bound(COMPLEX, theta[:1], EIGHT_ECHOES, noise, known)[0, free]
    torch.testing.assert_close(estimated.std(0), bound, rtol=0.04, atol=0)


def test_estimates_of_t1_reach_the_bound() -> None:
    """3000 voxels of signed data at SNR 50."""
    model = InversionRecovery(kind=SignalKind.SIGNED)
    theta = row(0.987, 1.0, 2.0).repeat(3000, 1)
    noise = Gaussian(sigma=1 / 50)
    observed = noise.draw(model(theta, SEVEN), seeded_generator(2, "signed"))
    estimated, _ = estimate(model, theta, SEVEN, noise, observed, {})
    bound = cramer_rao_bound(model, theta[:1], SEVEN, noise)[0]
    torch.testing.assert_close(estimated.std(0), bound, rtol=0.04, atol=0)


def test_estimates_in_rician_noise_reach_the_bound_where_gaussian_noise_would_promise_more() -> None:
    """Late echoes sink to 0.9 σ; with 8 x 12 samples a maximum-likelihood estimate is nearly efficient."""
    theta = row(1.0, 1.0, 30.0).repeat(3000, 1)
    protocol = protocol_from_values(
        echo_time=[0.007 * (1 + i) for i in range(8)] * 12,
        repetition_time=[0.5] * 96,
        flip_angle=[1.0] * 96,
    )
    noise = Rician(sigma=0.1)
    observed = noise.draw(GradientEcho()(theta, protocol), seeded_generator(3, "rician"))
    estimated, free = estimate(GradientEcho(), theta, protocol, noise, observed, {"T1": theta[:, 0]})
    known = {"T1": theta[:1, 0]}
    bound = cramer_rao_bound(GradientEcho(), theta[:1], protocol, noise, known)[0, free]
    torch.testing.assert_close(estimated.std(0), bound, rtol=0.05, atol=0)
    promised = cramer_rao_bound(GradientEcho(), theta[:1], protocol, Gaussian(sigma=0.1), known)[0, free]
    assert float(bound[1] / promised[1]) > 1.1


def test_what_cannot_be_told_apart_is_infinite_and_the_rest_is_not() -> None:
    """One flip angle and one TR: PD and T1 only as a product. No signal: nothing but that PD is 0."""
    theta = torch.cat([row(1.0, 1.0, 20.0, 13.0, 0.4), row(1.0, 0.0, 20.0, 13.0, 0.4)])
    found = cramer_rao_bound(COMPLEX, theta, EIGHT_ECHOES, Gaussian(sigma=0.002))
    assert torch.isinf(found).tolist() == [
        [True, True, False, False, False],
        [True, False, True, True, True],
    ]
    assert not bool(torch.isnan(found).any())


def test_a_voxel_that_is_no_number_is_nan_and_leaves_the_others_alone() -> None:
    theta = torch.cat([row(0.9, 1, 2), row(math.nan, 1, 2), row(0.3, 1, 1.8)])
    found = cramer_rao_bound(InversionRecovery(), theta, SEVEN, Gaussian(sigma=0.02))
    assert bool(torch.isnan(found[1]).all())
    alone = cramer_rao_bound(InversionRecovery(), theta[[0, 2]], SEVEN, Gaussian(sigma=0.02))
    torch.testing.assert_close(found[[0, 2]], alone)


def test_precision_does_not_depend_on_the_dtype_that_comes_in() -> None:
    theta = row(0.05, 1.0, 1.9).expand(2, 3, 3)
    exact = cramer_rao_bound(InversionRecovery(), theta, SEVEN, Gaussian(sigma=0.02))
    single = cramer_rao_bound(InversionRecovery(), theta.float(), SEVEN, Gaussian(sigma=0.02))
    assert (single.shape, single.dtype) == ((2, 3, 3), torch.float32)
    torch.testing.assert_close(single.double(), exact, rtol=1e-5, atol=0)
    information = fisher_information(InversionRecovery(), theta.float(), SEVEN, Gaussian(sigma=0.02))
    assert (information.shape, information.dtype) == ((2, 3, 3, 3), torch.float32)


def test_all_parameters_known_leaves_no_error() -> None:
    known = {"T1": torch.ones(1), "PD": torch.ones(1), "B": torch.ones(1)}
    found = cramer_rao_bound(InversionRecovery(), row(0.9, 1, 2), SEVEN, Gaussian(sigma=0.02), known)
    assert found.tolist() == [[0.0, 0.0, 0.0]]


def test_what_the_user_reads() -> None:
    with pytest.raises(ProtocolError, match="InversionRecovery needs inversion_time"):
        cramer_rao_bound(InversionRecovery(), row(0.9, 1, 2), EIGHT_ECHOES, Gaussian(sigma=0.02))
    with pytest.raises(UsageError, match="Use Gaussian noise, or a model of magnitude signals"):
        cramer_rao_bound(COMPLEX, row(1, 1, 20, 0, 0), EIGHT_ECHOES, Rician(sigma=0.02))
