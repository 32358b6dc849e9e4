import math

import pytest
import torch

from unweight.core.errors import UsageError
from unweight.core.seeding import seeded_generator
from unweight.synth.scanner.instability import (
    Instability,
    InstabilityPrior,
    destabilise,
    draw_instability,
)

SIGNAL = torch.tensor([1.0, 0.5, -0.25]).expand(48, 40, 1, 3)


def errors(instability: Instability, n_draws: int = 60) -> torch.Tensor:
    draws = [destabilise(SIGNAL, instability, seeded_generator(i)) - SIGNAL for i in range(n_draws)]
    return torch.stack(draws)


@pytest.mark.parametrize("length", [0.7, 3.0, 20.0])
@pytest.mark.parametrize("common", [0.0, 0.6])
def test_gain_errors_have_the_stated_size_at_any_length(length: float, common: float) -> None:
    relative = errors(Instability(gain=0.02, added=0.0, length=length, common=common)) / SIGNAL
    # At 20 voxels an image of 48 × 40 has about two independent values: 360 in all, 4 % each.
    assert float(relative.std()) == pytest.approx(0.02, rel=0.12)


def test_added_errors_refer_to_the_brightest_volume() -> None:
    added = errors(Instability(gain=0.0, added=0.01, length=2.0, common=0.0))
    for volume in range(3):
        assert float(added[..., volume].std()) == pytest.approx(0.01, rel=0.05)


def test_neighbours_correlate_as_smoothing_makes_them() -> None:
    field = errors(Instability(gain=0.02, added=0.0, length=3.0, common=0.0))[..., 0]
    distance = 4
    near, far = field[:, :-distance], field[:, distance:]
    correlation = float((near * far).mean() / field.square().mean())
    # Smoothing by a Gaussian of standard deviation s correlates values d apart by exp(−d²/4s²).
    assert correlation == pytest.approx(math.exp(-(distance**2) / (4 * 9.0)), abs=0.05)


def test_volumes_are_independent_and_air_stays_air() -> None:
    signal = SIGNAL.clone()
    signal[:10] = 0
    both = Instability(gain=0.02, added=0.02, length=3.0, common=0.3)
    result = destabilise(signal, both, seeded_generator(1))
    assert (result[:10] == 0).all()
    relative = errors(Instability(gain=0.02, added=0.0, length=3.0, common=0.3), 100) / SIGNAL
    first, second = relative[..., 0].flatten(), relative[..., 1].flatten()
    assert abs(float((first * second).mean() / (first.std() * second.std()))) < 0.1


def test_prior() -> None:
    never = InstabilityPrior(probability=0.0)
    generator = seeded_generator(3)
    before = generator.get_state()
    assert draw_instability(never, generator) is None
    assert torch.equal(before, generator.get_state())
    draws = [draw_instability(InstabilityPrior(), seeded_generator(i)) for i in range(400)]
    present = [draw for draw in draws if draw is not None]
    assert 160 < len(present) < 240
    assert all(draw.gain or draw.added for draw in present)
    with pytest.raises(UsageError):
        InstabilityPrior(common=1.5)
