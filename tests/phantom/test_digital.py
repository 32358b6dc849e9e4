import math

import pytest
import torch

from unweight.core.errors import UsageError
from unweight.core.maps import VoxelStatus
from unweight.phantom.digital import (
    VOID,
    WATER,
    DigitalPhantom,
    Pose,
    Shading,
    SliceGrid,
    digital_phantom,
)
from unweight.phantom.facts import SPHERE_RADIUS_MM, WATER_T1, sphere_array

ARRAY = sphere_array(5, 2, 3.0)
GRID = SliceGrid(shape=(121, 121, 1), voxel_mm=(2.0, 2.0, 5.0), n_parts=4)


@pytest.fixture(scope="module")
def phantom() -> DigitalPhantom:
    return digital_phantom(ARRAY, grid=GRID)


def test_spheres_have_the_volume_that_geometry_says() -> None:
    grid = SliceGrid(shape=(161, 161, 1), voxel_mm=(1.5, 1.5, 5.0), n_parts=8)
    volume = digital_phantom(ARRAY, grid=grid).fractions.sum((0, 1, 2))[1:15] * 1.5 * 1.5 * 5.0
    slab = math.pi * (SPHERE_RADIUS_MM**2 * 5.0 - 2 * 2.5**3 / 3)
    torch.testing.assert_close(volume, torch.full_like(volume, slab), rtol=5e-3, atol=0)


def test_fractions_add_up_and_edges_are_mixed(phantom: DigitalPhantom) -> None:
    total = phantom.fractions.sum(-1)
    torch.testing.assert_close(total, torch.ones_like(total))
    assert bool(phantom.pure.any()) and not bool(phantom.pure.all())
    assert set(phantom.labels.unique().tolist()) == set(range(16))


def test_labels_and_t1_at_the_centres(phantom: DigitalPhantom) -> None:
    index = (phantom.centres_mm / 2.0).round().long()
    for number, (column, row) in enumerate(index.tolist(), start=1):
        assert int(phantom.labels[column, row, 0]) == number
        assert bool(phantom.pure[column, row, 0])
        assert float(phantom.truth.value("T1")[column, row, 0]) == ARRAY.nominal.t1[number - 1]


def test_water_posts_inset_and_air(phantom: DigitalPhantom) -> None:
    def label(x: float, y: float) -> int:
        return int(phantom.labels[round(60 + x / 2), round(60 + y / 2), 0])

    assert label(0, 70) == WATER
    assert label(0, 90) == VOID  # the container is 82 mm wide at this height
    assert label(-25, 0) == VOID  # frame of the inset
    post_x, post_y = ARRAY.posts_mm[1]
    assert label(post_x + 4, post_y) == VOID
    truth = phantom.truth
    silent = phantom.labels == VOID
    assert bool(torch.isnan(truth.values[silent]).all())
    assert bool((truth.status[silent] == VoxelStatus.MASKED).all())
    assert bool((truth.value("T1")[phantom.labels == WATER] == WATER_T1).all())


def test_poses_move_the_image_as_they_say(phantom: DigitalPhantom) -> None:
    def draw(pose: Pose) -> torch.Tensor:
        return digital_phantom(ARRAY, grid=GRID, pose=pose).fractions

    straight = phantom.fractions
    torch.testing.assert_close(draw(Pose(mirrored=True)), straight.flip(0))
    torch.testing.assert_close(draw(Pose(shift_mm=(6.0, -4.0))), straight.roll((3, -2), (0, 1)))
    # A sample on a cell edge of the inset may fall to either side once turned.
    turned = draw(Pose(rotation=math.pi / 2)) - straight.rot90(1, (0, 1))
    assert float((turned.abs() > 1e-9).double().mean()) < 0.001


def test_centres_follow_the_pose() -> None:
    pose = Pose(rotation=0.7, shift_mm=(9.0, -5.0), mirrored=True)
    moved = digital_phantom(ARRAY, grid=GRID, pose=pose)
    for number, (column, row) in enumerate((moved.centres_mm / 2.0).round().long().tolist(), start=1):
        assert int(moved.labels[column, row, 0]) == number


def test_slices_cut_spheres_at_their_height() -> None:
    grid = SliceGrid(shape=(91, 91, 3), voxel_mm=(2.0, 2.0, 7.0), n_parts=4)
    filled = digital_phantom(ARRAY, grid=grid).fractions[..., 1:15].sum((0, 1, 3))
    assert float(filled[1]) > 1.5 * float(filled[0]) > 0
    assert float(filled[0]) == pytest.approx(float(filled[2]))
    beyond = digital_phantom(ARRAY, grid=GRID, pose=Pose(height_mm=11.0))
    assert float(beyond.fractions[..., 1:15].sum()) == 0.0


def test_shading_is_what_it_says_at_100_mm() -> None:
    shading = Shading(proton_density=2.0, receive_rise=0.5, efficiency=1.9, efficiency_fall=0.1)
    shaded = digital_phantom(ARRAY, grid=GRID, shading=shading)
    assert float(shaded.proton_density[60, 60, 0]) == pytest.approx(2.0)
    assert float(shaded.proton_density[110, 60, 0]) == pytest.approx(3.0)
    assert float(shaded.efficiency[60, 10, 0]) == pytest.approx(1.8)


def test_affine_puts_the_middle_of_the_grid_at_the_origin() -> None:
    middle = torch.tensor([60.0, 60.0, 0.0, 1.0], dtype=torch.float64)
    torch.testing.assert_close(GRID.affine @ middle, torch.tensor([0, 0, 0, 1.0], dtype=torch.float64))
    torch.testing.assert_close(GRID.affine[:3, :3].norm(dim=0), torch.tensor(GRID.voxel_mm).double())


def test_empty_grid_is_refused() -> None:
    with pytest.raises(UsageError, match="an empty grid"):
        SliceGrid(shape=(0, 5, 1))
