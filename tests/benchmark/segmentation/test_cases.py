"""Cases of a head of balls with one nucleus on each side, and their scores."""

from dataclasses import replace

import pytest
import torch

from tests.synth.anatomy.balls import ball_head
from unweight.benchmark.segmentation.cases import RESOLUTIONS, SegmentationCase, segmentation_cases
from unweight.learn.segmentation.any_contrast import SegmentedHead, segmented_heads
from unweight.synth.tissue.materials import INDEX


def nuclei_head() -> SegmentedHead:
    head = ball_head()
    labels = head.labels.clone()
    labels[76:88, 50:70, 50:70] = INDEX["putamen"]
    labels[32:44, 50:70, 50:70] = INDEX["putamen"]
    (result,) = segmented_heads([replace(head, labels=labels)])
    return result


def case(resolution: str) -> SegmentationCase:
    (result,) = segmentation_cases(nuclei_head(), (resolution,), ("T2w",))
    return result


@pytest.mark.parametrize("resolution", list(RESOLUTIONS))
def test_labels_keep_side_and_volume(resolution: str) -> None:
    of = case(resolution)
    assert of.image.shape == of.labels.shape == of.brain.shape
    voxel_ml = of.voxel_mm[0] * of.voxel_mm[1] * of.voxel_mm[2] / 1000
    for index, half in (
        (12, slice(0, of.labels.shape[0] // 2)),
        (51, slice(of.labels.shape[0] // 2, None)),
    ):
        inside = of.labels == index
        assert float(inside.sum()) * voxel_ml == pytest.approx(4.8, rel=0.02)
        assert int(inside[half].sum()) == int(inside.sum())
    assert not of.labels[~of.brain].any() or float((of.labels[~of.brain] > 0).float().mean()) < 0.01


def test_the_same_image_again() -> None:
    assert torch.equal(case("coarse").image, case("coarse").image)
