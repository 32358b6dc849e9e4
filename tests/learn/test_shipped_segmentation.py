"""The shipped weights of the segmentation on a simulated head that no training has seen."""

import pytest
import torch
from torch import Tensor

from unweight.benchmark.segmentation.cases import segmentation_cases
from unweight.core.seeding import seeded_generator
from unweight.heads.source import TEST
from unweight.learn.labelled_heads.store import procedural_heads
from unweight.learn.segmentation.any_contrast import SegmentedHead, segmented_heads
from unweight.learn.segmentation.segmenter import BrainSegmenter, load_segmenter
from unweight.synth.anatomy.head_parts import with_parts

RESOLUTION = "coarse"


@pytest.fixture(scope="module")
def segmenter() -> BrainSegmenter:
    return load_segmenter("brain-segmentation")[0]


@pytest.fixture(scope="module")
def head() -> SegmentedHead:
    (anatomy,) = procedural_heads(0, {TEST: 1}).heads(TEST)
    (result,) = segmented_heads([with_parts(anatomy, seeded_generator(0, "shipped segmentation"))])
    return result


def dice(labels: Tensor, true: Tensor, numbers: tuple[int, ...]) -> float:
    ours, theirs = (torch.isin(one, torch.tensor(numbers, dtype=one.dtype)) for one in (labels, true))
    return 2 * float((ours & theirs).sum()) / float(ours.sum() + theirs.sum())


@pytest.mark.parametrize("contrast", ["MPRAGE", "T2w", "FLAIR"])
def test_structures_of_an_unseen_head(
    segmenter: BrainSegmenter, head: SegmentedHead, contrast: str
) -> None:
    (case,) = segmentation_cases(head, (RESOLUTION,), (contrast,))
    labels = segmenter.segment(case.image, case.affine, case.brain).labels
    tissues = {"white": (2, 41), "grey": (3, 42)}
    nuclei = {"thalamus": (10, 49), "caudate": (11, 50), "putamen": (12, 51), "pallidum": (13, 52)}
    scores = {name: dice(labels, case.labels, numbers) for name, numbers in (tissues | nuclei).items()}
    # The cortex of procedural heads is one to two of these voxels thick.
    assert scores["white"] > 0.8 and scores["grey"] > 0.7, scores
    assert min(scores[name] for name in nuclei) > 0.6, scores
    # Left and right are not exchanged.
    assert dice(labels, case.labels, (12,)) > 0.6 and dice(labels, case.labels, (51,)) > 0.6
