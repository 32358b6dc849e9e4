from math import cos, sin

import pytest
import torch

from tests.nets.probes import assert_same_weights, draw, final_loss, scrambled
from unweight.core.errors import UsageError
from unweight.core.seeding import seeded_generator
from unweight.nets import time_unet
from unweight.nets.layers import count_parameters
from unweight.nets.time_unet import TimeUNet, TimeUNetConfig, sinusoids

CONFIG = TimeUNetConfig(
    in_channels=3, out_channels=1, widths=(8, 12), attention_levels=(1,), head_channels=6
)


def build() -> TimeUNet:
    return TimeUNet(CONFIG, generator=seeded_generator(0))


def test_sinusoids_by_hand() -> None:
    features = sinusoids(torch.tensor([3.0], dtype=torch.float64), 4)[0]
    assert features.tolist() == pytest.approx([cos(3.0), cos(0.03), sin(3.0), sin(0.03)])


def test_any_size_and_each_image_its_own_time() -> None:
    net, images = scrambled(build()), draw(1, 3, 7, 5).expand(2, -1, -1, -1)
    output = net(images, torch.tensor([10.0, 900.0], dtype=torch.float64))
    assert output.shape == (2, 1, 7, 5)
    assert (output[0] - output[1]).abs().max() > 1e-3
    torch.testing.assert_close(output[1:], net(images[:1], torch.tensor([900.0], dtype=torch.float64)))


def test_published_size() -> None:
    config = TimeUNetConfig(in_channels=10, out_channels=3)
    number = count_parameters(TimeUNet(config, generator=seeded_generator(0)))
    assert number == pytest.approx(18.5e6, rel=2e-3)  # counted on the MONAI network: 18.5 M
    assert f"{number:,}" in str(time_unet.__doc__)


def test_the_one_pass_design_with_a_time_embedding_has_its_size() -> None:
    config = TimeUNetConfig(
        in_channels=40, out_channels=24, widths=(64, 128, 192, 256), attention_levels=(3,), head_channels=64
    )
    number = count_parameters(TimeUNet(config, generator=seeded_generator(0)))
    assert number == pytest.approx(14.7e6, rel=4e-3)


def test_space_to_depth_quarters_the_pixels_and_keeps_the_size() -> None:
    config = TimeUNetConfig(
        in_channels=3, out_channels=1, widths=(8, 12), attention_levels=(), space_to_depth=2
    )
    net = scrambled(TimeUNet(config, generator=seeded_generator(0)))
    assert net.unet.stem.in_channels == 12
    assert net(draw(2, 3, 7, 5), torch.tensor([1.0, 2.0], dtype=torch.float64)).shape == (2, 1, 7, 5)


def test_learns_to_tell_times_apart() -> None:
    net, images = build(), draw(1, 3, 8, 8).float().expand(2, -1, -1, -1)
    target, time = draw(2, 1, 8, 8, seed=1).float(), torch.tensor([10.0, 900.0])
    assert final_loss(net, lambda: net(images, time), target, 150) < 0.1


def test_builds_repeat() -> None:
    assert_same_weights(build(), build())


def test_messages() -> None:
    with pytest.raises(UsageError, match=r"space_to_depth is 3. Give 1 or 2"):
        TimeUNetConfig(in_channels=1, out_channels=1, space_to_depth=3)
    with pytest.raises(UsageError, match="Give an even number: half of the time features"):
        TimeUNetConfig(in_channels=1, out_channels=1, widths=(7, 8))
    with pytest.raises(UsageError, match="Levels are numbered from 0 to 0"):
        TimeUNetConfig(in_channels=1, out_channels=1, widths=(8,))
