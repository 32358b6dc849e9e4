import numpy as np
import pytest
import torch

from unweight.bids.nifti.stored_numbers import step_of, steps_of


@pytest.mark.parametrize("step", [1.0, 0.31, 322.58, 1 / 651.74, 7.23883])
@pytest.mark.parametrize("intercept", [0.0, -3.14159, 1000.0])
@pytest.mark.parametrize("gaps", [False, True])
def test_step_of_scaled_integers(step: float, intercept: float, gaps: bool) -> None:
    generator = np.random.default_rng(0)
    stored = generator.choice(np.arange(0, 4096, 1), 60 if gaps else 2000)
    found = step_of((stored * step + intercept * step).astype("f4"))
    assert found == pytest.approx(step, rel=1e-5)


def test_values_that_lie_on_no_lattice() -> None:
    generator = np.random.default_rng(0)
    assert step_of(generator.random(4000).astype("f4")) is None
    assert step_of(generator.integers(0, 32767, 4000) * np.float32(0.1)) is None
    assert step_of(np.repeat(np.float32([0, 1, 2]), 100)) is None
    assert step_of(np.full(100, np.nan, "f4")) is None


def test_slices_and_volumes_of_different_steps() -> None:
    generator = np.random.default_rng(0)
    stored = torch.tensor(generator.integers(0, 4096, (20, 20, 2, 3)))
    stored[..., 0, 0] = 0
    assert steps_of(stored.float() * 0.31) == pytest.approx((0.31,))
    slopes = torch.tensor([[0.5, 0.5, 0.7], [0.5, 0.5, 1.1]])
    assert steps_of(stored.float() * slopes) == pytest.approx((0.5, 0.7, 1.1))
    stored = torch.tensor(generator.integers(0, 4096, (20, 20, 2)))
    assert steps_of(stored * 0.31) == pytest.approx((0.31,))
