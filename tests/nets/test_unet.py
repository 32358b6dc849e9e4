from typing import Any

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
from unweight.nets import unet
from unweight.nets.layers import count_parameters
from unweight.nets.normalisation import Normalisation
from unweight.nets.unet import UNet, UNetConfig

MARGIN = 68  # the small network below sees 67 pixels at most


def small(**changes: Any) -> UNet:
    settings: dict[str, Any] = {"in_channels": 3, "out_channels": 2, "widths": (8, 12)} | changes
    return UNet(UNetConfig(**settings), generator=seeded_generator(0))


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (16, 16), (33, 18)])
@pytest.mark.parametrize("space_to_depth", [1, 2])
def test_any_size(size: tuple[int, int], space_to_depth: int) -> None:
    net = small(space_to_depth=space_to_depth, n_blocks=2, attention_levels=(1,), head_channels=4)
    assert net(torch.zeros(2, 3, *size)).shape == (2, 2, *size)


def test_odd_sizes_are_filled_up_at_the_far_ends() -> None:
    net, image = scrambled(small()), draw(1, 3, 7, 9)
    by_hand = torch.zeros(1, 3, 8, 12, dtype=image.dtype)
    by_hand[..., :7, :9] = image
    assert torch.equal(net(image), net(by_hand)[..., :7, :9])


def test_starts_at_zero_or_at_its_input() -> None:
    image = draw(1, 3, 9, 9).float()
    assert not small()(image).any()
    assert torch.equal(small(residual=True)(image), image[:, :2])
    assert small(zero_head=False)(image).any()


def test_linear_head_starts_at_zero_and_has_no_normalisation() -> None:
    net = small(linear_head=True)
    assert not net(draw(1, 3, 9, 9).float()).any()
    assert not any(name.startswith("head_norm") for name, _ in net.named_parameters())
    assert count_parameters(net) < count_parameters(small())


@pytest.mark.parametrize("linear_head", [True, False])
def test_linear_head_passes_features_on_in_proportion(linear_head: bool) -> None:
    net, image = small(zero_head=False, linear_head=linear_head), draw(1, 3, 9, 9).float()
    once = net(image)
    assert once.any()
    net.decoder[-1].register_forward_hook(lambda _, __, features: 2 * features)
    proportional = torch.allclose(net(image), 2 * once, rtol=1e-5, atol=1e-6)
    assert proportional == linear_head


def test_sees_a_neighbourhood() -> None:
    assert 40 < reach(scrambled(small()), 3, 176) < MARGIN


def test_sees_as_far_as_documented() -> None:
    net = scrambled(small(in_channels=1, widths=(2, 2, 2, 2)))
    assert f"sees up to {reach(net, 1, 608)}\npixels each way" in str(unet.__doc__)


@pytest.mark.parametrize("space_to_depth", [1, 2])
def test_shifts_with_its_input(space_to_depth: int) -> None:
    net = scrambled(small(space_to_depth=space_to_depth))
    by = net.config.stride
    assert by == 2 * space_to_depth
    assert change_when_shifted(net, channels=3, margin=MARGIN, by=by) < 1e-10
    assert change_when_shifted(net, channels=3, margin=MARGIN, by=1) > 1e-4


def test_background_around_the_image_changes_nothing_with_pixel_norm() -> None:
    net = scrambled(small())
    assert change_when_embedded(net, channels=3, margin=MARGIN, before=4 * net.config.stride) < 1e-10


@pytest.mark.parametrize(
    "changes",
    [{"norm": Normalisation.GROUP}, {"norm": Normalisation.BATCH}, {"attention_levels": (1,)}],
    ids=["group norm", "batch statistics", "attention"],
)
def test_background_changes_everything_otherwise(changes: dict[str, Any]) -> None:
    net = scrambled(small(**changes))
    assert change_when_embedded(net, channels=3, margin=MARGIN, before=16) > 1e-3


def test_item_is_the_same_whatever_the_batch() -> None:
    net, images = scrambled(small(attention_levels=(1,))), draw(3, 3, 12, 12)
    torch.testing.assert_close(net(images)[1:2], net(images[1:2]))


def test_condition_steers() -> None:
    net, image = scrambled(small(condition_features=4)), draw(2, 3, 12, 12)
    one, two = net(image, draw(2, 4)), net(image, draw(2, 4, seed=1))
    assert ((one - two).abs().amax(dim=(1, 2, 3)) > 1e-4).all()


def test_every_weight_has_a_derivative() -> None:
    net = scrambled(small(condition_features=4, attention_levels=(1,), head_channels=4))
    net(draw(2, 3, 8, 8), draw(2, 4)).square().mean().backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in net.parameters())


def test_builds_repeat_and_leave_the_global_generator_alone() -> None:
    before = torch.random.get_rng_state()
    assert_same_weights(small(), small())
    assert torch.equal(before, torch.random.get_rng_state())


def test_memory_layout_does_not_matter() -> None:
    net, image = scrambled(small()), draw(2, 3, 16, 16)
    torch.testing.assert_close(net(image), net(image.contiguous(memory_format=torch.channels_last)))


def test_learns_an_image() -> None:
    image, target = draw(2, 3, 16, 16).float(), draw(2, 2, 16, 16, seed=1).float()
    net = small(widths=(16, 24))
    assert final_loss(net, lambda: net(image), target, 150) < 0.05


@pytest.mark.parametrize("levels", [(), (3,)])
def test_number_of_parameters_is_the_documented_one(levels: tuple[int, ...]) -> None:
    config = UNetConfig(in_channels=10, out_channels=6, attention_levels=levels)
    number = count_parameters(UNet(config, generator=seeded_generator(0)))
    assert f"{number:,}" in str(unet.__doc__)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"widths": ()}, r"UNetConfig.widths is \(\). Give a tuple"),
        ({"widths": (8, 0)}, "UNetConfig.widths"),
        ({"space_to_depth": 3}, "space_to_depth is 3. Give 1 or 2"),
        ({"attention_levels": (2,)}, "Levels are numbered from 0 to 1"),
        ({"condition_features": -1}, "Give 0 for none"),
        ({"residual": True, "in_channels": 1}, "has 1 in and 2 out. Give at least as many input"),
        ({"n_blocks": True}, "UNetConfig.n_blocks is True. Give a whole number"),
    ],
)
def test_messages(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        small(**changes)


def test_messages_at_the_door() -> None:
    with pytest.raises(UsageError, match="UNet image has 4 channels, but this network was built for 3"):
        small()(torch.zeros(1, 4, 8, 8))
    with pytest.raises(UsageError, match="UNet condition has 0 channels, but this network was built for 4"):
        small(condition_features=4)(torch.zeros(1, 3, 8, 8))
