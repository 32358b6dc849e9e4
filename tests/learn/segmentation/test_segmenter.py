"""From images in any order of axes to labels on their own grid, with a network whose answer is known."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.synth.anatomy.balls import radius
from unweight.core.errors import InputError
from unweight.learn.segmentation.any_contrast import N_CLASSES
from unweight.learn.segmentation.segmenter import BrainSegmenter, averaged
from unweight.metrics.structures import BRAIN_CLASSES
from unweight.prepare.brain_finder import cut_axes

SHAPE = (110, 90, 84)
BRIGHT_MM = 20.0
PLACE = {name: place for place, name in enumerate(BRAIN_CLASSES[1:])}


class ByLevel(nn.Module):
    """White matter in what is bright, grey matter elsewhere; the side by the position along x."""

    stride = 8

    def coefficients(self, image: Tensor, guide: Tensor) -> tuple[Tensor, Tensor]:
        assert image.shape[2:] == tuple(2 * n for n in guide.shape[2:])
        terms = torch.zeros(4, 1, N_CLASSES, *image.shape[2:])
        terms[0] = -90.0
        # The brightest is about 1, the other half of it: v is 0.6 and -0.4.
        terms[0, :, PLACE["white_matter"]] = -2.0
        terms[1, :, PLACE["white_matter"]] = 40.0
        terms[0, :, PLACE["grey_matter"]] = 0.0
        return terms, F.interpolate(guide[:, :1], scale_factor=2, mode="trilinear")


def affine(size: float = 1.0) -> Tensor:
    return torch.diag(torch.tensor([size, size, size, 1.0], dtype=torch.float64))


def image(shape: tuple[int, int, int] = SHAPE, voxel_mm: float = 1.0) -> Tensor:
    r = radius(shape, voxel_mm)
    return torch.where(r < BRIGHT_MM, 1.0, 0.5) * (r < 38)


def test_labels_and_sides_on_the_grid_of_the_image() -> None:
    scan = image()
    found = BrainSegmenter(network=ByLevel()).segment(scan, affine(), scan > 0)
    assert found.labels.shape == SHAPE
    assert set(found.labels.unique().tolist()) == {0, 2, 3, 41, 42}
    left, right = found.labels[: SHAPE[0] // 2], found.labels[SHAPE[0] // 2 :]
    assert set(left.unique().tolist()) == {0, 2, 3}
    assert set(right.unique().tolist()) == {0, 41, 42}
    white = torch.isin(found.labels, torch.tensor([2, 41], dtype=torch.uint8))
    # The intensity is averaged over 2 mm: the surface may move by less than a voxel.
    r = radius(SHAPE, 1.0)
    assert bool(white[r < BRIGHT_MM - 1].all()) and not bool(white[r > BRIGHT_MM + 1].any())
    assert bool((found.labels > 0).eq(scan > 0).all())
    assert float(found.probability[(scan > 0) & ((r - BRIGHT_MM).abs() > 3)].min()) > 0.9


def test_other_axes_and_voxels_give_the_same() -> None:
    """The same object in voxels of 2 mm, x running to the left along the last axis."""
    scan = image((55, 45, 42), 2.0)
    plain = BrainSegmenter(network=ByLevel()).segment(scan, affine(2.0), scan > 0)
    turned = torch.zeros(4, 4, dtype=torch.float64)
    turned[0, 2], turned[1, 0], turned[2, 1], turned[3, 3] = -2.0, 2.0, 2.0, 1.0
    stored = scan.permute(1, 2, 0).flip(2)
    other = BrainSegmenter(network=ByLevel()).segment(stored, turned, stored > 0)
    assert torch.equal(other.labels, plain.labels.permute(1, 2, 0).flip(2))


class OneSided(ByLevel):
    """Prefers white matter on the first half of the grid, and calls all of it right."""

    def coefficients(self, image: Tensor, guide: Tensor) -> tuple[Tensor, Tensor]:
        terms, side = super().coefficients(image, guide)
        terms[0, :, PLACE["white_matter"], : image.shape[2] // 2] += 60.0
        return terms, side + 0.2


def test_what_a_network_prefers_on_one_side_is_shared_by_both() -> None:
    scan = image()
    labels = BrainSegmenter(network=OneSided()).segment(scan, affine(), scan > 0).labels
    volumes = {number: int((labels == number).sum()) for number in (2, 41, 3, 42)}
    assert volumes[2] == pytest.approx(volumes[41], rel=0.02)
    assert volumes[3] == pytest.approx(volumes[42], rel=0.02)


def test_progress_counts_steps() -> None:
    scan, seen = image(), []
    BrainSegmenter(network=ByLevel()).segment(scan, affine(), scan > 0, lambda a, b: seen.append((a, b)))
    assert seen[-1][0] == seen[-1][1] == len(seen) > 1


def test_an_empty_mask_is_refused() -> None:
    with pytest.raises(InputError, match="empty"):
        BrainSegmenter(network=ByLevel()).segment(image(), affine(), torch.zeros(SHAPE, dtype=torch.bool))


def test_the_average_of_2_mm_has_the_variance_of_such_voxels() -> None:
    point = torch.zeros(21, 21, 21)
    point[10, 10, 10] = 1.0
    result = averaged(point, (1.0, 1.0, 2.0), 2.0)
    along = torch.arange(21.0) - 10
    assert float((result.sum((1, 2)) * along**2).sum()) == pytest.approx(3 / 12, rel=0.2)  # sampled
    assert float(result[10, 10].sum()) == float(result[10, 10, 10])
    assert float(result.sum()) == pytest.approx(1, rel=1e-5)


def test_cut_axes() -> None:
    mask = torch.zeros(8, 8, 8, dtype=torch.bool)
    mask[2:6, 2:6, 0:6] = True
    assert cut_axes(mask) == (False, False, True)
