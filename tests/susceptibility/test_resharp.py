import pytest
import torch

from tests.susceptibility.scenes import places, rms, scene
from unweight.core.errors import InputError
from unweight.susceptibility.geometry import FieldGeometry
from unweight.susceptibility.resharp import resharp

CUBE = FieldGeometry(voxel_mm=(1.0, 1.0, 1.0))


def test_mask_shrinks_by_the_radius() -> None:
    """A ball of 15 mm loses what is less than 6 mm from its surface, but for half a diagonal."""
    _, background, mask, _ = scene(CUBE)
    kept = resharp(background, mask, CUBE).mask
    x, y, z = places((40, 40, 40))
    away = (x**2 + y**2 + z**2).sqrt()
    assert bool(kept[away < 15 - 6 - 0.9].all())
    assert not bool(kept[away > 15 - 6 + 0.9].any())
    assert int(resharp(background, mask, CUBE, radius_mm=3.0).mask.sum()) > 2 * int(kept.sum())


def test_local_field_within_a_fifth() -> None:
    """Measured error: 15 % of the local field, its harmonic part."""
    local, background, mask, _ = scene(CUBE)
    found = resharp(local + background, mask, CUBE)
    assert rms((found.field - local)[found.mask]) < 0.2 * rms(local[found.mask])


def test_regularisation_keeps_the_field_small() -> None:
    local, background, mask, _ = scene(CUBE)
    sizes = []
    for regularisation in (1e-4, 1e-2, 1e-1, 1.0):
        found = resharp(local + background, mask, CUBE, regularisation=regularisation)
        sizes.append(float(found.field.square().sum()))
    assert sizes == sorted(sizes, reverse=True) and sizes[-1] < 0.5 * sizes[0]


def test_mask_without_room_is_refused() -> None:
    thin = torch.zeros(24, 24, 24, dtype=torch.bool)
    thin[4:20, 4:20, 8:16] = True
    with pytest.raises(InputError, match=r"no sphere of 6 mm fits into the mask.*use V-SHARP"):
        resharp(torch.zeros(24, 24, 24), thin, CUBE)
    assert bool(resharp(torch.zeros(24, 24, 24), thin, CUBE, radius_mm=2.0).mask.any())
    # The sphere is at least one voxel wide.
    with pytest.raises(InputError, match="no sphere of 9 mm"):
        resharp(torch.zeros(24, 24, 24), thin, FieldGeometry(voxel_mm=(9.0, 1.0, 1.0)))
