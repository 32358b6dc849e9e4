import math

import pytest
import torch

from unweight.core.errors import UsageError
from unweight.core.seeding import seeded_generator
from unweight.synth.chance import draw_count, draw_event, draw_log_uniform, draw_uniform


def test_draws_are_even() -> None:
    generator = seeded_generator(1)
    uniform = torch.tensor([draw_uniform((2.0, 6.0), generator) for _ in range(4000)])
    # Five standard errors of the mean of a uniform distribution.
    assert abs(float(uniform.mean()) - 4) < 5 * 4 / math.sqrt(12 * 4000)
    logarithm = torch.tensor([math.log10(draw_log_uniform((0.1, 10.0), generator)) for _ in range(4000)])
    assert abs(float(logarithm.mean())) < 5 * 2 / math.sqrt(12 * 4000)
    assert float(logarithm.min()) >= -1 and float(logarithm.max()) <= 1
    counts = torch.bincount(torch.tensor([draw_count(2, 4, generator) for _ in range(3000)]))
    assert counts[:2].sum() == 0 and bool((counts[2:] > 850).all())
    assert abs(sum(draw_event(0.3, generator) for _ in range(3000)) / 3000 - 0.3) < 0.045


def test_fixed_and_impossible_ends() -> None:
    assert draw_uniform((2.0, 2.0), seeded_generator(1)) == 2.0
    assert draw_log_uniform((2.0, 2.0), seeded_generator(1)) == 2.0
    with pytest.raises(UsageError, match="nothing can be drawn between 3 and 2"):
        draw_uniform((3.0, 2.0), seeded_generator(1))
    with pytest.raises(UsageError, match="must be positive"):
        draw_log_uniform((0.0, 2.0), seeded_generator(1))
