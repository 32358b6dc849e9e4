from dataclasses import replace
from math import nan

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.nets.probes import assert_same_weights, change_when_shifted, draw, final_loss, scrambled
from unweight.core.errors import UsageError
from unweight.core.seeding import seeded_generator
from unweight.nets.image_set import ImageSetConfig, ImageSetUNet
from unweight.nets.layers import count_parameters
from unweight.nets.unet import UNet

SMALL = ImageSetConfig(
    token_features=5, extra_channels=2, out_channels=3, stem=4, slots=3, widths=(8, 8), embedding=8
)
PRESENT = torch.tensor([[True, True, False], [True, True, True]])


def build(config: ImageSetConfig = SMALL) -> ImageSetUNet:
    return scrambled(ImageSetUNet(config, generator=seeded_generator(0)))


def example(height: int = 12, width: int = 16) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return draw(2, 3, height, width), draw(2, 3, 5, seed=1), PRESENT, draw(2, 2, height, width, seed=2)


def test_the_order_of_the_images_does_not_matter() -> None:
    images, tokens, present, extra = example()
    net, order = build(), torch.tensor([2, 0, 1])
    one = net(images, tokens, present, extra)
    torch.testing.assert_close(net(images[:, order], tokens[:, order], present[:, order], extra), one)
    assert one.shape == (2, 3, 12, 16)
    # Which token goes with which image does matter.
    assert (net(images[:, order], tokens, present, extra) - one).abs().max() > 1e-4


@pytest.mark.parametrize("junk", [nan, 1e9])
def test_a_missing_image_is_as_if_it_were_not_there(junk: float) -> None:
    images, tokens, present, extra = example()
    net = build()
    alone = net(images[:1, :2], tokens[:1, :2], present[:1, :2], extra[:1])
    images[0, 2], tokens[0, 2] = junk, junk
    images.requires_grad_()
    found = net(images, tokens, present, extra)
    torch.testing.assert_close(found[:1], alone)
    (slope,) = torch.autograd.grad(found.sum(), images)
    assert bool(torch.isfinite(slope).all()) and not slope[0, 2].any() and bool(slope[0, :2].any())
    assert all(
        bool(torch.isfinite(one).all())
        for one in torch.autograd.grad(net(images, tokens, present, extra).sum(), list(net.parameters()))
    )


def test_no_image_at_all_gives_something_finite() -> None:
    images, tokens, present, extra = example()
    assert bool(torch.isfinite(build()(images, tokens, present & False, extra)).all())


@pytest.mark.parametrize("feature", range(5))
def test_each_number_of_a_token_steers_the_output(feature: int) -> None:
    images, tokens, present, extra = example()
    net = build()
    before = net(images, tokens, present, extra)
    tokens[:, 0, feature] += 1.0
    assert (net(images, tokens, present, extra) - before).abs().amax((1, 2, 3)).min() > 1e-6


def test_untrained_it_says_nothing() -> None:
    """The last convolution starts at zero, and FiLM at the identity."""
    net = ImageSetUNet(SMALL, generator=seeded_generator(0)).double()
    images, tokens, present, extra = example()
    assert not net(images, tokens, present, extra).any()


def test_slots_and_maximum_by_hand() -> None:
    """Each slot: shares of the images by softmax of 4 q · e/|e|."""
    net = build(replace(SMALL, extra_channels=0))
    images, tokens, _, _ = example()
    images, tokens = images[:1, :2], tokens[:1, :2]
    embedded = net.each(tokens[0])
    heard = []
    for image, one in zip(images[0], embedded, strict=True):
        gain, bias = net.steer.to_gain_and_bias(F.silu(one)).chunk(2)
        heard.append(F.silu(net.first(image[None]) * (1 + gain[:, None, None]) + bias[:, None, None]))
    direction = embedded / embedded.norm(dim=1, keepdim=True)
    share = torch.softmax(4 * net.queries(direction), dim=0)
    slots = [share[0, slot] * heard[0] + share[1, slot] * heard[1] for slot in range(3)]
    there = torch.ones(1, 2, dtype=torch.bool)
    pooled = torch.cat([*slots, torch.maximum(*heard)])[None]
    torch.testing.assert_close(net(images, tokens, there), net.unet(pooled, net.all(embedded[None], there)))


