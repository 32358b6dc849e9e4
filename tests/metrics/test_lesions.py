import math

import pytest
import torch

from unweight.metrics.lesions import lesion_contrasts, separate_lesions


def test_lesions_hang_together_within_a_slice() -> None:
    pure = torch.zeros(10, 10, 2, dtype=torch.bool)
    pure[1:4, 1:3, 0] = True  # six voxels
    pure[1:4, 1:3, 1] = True  # the same place in the next slice: another lesion
    pure[6, 2:6, 0] = True  # four voxels, too few
    pure[7, 6, 0] = True  # touches only at a corner
    found = separate_lesions(pure)
    assert found[1, 1, 0] == 0 and found[1, 1, 1] == 1
    assert sorted(found.unique().tolist()) == [-1, 0, 1]
    assert [int((found == number).sum()) for number in (0, 1)] == [6, 6]
    assert separate_lesions(pure, fewest=4).max() == 2
    assert (separate_lesions(torch.zeros_like(pure)) == -1).all()


def test_contrast_is_relative_to_white_matter() -> None:
    white = torch.tensor([True, True, True, False, False, False, False])
    lesion = torch.tensor([-1, -1, -1, 4, 4, 9, 9])
    truth = torch.tensor([0.8, 0.8, 0.8, 1.2, 1.2, 0.84, 0.84])
    estimate = torch.tensor([1.0, 1.0, 9.0, 0.9, 0.9, math.nan, math.nan])
    first, second = lesion_contrasts(estimate, truth, lesion, white)
    assert (first.true, first.measured, first.n) == (pytest.approx(0.5), pytest.approx(-0.1), 2)
    assert first.counts and not first.right
    assert second.true == pytest.approx(0.05) and not second.counts
    assert math.isnan(second.measured) and not second.right
    (told, _) = lesion_contrasts(truth, truth, lesion, white)
    assert told.right


def test_without_white_matter_there_is_no_contrast() -> None:
    truth = torch.ones(3)
    (found,) = lesion_contrasts(truth, truth, torch.tensor([0, 0, 0]), torch.zeros(3, dtype=torch.bool))
    assert math.isnan(found.true) and not found.counts and not found.right
