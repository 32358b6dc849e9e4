import math

import numpy as np
import pytest

from unweight.report.charts import Dot, histogram, number, scatter, shares, strip, ticks


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0.0, 3.0, [0, 1, 2, 3]), (0.0, 0.3, [0, 0.1, 0.2, 0.3]), (-0.15, 0.15, [-0.1, 0, 0.1])],
)
def test_ticks_are_round_and_inside(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected, abs=1e-12)


def test_ticks_of_an_impossible_range() -> None:
    assert ticks(1.0, 1.0) == [1.0]
    assert ticks(math.nan, 1.0) == []


def test_histogram_counts_every_value_and_marks_the_median() -> None:
    values = np.array([0.5] * 30 + [1.0] * 60 + [9.0] * 10)
    drawn = str(histogram(values, 0.0, 3.0, "T1"))
    heights = [
        float(part.split('"')[0])
        for part in drawn.split('class="bar"')[1:]
        for part in [part.split('height="')[1]]
    ]
    assert len(heights) == 3  # the 9 s are in the last bar
    assert heights[0] / heights[1] == pytest.approx(0.5, abs=0.01)
    middle = float(drawn.split('class="middle" x1="')[1].split('"')[0])
    assert middle == pytest.approx(8 + 304 / 3, abs=0.06)


def test_histogram_of_nothing_is_an_empty_chart() -> None:
    assert 'class="bar"' not in str(histogram(np.zeros(0), 0.0, 1.0, "nothing"))


def test_names_are_escaped() -> None:
    evil = '<img src=x onerror="alert(1)">'
    for drawn in (
        strip([Dot(x=1.0, name=evil, outlier=True)], 0.0, 2.0, evil),
        scatter([Dot(x=1.0, y=2.0, name=evil)], evil, (evil, evil)),
        shares([("good", 1.0)], evil),
    ):
        assert "<img" not in drawn
        assert "&lt;img" in drawn


def test_numbers_read_well() -> None:
    assert [number(one) for one in (-0.0123, 1234567.0, math.nan, 0.0)] == [
        "−0.0123",
        "1,234,567",
        "–",
        "0",
    ]
