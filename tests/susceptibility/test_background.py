"""What every removal of background fields must do."""

import math

import pytest
import torch

from tests.susceptibility.scenes import Scene, correlation, places, rms, scene, slope
from unweight.susceptibility.background import BackgroundRemoval, LocalField
from unweight.susceptibility.geometry import FieldGeometry
from unweight.susceptibility.pdf import pdf
from unweight.susceptibility.resharp import resharp
from unweight.susceptibility.vsharp import vsharp


def small_vsharp(
    field: torch.Tensor,
    mask: torch.Tensor,
    geometry: FieldGeometry,
    weight: torch.Tensor | None = None,
) -> LocalField:
    """Spheres up to 8 mm, for a head of 15 mm."""
    return vsharp(field, mask, geometry, weight, largest_mm=8.0)


REMOVALS = (small_vsharp, resharp, pdf)
TILTED = (0.0, math.sin(0.4), math.cos(0.4))
GRIDS = {
    "axial": (FieldGeometry(voxel_mm=(1.0, 1.0, 1.0)), (40, 40, 40)),
    "oblique": (FieldGeometry(voxel_mm=(1.0, 1.0, 1.0), direction=TILTED), (40, 40, 40)),
    "uneven": (FieldGeometry(voxel_mm=(1.0, 1.0, 1.5), direction=TILTED), (40, 40, 28)),
}


@pytest.fixture(scope="module", params=GRIDS)
def setting(request: pytest.FixtureRequest) -> tuple[FieldGeometry, Scene]:
    geometry, shape = GRIDS[request.param]
    return geometry, scene(geometry, shape)


@pytest.mark.parametrize("removal", REMOVALS, ids=lambda one: one.__name__)
def test_background_goes_and_local_field_stays(
    removal: BackgroundRemoval, setting: tuple[FieldGeometry, Scene]
) -> None:
    """A background ten times as strong as the local field.

    Measured: 99.5 to 99.9 % of the background goes. Deep inside, correlation with the local field is
    0.94 to 0.96 (V-SHARP), 0.99 (RESHARP), 0.98 to 0.99 (PDF); slope is 0.78 to 0.93, for what is
    harmonic of the local field goes with the background.
    """
    geometry, (local, background, mask, deep) = setting
    assert rms(background[mask]) > 9 * rms(local[mask])
    alone = removal(background, mask, geometry)
    assert rms(alone.field[alone.mask]) < 0.01 * rms(background[alone.mask])
    found = removal(local + background, mask, geometry)
    here = found.mask & deep
    assert int(here.sum()) > 1000
    assert correlation(found.field[here], local[here]) > 0.92
    assert 0.75 < slope(found.field[here], local[here]) < 1.0
    assert not bool((found.mask & ~mask).any())
    assert float(found.field[~found.mask].abs().max()) == 0.0
    assert found.field.dtype is torch.float64


@pytest.mark.parametrize("removal", REMOVALS, ids=lambda one: one.__name__)
def test_harmonic_field_leaves_nothing(
    removal: BackgroundRemoval, setting: tuple[FieldGeometry, Scene]
) -> None:
    """Measured: 0.05 to 0.5 %; voxels are no balls, and conjugate gradients stop."""
    geometry, (_, _, mask, _) = setting
    x, y, z = places((mask.shape[0], mask.shape[1], mask.shape[2]), geometry.voxel_mm)
    harmonic = 1 + 0.05 * z + 0.01 * (x**2 - y**2)
    found = removal(harmonic, mask, geometry)
    assert rms(found.field[found.mask]) < 0.01 * rms(harmonic[found.mask])


@pytest.mark.parametrize("removal", REMOVALS, ids=lambda one: one.__name__)
def test_what_lies_outside_the_mask_does_not_matter(removal: BackgroundRemoval) -> None:
    geometry, shape = GRIDS["uneven"]
    local, background, mask, _ = scene(geometry, shape)
    total = local + background
    spoiled = torch.where(mask, total, torch.full_like(total, 1e4))
    here, there = removal(total, mask, geometry), removal(spoiled, mask, geometry)
    assert torch.equal(here.field, there.field) and torch.equal(here.mask, there.mask)


@pytest.mark.parametrize("removal", REMOVALS, ids=lambda one: one.__name__)
def test_constant_leaves_little(removal: BackgroundRemoval) -> None:
    """A sphere counts as inside the mask when 99.9 % of it is: up to 0.2 % of a constant stays."""
    geometry, shape = GRIDS["uneven"]
    mask = scene(geometry, shape).mask
    found = removal(torch.ones(shape, dtype=torch.float64), mask, geometry)
    assert float(found.field.abs().max()) < 2e-3


@pytest.mark.parametrize("removal", REMOVALS, ids=lambda one: one.__name__)
def test_unit_and_precision_are_those_of_the_field(removal: BackgroundRemoval) -> None:
    geometry, shape = GRIDS["uneven"]
    local, background, mask, _ = scene(geometry, shape)
    total = local + background
    in_hertz = removal(127.7 * total, mask, geometry)
    in_ppm = removal(total, mask, geometry)
    # 60 conjugate gradients multiply rounding; the field is of the order of 1 Hz.
    torch.testing.assert_close(in_hertz.field, 127.7 * in_ppm.field, rtol=1e-6, atol=1e-6)
    single = removal(total.float(), mask, geometry)
    assert single.field.dtype is torch.float32
    # Conjugate gradients may stop a step earlier or later.
    assert rms(single.field - in_ppm.field) < 0.02 * rms(in_ppm.field)
