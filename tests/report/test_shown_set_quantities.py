import math

import pytest

from unweight.registry import quantity
from unweight.report.shown_set import digits_of, step_for, unit_shown


@pytest.mark.parametrize(
    ("step", "digits"), [(1.0, 0), (10.0, 0), (0.1, 1), (1e-3, 3), (2e-4, 4), (0.02, 2), (0.005, 3)]
)
def test_digits_tell_a_step(step: float, digits: int) -> None:
    assert digits_of(step) == digits


def test_steps_are_decades_and_divide_the_range_into_some_hundred() -> None:
    for top in (0.7, 3.0, 180.0, 4000.0):
        step = step_for(top)
        assert math.log10(step) == pytest.approx(round(math.log10(step)))
        assert 100 <= top / step <= 2000
    assert step_for(math.nan) > 0


def test_names() -> None:
    assert quantity("R2starmap").symbol == "R2*"
    assert quantity("MTsatmap").symbol == "MTsat"  # of a map nobody told us of
    assert [unit_shown(one) for one in ("1/s", "1", "arbitrary", "ppm")] == ["s⁻¹", "", "a.u.", "ppm"]
