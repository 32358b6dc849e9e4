"""The two schedules of Fast-DDPM by their published times."""

import pytest

from unweight.diffusion.denoiser import Prediction
from unweight.diffusion.schedule import linear_schedule
from unweight.learn.mprage.tasks import ScheduleConfig, ShortSchedule

# Jiang et al., arXiv 2405.14802, and runners/diffusion.py of the authors.
PUBLISHED = {
    ShortSchedule.UNIFORM: [0, 99, 199, 299, 399, 499, 599, 699, 799, 899, 999],
    ShortSchedule.NON_UNIFORM: [0, 199, 399, 599, 699, 799, 849, 899, 949, 999],
}


@pytest.mark.parametrize("schedule", ShortSchedule)
def test_the_levels_are_those_of_the_long_schedule_at_the_published_times(schedule: ShortSchedule) -> None:
    levels, whole = ScheduleConfig(ladder=schedule).levels(), linear_schedule()
    assert levels.time.tolist() == [-1, *PUBLISHED[schedule]]
    assert (float(levels.alpha[0]), float(levels.sigma[0])) == (1.0, 0.0)
    for alpha, time in zip(levels.alpha[1:], PUBLISHED[schedule], strict=True):
        assert float(alpha) == float(whole.alpha[time + 1])
    # √∏ (1 − β) of β from 1e-4 to 0.02: exp(−½·Σβ − ¼·Σβ²) = exp(−5.025 − 0.0336).
    assert float(levels.alpha[-1]) == pytest.approx(0.00636, rel=5e-3)


def test_what_is_taken_where_nothing_is_said() -> None:
    choice = ScheduleConfig()
    assert (choice.ladder, choice.prediction) == (ShortSchedule.NON_UNIFORM, Prediction.VELOCITY)
    assert choice.levels().n_steps == 10
    assert choice != ScheduleConfig(prediction=Prediction.EPSILON)
    assert choice != ScheduleConfig(ladder=ShortSchedule.UNIFORM)
