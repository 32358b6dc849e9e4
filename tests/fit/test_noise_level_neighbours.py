"""Noise from neighbouring voxels is that which was drawn."""

import math

import pytest
import torch

from unweight.core.seeding import seeded_generator
from unweight.fit.noise_level import noise_from_neighbours


def drawn(sigma: float) -> torch.Tensor:
    noise = torch.randn(40, 40, 4, 2, generator=seeded_generator(0, "noise"), dtype=torch.float64)
    return 100 + sigma * noise


def test_noise_on_flat_ground_is_that_drawn() -> None:
    assert noise_from_neighbours(drawn(3.0), torch.ones(40, 40, 4, dtype=torch.bool)) == pytest.approx(
        3.0, rel=0.03
    )


def test_a_ramp_does_not_count() -> None:
    ramp = 5 * torch.arange(40, dtype=torch.float64)[:, None, None, None]
    inside = torch.ones(40, 40, 4, dtype=torch.bool)
    assert noise_from_neighbours(drawn(3.0) + ramp, inside) == pytest.approx(3.0, rel=0.03)


def test_what_lies_outside_does_not_count() -> None:
    signal, inside = drawn(3.0), torch.ones(40, 40, 4, dtype=torch.bool)
    inside[:20] = False
    signal[:20] *= 50
    assert noise_from_neighbours(signal, inside) == pytest.approx(3.0, rel=0.05)


def test_a_few_voxels_tell_nothing() -> None:
    inside = torch.zeros(40, 40, 4, dtype=torch.bool)
    inside[:3, :3, 0] = True
    assert math.isnan(noise_from_neighbours(drawn(3.0), inside))
