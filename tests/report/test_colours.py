import math

import numpy as np
import pytest
from cmcrameri import cm

from unweight.core.errors import UsageError
from unweight.core.parameter import ParameterSpec
from unweight.report.colours import RelaxationNorm, colour_map, colours_for, relaxation_lut
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


def recommended_table(base: np.ndarray, low: float, high: float) -> np.ndarray:
    """The published rule, stated from its words: where in the map each of 256 evenly spaced values stands.

    The break is at hi/e. Below it the map is used linearly over the share (a − lo)/(2a − lo), above it
    logarithmically over what is left; with the break below lo all of the map is logarithmic. The first
    colour is kept for voxels without a value.
    """
    table = np.zeros((256, 3))
    turn = high / math.e
    share = max(0.0, (turn - low) / (2 * turn - low))
    start = max(turn, low)
    for entry in range(1, 256):
        value = low + (high - low) * entry / 256
        if value < turn:
            place = share * (value - low) / (turn - low)
        else:
            place = share + (1 - share) * (math.log(value) - math.log(start)) / (
                math.log(high) - math.log(start)
            )
        table[entry] = base[min(255, max(1, int(place * 256)))]
    return table


RANGES = [(0.0, 3.0), (0.2, 2.0), (0.5, 4.0), (2.0, 3.0)]


@pytest.mark.parametrize(("low", "high"), RANGES)
@pytest.mark.parametrize(
    ("quantity", "name"), [("T1", "lipari"), ("R1", "lipari_r"), ("T2", "navia"), ("R2star", "navia_r")]
)
def test_table_agrees_with_the_published_rule(quantity: str, name: str, low: float, high: float) -> None:
    base = np.asarray(getattr(cm, name)(np.arange(256)))[:, :3]
    expected = recommended_table(base, low, high)
    found = relaxation_lut(quantity, low, high)
    assert found.shape == (256, 3)
    assert np.abs(found - expected).max() <= 0.02
    assert found[0].tolist() == [0.0, 0.0, 0.0]
    assert found[1:].sum(axis=1).min() > 0.05  # what has a value is never black


def luminance(colours: np.ndarray) -> np.ndarray:
    """Relative luminance (IEC 61966-2-1)."""
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    return linear @ np.array([0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize(("low", "high"), RANGES)
def test_luminance_rises_with_times_and_falls_with_rates(low: float, high: float) -> None:
    for quantity, sign in (("T1", 1), ("T2", 1), ("T2star", 1), ("R1", -1), ("R2", -1), ("R2star", -1)):
        steps = sign * np.diff(luminance(relaxation_lut(quantity, low, high)[1:]))
        assert steps.min() >= 0, quantity
        assert steps.sum() > 0.3, quantity


def test_table_adapts_to_the_range() -> None:
    """Half of 0 … hi is beyond hi/e: the map is used up to 1 + ln(1/2) of its way there."""
    wide, narrow = relaxation_lut("T1", 0.0, 4.0), relaxation_lut("T1", 0.0, 2.0)
    np.testing.assert_allclose(wide, narrow, atol=1e-12)  # from 0 only the share of the range counts
    place = 0.5 + 0.5 * (1 + math.log(0.5))
    np.testing.assert_allclose(wide[128], cm.lipari(place)[:3], atol=0.02)
    assert np.abs(relaxation_lut("T1", 0.0, 2.0) - relaxation_lut("T1", 1.0, 2.0)).max() > 0.1


def test_table_of_what_the_recommendation_does_not_know() -> None:
    with pytest.raises(UsageError, match="no recommended colours for Chi"):
        relaxation_lut("Chi", 0.0, 1.0)


@pytest.mark.parametrize("spec", [T1, PD, CHI])
def test_no_value_is_black(spec: ParameterSpec) -> None:
    colours, norm = colours_for(spec, np.array([0.0, 0.5, 1.0]))
    low = float(norm.vmin or 0.0)
    assert np.asarray(colours(norm(np.array([low, low - 1.0]))))[:, :3].sum(axis=1).min() > 0.05
    assert np.asarray(colours(norm(np.array([np.nan, 1.0]))))[0, :3].sum() == 0.0
