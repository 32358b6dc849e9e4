import math

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
import torch

from unweight.core.errors import UsageError
from unweight.core.seeding import seeded_generator
from unweight.signals.noise import Gaussian, NoiseModel, Rician

SIGMA = 0.3
BOTH: tuple[NoiseModel, ...] = (Gaussian(sigma=SIGMA), Rician(sigma=SIGMA))


def information_by_scipy(ratio: float) -> float:
    """E[(d ln p/dν)²] of scipy's Rice distribution, by finite differences and adaptive quadrature."""
    step = 1e-4

    def integrand(x: float) -> float:
        higher = scipy.stats.rice.logpdf(x, ratio + step)
        lower = scipy.stats.rice.logpdf(x, ratio - step)
        return scipy.stats.rice.pdf(x, ratio) * ((higher - lower) / (2 * step)) ** 2

    ends = max(0.0, ratio - 9), ratio + 9
    return scipy.integrate.quad(integrand, *ends, points=[ratio], epsabs=1e-10, epsrel=1e-9)[0]


@pytest.mark.parametrize("noise", BOTH, ids=["gaussian", "rician"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_contract(noise, dtype) -> None:
    signal = torch.linspace(0, 2, 12, dtype=dtype).reshape(3, 4)
    observed = noise.draw(signal, seeded_generator(1, "noise"))
    for result in (observed, noise.log_likelihood(observed, signal), noise.information(signal)):
        assert (result.shape, result.dtype, result.device) == (signal.shape, dtype, signal.device)
        assert bool(torch.isfinite(result).all())
    assert torch.equal(observed, noise.draw(signal, seeded_generator(1, "noise")))
    assert not torch.equal(observed, noise.draw(signal, seeded_generator(2, "noise")))


@pytest.mark.parametrize("noise", BOTH, ids=["gaussian", "rician"])
def test_drawing_leaves_the_global_generator_alone(noise) -> None:
    before = torch.get_rng_state()
    noise.draw(torch.ones(5), seeded_generator(1))
    assert torch.equal(before, torch.get_rng_state())


def test_gaussian_draws_and_likelihood_are_those_of_scipy() -> None:
    signal = torch.full((20_000,), -0.7, dtype=torch.float64)
    drawn = Gaussian(sigma=SIGMA).draw(signal, seeded_generator(3))
    law = scipy.stats.norm(-0.7, SIGMA)
    assert scipy.stats.kstest(drawn.numpy(), law.cdf).pvalue > 0.01
    expected = torch.from_numpy(law.logpdf(drawn.numpy()))
    torch.testing.assert_close(Gaussian(sigma=SIGMA).log_likelihood(drawn, signal), expected)


def test_complex_gaussian_noise_is_sigma_in_each_channel() -> None:
    """20 000 draws know a standard deviation to 0.5 % and a correlation to 0.007; three of those."""
    signal = torch.full((20_000,), 1 - 2j, dtype=torch.complex128)
    drawn = Gaussian(sigma=SIGMA).draw(signal, seeded_generator(4))
    channels = torch.view_as_real(drawn - signal).T
    torch.testing.assert_close(
        channels.std(-1), torch.full((2,), SIGMA, dtype=torch.float64), rtol=0.015, atol=0
    )
    assert abs(float(torch.corrcoef(channels)[0, 1])) < 0.021
    law = scipy.stats.norm(0, SIGMA)
    expected = torch.from_numpy(law.logpdf(channels.numpy()).sum(0))
    found = Gaussian(sigma=SIGMA).log_likelihood(drawn, signal)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("ratio", [0.0, 0.5, 2.0, 20.0])
@pytest.mark.parametrize("sign", [1, -1, 1j])
def test_rician_draws_are_those_of_scipy(ratio, sign) -> None:
    """Whatever the sign or phase of the signal: only its size counts."""
    signal = torch.full((20_000,), ratio * SIGMA, dtype=torch.float64) * sign
    drawn = Rician(sigma=SIGMA).draw(signal, seeded_generator(5, str(ratio)))
    assert not drawn.is_complex()
    assert scipy.stats.kstest(drawn.numpy(), scipy.stats.rice(ratio, scale=SIGMA).cdf).pvalue > 0.01


@pytest.mark.parametrize("ratio", [0.0, 0.5, 3.0, 50.0, 1e4])
def test_rician_likelihood_is_that_of_scipy(ratio) -> None:
    x = np.linspace(max(0.01, ratio - 5), ratio + 5, 50) * SIGMA
    expected = torch.from_numpy(scipy.stats.rice(ratio, scale=SIGMA).logpdf(x))
    signal = torch.full((50,), ratio * SIGMA, dtype=torch.float64)
    found = Rician(sigma=SIGMA).log_likelihood(torch.from_numpy(x), signal)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(Rician(sigma=SIGMA).log_likelihood(torch.from_numpy(x), -signal), expected)


def test_rician_likelihood_far_above_the_noise_is_gaussian_even_in_single_precision() -> None:
    """To order σ/ν, here 10⁻⁵; I0(10¹⁰) itself would be infinite."""
    signal, observed = torch.tensor([1e5]), torch.tensor([1e5 + 1.5])
    found = Rician(sigma=1.0).log_likelihood(observed, signal)
    torch.testing.assert_close(
        found, Gaussian(sigma=1.0).log_likelihood(observed, signal), rtol=0, atol=1e-3
    )


def test_what_no_magnitude_can_be_has_no_likelihood() -> None:
    found = Rician(sigma=1.0).log_likelihood(torch.tensor([0.0, -1.0]), torch.tensor([1.0, 1.0]))
    assert found.tolist() == [-math.inf, -math.inf]


@pytest.mark.parametrize("ratio", [0.05, 0.5, 1.0, 2.0, 4.0, 8.6, 12.0])
def test_rician_information_is_that_of_scipy(ratio) -> None:
    """Finite differences with a step of 10⁻⁴ leave 10⁻⁷ or so."""
    found = Rician(sigma=SIGMA).information(torch.tensor([ratio * SIGMA], dtype=torch.float64))
    assert float(found) * SIGMA**2 == pytest.approx(information_by_scipy(ratio), rel=1e-6)


def test_rician_information_in_the_limits() -> None:
    """J σ² → (ν/σ)² below the noise and 1 - σ²/2ν² above; smooth, increasing and finite between."""
    noise = Rician(sigma=1.0)
    small = torch.tensor([0.0, 1e-6, 1e-3], dtype=torch.float64)
    torch.testing.assert_close(noise.information(small), small.square(), rtol=2e-6, atol=1e-20)
    large = torch.tensor([100.0, 3e3, 9.9e3, 1e6, 1e12, 1e300], dtype=torch.float64)
    expected = 1 - 1 / (2 * large.square())
    torch.testing.assert_close(noise.information(large), expected, rtol=0, atol=1e-8)
    endless = noise.information(torch.tensor([-math.inf, math.inf]))
    assert endless.tolist() == pytest.approx([1.0, 1.0])
    sweep = noise.information(torch.logspace(-4, 5, 2000, dtype=torch.float64))
    assert bool((sweep.diff() > -1e-9).all()) and bool((sweep <= 1 + 1e-9).all())


def test_information_of_gaussian_noise_does_not_depend_on_the_signal() -> None:
    expected = torch.full((3,), 1 / SIGMA**2)
    torch.testing.assert_close(Gaussian(sigma=SIGMA).information(torch.tensor([0.0, -1, 9])), expected)
    found = Gaussian(sigma=SIGMA).information(torch.tensor([0j, 1j, 9]))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("noise", BOTH, ids=["gaussian", "rician"])
def test_information_is_the_variance_of_the_drawn_score(noise) -> None:
    """Likelihood, draws and information agree; 40 000 draws know a variance to 0.7 %; four of those."""
    level = torch.full((40_000,), 1.5 * SIGMA, dtype=torch.float64, requires_grad=True)
    observed = noise.draw(level.detach(), seeded_generator(6))
    (score,) = torch.autograd.grad(noise.log_likelihood(observed, level).sum(), level)
    expected = float(noise.information(level.detach()[:1]))
    assert float(score.square().mean()) == pytest.approx(expected, rel=0.03)
    assert float(score.mean()) == pytest.approx(0, abs=4 * math.sqrt(expected / 40_000))


@pytest.mark.parametrize("kind", [Gaussian, Rician])
@pytest.mark.parametrize("sigma", [0.0, -1.0, math.nan, math.inf])
def test_impossible_sigma_is_refused(kind, sigma) -> None:
    with pytest.raises(UsageError, match="standard deviation of noise must be positive and finite"):
        kind(sigma=sigma)


def test_rician_noise_refuses_complex_data() -> None:
    with pytest.raises(UsageError, match="that of magnitudes, but complex values were observed"):
        Rician(sigma=1.0).log_likelihood(torch.tensor([1j]), torch.tensor([1.0]))
    with pytest.raises(UsageError, match="the signal is complex"):
        Rician(sigma=1.0).information(torch.tensor([1j]))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("noise", BOTH, ids=["gaussian", "rician"])
def test_a_cpu_generator_gives_the_same_noise_on_a_gpu(noise) -> None:
    signal = torch.linspace(0, 2, 12)
    there = noise.draw(signal.cuda(), seeded_generator(1))
    assert there.is_cuda
    torch.testing.assert_close(there.cpu(), noise.draw(signal, seeded_generator(1)))
    own = torch.Generator("cuda").manual_seed(1)
    assert noise.draw(signal.cuda(), own).is_cuda and noise.information(signal.cuda()).is_cuda
