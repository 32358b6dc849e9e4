"""Small charts as SVG inside a page: they take the colours of the page, in light and in dark.

Numbers are written with one decimal of a pixel, so that the same values give the same page.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from unweight.metrics.accuracy import quartiles
from unweight.report.colours import place_on, spaced_ticks, ticks
from unweight.report.shown_set import Layer

WIDE, TALL = 320.0, 120.0
LEFT, RIGHT, TOP, BOTTOM = 8.0, 8.0, 8.0, 22.0
MOST_NAMES = 6
BAR_WIDE, BAR_TALL, BAR = 300, 34, 10  # of the colour bar
STOPS = 48
CLOSEST = 40.0  # pixels between two ticks


@final
@dataclass(frozen=True, kw_only=True)
class Dot:
    """One subject on a chart.

    Attributes:
        x: Along the page.
        y: Up the page; ignored where there is one axis only.
        name: Shown when pointed at.
        other: Whether it belongs to the second group.
        outlier: Whether it is marked and named.
    """

    x: float
    y: float = 0.0
    name: str = ""
    other: bool = False
    outlier: bool = False


def histogram(values: NDArray[np.floating[Any]], low: float, high: float, label: str) -> Markup:
    """Draw how often values occur; the shaded part holds the middle half, the line is the median.

    Args:
        values: Finite ones.
        low: Left end; what lies beyond is counted in the first bar.
        high: Right end, likewise.
        label: What it shows, for those who cannot see it.
    """
    counts, edges = np.histogram(np.clip(values, low, high), bins=60, range=(low, high))
    most = max(1, int(counts.max()))
    x = _scale(low, high, LEFT, WIDE - RIGHT)
    floor = TALL - BOTTOM
    parts = []
    if values.size:
        first, middle, third = (float(np.clip(each, low, high)) for each in quartiles(values))
        parts.append(_box("range", x(first), TOP, x(third) - x(first), floor - TOP))
    for count, left, right in zip(counts, edges[:-1], edges[1:], strict=True):
        height = (floor - TOP) * float(count) / most
        if count:
            parts.append(_box("bar", x(left) + 0.3, floor - height, x(right) - x(left) - 0.6, height))
    if values.size:
        parts.append(_line("middle", x(middle), TOP, x(middle), floor))
    return _svg(TALL, label, [*parts, *_axis(low, high, x, floor)])


def strip(dots: Sequence[Dot], low: float, high: float, label: str) -> Markup:
    """Draw one dot a subject along one axis; outliers are red and named."""
    x = _scale(low, high, LEFT, WIDE - RIGHT)
    floor, centre = TALL - BOTTOM, 0.62 * (TALL - BOTTOM)
    parts: list[Markup] = []
    named = 0
    for dot in sorted(dots, key=lambda item: (item.outlier, item.x, item.name)):
        height = centre + 16 * _spread(dot.name)
        parts.append(_dot(dot, x(dot.x), height))
        if dot.outlier and named < MOST_NAMES:
            parts.append(_name(dot.name, x(dot.x), 12 + 11 * (named % 3), height - 6))
            named += 1
    return _svg(TALL, label, [*parts, *_axis(low, high, x, floor)])


def scatter(dots: Sequence[Dot], label: str, words: tuple[str, str]) -> Markup:
    """Draw one dot a subject against another number, with the straight line through them.

    Args:
        dots: At least one.
        label: What it shows, for those who cannot see it.
        words: What stands at the axes, along and up.
    """
    tall, left = 190.0, 46.0
    xs, ys = [dot.x for dot in dots], [dot.y for dot in dots]
    x_ends, y_ends = room(xs), room(ys)
    x, y = _scale(*x_ends, left, WIDE - RIGHT), _scale(*y_ends, tall - 38, TOP)
    parts = []
    for tick in ticks(*y_ends, 4):
        parts.append(_line("axis", left, y(tick), WIDE - RIGHT, y(tick)))
        parts.append(_text(number(tick), left - 5, y(tick) + 4, "end"))
    parts += _axis(*x_ends, x, tall - 38)
    parts.append(_text(words[0], WIDE - RIGHT, tall - 6, "end"))
    if len(set(xs)) > 2:
        slope, start = np.polyfit(xs, ys, 1)
        ends = (min(xs), max(xs))
        parts.append(
            _line("trend", x(ends[0]), y(start + slope * ends[0]), x(ends[1]), y(start + slope * ends[1]))
        )
    parts += [_dot(dot, x(dot.x), y(dot.y)) for dot in dots]
    parts.append(_text(words[1], 2, tall - 6, "start"))
    return _svg(tall, label, parts)


def shares(parts: Sequence[tuple[str, float]], label: str) -> Markup:
    """Draw shares of a whole side by side.

    Args:
        parts: Class of the colour (`good`, `doubt`, `bad`, `none`) and share, 0 to 1.
        label: What it shows, for those who cannot see it.
    """
    boxes, left = [], 0.0
    for kind, share in parts:
        width = 1000 * max(0.0, share)
        boxes.append(_box(f"s-{kind}", left, 0, width, 14))
        left += width
    return Markup(
        '<svg viewBox="0 0 1000 14" preserveAspectRatio="none" role="img" aria-label="{}">{}</svg>'
    ).format(label, Markup("").join(boxes))


def number(value: float) -> str:
    """Return a number with three digits that count, a true minus sign, and a dash for none."""
    if not math.isfinite(value):
        return "–"
    text = f"{value:.3g}"
    if "e" in text and 1e-4 <= abs(value) < 1e7:
        text = f"{value:,.0f}"
    return text.replace("-", "−")


def room(values: Sequence[float]) -> tuple[float, float]:
    """Return a range that holds the values with some room at both ends."""
    low, high = min(values), max(values)
    margin = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    return low - margin, high + margin


def _scale(low: float, high: float, first: float, last: float) -> Any:
    span = high - low or 1.0
    return lambda value: first + (last - first) * (float(value) - low) / span


def _axis(low: float, high: float, x: Any, floor: float) -> list[Markup]:
    parts = [_line("axis", LEFT, floor, WIDE - RIGHT, floor)]
    for tick in ticks(low, high):
        at = x(tick)
        anchor = "start" if at < LEFT + 6 else "end" if at > WIDE - RIGHT - 6 else "middle"
        parts.append(_line("axis", at, floor, at, floor + 4))
        parts.append(_text(number(tick), at, floor + 16, anchor))
    return parts


def _spread(name: str) -> float:
    """Return where in the strip a dot lies, −1 to 1: the same for the same subject."""
    return (sum((place + 1) * ord(mark) for place, mark in enumerate(name)) * 7 % 21) / 10 - 1


def _name(name: str, x: float, top: float, foot: float) -> Markup:
    anchor = "start" if x < 60 else "end" if x > WIDE - 60 else "middle"
    return Markup('<text class="named" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(
        x, min(top, foot), anchor, name
    )


def _dot(dot: Dot, x: float, y: float) -> Markup:
    kind = "dot out" if dot.outlier else "dot other" if dot.other else "dot"
    return Markup('<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="{}"><title>{}</title></circle>').format(
        kind, x, y, "4.5" if dot.outlier else "3.5", dot.name
    )


def _box(kind: str, x: float, y: float, width: float, height: float) -> Markup:
    return Markup('<rect class="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>').format(
        kind, x, y, max(0.0, width), max(0.0, height)
    )


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> Markup:
    return Markup('<line class="{}" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>').format(
        kind, x1, y1, x2, y2
    )


def _text(text: str, x: float, y: float, anchor: str) -> Markup:
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(x, y, anchor, text)


def _svg(tall: float, label: str, parts: Sequence[Markup]) -> Markup:
    return Markup('<svg viewBox="0 0 {:.0f} {:.0f}" role="img" aria-label="{}">{}</svg>').format(
        WIDE, tall, label, Markup("").join(parts)
    )


def colour_bar(layer: Layer, key: str) -> Markup:
    """Draw the colour bar of a layer.

    Args:
        layer: Whose colours and scale it shows.
        key: A name that no other bar of the page has.
    """
    low, high = layer.window
    places = np.linspace(0.0, 1.0, STOPS)
    stops = [
        Markup('<stop offset="{:.4f}" stop-color="#{}"/>').format(place, _hexadecimal(colour))
        for place, colour in zip(places, np.asarray(layer.colours(places)), strict=True)
    ]
    marks = []
    for value in spaced_ticks(layer.norm, CLOSEST / BAR_WIDE):
        at = BAR_WIDE * place_on(layer.norm, value)
        anchor = "start" if at < 8 else "end" if at > BAR_WIDE - 8 else "middle"
        marks.append(
            Markup('<line class="axis" x1="{0:.1f}" y1="{1}" x2="{0:.1f}" y2="{2}"/>').format(
                at, BAR, BAR + 4
            )
        )
        marks.append(
            Markup('<text x="{:.1f}" y="{}" text-anchor="{}">{}</text>').format(
                at, BAR + 16, anchor, number(value)
            )
        )
    label = f"{layer.title}: {number(low)} to {number(high)} {layer.unit}".strip()
    return Markup(
        '<svg class="bar" viewBox="0 0 {} {}" role="img" aria-label="{}"><defs><linearGradient id="{}">'
        '{}</linearGradient></defs><rect width="{}" height="{}" rx="2" fill="url(#{})"/>{}</svg>'
    ).format(
        BAR_WIDE, BAR_TALL, label, key, Markup("").join(stops), BAR_WIDE, BAR, key, Markup("").join(marks)
    )


def _hexadecimal(colour: np.ndarray) -> str:
    return "".join(f"{round(255 * float(part)):02x}" for part in colour[:3])
