import pytest
import torch

from tests.susceptibility.scenes import places
from unweight.core.seeding import seeded_generator
from unweight.susceptibility.field_map import phase_coherence

SHAPE = (20, 18, 16)
EVERYWHERE = torch.ones(SHAPE, dtype=torch.bool)


def ramps(n_echoes: int) -> torch.Tensor:
    x, y, z = places(SHAPE, (1.0, 1.0, 1.0))
    phase = 0.9 * x - 0.5 * y + 0.2 * z
    return torch.polar(torch.ones(SHAPE), phase.float())[..., None] ** torch.arange(1, n_echoes + 1)


@pytest.mark.parametrize("n_echoes", [1, 2, 4])
def test_a_ramp_has_one_and_noise_has_nothing(n_echoes: int) -> None:
    assert phase_coherence(ramps(n_echoes), EVERYWHERE) == pytest.approx(1.0, abs=1e-5)
    generator = seeded_generator(3, "noise")
    noise = torch.complex(*(torch.randn((*SHAPE, n_echoes), generator=generator) for _ in range(2)))
    assert phase_coherence(noise, EVERYWHERE) < 4 / EVERYWHERE.sum().sqrt()
    inside = EVERYWHERE.clone()
    inside[10:] = False
    half = torch.where(inside[..., None], ramps(n_echoes), noise)
    assert phase_coherence(half, inside) == pytest.approx(1.0, abs=1e-5)


def test_scale_does_not_count_and_a_single_voxel_says_nothing() -> None:
    assert phase_coherence(1e-12 * ramps(2), EVERYWHERE) == pytest.approx(1.0, abs=1e-5)
    assert phase_coherence(1e9 * ramps(2), EVERYWHERE) == pytest.approx(1.0, abs=1e-5)
    one = torch.zeros(SHAPE, dtype=torch.bool)
    one[3, 3, 3] = True
    assert phase_coherence(ramps(2), one) == 1.0
