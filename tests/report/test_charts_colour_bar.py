import re

import numpy as np
import pytest
import torch

from unweight.report.charts import BAR_WIDE, colour_bar
from unweight.report.colours import colours_for
from unweight.report.shown_set import Layer
from unweight.signals.parameters import T1


def test_ticks_stand_where_the_rule_puts_the_values() -> None:
    colours, norm = colours_for(T1, np.zeros(0))
    layer = Layer(title="T1", values=torch.zeros(1, 1, 1), unit="s", step=0.001, colours=colours, norm=norm)
    drawn = str(colour_bar(layer, "bar1"))
    ticks = dict(re.findall(r'x="([\d.]+)" y="26" text-anchor="\w+">([\d.]+)<', drawn))
    found = {float(value): float(at) for at, value in ticks.items()}
    assert found[0.0] == 0.0
    assert found[3.0] == BAR_WIDE
    a = 3.0 / np.e  # half of the bar for values up to here
    assert found[2.0] == pytest.approx(BAR_WIDE * (0.5 + 0.5 * np.log(2.0 / a)), abs=0.06)
    assert found[0.5] == pytest.approx(BAR_WIDE * 0.5 * 0.5 / a, abs=0.06)
    assert f'stop-color="#{"".join(f"{round(255 * part):02x}" for part in colours(0.0)[:3])}"' in drawn
