import math

import pytest
import torch

from unweight.core.acquisition import Acquisition
from unweight.core.errors import InputError
from unweight.core.maps import VoxelStatus
from unweight.core.protocol import protocol_from_values
from unweight.core.seeding import seeded_generator
from unweight.learn.t1.network_t1 import (
    Estimate,
    as_slices,
    from_slices,
    maps_of_slices,
    normalise_volumes,
)

PROTOCOL = protocol_from_values(inversion_time=[0.1, 1.0])


def draw(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=seeded_generator(0), dtype=torch.float64) + 0.5


@pytest.mark.parametrize(
    ("voxels", "slices"), [((5, 4, 3), (3, 2, 5, 4)), ((5, 4), (1, 2, 5, 4)), ((7,), (1, 2, 7, 1))]
)
def test_slices_and_back(voxels: tuple[int, ...], slices: tuple[int, ...]) -> None:
    volumes = draw(*voxels, 2)
    assert as_slices(volumes).shape == slices
    assert torch.equal(from_slices(as_slices(volumes), voxels), volumes)


def test_a_slice_is_a_slice() -> None:
    volumes = draw(5, 4, 3, 2)
    assert torch.equal(as_slices(volumes)[2, 1], volumes[:, :, 2, 1])


def test_one_scale_for_the_whole_acquisition_whatever_the_mask() -> None:
    signal = draw(10, 10, 2, 2)
    signal[..., 1] = torch.arange(200.0).reshape(10, 10, 2) + 1  # the brightest; its 95th percentile is 190
    mask = torch.zeros(10, 10, 2, dtype=torch.bool)
    mask[..., 1] = True
    whole = normalise_volumes(Acquisition(signal=signal, protocol=PROTOCOL), [0, 1])
    part = normalise_volumes(Acquisition(signal=signal, protocol=PROTOCOL, mask=mask), [0, 1])
    assert whole.scale == part.scale == 190
    assert torch.equal(whole.images, part.images)
    assert (whole.wanted, part.wanted) == ((0, 1), (1,))


def test_volumes_are_reordered() -> None:
    signal = draw(4, 4, 2)
    entered = normalise_volumes(Acquisition(signal=signal, protocol=PROTOCOL), [1, 0])
    torch.testing.assert_close(entered.images[0, 0] * entered.scale, signal[..., 1])


def test_every_voxel_leaves_with_its_status() -> None:
    signal = 1 + draw(8, 2)
    signal[0] = 0.02
    signal[1, 0] = math.nan
    mask = torch.ones(8, dtype=torch.bool)
    mask[2] = False
    saturated = torch.zeros(8, dtype=torch.bool)
    saturated[5] = True
    acquisition = Acquisition(
        signal=signal, protocol=PROTOCOL, mask=mask, saturated=saturated, noise_sd=0.01
    )
    entered = normalise_volumes(acquisition, [0, 1])
    values = torch.tensor([1.0, 0.5, 1.9], dtype=torch.float64).reshape(1, 3, 1, 1).repeat(1, 1, 8, 1)
    values[0, 0, 3] = 10.0
    limit = torch.zeros(1, 8, 1, dtype=torch.bool)
    limit[0, 4] = True
    maps = maps_of_slices(
        acquisition, entered, Estimate(values=values, std=0.1 * values, at_limit=limit), {}
    )
    assert [VoxelStatus(status) for status in maps.status.tolist()] == [
        VoxelStatus.NO_SIGNAL,
        VoxelStatus.MASKED,
        VoxelStatus.MASKED,
        VoxelStatus.OUT_OF_RANGE,
        VoxelStatus.AT_LIMIT,
        VoxelStatus.SATURATED,
        VoxelStatus.OK,
        VoxelStatus.OK,
    ]
    torch.testing.assert_close(maps.value("PD")[6:], torch.full((2,), 0.5 * entered.scale).double())
    torch.testing.assert_close(maps.deviation("T1")[6:], torch.full((2,), 0.1).double())
    assert torch.isnan(maps.values[:4]).all() and torch.isnan(maps.std[:4]).all()
    assert maps.noise_sd == 0.01


def test_nothing_to_work_on() -> None:
    nothing = torch.zeros(6, dtype=torch.bool)
    with pytest.raises(InputError, match="no voxel to process"):
        normalise_volumes(Acquisition(signal=draw(6, 2), protocol=PROTOCOL, mask=nothing), [0, 1])
    with pytest.raises(InputError, match=r"there is no intensity to refer to. Crop the volumes"):
        normalise_volumes(Acquisition(signal=torch.zeros(6, 2), protocol=PROTOCOL), [0, 1])
