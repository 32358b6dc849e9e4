import json

import pytest

from unweight.core.errors import UsageError
from unweight.learn.training.comparison import comparison
from unweight.learn.training.weights import load_weights
from unweight.registry import Method, trained_methods


@pytest.mark.parametrize(
    ("new", "other", "better"), [(0.1, 0.2, True), (0.2, 0.2, False), (0.3, 0.2, False)]
)
def test_small_errors_are_better(new: float, other: float, better: bool) -> None:
    found = comparison("t1-rim", {"rmse_ln_t1": new, "x": 1.0}, {"rmse_ln_t1": other})
    assert found.better is better
    assert json.loads(found.to_json())["better"] is better


def test_large_signal_to_noise_ratios_are_better() -> None:
    assert comparison("mprage", {"psnr": 27.0}, {"psnr": 26.0}).better
    assert "psnr 25, not better than 26" in str(comparison("mprage", {"psnr": 25.0}, {"psnr": 26.0}))


def test_scores_without_the_one_that_counts_are_refused() -> None:
    with pytest.raises(UsageError):
        comparison("mprage", {"ssim": 0.9}, {"psnr": 26.0})


@pytest.mark.parametrize("record", trained_methods(), ids=lambda record: record.weights)
def test_the_card_of_every_network_has_the_score_it_is_compared_by(record: Method) -> None:
    _, card = load_weights(record.weights)
    assert record.score[:1] in ("+", "-")
    assert record.score[1:] in card.metrics
