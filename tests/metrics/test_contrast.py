import math

import pytest
import torch

from unweight.core.errors import UsageError
from unweight.metrics.contrast import recovered_contrast

INSIDE = torch.tensor([[True, True], [False, False]])
TRUTH = torch.tensor([[0.8, 0.8], [1.6, 1.6]])


def test_all_of_it() -> None:
    found = recovered_contrast(TRUTH, TRUTH, INSIDE, ~INSIDE)
    assert (found.free, found.linear) == (pytest.approx(1), pytest.approx(1))
    assert (found.n_inside, found.n_around) == (2, 2)


def test_blurring_leaves_a_share_on_each_scale() -> None:
    blurred = torch.tensor([[1.0, 1.0], [1.4, 1.4]])
    found = recovered_contrast(blurred, TRUTH, INSIDE, ~INSIDE)
    assert found.linear == pytest.approx(0.5)
    assert found.free == pytest.approx(math.log(1.4) / math.log(2))


def test_a_wrong_factor_keeps_the_contrast_of_logarithms() -> None:
    found = recovered_contrast(1.2 * TRUTH, TRUTH, INSIDE, ~INSIDE)
    assert found.free == pytest.approx(1) and found.linear == pytest.approx(1.2)


def test_voxels_without_value_are_left_out() -> None:
    estimate = TRUTH.clone()
    estimate[0, 0] = math.nan
    found = recovered_contrast(estimate, TRUTH, INSIDE, ~INSIDE)
    assert found.n_inside == 1 and found.free == pytest.approx(1)
    estimate[0, 1] = -1.0
    found = recovered_contrast(estimate, TRUTH, INSIDE, ~INSIDE)
    assert found.n_inside == 0 and math.isnan(found.free) and math.isnan(found.linear)


def test_values_of_either_sign() -> None:
    found = recovered_contrast(0.5 * (TRUTH - 1), TRUTH - 1, INSIDE, ~INSIDE, positive=False)
    assert (found.free, found.linear, found.n_inside) == (pytest.approx(0.5), pytest.approx(0.5), 2)


def test_messages() -> None:
    with pytest.raises(UsageError, match="2 voxels are both"):
        recovered_contrast(TRUTH, TRUTH, INSIDE, INSIDE)
    with pytest.raises(UsageError, match="no contrast to recover"):
        recovered_contrast(TRUTH, torch.ones(2, 2), INSIDE, ~INSIDE)
