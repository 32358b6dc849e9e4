from pathlib import Path

import pytest
import torch

from unweight.bids.nifti.grid import Grid, Placement, check_same_grid, farthest_mm
from unweight.core.errors import InputError

SHAPE = (100, 80, 20)
AFFINE = torch.diag(torch.tensor([0.5, 0.5, 3.0, 1.0], dtype=torch.float64))


def grid(affine: torch.Tensor = AFFINE, qform: torch.Tensor | None = None, name: str = "a.nii") -> Grid:
    place = Placement(
        affine=affine, sform=affine, sform_code=2, qform=qform, qform_code=int(qform is not None)
    )
    return Grid(shape=SHAPE, placement=place, path=Path(name))


def moved(x: float = 0.0, scale: float = 0.0) -> torch.Tensor:
    affine = AFFINE.clone()
    affine[0, 3] += x
    affine[0, 0] += scale
    return affine


@pytest.mark.parametrize(
    ("affine", "same"),
    [
        (moved(0.024), True),
        (moved(0.026), False),  # the shortest edge is 0.5 mm
        (moved(scale=2e-4), True),
        (moved(scale=3e-4), False),  # 99 voxels farther on it is more than a twentieth
    ],
)
def test_voxels_coincide_to_a_twentieth(affine: torch.Tensor, same: bool) -> None:
    assert grid(affine).same_as(grid()) == same


def test_either_matrix_may_place_an_image() -> None:
    other = moved(40.0)
    assert grid(AFFINE, qform=other).same_as(grid(other))
    assert grid(other).same_as(grid(AFFINE, qform=other))
    assert not grid(AFFINE).same_as(grid(other))


def test_the_difference_is_in_the_message() -> None:
    with pytest.raises(InputError, match=r"up to 1 mm apart \(2 times the voxel size\)") as caught:
        check_same_grid([grid(), grid(moved(1.0), name="b.nii")])
    assert caught.value.path == Path("b.nii")


def test_the_farthest_voxel_is_a_corner() -> None:
    assert farthest_mm(SHAPE, AFFINE, moved(scale=0.01)) == pytest.approx(0.99)
    assert farthest_mm((1, 1, 1), AFFINE, moved(scale=0.01)) == 0
