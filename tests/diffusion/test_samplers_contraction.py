import math

import pytest
import torch

from unweight.core.errors import UsageError
from unweight.diffusion.gaussian import GaussianDenoiser
from unweight.diffusion.level import item_noise
from unweight.diffusion.samplers import Ddim, ancestral_contraction, ddim_contraction, variance_correction
from unweight.diffusion.schedule import (
    cosine_schedule,
    linear_schedule,
    log_snr_schedule,
    non_uniform_schedule,
    uniform_schedule,
)

# Computed with another programme when the methods were chosen (methods.md 6.1, table C).
TABLE = {
    1.0: (0.73, 0.86, 0.93, 0.96, 0.83, 0.69),
    0.2: (0.42, 0.65, 0.82, 0.90, 0.53, 0.31),
    0.05: (0.12, 0.24, 0.44, 0.67, 0.33, 0.26),
    0.01: (0.02, 0.05, 0.10, 0.20, 0.51, 0.51),
}


@pytest.mark.parametrize(("sd", "expected"), TABLE.items())
def test_the_table_of_contractions(sd: float, expected: tuple[float, ...]) -> None:
    schedules = [*(cosine_schedule(n) for n in (4, 8, 16, 32)), uniform_schedule(), non_uniform_schedule()]
    assert [ddim_contraction(schedule, sd) for schedule in schedules] == pytest.approx(expected, abs=0.0051)


@pytest.mark.parametrize("n_steps", [1, 2, 8, 100])
def test_whitened_data_shrink_by_a_known_power(n_steps: int) -> None:
    expected = math.cos(math.pi / (2 * n_steps)) ** n_steps
    assert ddim_contraction(cosine_schedule(n_steps), 1.0) == pytest.approx(expected, abs=1e-12)


def test_the_correction_restores_the_variance() -> None:
    schedule = cosine_schedule(2)
    sample = Ddim(schedule=schedule)(
        GaussianDenoiser(mean=0.0, sd=1.0), item_noise(1, range(2), (1, 20000), torch.float64), None
    )
    assert float(sample.var()) == pytest.approx(0.25, abs=0.01)
    # Four standard errors of 40000 values.
    assert float(sample.var()) * variance_correction(schedule) == pytest.approx(
        1, abs=4 * (2 / 40000) ** 0.5
    )


def test_ancestral_sampling_needs_its_thousand_steps() -> None:
    assert ancestral_contraction(linear_schedule(), 1.0) > 0.99
    assert ancestral_contraction(linear_schedule(), 0.2) > 0.98
    assert ancestral_contraction(cosine_schedule(8), 0.05) < 0.25


def test_what_has_no_contraction_is_refused() -> None:
    with pytest.raises(UsageError, match=r"ends with noise of 0\.0067.*first level is clean"):
        ddim_contraction(log_snr_schedule(4), 1.0)
    with pytest.raises(UsageError, match="must be positive, not 0"):
        ancestral_contraction(cosine_schedule(4), 0.0)