def test_slots_look_for_different_images_from_the_first_step_on() -> None:
    net = ImageSetUNet(SMALL, generator=seeded_generator(0)).double()
    embedded = net.each(draw(3, 5, seed=1))
    direction = embedded / embedded.norm(dim=1, keepdim=True)
    share = torch.softmax(4 * net.queries(direction), dim=0)
    assert float(share.detach().std(dim=1).min()) > 0.02


def test_shifting_the_images_by_the_stride_shifts_the_output() -> None:
    net = build(replace(SMALL, extra_channels=0))
    tokens = draw(1, 3, 5, seed=1)
    there = torch.ones(1, 3, dtype=torch.bool)

    def run(images: Tensor) -> Tensor:
        found: Tensor = net(images, tokens, there)
        return found

    # Eight blocks of two convolutions on four and two pixels: far less than the margin.
    step = SMALL.unet.stride
    assert change_when_shifted(run, channels=3, margin=64, by=step) < 1e-9
    assert change_when_shifted(run, channels=3, margin=64, by=1) > 1e-6


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (16, 12)])
def test_any_size(size: tuple[int, int]) -> None:
    assert build()(*example(*size)).shape == (2, 3, *size)


def test_derivative_and_repeatability() -> None:
    images, tokens, present, extra = example(4, 4)
    net = build()

    def run(images: Tensor, tokens: Tensor) -> Tensor:
        found: Tensor = net(images, tokens, present[:1], extra[:1])
        return found

    assert torch.autograd.gradcheck(run, (images[:1].requires_grad_(), tokens[:1].requires_grad_()))
    assert_same_weights(net, build())
    before = torch.random.get_rng_state()
    build()
    assert torch.equal(before, torch.random.get_rng_state())


def test_number_of_parameters() -> None:
    """By hand, beside the U-Net: two perceptrons, attention, queries, a convolution and FiLM."""
    config = ImageSetConfig(token_features=91, extra_channels=8, out_channels=6)
    net = ImageSetUNet(config, generator=seeded_generator(0))
    width, stem, slots = 96, 12, 5
    square = width * width + width
    each = 91 * width + width + square
    attention = 4 * square + 4 * width + 4
    queries = slots * (width + 1)
    rest = each + attention + queries + 9 * stem + stem + 2 * stem * width + 2 * stem
    assert count_parameters(net) - count_parameters(net.unet) == rest
    assert config.unet.in_channels == 6 * stem + 8
    assert count_parameters(net.unet) == count_parameters(UNet(config.unet, generator=seeded_generator(0)))
    assert 3.5e6 < count_parameters(net) < 3.8e6


def test_learns_what_only_the_tokens_tell() -> None:
    """The images stand for the same maps times what their token says."""
    truth = draw(16, 1, 8, 8)
    tokens = draw(16, 2, 5, seed=1)
    images = truth * tokens[:, :, 0][..., None, None]
    there = torch.ones(16, 2, dtype=torch.bool)
    net = build(replace(SMALL, extra_channels=0, out_channels=1))
    assert final_loss(net, lambda: net(images, tokens, there), truth, 60) < 0.5


def test_messages() -> None:
    images, tokens, present, extra = example()
    net = build()
    with pytest.raises(
        UsageError, match="ImageSetUNet tokens has 4 channels, but this network was built for 5"
    ):
        net(images, tokens[..., :4], present, extra)
    with pytest.raises(UsageError, match="extra channels has 0 channels, but this network was built for 2"):
        net(images, tokens, present)
    with pytest.raises(UsageError, match="extra channels has 1 channels"):
        net(images, tokens, present, extra[:, :1])
    with pytest.raises(UsageError, match=r"ImageSetConfig.extra_channels is -1"):
        replace(SMALL, extra_channels=-1)
    for name in ("token_features", "out_channels", "stem", "slots", "embedding"):
        with pytest.raises(UsageError, match=rf"ImageSetConfig\.{name} is 0\. Give a whole number"):
            replace(SMALL, **{name: 0})
