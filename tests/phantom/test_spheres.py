import math
from dataclasses import replace

import pytest
import torch

from unweight.core.acquisition import SignalKind
from unweight.core.errors import UsageError
from unweight.core.maps import ParameterMaps, VoxelStatus
from unweight.phantom.finder import FoundPlate, find_plates
from unweight.phantom.spheres import SphereStatus, measure_t1, sphere_signals
from unweight.signals.inversion_recovery import InversionRecovery


@pytest.fixture(scope="module")
def found(plate_5) -> FoundPlate:
    return find_plates(plate_5.acquisition, version=2)[0]


@pytest.fixture
def truth(plate_5) -> ParameterMaps:
    return plate_5.phantom.truth


def with_status(maps: ParameterMaps, where: torch.Tensor, status: VoxelStatus) -> ParameterMaps:
    failed = where & torch.tensor(status.failed)
    return replace(
        maps,
        values=maps.values.masked_fill(failed[..., None], torch.nan),
        std=maps.std.masked_fill(failed[..., None], torch.nan),
        status=maps.status.masked_fill(where, int(status)),
    )


def test_truth_has_no_error(truth: ParameterMaps, found: FoundPlate) -> None:
    rows = measure_t1(truth, found)
    assert [row.sphere for row in rows] == list(range(1, 15))
    for row in rows:
        assert row.status is SphereStatus.OK
        assert row.t1_mean_s == pytest.approx(row.t1_nominal_s)
        assert row.error_percent == pytest.approx(0.0, abs=1e-9)
        assert row.t1_sd_s == pytest.approx(0.0, abs=1e-9) and row.t1_std_s == 0.0
        assert row.n_used == row.n_voxels
        assert row.n_voxels == pytest.approx(math.pi * 4.5**2 / 1.7**2, rel=0.15)
    assert rows[2].centre_mm == pytest.approx(found.centres_world_mm[2].tolist())


def test_a_known_bias_and_spread_are_reported(truth: ParameterMaps, found: FoundPlate) -> None:
    ripple = torch.where(torch.arange(truth.values.shape[0]) % 2 == 0, 1.08, 1.12)
    values = truth.values.clone()
    values[..., 0] *= ripple[:, None, None]
    row = measure_t1(replace(truth, values=values, std=0.03 * values), found)[0]
    assert row.error_percent == pytest.approx(10, abs=0.5)
    assert row.t1_sd_s == pytest.approx(0.02 * row.t1_nominal_s, rel=0.05)
    assert row.t1_std_s == pytest.approx(0.03 * row.t1_mean_s)


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (VoxelStatus.POLARITY_AMBIGUOUS, SphereStatus.AMBIGUOUS),
        (VoxelStatus.SATURATED, SphereStatus.SATURATED),
        (VoxelStatus.IMPLAUSIBLE, SphereStatus.IMPLAUSIBLE),
        (VoxelStatus.NOT_CONVERGED, SphereStatus.FAILED),
        (VoxelStatus.OUT_OF_RANGE, SphereStatus.FAILED),
        (VoxelStatus.MASKED, SphereStatus.OUTSIDE),
    ],
)
def test_most_voxels_decide(truth, found, plate_5, status: VoxelStatus, verdict: SphereStatus) -> None:
    rows = measure_t1(with_status(truth, plate_5.phantom.labels == 9, status), found)
    assert rows[8].status is verdict
    assert math.isnan(rows[8].t1_mean_s) is status.failed
    assert rows[8].n_used == (0 if status.failed else rows[8].n_voxels)
    assert all(row.status is SphereStatus.OK for row in rows if row.sphere != 9)


def test_a_few_bad_voxels_do_not_count(truth: ParameterMaps, found: FoundPlate) -> None:
    column, row = (found.centres_mm[3] / 1.7).round().long().tolist()
    where = torch.zeros_like(truth.status, dtype=torch.bool)
    where[column, row - 1 : row + 1] = True
    failed = measure_t1(with_status(truth, where, VoxelStatus.NOT_CONVERGED), found)[3]
    assert (failed.status, failed.n_voxels - failed.n_used) == (SphereStatus.OK, 2)
    values = truth.values.clone()
    values[column, row, 0, 0] = 9.0  # one voxel fitted wildly, its status OK
    values[..., 0] *= 1 + 0.01 * torch.sin(torch.arange(values.shape[1]).double())[:, None]
    wild = measure_t1(replace(truth, values=values), found)[3]
    assert wild.n_voxels - wild.n_used == 1
    assert wild.error_percent == pytest.approx(0.0, abs=1.0)


def test_mean_signals_are_those_of_the_model(plate_5, found: FoundPlate) -> None:
    phantom, made = plate_5.phantom, plate_5.acquisition
    signals = sphere_signals(made, found)
    assert signals.shape == (14, 7)
    model = InversionRecovery(kind=SignalKind.MAGNITUDE)
    index = (phantom.centres_mm / 1.7).round().long()
    expected = model(phantom.truth.values[index[:, 0], index[:, 1], 0], made.protocol)
    # Rician noise of 0.02 lifts small means; some 22 voxels leave 0.02/√22 of it.
    torch.testing.assert_close(signals, expected, atol=0.03, rtol=0)
    complex_ = replace(made, signal=made.signal * (0.6 + 0.8j), kind=SignalKind.COMPLEX)
    torch.testing.assert_close(sphere_signals(complex_, found), signals * (0.6 + 0.8j))


def test_a_region_larger_than_the_sphere_is_refused(truth: ParameterMaps, found: FoundPlate) -> None:
    with pytest.raises(UsageError, match="does not fit into a sphere of 8 mm radius"):
        measure_t1(truth, found, radius_mm=9.0)
