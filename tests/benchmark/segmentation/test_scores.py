"""Scores of segmentations that are right, exchanged or empty."""

import pytest
import torch
from jaxtyping import Bool
from torch import Tensor

from tests.benchmark.segmentation.test_cases import case
from unweight.benchmark.segmentation.cases import SegmentationCase
from unweight.benchmark.segmentation.scores import (
    METRICS,
    score_segmentation,
    segmentation_tables,
    structure_numbers,
)
from unweight.core.errors import InputError
from unweight.learn.segmentation.segmenter import BrainSegmenter
from unweight.prepare.brain_finder import BrainFinder, FoundBrain


def exchanged(labels: Tensor) -> Tensor:
    return torch.where(labels == 12, 51, torch.where(labels == 51, 12, labels)).to(torch.uint8)


def test_who_is_right_scores_1() -> None:
    of = case("coarse")
    numbers = structure_numbers(of.labels, of, "putamen")
    assert numbers == {"dice": 1.0, "hd95": 0.0, "volume_error": 0.0}
    assert structure_numbers(of.labels, of, "caudate") == {}


def test_exchanged_sides_are_errors() -> None:
    of = case("coarse")
    numbers = structure_numbers(exchanged(of.labels), of, "putamen")
    assert numbers["dice"] == 0.0
    assert numbers["volume_error"] == pytest.approx(0.0, abs=1.0)


class NoBrain(BrainFinder):
    def in_images(self, images: object, affine: object) -> FoundBrain:
        raise InputError("no brain")

    def in_echoes(self, magnitude: object, affine: object) -> FoundBrain:
        raise InputError("no brain")


class Known(BrainFinder):
    def __init__(self, mask: Bool[Tensor, "x y z"]) -> None:
        self.mask = mask

    def in_images(self, images: object, affine: object) -> FoundBrain:
        return FoundBrain(mask=self.mask, how="known")

    def in_echoes(self, magnitude: object, affine: object) -> FoundBrain:
        return FoundBrain(mask=self.mask, how="known")


def scores_of(of: SegmentationCase, finder: BrainFinder) -> dict[tuple[str, str], float]:
    from tests.learn.segmentation.test_segmenter import ByLevel

    scores = score_segmentation(of, "known", BrainSegmenter(network=ByLevel()), finder, "ball")
    tables = segmentation_tables(scores, ("T2w",))
    assert [table.title for table in tables] == ["Dice, coarse"]
    assert len(tables[0].rows) == 1
    return {(score.parameter, score.metric): score.value for score in scores}


def test_an_image_without_a_brain_scores_0() -> None:
    of = case("coarse")
    scores = scores_of(of, NoBrain())
    assert scores["putamen", "dice"] == 0.0
    assert scores["putamen", "volume_error"] == -100.0


def test_time_is_that_of_mask_and_segmentation() -> None:
    of = case("coarse")
    scores = scores_of(of, Known(of.brain))
    assert 0 < scores["brain", "seconds"] < 60
    assert scores["white_matter", "dice"] > 0.1
    assert {metric for _, metric in scores} <= set(METRICS)
