import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import ive

from tests.fit.acquisitions import SEVEN, acquire, parameters
from unweight.core.acquisition import Acquisition, SignalKind
from unweight.core.errors import InputError, ProtocolError, UsageError
from unweight.core.maps import VoxelStatus
from unweight.core.protocol import protocol_from_values
from unweight.fit.grid_posterior import GridPosterior, log_scaled_bessel
from unweight.fit.inversion_recovery import InversionRecoveryFit
from unweight.signals.inversion_recovery import InversionRecovery
from unweight.signals.noise import Gaussian
from unweight.signals.precision import cramer_rao_bound
from unweight.testing.check_estimator import check_estimator

POSTERIOR = GridPosterior(pd_range=(0.5, 1.5))
BOTH = [SignalKind.MAGNITUDE, SignalKind.SIGNED]


def from_prior(
    count: int, sigma: float, kind: SignalKind = SignalKind.MAGNITUDE, seed: int = 0
) -> tuple[torch.Tensor, Acquisition]:
    theta = parameters(count, POSTERIOR.t1_range, b=POSTERIOR.b_range, seed=seed)
    acquisition = acquire(theta, sigma, kind=kind, complete=2.0, seed=seed + 1)
    return theta, replace(acquisition, noise_sd=sigma)


def brute_force(
    observed: torch.Tensor, sigma: float, box: list[tuple[float, float]], kind: SignalKind
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of (ln T1, PD, B) by midpoints over a fixed box, in double precision."""
    # T1, PD and B lie along a narrow ridge; the Bessel function is too slow for as fine a grid.
    counts = (160, 160, 120) if kind is SignalKind.SIGNED else (120, 70, 60)
    axes = [
        low + (high - low) * (np.arange(count) + 0.5) / count
        for (low, high), count in zip(box, counts, strict=True)
    ]
    log_t1, pd, b = np.meshgrid(*axes, indexing="ij", sparse=True)
    total = np.zeros(counts)
    for x, ti in zip(observed.tolist(), SEVEN.require("inversion_time", "test").tolist(), strict=True):
        t1 = np.exp(log_t1)
        signal = pd * (1 - b * np.exp(-ti / t1) + np.exp(-10.0 / t1))
        if kind is SignalKind.SIGNED:
            total -= (x - signal) ** 2 / (2 * sigma**2)
        else:
            nu = np.abs(signal)
            total += np.log(ive(0, x * nu / sigma**2)) - (x - nu) ** 2 / (2 * sigma**2)
    weight = np.exp(total - total.max())
    weight /= weight.sum()
    mean = [float((weight * axis).sum()) for axis in (log_t1, pd, b)]
    sd = [
        math.sqrt(float((weight * (axis - m) ** 2).sum()))
        for axis, m in zip((log_t1, pd, b), mean, strict=True)
    ]
    return torch.tensor(mean), torch.tensor(sd)


def box_around(theta: torch.Tensor, sigma: float) -> list[tuple[float, float]]:
    """The prior, but no more than seven times the Cramér–Rao bound away from the truth."""
    model = InversionRecovery(kind=SignalKind.SIGNED, complete=2.0)
    reach = 7 * cramer_rao_bound(model, theta[None], SEVEN, Gaussian(sigma=sigma))[0]
    centre = theta.clone()
    centre[0], reach[0] = theta[0].log(), reach[0] / theta[0]
    log_t1 = tuple(math.log(end) for end in POSTERIOR.t1_range)
    prior = torch.tensor([log_t1, POSTERIOR.pd_range, POSTERIOR.b_range], dtype=torch.float64)
    low, high = torch.maximum(prior[:, 0], centre - reach), torch.minimum(prior[:, 1], centre + reach)
    return list(zip(low.tolist(), high.tolist(), strict=True))


@pytest.mark.parametrize("kind", BOTH)
def test_contract(kind: SignalKind) -> None:
    _, acquisition = from_prior(60, 0.02, kind)
    maps = check_estimator(POSTERIOR, acquisition)
    assert maps.usable.all()
    assert maps.notes["likelihood"] == ("Rician" if kind is SignalKind.MAGNITUDE else "Gaussian")
    assert maps.notes["prior_log_T1"] == "uniform, T1 0.01 to 6 s"
    assert maps.lower is not None
    assert maps.upper is not None
    assert bool(((maps.lower < maps.values) & (maps.values < maps.upper)).all())
    ends = torch.stack([maps.lower[:, 0], maps.upper[:, 0]], dim=-1)
    torch.testing.assert_close(ends.log(), POSTERIOR.integrate(acquisition).log_t1_interval.to(ends))
    check_estimator(POSTERIOR, replace(acquisition, signal=acquisition.signal.float()))


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("snr", [20, 60, 200])
def test_moments_are_those_of_brute_force(snr: int, kind: SignalKind) -> None:
    """Within 2 % of the standard deviation, also near a null (0.7 s) and near the ends of the prior."""
    t1 = torch.tensor([0.02, 0.35, 0.72, 4.5], dtype=torch.float64)
    others = torch.tensor([[0.9, 1.95], [1.45, 1.75], [1.0, 1.99], [0.7, 1.85]], dtype=torch.float64)
    theta = torch.cat((t1[:, None], others), dim=1)
    acquisition = replace(acquire(theta, 1 / snr, kind=kind, complete=2.0), noise_sd=1 / snr)
    found = POSTERIOR.integrate(acquisition)
    for voxel in range(len(theta)):
        box = box_around(theta[voxel], 1 / snr)
        true_mean, true_sd = brute_force(acquisition.signal[voxel], 1 / snr, box, kind)
        assert float(((found.mean[voxel] - true_mean) / true_sd).abs().max()) < 0.01
        assert float((found.sd[voxel] / true_sd - 1).abs().max()) < 0.01


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("snr", [3, 50, 200])
def test_more_nodes_change_nothing(snr: int, kind: SignalKind) -> None:
    _, acquisition = from_prior(60, 1 / snr, kind)
    found = POSTERIOR.integrate(acquisition)
    fine = replace(POSTERIOR, n_t1=320, n_b=40, n_pd=24).integrate(acquisition)
    assert float(((found.mean - fine.mean) / fine.sd).abs().max()) < 0.005
    assert float((found.sd / fine.sd - 1).abs().max()) < 0.01
    apart = (found.log_t1_interval - fine.log_t1_interval) / fine.sd[:, :1]
    assert float(apart.abs().max()) < 0.03


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("snr", [15, 60])
def test_calibrated_on_truths_from_the_prior(snr: int, kind: SignalKind) -> None:
    """A posterior is calibrated over its own prior, whatever the data; 3.5 binomial errors."""
    theta, acquisition = from_prior(1500, 1 / snr, kind, seed=snr)
    free = theta.clone()
    free[:, 0] = theta[:, 0].log()
    found = POSTERIOR.integrate(acquisition)
    lower, upper = found.log_t1_interval.unbind(-1)
    inside = (lower < free[:, 0]) & (free[:, 0] < upper)
    assert abs(float(inside.double().mean()) - 0.9) < 3.5 * math.sqrt(0.09 / len(theta))
    z = (free - found.mean) / found.sd
    # A square of a normal number has variance 2: 3.5 errors of the mean of 1500 are 0.13.
    assert float((z.square().mean(0) - 1).abs().max()) < 0.13
    assert float(z.mean(0).abs().max()) < 3.5 / math.sqrt(len(theta))


@pytest.mark.parametrize("snr", [20, 60])
def test_no_estimator_has_a_smaller_error(snr: int) -> None:
    theta, acquisition = from_prior(1500, 1 / snr)
    maximum = InversionRecoveryFit(b_range=POSTERIOR.b_range)(acquisition)
    valued = ~maximum.failed
    truth = theta[valued, 0].log()
    fitted = maximum.value("T1")[valued].clamp(*POSTERIOR.t1_range).log()
    mean = POSTERIOR(acquisition).value("T1")[valued].log()
    assert float(valued.double().mean()) > 0.9

    def rms(estimate: torch.Tensor) -> float:
        return float((estimate - truth).square().mean().sqrt())

    assert rms(mean) < 0.97 * rms(fitted)


def test_no_signal_gives_the_prior_back() -> None:
    """Noise a thousand times the signal: mean, spread and quantiles of three uniform distributions."""
    acquisition = Acquisition(signal=torch.ones(1, 7), protocol=SEVEN, kind=SignalKind.SIGNED)
    found = POSTERIOR.integrate(replace(acquisition, noise_sd=1000.0))
    low, high = (math.log(end) for end in POSTERIOR.t1_range)
    width = high - low
    assert found.mean[0].tolist() == pytest.approx([(low + high) / 2, 1.0, 1.85], abs=1e-2)
    spread = [(end - begin) / math.sqrt(12) for begin, end in ((low, high), (0.5, 1.5), (1.7, 2.0))]
    assert found.sd[0].tolist() == pytest.approx(spread, rel=1e-3)
    tails = [low + 0.05 * width, high - 0.05 * width]
    assert found.log_t1_interval[0].tolist() == pytest.approx(tails, abs=1e-3 * width)


def test_two_modes_are_both_kept() -> None:
    """One magnitude m leaves its sign open: T1 = TI / ln(B / (1 ∓ m)), each with its own weight."""
    protocol = protocol_from_values(inversion_time=[0.4])
    acquisition = Acquisition(signal=torch.tensor([[0.3]]), protocol=protocol, noise_sd=0.003)
    narrow = GridPosterior(pd_range=(0.9999, 1.0001), b_range=(1.9499, 1.9501))
    found = narrow.integrate(acquisition)
    modes = [0.4 / math.log(1.95 / (1 - sign * 0.3)) for sign in (1, -1)]
    # The signal changes by x·exp(−x)·B with ln T1, x = TI/T1; a mode weighs as much as it is wide.
    width = [1 / (0.4 / t1 * (1 - sign * 0.3)) for t1, sign in zip(modes, (1, -1), strict=True)]
    share = width[1] / sum(width)
    low, high = (math.log(t1) for t1 in modes)
    assert float(found.mean[0, 0]) == pytest.approx(low + share * (high - low), abs=0.01 * (high - low))
    spread = math.sqrt(share * (1 - share)) * (high - low)
    assert float(found.sd[0, 0]) == pytest.approx(spread, rel=0.01)
    assert found.log_t1_interval[0].tolist() == pytest.approx([low, high], abs=0.03)


def test_repetition_time_order_and_unit_of_the_signal() -> None:
    _, acquisition = from_prior(40, 0.02)
    reference = POSTERIOR(acquisition)
    order = [3, 0, 6, 1, 5, 2, 4]
    shuffled = replace(
        acquisition, signal=acquisition.signal[:, order], protocol=acquisition.protocol.select(order)
    )
    assert torch.allclose(POSTERIOR(shuffled).values, reference.values, rtol=1e-4)
    scaled = replace(acquisition, signal=1e4 * acquisition.signal, noise_sd=200.0)
    values = GridPosterior(pd_range=(5e3, 1.5e4))(scaled).values
    assert torch.allclose(values / torch.tensor([1.0, 1e4, 1.0]), reference.values, rtol=1e-4)
    short = protocol_from_values(inversion_time=[0.05, 0.4, 1.0], repetition_time=[1.2, 1.6, 2.2])
    theta = parameters(200, (0.5, 1.2), b=(1.9, 2.0))
    fast = replace(acquire(theta, 0.005, protocol=short, complete=2.0), noise_sd=0.005)
    found = POSTERIOR.integrate(fast)
    z = (found.mean[:, 0] - theta[:, 0].log()) / found.sd[:, 0]
    assert float(z.square().mean()) < 1.6  # the truths fill only a part of the prior


def test_status_of_masked_saturated_and_absurd_voxels() -> None:
    _, acquisition = from_prior(6, 0.02)
    signal = acquisition.signal.clone()
    signal[0, 2] = torch.nan
    signal[1] = 0.0
    signal[2] = 1e30
    saturated = torch.zeros(6, dtype=torch.bool)
    saturated[3] = True
    maps = POSTERIOR(replace(acquisition, signal=signal, saturated=saturated))
    assert maps.status.tolist() == [
        VoxelStatus.MASKED,
        VoxelStatus.OK,
        VoxelStatus.NOT_CONVERGED,
        VoxelStatus.SATURATED,
        VoxelStatus.OK,
        VoxelStatus.OK,
    ]


def test_bessel_function() -> None:
    x = torch.cat((torch.zeros(1), torch.logspace(-4, 6, 5000)))
    exact = torch.from_numpy(np.log(ive(0, x.double().numpy())))
    assert float((log_scaled_bessel(x) - exact).abs().max()) < 2e-4


def test_messages() -> None:
    _, acquisition = from_prior(5, 0.02)
    with pytest.raises(ProtocolError, match="needs the noise, which this acquisition does not give"):
        POSTERIOR(replace(acquisition, noise_sd=None))
    complex_ = Acquisition(
        signal=torch.ones(5, 7, dtype=torch.complex64), protocol=SEVEN, kind=SignalKind.COMPLEX
    )
    with pytest.raises(ProtocolError, match="takes magnitude or signed volumes, not complex"):
        POSTERIOR(complex_)
    no_times = Acquisition(
        signal=torch.ones(5, 7), protocol=protocol_from_values(echo_time=[0.01] * 7), noise_sd=0.02
    )
    with pytest.raises(ProtocolError, match="posterior needs inversion_time, which this protocol does not"):
        POSTERIOR(no_times)
    with pytest.raises(ProtocolError, match="cannot hold a known map"):
        POSTERIOR(replace(acquisition, known={"B": torch.full((5,), 2.0)}))
    with pytest.raises(InputError, match="no voxel to process"):
        POSTERIOR(replace(acquisition, mask=torch.zeros(5, dtype=torch.bool)))
    with pytest.raises(UsageError, match="PD: the prior from 2 to 1 is not possible"):
        GridPosterior(pd_range=(2.0, 1.0))
    with pytest.raises(UsageError, match="PD: the prior from 0 to inf is not possible"):
        GridPosterior(pd_range=(0.0, math.inf))
    with pytest.raises(UsageError, match="a grid of 80 × 1 × 12 nodes"):
        GridPosterior(pd_range=(0.5, 1.5), n_b=1)
