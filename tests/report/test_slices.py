import math
from itertools import permutations

import numpy as np
import pytest

from unweight.report.slices import busiest_slices, lay_out, place, plane_of

AXIAL = np.diag([-1.0, 1.0, 3.0, 1.0])  # x to the left, y to the front, z up
CORONAL = np.array([[-1.3, 0, 0, 0], [0, 0, -40.0, 0], [0, 1.3, 0, 0], [0, 0, 0, 1.0]])
RAS = np.diag([2.0, 2.0, 2.0, 1.0])


def test_axial_slice_has_the_front_up_and_patient_right_on_the_left() -> None:
    volume = np.zeros((8, 10, 3))
    volume[0, 9, 1] = 1.0  # x lowest index: patient right, since x runs to the left; front
    plane = plane_of(volume.shape, AXIAL)
    assert (plane.slice_axis, plane.top, plane.left) == (2, "A", "R")
    assert lay_out(volume, plane, 1)[0, 0] == 1.0
    assert place(np.array([0.0, 9.0, 1.0]), plane, volume.shape) == (0.0, 0.0)


def test_coronal_slice_has_the_head_up() -> None:
    volume = np.zeros((8, 10, 1))
    volume[7, 9, 0] = 1.0  # patient left, head
    plane = plane_of(volume.shape, CORONAL)
    assert (plane.slice_axis, plane.top, plane.left) == (2, "S", "R")
    assert lay_out(volume, plane, 0)[0, 7] == 1.0
    assert plane.aspect == pytest.approx(1.0)


def test_ras_volumes_are_flipped_left_to_right() -> None:
    volume = np.zeros((8, 10, 3))
    volume[7, 9, 0] = 1.0  # patient right, front
    plane = plane_of(volume.shape, RAS)
    assert plane.left == "R"
    assert lay_out(volume, plane, 0)[0, 0] == 1.0
    column, row = place(np.array([7.0, 9.0, 0.0]), plane, volume.shape)
    assert (column, row) == (0.0, 0.0)


def test_every_voxel_is_placed_where_it_is_drawn() -> None:
    generator = np.random.default_rng(0)
    for affine in (AXIAL, CORONAL, RAS):
        volume = generator.random((5, 6, 2))
        plane = plane_of(volume.shape, affine)
        for voxel in np.ndindex(volume.shape):
            column, row = place(np.asarray(voxel, float), plane, volume.shape)
            drawn = lay_out(volume, plane, voxel[plane.slice_axis])
            assert drawn[int(row), int(column)] == volume[voxel]


def test_slices_shown_hold_voxels() -> None:
    inside = np.zeros((4, 4, 20), bool)
    inside[:, :, 5:15] = True
    plane = plane_of(inside.shape, AXIAL)
    shown = busiest_slices(inside, plane, 4)
    assert len(shown) == 4
    assert all(5 <= index < 15 for index in shown)
    assert busiest_slices(np.zeros_like(inside), plane, 4) == [10]


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_cubic_voxels_are_shown_in_axial_slices(order: tuple[int, int, int]) -> None:
    """However the axes are stored, and whichever of them has fewest voxels."""
    affine = np.eye(4)
    affine[:3, :3] = 1.5 * np.eye(3)[:, list(order)]
    for lengths in ((120, 144, 120), (120, 144, 150), (100, 120, 140)):
        shape = tuple(lengths[axis] for axis in order)
        plane = plane_of(shape, affine)
        assert order[plane.slice_axis] == 2
        assert (plane.top, plane.left) == ("A", "R")


def test_cubic_voxels_of_a_tilted_head_are_shown_nearly_axial() -> None:
    angle = math.radians(20.0)
    affine = np.eye(4)
    affine[1:3, 1:3] = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    assert plane_of((180, 200, 190), affine).slice_axis == 2


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_thick_slices_are_shown_as_they_were_acquired(axis: int) -> None:
    """Sagittal, coronal and axial: the thick axis counts the slices, though it is not the shortest."""
    sizes = [1.0, 1.0, 1.0]
    sizes[axis] = 3.0
    plane = plane_of((100, 100, 100), np.diag([*sizes, 1.0]))
    assert plane.slice_axis == axis
    assert plane.aspect == pytest.approx(1.0)


def test_few_slices_are_shown_as_they_were_acquired() -> None:
    """Thinner than they are wide, ten sagittal slices are still sagittal slices."""
    assert plane_of((10, 100, 100), np.diag([0.8, 1.0, 1.0, 1.0])).slice_axis == 0
