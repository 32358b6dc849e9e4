import math

import pytest
import torch

from unweight.core.errors import UsageError
from unweight.core.maps import ParameterMaps, VoxelStatus
from unweight.core.parameter import ParameterSpec

SPECS = (ParameterSpec(name="T1", unit="s", lower=0.01, upper=5.0, suffix="T1map"),)


def maps(values: list[float], status: list[VoxelStatus]) -> ParameterMaps:
    return ParameterMaps(
        specs=SPECS,
        values=torch.tensor(values)[:, None],
        std=torch.ones(len(values), 1),
        status=torch.tensor(status, dtype=torch.uint8),
    )


def test_counts_and_kinds_of_status() -> None:
    made = maps([1.0, math.nan, 2.0], [VoxelStatus.OK, VoxelStatus.OUT_OF_RANGE, VoxelStatus.IMPLAUSIBLE])
    assert made.count() == {VoxelStatus.OK: 1, VoxelStatus.OUT_OF_RANGE: 1, VoxelStatus.IMPLAUSIBLE: 1}
    assert made.usable.tolist() == [True, False, False]
    assert made.failed.tolist() == [False, True, False]
    assert made.value("T1").tolist()[::2] == [1.0, 2.0]
    assert made.deviation("T1").tolist() == [1.0, 1.0, 1.0]


def test_failed_voxels_are_nan_and_only_they() -> None:
    with pytest.raises(UsageError, match="a failed voxel must be NaN"):
        maps([1.0], [VoxelStatus.NOT_CONVERGED])
    with pytest.raises(UsageError, match="a voxel with a value must not be NaN"):
        maps([math.nan], [VoxelStatus.OK])


def test_unknown_map_is_refused() -> None:
    with pytest.raises(UsageError, match=r"no map of T2 here. There are T1."):
        maps([1.0], [VoxelStatus.OK]).value("T2")


def test_every_status_has_a_meaning_and_one_kind() -> None:
    for status in VoxelStatus:
        assert status.meaning
        assert status.failed + status.suspect + (status is VoxelStatus.OK) == 1
