import math

import pytest
import torch

from tests.phantom.conftest import scan
from unweight.core.acquisition import SignalKind
from unweight.core.protocol import protocol_from_values
from unweight.core.seeding import seeded_generator
from unweight.phantom.digital import Pose, Shading, SliceGrid, digital_phantom
from unweight.phantom.facts import sphere_array
from unweight.phantom.plate_pose import plate_pose

SHORT_TR = protocol_from_values(
    inversion_time=[0.05, 0.1, 0.2, 0.4, 0.6, 0.8], repetition_time=[1.0, 1.0, 1.0, 1.26, 1.86, 2.46]
)


def worst_error(found: torch.Tensor, true: torch.Tensor) -> float:
    return float(torch.cdist(true, found).amin(1).max())


def test_noise_is_no_plate(noise_only) -> None:
    pose = plate_pose(noise_only.signal[:, :, 0], (1.7, 1.7))
    assert pose is None or (not pose.convincing and pose.score < 0.1)


def test_a_plate_that_is_cut_off_is_not_found(plate_5) -> None:
    images = plate_5.acquisition.signal[:60, :, 0]
    pose = plate_pose(images, (1.7, 1.7))
    assert pose is None or not pose.convincing


def test_one_image_can_be_enough(plate_5) -> None:
    pose = plate_pose(plate_5.acquisition.signal[:, :, 0, :1], (1.7, 1.7))
    assert pose is not None and pose.convincing
    assert worst_error(pose.centres_mm, plate_5.phantom.centres_mm) < 1.0


def test_a_sphere_that_cannot_be_seen_is_placed_by_the_others(plate_5) -> None:
    images = plate_5.acquisition.signal[:, :, 0].clone()
    hidden = plate_5.phantom.centres_mm[4]
    column, row = (hidden / 1.7).round().long().tolist()
    images[column - 7 : column + 8, row - 7 : row + 8] = images[column - 9, row - 9]
    pose = plate_pose(images, (1.7, 1.7))
    assert pose is not None and pose.convincing
    assert worst_error(pose.centres_mm, hidden[None]) < 1.0
    assert float(pose.votes.min()) < 0.3


@pytest.mark.parametrize("case", range(12))
def test_any_pose_voxel_noise_and_protocol(case: int) -> None:
    generator = seeded_generator(20, case)
    turn, right, up, height, rise = (torch.rand(5, generator=generator) * 2 - 1).tolist()
    size = (1.0, 1.3, 2.0)[case % 3]
    count = round(210 / size)
    phantom = digital_phantom(
        sphere_array((4, 5)[case % 2], 1, 3.0),
        grid=SliceGrid(shape=(count, count + 8, 1), voxel_mm=(size, size, 5.0), n_parts=3),
        pose=Pose(
            rotation=math.pi * turn,
            shift_mm=(20 * right, 20 * up),
            height_mm=2 * height,
            mirrored=case % 4 > 1,
        ),
        shading=Shading(receive_rise=0.4 + 0.4 * rise, efficiency=1.9),
    )
    made = scan(
        phantom,
        snr=(25.0, 50.0, 100.0)[case % 3],
        kind=(SignalKind.MAGNITUDE, SignalKind.SIGNED)[case // 2 % 2],
        **({"protocol": SHORT_TR} if case % 5 == 4 else {}),
    )
    pose = plate_pose(made.acquisition.signal[:, :, 0], (size, size))
    assert pose is not None and pose.convincing
    assert worst_error(pose.centres_mm, phantom.centres_mm) < 1.0
