import math

import pytest
import torch
from torch import Tensor

from tests.susceptibility.echoes import TIMES, VOXEL, echoes
from tests.susceptibility.scenes import places
from unweight.core.errors import InputError
from unweight.fit.phase_quality import assess_phase
from unweight.susceptibility.field_map import FieldMap, field_map

SHAPE, SIZE = (15, 15, 15), (2.0, 2.0, 2.0)
LIMIT = 0.35
HOLE = (slice(6, 9), slice(6, 9), slice(6, 9))


def known(residual: Tensor, rate: Tensor, leverage: float = 1.0) -> FieldMap:
    """Return a field map with four echoes that says what it is told."""
    ones = torch.ones(SHAPE, dtype=torch.float64)
    return FieldMap(
        rate=rate,
        residual=residual,
        leverage=leverage * ones,
        unwrapped=ones[..., None].expand(*SHAPE, 4),
        scatter=ones,
    )


def ramp() -> Tensor:
    x, _, z = places(SHAPE, SIZE)
    return 30.0 + 2.0 * x - z


def holed() -> tuple[FieldMap, Tensor]:
    """Return a ramp with a cube of bad phase in the middle, and the mask of a ball."""
    residual, rate = torch.full(SHAPE, 0.05, dtype=torch.float64), ramp()
    residual[HOLE], rate[HOLE] = 1.0, 1e4
    x, y, z = places(SHAPE, SIZE)
    return known(residual, rate), x**2 + y**2 + z**2 < 13.0**2


def test_holes_are_filled_with_what_is_around_them() -> None:
    """By symmetry the smooth of a ramp is the ramp, as long as the Gaussian ends within the mask."""
    found, mask = holed()
    judged = assess_phase(found, mask, SIZE, None, LIMIT)
    assert torch.equal(judged.mask, mask)
    hole = mask & ~judged.good
    assert int(hole.sum()) == 27 and bool(hole[HOLE].all())
    # Of the cube's outer layers the surroundings are on one side; the ramp is 4 rad/s per voxel.
    assert float((judged.rate - ramp())[hole].abs().max()) < 4.0
    assert float(judged.rate[7, 7, 7]) == pytest.approx(30.0, abs=1e-6)
    assert torch.equal(judged.rate[judged.good], found.rate[judged.good])
    assert float(judged.rate[~mask].abs().max()) == 0.0
    assert float(judged.trust[hole].max()) == 0.0 and float(judged.sd[hole].max()) == 0.0


def test_bad_phase_at_the_surface_is_left_out() -> None:
    found, mask = holed()
    found.residual[7:, 6:9, 6:9] = 1.0
    judged = assess_phase(found, mask, SIZE, None, LIMIT)
    assert not bool(judged.mask[13, 7, 7]) and not bool(judged.mask[7, 7, 7])
    assert torch.equal(judged.mask, judged.good)


def test_pieces_are_kept_and_specks_are_not() -> None:
    found, mask = holed()
    found.residual[:, :, 10] = 1.0
    found.residual[:, :, 13] = 1.0
    found.residual[7, 7, 13] = 0.05
    judged = assess_phase(found, mask, SIZE, None, LIMIT)
    assert bool(judged.mask[7, 7, 5]) and bool(judged.mask[7, 7, 11])
    assert bool(mask[7, 7, 10]) and not bool(judged.mask[:, :, 10].any())
    found.residual[:, :, 11:] = 1.0
    found.residual[7, 7, 12] = 0.05
    judged = assess_phase(found, mask, SIZE, None, LIMIT)
    assert bool(mask[7, 7, 12]) and not bool(judged.mask[:, :, 10:].any())


def test_an_infinite_limit_keeps_all() -> None:
    found, mask = holed()
    judged = assess_phase(found, mask, SIZE, None, math.inf)
    assert torch.equal(judged.good, mask) and torch.equal(judged.mask, mask)
    assert torch.equal(judged.rate[mask], found.rate[mask])


@pytest.mark.parametrize("sigma", [0.01, 0.03])
def test_noise_is_found_within_a_tenth(sigma: float) -> None:
    simulated = echoes(sigma=sigma)
    found = field_map(simulated.signal, simulated.time, simulated.mask, VOXEL)
    judged = assess_phase(found, simulated.mask, VOXEL, None, LIMIT)
    assert judged.noise_sd == pytest.approx(sigma, rel=0.1)
    error = (judged.rate - simulated.rate)[judged.good]
    # The field of this head is known but for a constant and what the smooth offset leaves.
    z = ((error - error.median()) / judged.sd[judged.good]).abs().median() / 0.6745
    assert float(z) == pytest.approx(1.0, abs=0.15)


def test_known_noise_is_believed() -> None:
    found, mask = holed()
    judged = assess_phase(found, mask, SIZE, 0.5, LIMIT)
    assert judged.noise_sd == 0.5
    assert float(judged.sd[judged.good].min()) == float(judged.sd.max()) == pytest.approx(0.5)


def test_two_echoes_do_not_tell_the_noise() -> None:
    simulated = echoes(times=TIMES[:2], sigma=0.01)
    found = field_map(simulated.signal, simulated.time, simulated.mask, VOXEL)
    assert math.isnan(assess_phase(found, simulated.mask, VOXEL, None, LIMIT).noise_sd)
    assert assess_phase(found, simulated.mask, VOXEL, 0.01, LIMIT).noise_sd == 0.01


def test_trust_is_precision_up_to_that_of_the_best_tenth() -> None:
    simulated = echoes(sigma=0.02)
    found = field_map(simulated.signal, simulated.time, simulated.mask, VOXEL)
    judged = assess_phase(found, simulated.mask, VOXEL, None, LIMIT)
    assert float(judged.trust.min()) == 0.0 and float(judged.trust.max()) == 1.0
    assert float(judged.trust[~judged.good].max()) == 0.0 and bool((judged.trust[judged.good] > 0).all())
    full = (judged.trust == 1.0).sum() / judged.good.sum()
    assert float(full) == pytest.approx(0.1, abs=0.005)
    part = judged.good & (judged.trust < 1)
    product = (judged.trust * judged.sd)[part]
    assert float(product.std() / product.mean()) < 1e-12


def test_phase_that_is_a_line_nowhere() -> None:
    found, mask = holed()
    found.residual.fill_(0.4)
    with pytest.raises(InputError, match=r"linear in echo time to within 0\.35 rad"):
        assess_phase(found, mask, SIZE, None, LIMIT)
