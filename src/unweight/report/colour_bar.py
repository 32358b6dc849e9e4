"""A colour bar as SVG: the whole map from end to end, ticks where the scale puts the values."""

import numpy as np
from markupsafe import Markup

from unweight.report.charts import number, ticks
from unweight.report.shown_set import Layer

WIDE, TALL, BAR = 300, 34, 10
STOPS = 48
CLOSEST = 40.0  # pixels between two ticks


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
    marks, taken = [], -1e9
    for value in ticks(low, high, 6):
        at = WIDE * float(np.ma.getdata(layer.norm(np.array([value])))[0])
        if at - taken < CLOSEST:
            continue
        taken = at
        anchor = "start" if at < 8 else "end" if at > WIDE - 8 else "middle"
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
    ).format(WIDE, TALL, label, key, Markup("").join(stops), WIDE, BAR, key, Markup("").join(marks))


def _hexadecimal(colour: np.ndarray) -> str:
    return "".join(f"{round(255 * float(part)):02x}" for part in colour[:3])
