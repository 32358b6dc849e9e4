import math

import pytest
import torch

from unweight.core.errors import UsageError
from unweight.core.seeding import seeded_generator
from unweight.synth.sampling import (
    bernoulli,
    draw_count,
    draw_frame,
    draw_log_uniform,
    draw_shares,
    draw_uniform,
)


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
    assert abs(sum(bernoulli(0.3, generator) for _ in range(3000)) / 3000 - 0.3) < 0.045


def test_fixed_and_impossible_ends() -> None:
    assert draw_uniform((2.0, 2.0), seeded_generator(1)) == 2.0
    assert draw_log_uniform((2.0, 2.0), seeded_generator(1)) == 2.0
    with pytest.raises(UsageError, match="nothing can be drawn between 3 and 2"):
        draw_uniform((3.0, 2.0), seeded_generator(1))
    with pytest.raises(UsageError, match="must be positive"):
        draw_log_uniform((0.0, 2.0), seeded_generator(1))


def test_shares_lie_between_0_and_1_and_repeat() -> None:
    first, second = (draw_shares(400, torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(first, second)
    assert float(first.min()) >= 0 and float(first.max()) < 1


def test_frames_are_orthonormal_and_point_everywhere() -> None:
    generator = torch.Generator().manual_seed(0)
    frames = torch.stack([draw_frame(generator) for _ in range(2000)])
    torch.testing.assert_close(
        frames @ frames.transpose(1, 2), torch.eye(3).expand(2000, 3, 3), rtol=0, atol=1e-5
    )
    # Directions that are even on the sphere have mean 0 and mean square 1/3; four standard errors.
    assert float(frames.mean(0).abs().max()) < 4 * (1 / 3 / 2000) ** 0.5
    assert float(frames.square().mean(0)[0, 0]) == pytest.approx(1 / 3, abs=4 * (4 / 45 / 2000) ** 0.5)
