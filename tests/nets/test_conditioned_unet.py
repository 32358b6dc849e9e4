"""A U-Net steered by numbers: the same as without at the start, and another afterwards."""

import pytest
import torch

from unweight.core.errors import UsageError
from unweight.core.seeding import seeded_generator
from unweight.nets.conditioned_unet import ConditionedUNet, ConditionedUNetConfig
from unweight.nets.unet import UNet, UNetConfig

PLAIN = UNetConfig(in_channels=3, out_channels=2, widths=(8, 8), zero_head=False)
STEERED = UNetConfig(in_channels=3, out_channels=2, widths=(8, 8), zero_head=False, condition_features=5)
IMAGE = torch.randn(2, 3, 12, 10, generator=seeded_generator(1))
VALUES = torch.tensor([[0.5, -1.0], [1.5, 0.2]])


def conditioned() -> ConditionedUNet:
    config = ConditionedUNetConfig(unet=STEERED, n_values=2, width=6)
    return ConditionedUNet(config, generator=seeded_generator(2))


def test_it_starts_as_the_network_without() -> None:
    """Weights of a plain U-Net fit into it, and the numbers change nothing until they are trained."""
    plain, network = UNet(PLAIN, generator=seeded_generator(3)), conditioned()
    own = network.state_dict()
    given = {f"unet.{name}": value for name, value in plain.state_dict().items()}
    assert given.keys() <= own.keys()
    network.load_state_dict({**own, **given})
    torch.testing.assert_close(network(IMAGE, VALUES), plain(IMAGE))


def test_trained_numbers_steer_each_image_by_itself() -> None:
    network = conditioned()
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if "film" in name:
                weight.normal_(0, 0.5, generator=seeded_generator(4))
        both, swapped = network(IMAGE, VALUES), network(IMAGE, VALUES.flip(0))
    assert float((both - swapped).abs().max()) > 1e-3
    torch.testing.assert_close(network(IMAGE[:1], VALUES[:1]).detach(), both[:1], rtol=1e-4, atol=1e-5)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(UsageError, match="without condition_features"):
        ConditionedUNetConfig(unet=PLAIN, n_values=2)
    with pytest.raises(UsageError, match="ConditionedUNet values"):
        conditioned()(IMAGE, VALUES[:, :1])
