from itertools import pairwise

import pytest
import torch

from tests.nets.probes import (
    assert_same_weights,
    change_when_embedded,
    change_when_shifted,
    draw,
    final_loss,
    reach,
    scrambled,
)
from unweight.core.errors import UsageError
from unweight.core.seeding import seeded_generator
from unweight.nets import resnet
from unweight.nets.layers import count_parameters
from unweight.nets.normalisation import Normalisation
from unweight.nets.resnet import ResNet, ResNetConfig


def small(norm: Normalisation = Normalisation.PIXEL) -> ResNet:
    config = ResNetConfig(in_channels=3, out_channels=2, widths=(8, 8, 8, 12, 12, 12), norm=norm)
    return ResNet(config, generator=seeded_generator(0))


def test_any_size() -> None:
    for size in ((1, 1), (7, 5), (16, 9)):
        assert small()(torch.zeros(2, 3, *size)).shape == (2, 2, *size)


def test_sees_twelve_pixels_each_way_as_documented() -> None:
    assert reach(scrambled(small()), 3, 41) == 12
    assert "25x25" in str(ResNet.__doc__)


def test_shifts_by_any_number_of_pixels() -> None:
    for by in (1, 5):
        assert change_when_shifted(scrambled(small()), channels=3, margin=13, by=by) < 1e-10


def test_background_matters_with_batch_statistics_only() -> None:
    change = {
        norm: change_when_embedded(scrambled(small(norm)).eval(), channels=3, margin=13, before=7)
        for norm in (Normalisation.PIXEL, Normalisation.BATCH, Normalisation.GROUP)
    }
    assert change[Normalisation.PIXEL] < 1e-10
    assert change[Normalisation.BATCH] > 1e-2
    assert change[Normalisation.GROUP] > 1e-2


def test_number_of_parameters_is_the_documented_one() -> None:
    widths = (64,) * 6
    by_hand = 7 * 64 + 64 + 2 * 64 + 64 * 3 + 3
    by_hand += sum(9 * a * b + b + 9 * b * b + b + 4 * b for a, b in pairwise((64, *widths)))
    for norm in (Normalisation.PIXEL, Normalisation.BATCH):
        config = ResNetConfig(in_channels=7, out_channels=3, norm=norm)
        assert count_parameters(ResNet(config, generator=seeded_generator(0))) == by_hand
    assert f"{by_hand:,}" in str(resnet.__doc__)


def test_builds_repeat() -> None:
    assert_same_weights(small(), small())


def test_learns_an_image() -> None:
    net, image, target = small(), draw(1, 3, 12, 12).float(), draw(1, 2, 12, 12, seed=1).float()
    assert final_loss(net, lambda: net(image), target, 200) < 0.1


def test_messages() -> None:
    with pytest.raises(UsageError, match=r"ResNetConfig.out_channels is 0. Give a whole number"):
        ResNetConfig(in_channels=3, out_channels=0)
    with pytest.raises(UsageError, match="ResNet image has 2 channels, but this network was built for 3"):
        small()(torch.zeros(1, 2, 8, 8))
