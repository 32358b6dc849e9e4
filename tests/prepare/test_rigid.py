"""A known movement is found again, whatever the grids; and what cannot be found is refused."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from jaxtyping import Float64
from torch import Tensor

from tests.prepare.heads import image, inside, lattice, points_of, rigid
from tests.prepare.published import transform_of
from unweight.bids.nifti.volume import open_volume
from unweight.core.errors import InputError
from unweight.prepare.lattice import PlacedImage, VoxelGrid
from unweight.prepare.resample import resampled_mask
from unweight.prepare.rigid import Rigid, RigidRegistration

pytest.importorskip("SimpleITK")

REGISTER = RigidRegistration()
CUBIC = lattice((3.0, 3.0, 3.0))
THICK = lattice((1.6, 1.6, 5.0), degrees=(12.0, -4.0, 3.0))
SAGITTAL = VoxelGrid(
    shape=(THICK.shape[2], THICK.shape[0], THICK.shape[1]), affine=THICK.affine[:, [2, 0, 1, 3]].clone()
)
MOVED = rigid((4.0, -3.0, 7.0), (6.0, -8.0, 5.0))
REACH = 60.0  # [mm], of the head


def apart(found: Rigid, truth: Float64[Tensor, "4 4"]) -> tuple[float, float]:
    """The largest distance in the head [mm], and the angle between the two [degrees]."""
    points = points_of(CUBIC).reshape(-1, 3)
    points = points[points.norm(dim=-1) < REACH]
    away = points @ (found.matrix - truth)[:3, :3].T + (found.matrix - truth)[:3, 3]
    turn = found.matrix[:3, :3] @ truth[:3, :3].T
    return float(away.norm(dim=-1).max()), math.degrees(math.acos(min(1.0, float(turn.trace() - 1) / 2)))


@pytest.mark.parametrize(
    ("home", "other"),
    [(CUBIC, CUBIC), (CUBIC, THICK), (THICK, CUBIC), (SAGITTAL, lattice((2.0, 2.5, 4.0)))],
    ids=["cubic", "onto cubic", "onto thick oblique", "sagittal"],
)
def test_a_known_movement_is_found(home: VoxelGrid, other: VoxelGrid) -> None:
    """Between two contrasts, with noise of 2 % of the brightest."""
    reference, moving = image(home, 0, noise=2.0), image(other, 1, MOVED, noise=2.0)
    found = REGISTER(reference, moving, inside(home))
    distance, angle = apart(found, MOVED)
    assert distance < 0.2
    assert angle < 0.2
    assert [math.degrees(one) for one in found.angles] == pytest.approx([4.0, -3.0, 7.0], abs=0.2)
    moved = MOVED[:3, :3] @ found.centre + MOVED[:3, 3] - found.centre
    assert found.shift_mm == pytest.approx(moved.tolist(), abs=0.2)


def test_a_header_that_is_far_off_is_no_hindrance() -> None:
    moving = image(CUBIC, 1, rigid((2.0, 0.0, -3.0), (0.0, 0.0, 0.0)))
    affine = moving.affine.clone()
    affine[:3, 3] += torch.tensor([150.0, -90.0, 60.0], dtype=torch.float64)
    truth = rigid((2.0, 0.0, -3.0), (150.0, -90.0, 60.0))
    found = REGISTER(image(CUBIC, 0), PlacedImage(values=moving.values, affine=affine), inside(CUBIC))
    assert apart(found, truth)[0] < 0.2


def test_a_slab_finds_its_place_in_a_head() -> None:
    slab = lattice((1.6, 1.6, 5.0), extent_mm=(160.0, 160.0, 60.0))
    found = REGISTER(image(slab, 0), image(CUBIC, 1, MOVED), inside(slab))
    assert apart(found, MOVED)[0] < 0.5  # 60 mm of a head hold less to go by


def test_the_same_files_give_the_same_numbers() -> None:
    both = [REGISTER(image(CUBIC, 0), image(THICK, 1, MOVED), inside(CUBIC)).matrix for _ in range(2)]
    assert torch.equal(*both)


def test_images_that_do_not_meet_are_refused() -> None:
    thin = lattice((3.0, 3.0, 3.0), extent_mm=(160.0, 160.0, 9.0))
    with pytest.raises(InputError, match=r"little anatomy in common|no plausible|failed"):
        REGISTER(image(CUBIC, 0), image(thin, 1), inside(CUBIC))


def test_an_empty_reference_is_refused() -> None:
    nothing = PlacedImage(values=torch.full(CUBIC.shape, torch.nan), affine=CUBIC.affine)
    with pytest.raises(InputError, match="nothing to register"):
        REGISTER(nothing, image(CUBIC, 1))


def read(path: Path) -> PlacedImage:
    volume = open_volume(path)
    return PlacedImage(values=volume.data.float(), affine=volume.grid.affine)


@pytest.mark.slow
@pytest.mark.parametrize("study", [1, 2])
@pytest.mark.parametrize("contrast", ["T1W", "T2W"])
def test_it_agrees_with_published_transforms(
    shared_data: Callable[[str], Path], study: int, contrast: str
) -> None:
    """Raw 2D images, slices of 3 to 4 mm. The published transforms are affine, with scales up to 1.6 %."""
    folder = shared_data("ms_lesjak") / "longitudinal" / "patient01"
    reference = read(folder / f"study{study}_FLAIR.nii.gz")
    mask = read(folder / "brainmask.nii.gz")
    common = torch.linalg.inv(transform_of(folder / f"study{study}_FLAIR_to_common_space.txt"))
    brain = resampled_mask(mask.values > 0, mask.lattice, reference.lattice, common)
    found = RigidRegistration()(reference, read(folder / f"study{study}_{contrast}.nii.gz"), brain)
    difference = found.matrix - transform_of(folder / f"study{study}_{contrast}_intrastudy_to_FLAIR.txt")
    points = points_of(reference.lattice)[brain]
    away = (points @ difference[:3, :3].T + difference[:3, 3]).norm(dim=-1)
    assert float(away.mean()) < 0.6
    assert float(away.max()) < 1.5
