"""Scores of masks that are known: the truth, nothing, everything, and one that holds the eyes."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from tests.synth.anatomy.balls import BRAIN_MM, ball_head
from unweight.benchmark.mask.cases import CONTRASTS, RESOLUTIONS, MaskCase, mask_cases
from unweight.benchmark.mask.scores import mask_numbers, mask_tables, score_case
from unweight.core.errors import InputError
from unweight.prepare.brain_finder import BrainFinder, FoundBrain

HEAD = ball_head(eyes=True)


class Fixed(BrainFinder):
    """Finds what it was made with; nothing if that is None."""

    def __init__(self, mask: Tensor | None) -> None:
        self.mask = mask

    def in_images(self, images: Sequence[Tensor], affine: Tensor) -> FoundBrain:
        if self.mask is None:
            raise InputError("no brain was found")
        return FoundBrain(mask=self.mask, how="given")

    def in_echoes(self, magnitude: Tensor, affine: Tensor) -> FoundBrain:
        return self.in_images([magnitude], affine)


@pytest.fixture(scope="module")
def case() -> MaskCase:
    return next(mask_cases(HEAD, ("coarse",), ("T2w",)))


def test_eight_contrasts_and_three_resolutions() -> None:
    assert len(CONTRASTS) == 8
    assert len(RESOLUTIONS) == 3
    cases = list(mask_cases(HEAD, ("coarse", "thick"), ("T2w", "FLAIR")))
    assert [(item.resolution, item.contrast) for item in cases] == [
        ("coarse", "T2w"),
        ("coarse", "FLAIR"),
        ("thick", "T2w"),
        ("thick", "FLAIR"),
    ]
    for item in cases:
        volume = float(item.brain.sum()) * torch.tensor(item.voxel_mm).prod() / 1000
        assert float(volume) == pytest.approx(4 / 3 * torch.pi * BRAIN_MM**3 / 1000, rel=0.02)
        assert bool(item.eyes.any())
        assert not bool((item.eyes & (item.brain | item.other)).any())


def test_contrasts_differ_and_are_the_same_again() -> None:
    one, two = (next(mask_cases(HEAD, ("coarse",), (name,))) for name in ("T2w", "FLAIR"))
    again = next(mask_cases(HEAD, ("coarse",), ("T2w",)))
    assert torch.equal(one.image, again.image)
    assert not torch.allclose(one.image, two.image, atol=0.1)


def test_numbers_of_masks_that_are_known(case: MaskCase) -> None:
    right = mask_numbers(case.brain, case)
    assert right == {"dice": 1.0, "hd95": 0.0, "eyes": 0.0, "outside": 0.0}
    everything = mask_numbers(torch.ones_like(case.brain), case)
    assert everything["eyes"] == everything["outside"] == 1.0
    assert mask_numbers(case.brain | case.eyes, case)["eyes"] == 1.0


def test_no_brain_found_counts_as_an_empty_mask(case: MaskCase) -> None:
    scores = {score.metric: score for score in score_case(case, "classical", Fixed(None), "ball")}
    assert scores["dice"].value == 0.0
    assert scores["dice"].group == "T2w, ball"
    assert scores["seconds"].unit == "s"


def test_tables_have_a_row_for_each_contrast_and_method(case: MaskCase) -> None:
    scores = [
        score
        for name, mask in (("classical", case.brain), ("network", torch.ones_like(case.brain)))
        for score in score_case(case, name, Fixed(mask), "ball")
    ]
    (table,) = mask_tables(scores, tuple(CONTRASTS))
    assert tuple(table.rows[0][:3]) == ("T2w", "classical", "1.000")
    assert table.rows[1][:2] == ("T2w", "network")
    assert table.rows[1][4] == "100.00"
