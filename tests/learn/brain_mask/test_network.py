"""From images in any order of axes to distances on their own grid, with a network whose answer is known."""

import torch
from torch import Tensor, nn

from tests.synth.anatomy.balls import radius
from unweight.bids.nifti.canonical import turn_of
from unweight.learn.brain_mask.network import SCALE_MM, surface_distance
from unweight.learn.labelled_heads.images import normalised
from unweight.prepare.brain_finder import voxel_mm


class ToLeft(nn.Module):
    """Returns where a voxel lies along x, from 0 to 1: it knows which way the axes run."""

    def forward(self, image: Tensor) -> Tensor:
        n = image.shape[2]
        return ((torch.arange(n) + 0.5) / n)[None, None, :, None, None].expand_as(image)


class Level(nn.Module):
    """Returns its input."""

    def forward(self, image: Tensor) -> Tensor:
        return image


def affine(sizes: tuple[float, float, float]) -> Tensor:
    return torch.diag(torch.tensor([*sizes, 1.0], dtype=torch.float64))


def test_axes_are_those_of_the_head() -> None:
    turned = torch.zeros(4, 4, dtype=torch.float64)
    turned[0, 2], turned[1, 0], turned[2, 1], turned[3, 3] = -3.0, 1.0, 2.0, 1.0
    turn = turn_of(turned, (5, 6, 7))
    assert (turn.order, turn.reversed, voxel_mm(turn.affine)) == ((2, 0, 1), (0,), (3.0, 1.0, 2.0))


def test_a_distance_comes_back_on_the_grid_of_the_image() -> None:
    image = (radius((40, 36, 30), 1.5) / 40).clamp(0, 1)
    distance = surface_distance(Level(), [image], affine((1.5, 1.5, 1.5)))
    assert distance.shape == image.shape
    expected = SCALE_MM * normalised(image)
    assert float((distance - expected)[4:-4, 4:-4, 4:-4].abs().max()) < 0.8


def test_directions_of_axes_are_respected() -> None:
    """The same head, stored with other axes: x runs to the left along the last axis."""
    image = torch.rand(20, 24, 28)
    plain = surface_distance(ToLeft(), [image], affine((2.0, 2.0, 2.0)))
    assert float(plain[0].mean()) < float(plain[-1].mean())
    turned = torch.zeros(4, 4, dtype=torch.float64)
    turned[0, 2], turned[1, 0], turned[2, 1], turned[3, 3] = -2.0, 2.0, 2.0, 1.0
    stored = image.permute(1, 2, 0).flip(2)
    other = surface_distance(ToLeft(), [stored], turned)
    torch.testing.assert_close(other, plain.permute(1, 2, 0).flip(2))


def test_several_images_give_the_mean() -> None:
    one, two = torch.rand(16, 16, 16), torch.rand(16, 16, 16)
    grid = affine((2.0, 2.0, 2.0))
    both = surface_distance(Level(), [one, two], grid)
    single = [surface_distance(Level(), [image], grid) for image in (one, two)]
    torch.testing.assert_close(both, (single[0] + single[1]) / 2)
