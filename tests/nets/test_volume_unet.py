import pytest
import torch

from tests.nets.probes import assert_same_weights, final_loss
from unweight.core.errors import UsageError
from unweight.core.seeding import seeded_generator
from unweight.nets.layers import count_parameters
from unweight.nets.volume_unet import VolumeUNet, VolumeUNetConfig

SMALL = VolumeUNetConfig(in_channels=1, out_channels=2, widths=(8, 16))


def small(seed: int = 0) -> VolumeUNet:
    return VolumeUNet(SMALL, generator=seeded_generator(seed))


@pytest.mark.parametrize("size", [(1, 1, 1), (5, 8, 3), (16, 4, 9)])
def test_any_size(size: tuple[int, int, int]) -> None:
    assert small()(torch.rand(2, 1, *size)).shape == (2, 2, *size)


def test_starts_at_zero_and_is_decided_by_its_generator() -> None:
    assert not small()(torch.rand(1, 1, 8, 8, 8)).any()
    assert_same_weights(small(), small())
    assert not torch.equal(small().stem.convolution.weight, small(1).stem.convolution.weight)


def test_size_of_the_default() -> None:
    network = VolumeUNet(VolumeUNetConfig(in_channels=1, out_channels=1), generator=seeded_generator(0))
    assert count_parameters(network) == 1_417_944  # as its module says
    assert network.config.stride == 16


def test_can_tell_bright_from_dark_at_full_resolution() -> None:
    """Voxel by voxel: the rearrangement before and after undo each other."""
    generator = seeded_generator(3)
    bright = (torch.rand(2, 1, 8, 8, 8, generator=generator) > 0.5).float()
    network = VolumeUNet(
        VolumeUNetConfig(in_channels=1, out_channels=1, widths=(16, 16)), generator=generator
    )
    assert final_loss(network, lambda: network(bright), bright, 150) < 0.02


def test_wrong_configurations_are_refused() -> None:
    with pytest.raises(UsageError, match="widths"):
        VolumeUNetConfig(in_channels=1, out_channels=1, widths=())
    with pytest.raises(UsageError, match="channels"):
        small()(torch.rand(1, 3, 8, 8, 8))


def test_a_second_input_at_half_the_resolution() -> None:
    """It reaches the output, in volumes that are filled up too, and its channels are checked."""
    config = VolumeUNetConfig(in_channels=1, out_channels=1, widths=(8, 8), coarse_channels=2)
    network = VolumeUNet(config, generator=seeded_generator(0))
    torch.nn.init.normal_(network.head.weight, generator=seeded_generator(1))
    volume = torch.rand(1, 1, 10, 8, 6)
    one, two = (network(volume, torch.full((1, 2, 5, 4, 3), value)) for value in (0.0, 1.0))
    assert one.shape == volume.shape
    assert not torch.allclose(one, two)
    with pytest.raises(UsageError, match="channels"):
        network(volume)
    with pytest.raises(UsageError, match="channels"):
        network(volume, torch.zeros(1, 1, 5, 4, 3))
