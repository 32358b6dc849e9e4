"""The weights that come with the package: there, whole, and as good as their cards say."""

import pytest
import torch

from tests.fit.acquisitions import SEVEN, acquire
from unweight.core.maps import VoxelStatus
from unweight.learn.assemble import load_estimator, load_weighted_maps, with_draws
from unweight.learn.posterior import PosteriorT1
from unweight.learn.recipe import FROM_WEIGHTED, METHODS, RESIDUAL
from unweight.learn.weights import available, load_weights

SIGMA = 0.02


def posterior() -> PosteriorT1:
    estimator, _ = load_estimator("t1-posterior")
    assert isinstance(estimator, PosteriorT1)
    return estimator


def flat(t1: float, size: int = 24) -> torch.Tensor:
    return torch.tensor([t1, 1.0, 1.95], dtype=torch.float64).expand(size, size, 3)


def test_all_methods_have_weights() -> None:
    assert set(METHODS) - set(FROM_WEIGHTED) <= set(available()) <= set(METHODS)
    for name in available():
        tensors, card = load_weights(name)
        stored = 2 * sum(tensor.numel() for tensor in tensors.values())
        assert card.licence == "Apache-2.0" and stored < 10e6
        if name in FROM_WEIGHTED:
            load_weighted_maps(name)
        elif name != RESIDUAL:
            load_estimator(name)


@pytest.mark.parametrize("t1", [0.06, 0.3, 0.9, 1.4, 2.7])
def test_flat_regions_come_out_right_with_less_noise_than_the_fit(t1: float) -> None:
    acquisition = acquire(flat(t1), SIGMA, protocol=SEVEN, complete=2.0)
    estimator = posterior()
    maps, fitted = estimator(acquisition), estimator.fit(acquisition)
    found, alone = maps.value("T1"), fitted.value("T1")
    assert abs(float(found.mean()) / t1 - 1) < 0.02
    assert float(found.log().std()) < 0.6 * float(alone[~fitted.failed].log().std())
    # Noise alone must not make the data look unexplained, volumes near their null included.
    assert int((maps.status == VoxelStatus.IMPLAUSIBLE).sum()) <= 2
    assert maps.lower is not None and maps.upper is not None
    held = (maps.lower[..., 0] <= t1) & (t1 <= maps.upper[..., 0])
    assert float(held.float().mean()) > 0.75


def test_draws_spread_as_the_intervals_say() -> None:
    acquisition = acquire(flat(1.0), SIGMA, protocol=SEVEN, complete=2.0)
    maps = with_draws(posterior(), 8)(acquisition)
    assert maps.draws is not None
    spread = maps.draws[..., 0].log().std(0)
    relative = maps.deviation("T1") / maps.value("T1")
    assert 0.85 < float((spread / relative).median()) < 1.15
