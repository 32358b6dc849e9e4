"""Coefficients of the U-Net against the quadratic they stand for."""

import pytest
import torch

from unweight.core.errors import UsageError
from unweight.core.seeding import seeded_generator
from unweight.nets.layers import count_parameters
from unweight.nets.tissue_network import CENTRE, N_TERMS, SCALE, TissueNetwork
from unweight.nets.volume_unet import VolumeUNetConfig

N_CLASSES = 8
CONFIG = VolumeUNetConfig(in_channels=1, out_channels=6, widths=(8, 8), coarse_channels=4)


def network() -> TissueNetwork:
    return TissueNetwork(CONFIG, N_CLASSES, generator=seeded_generator(0))


def test_it_starts_at_zero_and_has_the_size_of_the_image() -> None:
    output = network()(torch.rand(2, 1, 8, 8, 12), torch.rand(2, 4, 4, 4, 6))
    assert output.shape == (2, N_CLASSES + 1, 8, 8, 12)
    assert not output.any()


def test_logits_are_quadratic_in_the_intensity() -> None:
    """With constant coefficients from the bias of the head, and an image equal to its own mean."""
    model = network()
    bias = torch.randn(N_TERMS * N_CLASSES + 8, generator=seeded_generator(1))
    assert model.unet.head.bias is not None
    model.unet.head.bias.data.copy_(bias)
    terms = bias[: N_TERMS * N_CLASSES].reshape(N_TERMS, N_CLASSES)
    for level in (0.0, 0.4, 1.3):
        output = model(torch.full((1, 1, 8, 8, 8), level), torch.zeros(1, 4, 4, 4, 4))
        v = SCALE * (level - CENTRE)
        expected = terms[0] + (terms[1] + terms[3]) * v + (terms[2] + terms[4]) * v**2
        torch.testing.assert_close(output[0, :N_CLASSES, 3, 4, 5], expected)
        torch.testing.assert_close(output[0, N_CLASSES, :2, :2, :2].flatten(), bias[-8:])


def test_size_of_the_default() -> None:
    config = VolumeUNetConfig(in_channels=1, out_channels=6, widths=(32, 48, 64, 96), coarse_channels=4)
    assert count_parameters(TissueNetwork(config, N_CLASSES, generator=seeded_generator(0))) == 1_608_384


def test_channels_must_fit_the_classes() -> None:
    with pytest.raises(UsageError, match="channels"):
        TissueNetwork(CONFIG, 5, generator=seeded_generator(0))
