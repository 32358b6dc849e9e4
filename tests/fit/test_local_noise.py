import pytest
import torch

from tests.fit.acquisitions import SEVEN, acquire, parameters
from unweight.core.acquisition import Acquisition
from unweight.core.errors import UsageError
from unweight.core.seeding import seeded_generator
from unweight.fit.inversion_recovery import InversionRecoveryFit
from unweight.fit.local_noise import CAP, N_PRIOR, local_variance_scale


def test_scale_is_the_mean_misfit_of_the_square_about_a_voxel() -> None:
    misfit = torch.ones(40, 30)
    misfit[20:] = 4.0
    scale = local_variance_scale(misfit, torch.ones_like(misfit, dtype=torch.bool), 7)
    assert float(scale[5, 15]) == pytest.approx(1.0)
    assert float(scale[35, 15]) == pytest.approx((49 * 4 + N_PRIOR) / (49 + N_PRIOR))
    assert float(scale[0, 0]) == pytest.approx(1.0)


def test_voxels_without_a_value_and_lists_do_not_count() -> None:
    misfit = torch.full((20, 20), 3.0)
    misfit[10, 10] = torch.nan
    valued = torch.isfinite(misfit)
    scale = local_variance_scale(misfit, valued, 5)
    assert bool(torch.isfinite(scale).all())
    assert float(scale[10, 10]) == pytest.approx((24 * 3 + N_PRIOR) / (24 + N_PRIOR))
    assert torch.equal(local_variance_scale(misfit.flatten(), valued.flatten(), 5), torch.ones(400))


def test_an_edge_is_capped() -> None:
    misfit = torch.ones(20, 20)
    misfit[10, 10] = 1e6
    scale = local_variance_scale(misfit, torch.ones(20, 20, dtype=torch.bool), 5)
    assert float(scale[10, 10]) == pytest.approx((24 + CAP + N_PRIOR) / (25 + N_PRIOR))


def test_intervals_hold_where_the_noise_differs_in_space() -> None:
    """Noise of 0.01 on the left and 0.03 on the right; one sigma for all covers neither side."""
    theta = parameters(6400, (0.4, 1.5))
    clean = acquire(theta, None).signal.reshape(80, 80, 7)
    sigma = torch.full((80, 80, 1), 0.01)
    sigma[:, 40:] = 0.03
    noise = torch.randn(clean.shape, generator=seeded_generator(3), dtype=torch.float64)
    of = Acquisition(signal=(clean + sigma * noise).abs(), protocol=SEVEN)
    truth = theta[:, 0].reshape(80, 80)
    shares = {}
    for window in (0, 11):
        maps = InversionRecoveryFit(complete=None, noise_window=window)(of)
        held = (maps.value("T1") - truth).abs() < 1.645 * maps.deviation("T1")
        for side, part in (("left", slice(0, 32)), ("right", slice(48, 80))):
            usable = maps.usable[:, part]
            shares[window, side] = float(held[:, part][usable].double().mean())
    assert shares[0, "left"] > 0.97 and shares[0, "right"] < 0.86
    assert all(0.87 < shares[11, side] < 0.93 for side in ("left", "right"))


@pytest.mark.parametrize("window", [-1, 4])
def test_a_window_is_odd(window: int) -> None:
    with pytest.raises(UsageError, match="noise_window"):
        InversionRecoveryFit(noise_window=window)
