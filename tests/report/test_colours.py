import math

import numpy as np
import pytest

from unweight.core.errors import UsageError
from unweight.core.parameter import ParameterSpec
from unweight.report.colours import RelaxationNorm, colour_map, colours_for
from unweight.signals.parameters import CHI

T1 = ParameterSpec(name="T1", unit="s", lower=0.01, upper=10, suffix="T1map")
PD = ParameterSpec(name="PD", unit="arbitrary", lower=0, upper=100, suffix="PDmap")


def published_rule(value: float, low: float, high: float) -> float:
    """The recommendation as it is written: linear up to hi/e, logarithmic above."""
    turn = high / math.e
    share = (turn - low) / (2 * turn - low) if turn > low else 0.0
    knee = max(turn, low)
    if value <= knee:
        return share * (value - low) / (turn - low) if turn > low else 0.0
    return share + (1 - share) * math.log(value / knee) / math.log(high / knee)


@pytest.mark.parametrize(("low", "high"), [(0.0, 3.0), (0.2, 2.0), (0.5, 4.0), (2.0, 3.0)])
def test_norm_follows_the_published_rule(low: float, high: float) -> None:
    values = np.linspace(low, high, 101)
    norm = RelaxationNorm(low, high)
    expected = [published_rule(float(value), low, high) for value in values]
    np.testing.assert_allclose(norm(values), expected, atol=1e-12)
    np.testing.assert_allclose(norm.inverse(norm(values)), values, atol=1e-9)
    assert np.all(np.diff(norm(values)) > 0)


def test_zero_based_range_turns_in_the_middle() -> None:
    norm = RelaxationNorm(0.0, math.e)
    assert float(norm(1.0)) == pytest.approx(0.5)
    step = 1e-6
    below, above = (float(norm(1.0 + side * step)) for side in (-1, 1))
    assert (0.5 - below) == pytest.approx(above - 0.5, rel=1e-4)  # the slope is continuous


def test_only_voxels_without_value_are_black() -> None:
    colours, norm = colours_for(T1, np.array([0.5, 1.0]))
    assert colours.name == "lipari"
    shown = colours(norm(np.array([0.0, 0.001, 5.0, np.nan])))
    assert shown[3].tolist() == [0.0, 0.0, 0.0, 1.0]
    assert all(pixel[:3].sum() > 0.05 for pixel in shown[:3])


def test_range_is_fixed_unless_many_exceed_it() -> None:
    assert colours_for(T1, np.array([0.5] * 99 + [9.0]))[1].vmax == 3.0
    assert colours_for(T1, np.array([0.5] * 50 + [5.0] * 50))[1].vmax == 5.0


def test_other_maps_are_grey_and_linear() -> None:
    colours, norm = colours_for(PD, np.array([0.0, 50.0, 100.0]))
    assert colours.name == "grayC"
    assert float(norm(50.0)) == pytest.approx(50.0 / float(norm.vmax or 0))
    assert colour_map("lajolla").get_bad().tolist() == [0, 0, 0, 1]


def test_impossible_range() -> None:
    with pytest.raises(UsageError, match="cannot show the range 2 to 1"):
        RelaxationNorm(2.0, 1.0)


def test_susceptibility_is_grey_about_zero_in_a_range_that_stays() -> None:
    """One scale for all heads; a calcification of −3 ppm does not widen it."""
    for values in (np.zeros(0), np.array([-3.0] * 50 + [0.1] * 50)):
        colours, norm = colours_for(CHI, values)
        assert colours.name == "grayC"
        assert (norm.vmin, norm.vmax) == (-0.15, 0.15)
        assert float(norm(0.0)) == pytest.approx(0.5)
        assert [float(norm(value)) for value in (-3.0, 3.0)] == [0.0, 1.0]
