import pytest
import torch

from unweight.diffusion.schedule import non_uniform_schedule, uniform_schedule


def test_the_signal_to_noise_ratios_of_the_uniform_schedule() -> None:
    """In decibel, computed from the authors' schedule when their code was read."""
    schedule = uniform_schedule()
    assert schedule.time.tolist() == [-1, 0, *range(99, 1000, 100)]
    decibel = 20 * torch.log10(schedule.alpha / schedule.sigma)[1:]
    expected = [40, 9.4, 2.9, -1.8, -6.2, -10.7, -15.8, -21.5, -28.1, -35.6, -43.9]
    assert decibel.tolist() == pytest.approx(expected, abs=0.06)


def test_the_times_of_the_non_uniform_schedule() -> None:
    schedule = non_uniform_schedule()
    assert schedule.time.tolist() == [-1, 0, 199, 399, 599, 699, 799, 849, 899, 949, 999]
    assert float(schedule.sigma[0]) == 0
