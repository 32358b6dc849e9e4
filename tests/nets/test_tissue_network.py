"""The mixture against means and variances that are known, and coefficients against the logits."""

import pytest
import torch
from einops import rearrange

from unweight.core.errors import UsageError
from unweight.core.seeding import seeded_generator
from unweight.nets.layers import count_parameters
from unweight.nets.tissue_network import CENTRE, SCALE, TissueNetwork, fitted_mixture, quadratic
from unweight.nets.volume_unet import VolumeUNetConfig

N_CLASSES = 8
CONFIG = VolumeUNetConfig(in_channels=1, out_channels=33, widths=(8, 8), coarse_channels=12)


def network() -> TissueNetwork:
    return TissueNetwork(CONFIG, N_CLASSES, generator=seeded_generator(0))


def test_a_mixture_finds_both_of_two_tissues_whichever_is_brighter() -> None:
    """Two classes that the prior favours by 7 to 3 on one side each, of levels 1 and 0.4, and swapped."""
    generator = seeded_generator(1)
    first = torch.arange(4000) < 2000
    share = torch.where(first, 0.7, 0.3)
    log_prior = torch.stack([share, 1 - share]).log()[None, :, :, None]
    counts = torch.ones(1, 1, 4000, 2, dtype=torch.bool)
    for levels in ((1.0, 0.4), (0.4, 1.0)):
        v = torch.where(first, *[torch.tensor(level) for level in levels])[:, None].expand(-1, 2)
        v = (v + 0.05 * torch.randn(4000, 2, generator=generator))[None, None]
        terms = fitted_mixture(v, counts, log_prior)
        variance = -1 / (2 * terms[2, 0, :, 0, 0])
        mean = terms[1, 0, :, 0, 0] * variance
        torch.testing.assert_close(mean, torch.tensor(levels), atol=0.01, rtol=0)
        assert bool((variance < 0.008).all())


def test_classes_that_are_alike_share_mean_and_variance() -> None:
    log_prior = torch.tensor([0.3, 0.4, 0.3]).log()[None, :, None, None].expand(1, 3, 50, 1)
    v = torch.rand(1, 1, 50, 2, generator=seeded_generator(2))
    counts = torch.ones(1, 1, 50, 2, dtype=torch.bool)
    terms = fitted_mixture(v, counts, log_prior, alike=(0, 2))
    torch.testing.assert_close(terms[:, :, 0], terms[:, :, 2])
    assert not torch.allclose(terms[:, :, 0], terms[:, :, 1])


def test_absent_tissue_and_an_empty_image_keep_finite_values() -> None:
    log_prior = torch.tensor([0.0, -60.0])[None, :, None, None].expand(1, 2, 50, 1)
    v = torch.full((1, 1, 50, 2), 0.3)
    for counts in (torch.ones(1, 1, 50, 2, dtype=torch.bool), torch.zeros(1, 1, 50, 2, dtype=torch.bool)):
        assert bool(fitted_mixture(v, counts, log_prior).isfinite().all())


def test_it_starts_as_the_mixture() -> None:
    image, guide = torch.rand(2, 1, 8, 8, 12), torch.rand(2, 4, 4, 4, 6) - 0.5
    output = network()(image, guide)
    assert output.shape == (2, 2 * N_CLASSES + 1, 96, 8)
    torch.testing.assert_close(output[:, :N_CLASSES], output[:, N_CLASSES + 1 :])
    assert not output[:, N_CLASSES].any()


def test_some_cells_are_those_of_all() -> None:
    image, guide = torch.rand(2, 1, 8, 8, 8), torch.rand(2, 4, 4, 4, 4) - 0.5
    cells = torch.tensor([[3, 60, 3], [0, 1, 63]])
    model = network()
    some, every = model(image, guide, cells), model(image, guide)
    torch.testing.assert_close(some[1], every[1][:, cells[1]])
    torch.testing.assert_close(some[0, :, 0], some[0, :, 2])


def test_logits_are_the_quadratic_of_the_coefficients() -> None:
    model = network()
    bias = torch.randn(8 * 33, generator=seeded_generator(1))
    assert model.unet.head.bias is not None
    model.unet.head.bias.data.copy_(bias)
    image = torch.full((1, 1, 8, 8, 8), 0.4)  # equal to its own mean
    guide = torch.rand(1, 4, 4, 4, 4, generator=seeded_generator(2)) - 0.5
    terms, side = model.coefficients(image, guide)
    v = torch.tensor(SCALE * (0.4 - CENTRE))
    output = rearrange(
        model(image, guide), "b c (u v w) (i j k) -> b c (u i) (v j) (w k)", u=4, v=4, i=2, j=2, k=2
    )
    torch.testing.assert_close(quadratic(terms, v, v), output[:, :N_CLASSES], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(side, output[:, N_CLASSES : N_CLASSES + 1])
    torch.testing.assert_close(side[0, 0, :2, :2, :2].flatten(), bias[-8:])


def test_size_of_the_default() -> None:
    config = VolumeUNetConfig(in_channels=1, out_channels=33, widths=(32, 48, 64, 96), coarse_channels=12)
    assert count_parameters(TissueNetwork(config, N_CLASSES, generator=seeded_generator(0))) == 1_627_856


def test_channels_must_fit_the_classes() -> None:
    with pytest.raises(UsageError, match="channels"):
        TissueNetwork(CONFIG, 5, generator=seeded_generator(0))
