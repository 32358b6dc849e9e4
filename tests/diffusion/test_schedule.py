import math

import pytest
import torch

from unweight.core.errors import UsageError
from unweight.diffusion.schedule import NoiseSchedule, cosine_schedule, linear_schedule, log_snr_schedule


def test_the_linear_schedule_is_that_of_ddpm() -> None:
    """ᾱ after 1000 steps is 4.0e-5: the sum of ln(1 − β), added up exactly."""
    schedule = linear_schedule()
    expected = math.exp(math.fsum(math.log1p(-(1e-4 + (2e-2 - 1e-4) * i / 999)) for i in range(1000)))
    assert float(schedule.alpha[-1]) ** 2 == pytest.approx(expected, rel=1e-10)
    assert expected == pytest.approx(4.0e-5, rel=0.01)
    assert float(schedule.sigma[1]) ** 2 == pytest.approx(1e-4)
    assert schedule.n_steps == 1000
    assert schedule.time[[0, 1, -1]].tolist() == [-1, 0, 999]


def test_the_cosine_schedule_goes_by_angles_to_pure_noise() -> None:
    schedule = cosine_schedule(6)
    assert schedule.alpha.tolist() == pytest.approx([math.cos(math.radians(15 * k)) for k in range(7)])
    assert float(schedule.alpha[-1]) == 0
    assert float(schedule.sigma[0]) == 0


def test_the_log_snr_schedule_has_equal_steps_and_the_time_of_the_cosine_schedule() -> None:
    schedule = log_snr_schedule(4, -3.0, 5.0)
    assert (schedule.alpha / schedule.sigma).log().tolist() == pytest.approx([5, 3, 1, -1, -3])
    assert (torch.pi / 2 * schedule.time).cos().tolist() == pytest.approx(schedule.alpha.tolist())


def test_a_subsample_keeps_the_ends() -> None:
    schedule = linear_schedule()
    part = schedule.subsample(3)
    assert part.time.tolist() == [-1, 332, 666, 999]
    assert part.alpha.tolist() == schedule.alpha[[0, 333, 667, 1000]].tolist()
    assert torch.equal(schedule.subsample(1000).alpha, schedule.alpha)


def test_levels_come_in_the_precision_of_the_sample_or_better() -> None:
    index = torch.tensor([3, 0])
    assert linear_schedule().at(index, torch.ones(2, 1, dtype=torch.float64)).alpha.dtype == torch.float64
    assert linear_schedule().at(index, torch.ones(2, 1, dtype=torch.bfloat16)).alpha.dtype == torch.float32
    assert linear_schedule().at(index, torch.ones(2, 1)).time.tolist() == [2, -1]


def three(alpha: list[float], sigma: list[float], dtype: torch.dtype = torch.float64) -> NoiseSchedule:
    time = torch.arange(len(alpha), dtype=dtype)
    return NoiseSchedule(
        alpha=torch.tensor(alpha, dtype=dtype), sigma=torch.tensor(sigma, dtype=dtype), time=time
    )


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: three([1.0], [0.0]), "at least two levels, not 1"),
        (lambda: three([1.0, 0.6], [0.0, 0.6]), "must be 1 on every level"),
        (lambda: three([0.6, 1.0], [0.8, 0.0]), "from clean to noisy: alpha falling.*Sort them"),
        (lambda: three([1.0, 1.0, 0.6], [0.0, 0.0, 0.8]), "leave out those that occur twice"),
        (lambda: three([1.0, -0.6], [0.0, 0.8]), "cannot be negative"),
        (lambda: three([1.0, 0.0], [0.0, 1.0], torch.float32), "double precision on the CPU"),
        (lambda: cosine_schedule(0), "at least one step, not 0"),
        (lambda: linear_schedule(1), "no linear schedule has 1 steps"),
        (lambda: log_snr_schedule(4, 1.0, -1.0), "no schedule has 4 steps and log SNR from 1 to -1"),
        (lambda: cosine_schedule(8).subsample(9), "a schedule of 8 steps gives 1 to 8, not 9"),
        (
            lambda: cosine_schedule(8).select([0, 9]),
            r"the levels of this schedule are 0 to 8, not \[0, 9\]",
        ),
    ],
)
def test_an_impossible_schedule_is_refused(build, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build()
