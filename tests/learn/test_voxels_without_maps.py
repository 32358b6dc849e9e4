"""What cannot be mapped says so, by the network and by the physics alike."""

import math
from dataclasses import replace

import pytest
import torch

from tests.learn.examinations import FLUID, examination, mprage, turbo
from tests.learn.weighted.test_estimator import estimator
from unweight.core.errors import InputError, ProtocolError
from unweight.core.maps import VoxelStatus
from unweight.core.weighting import completed
from unweight.learn.weighted.physics_maps import PhysicsMaps


@pytest.mark.parametrize("made", [PhysicsMaps(), estimator()], ids=["physics", "maps"])
def test_an_image_without_any_value(made: object) -> None:
    measured = examination()
    lost = replace(measured.images[1], signal=torch.full_like(measured.images[1].signal, math.nan))
    images = (measured.images[0], lost, measured.images[2])
    with pytest.raises(InputError):
        made(replace(measured, images=images))  # type: ignore[operator]


def test_physics_maps_tell_what_is_assumed() -> None:
    assert "Assumed" in PhysicsMaps()(examination((mprage(), turbo(end=None), FLUID))).notes


@pytest.mark.parametrize("made", [PhysicsMaps(), estimator()], ids=["physics", "maps"])
def test_voxels_without_signal(made: object) -> None:
    measured = examination()
    for one in measured.images:
        one.signal[10:12, 8:10] = 0.0
    maps = made(measured)  # type: ignore[operator]
    assert bool((maps.status[10:12, 8:10] != VoxelStatus.OK).all())


@pytest.mark.parametrize("weighting", [turbo(0.15, 0.1, end=None), turbo(2.0, 0.1, 1.95, end=None)])
def test_a_train_that_does_not_fit_is_refused(weighting: object) -> None:
    with pytest.raises(ProtocolError):
        completed(weighting)  # type: ignore[arg-type]


def test_a_train_is_never_negative_in_a_message() -> None:
    short = mprage()
    protocol = replace(short.protocol, inversion_time=torch.tensor([0.002], dtype=torch.float64))
    with pytest.raises(ProtocolError) as refused:
        completed(replace(short, protocol=protocol))
    assert "train of 0 excitations" in str(refused.value)
