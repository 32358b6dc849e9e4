import math

import pytest
import torch

from unweight.core.errors import UsageError
from unweight.susceptibility.geometry import (
    GYROMAGNETIC_RATIO,
    FieldGeometry,
    check_geometry,
    geometry_of,
)


def affine(columns: list[list[float]]) -> torch.Tensor:
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[:3, :3] = torch.tensor(columns, dtype=torch.float64).T
    matrix[:3, 3] = torch.tensor([-90.0, 20.0, 7.0])
    return matrix


C, S = math.cos(math.radians(30)), math.sin(math.radians(30))

# The columns are the world directions of the voxel axes; the field runs along z of the world, so that its
# part along a voxel axis is the z of that column.
CASES = {
    "axial": ([[2, 0, 0], [0, 2, 0], [0, 0, 3]], (2, 2, 3), (0, 0, 1)),
    "left to right": ([[-1, 0, 0], [0, 1, 0], [0, 0, 1]], (1, 1, 1), (0, 0, 1)),
    "sagittal": ([[0, 1, 0], [0, 0, 1], [-1.5, 0, 0]], (1, 1, 1.5), (0, 1, 0)),
    "coronal, feet first": ([[1, 0, 0], [0, 0, -1], [0, 2, 0]], (1, 1, 2), (0, -1, 0)),
    "30 degrees about x": ([[1, 0, 0], [0, 2 * C, 2 * S], [0, -3 * S, 3 * C]], (1, 2, 3), (0, S, C)),
    "30 degrees about y": ([[C, 0, -S], [0, 1, 0], [S, 0, C]], (1, 1, 1), (-S, 0, C)),
}


@pytest.mark.parametrize("name", CASES)
def test_direction_and_sizes_follow_from_the_affine(name: str) -> None:
    columns, voxel_mm, direction = CASES[name]
    found = geometry_of(affine(columns))
    assert found.voxel_mm == pytest.approx(voxel_mm)
    assert found.direction == pytest.approx(direction, abs=1e-12)
    assert geometry_of(affine(columns).float()).direction == pytest.approx(direction, abs=1e-6)


def test_given_direction_wins_and_is_normalised() -> None:
    columns, voxel_mm, _ = CASES["30 degrees about x"]
    found = geometry_of(affine(columns), direction=(0.0, 3.0, -4.0))
    assert found == FieldGeometry(voxel_mm=found.voxel_mm, direction=(0.0, 0.6, -0.8))
    assert found.voxel_mm == pytest.approx(voxel_mm)


def test_gyromagnetic_ratio_of_the_proton() -> None:
    # CODATA 2018: 2.6752218744e8 rad/(s·T).
    assert pytest.approx(2.6752218744e8 / (2 * math.pi) / 1e6, rel=1e-9) == GYROMAGNETIC_RATIO


def test_shear_beyond_rounding_is_refused() -> None:
    with pytest.raises(UsageError, match=r"not orthogonal.*Resample the images"):
        geometry_of(affine([[1, 0, 0], [0.1, 1, 0], [0, 0, 1]]))
    assert geometry_of(affine([[1, 0, 0], [1e-3, 1, 0], [0, 0, 1]])).direction == (0.0, 0.0, 1.0)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(UsageError, match="field direction is a zero vector"):
        geometry_of(torch.eye(4), direction=(0.0, 0.0, 0.0))
    with pytest.raises(UsageError, match=r"direction of the field has length 2.*Give a unit vector"):
        FieldGeometry(voxel_mm=(1.0, 1.0, 1.0), direction=(0.0, 2.0, 0.0))
    with pytest.raises(UsageError, match=r"voxel sizes must be positive, not \(1\.0, 0\.0, 1\.0\)"):
        check_geometry((1.0, 0.0, 1.0), (0.0, 0.0, 1.0))
    with pytest.raises(UsageError, match="length nan"):
        check_geometry((1.0, 1.0, 1.0), (math.nan, 0.0, 1.0))
