import math

import pytest
import torch

from unweight.core.errors import UsageError
from unweight.susceptibility.closed_form import tikhonov, tikhonov_kernel
from unweight.susceptibility.dipole import field_from_susceptibility
from unweight.susceptibility.fourier_grid import differences, padded_grid
from unweight.susceptibility.geometry import FieldGeometry

TILTED = FieldGeometry(voxel_mm=(1.0, 1.2, 2.0), direction=(0.0, math.sin(0.4), math.cos(0.4)))
SHAPE = (18, 16, 15)
ALL = torch.ones(SHAPE, dtype=torch.bool)


def cost(chi: torch.Tensor, field: torch.Tensor, regularisation: float) -> torch.Tensor:
    made = field_from_susceptibility(chi, TILTED.voxel_mm, TILTED.direction, pad=1.0, background=0.0)
    slopes = differences(chi, TILTED.voxel_mm)
    return (made - field).square().sum() + regularisation * slopes.square().sum()


@pytest.mark.parametrize("regularisation", [1e-4, 2e-3, 0.1])
def test_the_cost_is_least(regularisation: float) -> None:
    """Its derivative vanishes, on a periodic grid, up to the single precision of the kernel."""
    field = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    chi = tikhonov(field, ALL, TILTED, regularisation=regularisation, pad=1.0).requires_grad_()
    (derivative,) = torch.autograd.grad(cost(chi, field, regularisation), chi)
    assert float(derivative.norm()) < 1e-5 * float(field.norm())


def test_little_regularisation_gives_the_truth_back() -> None:
    """But for k = 0 and the cone, where the field says nothing."""
    chi = torch.randn(SHAPE, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    field = field_from_susceptibility(chi, TILTED.voxel_mm, TILTED.direction, pad=1.0, background=0.0)
    found = tikhonov(field, ALL, TILTED, regularisation=1e-7, pad=1.0)
    # 5 of 100 of all k lie so near the cone that λ still counts.
    assert float((found - (chi - chi.mean())).norm()) < 0.1 * float(chi.norm())


def test_derivative_in_the_field() -> None:
    field = torch.randn(6, 5, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    mask = torch.rand(6, 5, 4, generator=torch.Generator().manual_seed(3)) > 0.3
    assert torch.autograd.gradcheck(lambda one: tikhonov(one, mask, TILTED), field.requires_grad_())


@pytest.mark.parametrize("regularisation", [0.0, -1e-3, math.nan])
def test_regularisation_that_cannot_be_is_refused(regularisation: float) -> None:
    with pytest.raises(UsageError, match=r"a regularisation of .*Give a positive one"):
        tikhonov_kernel(padded_grid(SHAPE, 1.0), TILTED, regularisation)
