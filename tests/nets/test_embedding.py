from math import cos, log, nan, pi, sin

import pytest
import torch

from tests.nets.probes import assert_same_weights, draw, final_loss, scrambled
from unweight.core.errors import UsageError
from unweight.core.seeding import seeded_generator
from unweight.nets.embedding import ScalarEmbedding, ScalarEmbeddingConfig, log_fourier_features

CONFIG = ScalarEmbeddingConfig(
    spans=((0.01, 10.0), (1.0, 200.0)), n_frequencies=4, width=16, out_features=5
)


def build() -> ScalarEmbedding:
    return ScalarEmbedding(CONFIG, generator=seeded_generator(0)).double()


def test_features_by_hand() -> None:
    u = log(0.3 / 0.01) / log(1000.0)
    features = log_fourier_features(
        torch.tensor(0.3, dtype=torch.float64), span=(0.01, 10.0), n_frequencies=2
    )
    expected = [u, sin(pi * u), sin(2 * pi * u), cos(pi * u), cos(2 * pi * u)]
    assert features.tolist() == pytest.approx(expected)


def test_same_factor_moves_features_equally_far_at_both_ends() -> None:
    values = torch.tensor([0.02, 0.022, 5.0, 5.5], dtype=torch.float64)
    low, low_next, high, high_next = log_fourier_features(values, span=(0.01, 10.0))
    torch.testing.assert_close((low_next - low).norm(), (high_next - high).norm())


def test_what_stands_in_a_missing_place_has_no_influence() -> None:
    embed, present = build(), torch.tensor([[True, False]])
    one = torch.tensor([[0.5, nan]], dtype=torch.float64, requires_grad=True)
    two = torch.tensor([[0.5, 7.0]], dtype=torch.float64)
    torch.testing.assert_close(embed(one, present), embed(two, present))
    assert not torch.equal(embed(two, present), embed(two))
    (slope,) = torch.autograd.grad(embed(one, present).sum(), one)
    assert slope[0, 0] != 0
    assert slope[0, 1] == 0


def test_derivative_and_repeatability() -> None:
    values = (0.5 + draw(2, 2).abs()).requires_grad_()
    assert torch.autograd.gradcheck(scrambled(build()), (values,))
    assert_same_weights(build(), build())


def test_learns_a_function_of_the_ratio() -> None:
    values = torch.exp(draw(64, 2))
    target = torch.tanh(torch.log(values[:, :1] / values[:, 1:])).expand(-1, 5)
    embed = build()
    assert final_loss(embed, lambda: embed(values), target, 300) < 0.03


def test_messages() -> None:
    with pytest.raises(UsageError, match="0 < lower < upper: the scale is logarithmic"):
        ScalarEmbeddingConfig(spans=((0.0, 1.0),))
    with pytest.raises(UsageError, match=r"ScalarEmbeddingConfig.width is 0. Give a whole number"):
        ScalarEmbeddingConfig(spans=((0.1, 1.0),), width=0)
    with pytest.raises(UsageError, match="input has 3 channels, but this network was built for 2"):
        build()(torch.ones(1, 3, dtype=torch.float64))
