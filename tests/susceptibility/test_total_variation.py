import math
from collections.abc import Callable

import pytest
import torch

from tests.susceptibility.scenes import rms, scene, tissue
from unweight.core.errors import UsageError
from unweight.susceptibility.closed_form import tikhonov
from unweight.susceptibility.dipole import field_from_susceptibility
from unweight.susceptibility.fourier_grid import differences
from unweight.susceptibility.geometry import FieldGeometry
from unweight.susceptibility.total_variation import total_variation, weighted_total_variation

TILTED = FieldGeometry(voxel_mm=(1.0, 1.2, 1.5), direction=(0.0, math.sin(0.4), math.cos(0.4)))
SHAPE = (24, 20, 18)
ALL = torch.ones(SHAPE, dtype=torch.bool)


def forward(chi: torch.Tensor) -> torch.Tensor:
    return field_from_susceptibility(chi, TILTED.voxel_mm, TILTED.direction, pad=1.0, background=0.0)


def cost(chi: torch.Tensor, field: torch.Tensor, regularisation: float) -> float:
    slopes = differences(chi, TILTED.voxel_mm).abs().sum()
    return float(0.5 * (forward(chi) - field).square().sum() + regularisation * slopes)


@pytest.mark.parametrize(
    "method", [total_variation, weighted_total_variation], ids=lambda one: one.__name__
)
def test_the_cost_is_least(method: Callable[..., torch.Tensor]) -> None:
    """On a periodic grid, against the truth, other methods, and steps in any direction from it."""
    generator = torch.Generator().manual_seed(1)
    chi = tissue(SHAPE, TILTED.voxel_mm)
    chi = chi - chi.mean()
    field = forward(chi) + 1e-3 * torch.randn(SHAPE, generator=generator, dtype=torch.float64)
    regularisation = 2e-4
    found = method(field, ALL, TILTED, regularisation=regularisation, n_steps=600, pad=1.0)
    least = cost(found, field, regularisation)
    assert least < cost(chi, field, regularisation)
    assert least < 0.8 * cost(tikhonov(field, ALL, TILTED, pad=1.0), field, regularisation)
    for way in (found, chi, torch.randn(SHAPE, generator=generator, dtype=torch.float64)):
        for step in (-1e-2, 1e-2):
            moved = found + step * rms(chi) / rms(way) * way
            # The method of multipliers ends near the least cost, not on it.
            assert cost(moved, field, regularisation) > least * (1 - 1e-4)


def test_both_agree_where_all_is_known() -> None:
    field = forward(tissue(SHAPE, TILTED.voxel_mm))
    results = [
        method(field, ALL, TILTED, regularisation=2e-4, n_steps=600, pad=1.0)
        for method in (total_variation, weighted_total_variation)
    ]
    assert rms(results[0] - results[1]) < 0.01 * rms(results[0])
    ones = torch.ones(SHAPE, dtype=torch.float64)
    weighted = weighted_total_variation(field, ALL, TILTED, ones, n_steps=5)
    assert torch.equal(weighted, weighted_total_variation(field, ALL, TILTED, n_steps=5))


def test_voxels_without_trust_do_not_spoil_the_rest() -> None:
    """A block of noise. Measured error of χ: 5 % with the weight as without the block, 900 % blind."""
    geometry, shape = FieldGeometry(voxel_mm=(1.0, 1.0, 1.0)), (40, 40, 40)
    chi, mask = tissue(shape, geometry.voxel_mm), scene(geometry, shape).mask
    field = field_from_susceptibility(chi, geometry.voxel_mm, geometry.direction)
    block = torch.zeros_like(mask)
    block[20:24, 12:16, 20:24] = True
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    spoiled = torch.where(block, field + 0.5 * noise, field)
    trust, rest = (~block).double(), mask & ~block
    error = [
        rms((method(spoiled, mask, geometry, trust) - chi)[rest]) / rms(chi[rest])
        for method in (weighted_total_variation, total_variation)
    ]
    assert error[0] < 0.07
    assert error[1] > 1.0


def test_one_slice_stays_finite() -> None:
    field = torch.randn(24, 20, 1, generator=torch.Generator().manual_seed(1))
    found = total_variation(field, torch.ones(24, 20, 1, dtype=torch.bool), TILTED)
    assert bool(torch.isfinite(found).all())


def test_padding_that_cannot_be_is_refused() -> None:
    for method in (total_variation, weighted_total_variation):
        with pytest.raises(UsageError, match=r"pad must be at least 1, not 0\.5"):
            method(torch.zeros(SHAPE), ALL, TILTED, pad=0.5)
