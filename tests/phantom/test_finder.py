import math
from dataclasses import replace

import pytest
import torch
from scipy.io import loadmat

from tests.phantom.conftest import SEVEN, scan
from unweight.core.acquisition import Acquisition, SignalKind
from unweight.core.errors import InputError, UsageError
from unweight.core.maps import ParameterMaps, VoxelStatus
from unweight.core.protocol import protocol_from_values
from unweight.phantom.digital import Pose, SliceGrid, digital_phantom
from unweight.phantom.facts import sphere_array
from unweight.phantom.finder import FoundPlate, find_plates

SMALL = SliceGrid(shape=(110, 116, 1), voxel_mm=(1.8, 1.8, 5.0), n_parts=3)


def check_centres(found: FoundPlate, true: torch.Tensor) -> None:
    """Sphere by sphere: the numbers must be right as well."""
    assert float((found.centres_mm - true).norm(dim=-1).max()) < 1.0


def test_plate_5_of_a_simulated_scan(plate_5) -> None:
    (found,) = find_plates(plate_5.acquisition, version=2)
    assert (found.array.plate, found.array.version, found.array.nominal_field) == (5, 2, 3.0)
    check_centres(found, plate_5.phantom.centres_mm)
    assert found.rotation == pytest.approx(0.4, abs=0.01)
    assert not found.mirrored
    assert found.plane.plane_axes == (0, 1) and found.plane.voxel_mm == pytest.approx((1.7, 1.7))
    index = torch.cat((found.centres_mm / 1.7, torch.tensor([[0.0, 1.0]]).double().expand(14, 2)), -1)
    torch.testing.assert_close(found.centres_world_mm, (index @ plate_5.phantom.affine.T)[:, :3])


@pytest.mark.parametrize("kind", [SignalKind.MAGNITUDE, SignalKind.SIGNED])
@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("plate", [4, 5])
def test_any_turn_and_mirror_is_numbered_rightly(plate: int, mirrored: bool, kind: SignalKind) -> None:
    for turn in (-2.5, -0.3, 1.4, math.pi):
        pose = Pose(rotation=turn, shift_mm=(-7.0, 11.0), mirrored=mirrored)
        phantom = digital_phantom(sphere_array(plate, 1, 1.5), grid=SMALL, pose=pose)
        (found,) = find_plates(scan(phantom, kind=kind, snr=25.0).acquisition, version=1)
        assert found.array.plate == plate
        assert found.mirrored is mirrored
        assert math.cos(found.rotation - turn) > math.cos(0.02)
        check_centres(found, phantom.centres_mm)


def test_order_of_the_axes_does_not_matter(plate_5) -> None:
    made = plate_5.acquisition
    signal, columns = made.signal.permute(2, 1, 0, 3), [2, 1, 0, 3]
    turned = replace(made, signal=signal, affine=made.affine[:, columns])
    (found,) = find_plates(turned, version=2)
    assert found.plane.axis == 0
    assert found.plane.plane_axes == (1, 2)
    check_centres(found, plate_5.phantom.centres_mm.flip(-1))
    straight = find_plates(made, version=2)[0]
    torch.testing.assert_close(found.centres_world_mm, straight.centres_world_mm, atol=0.05, rtol=0)


def test_a_slice_without_third_axis(plate_5) -> None:
    made = plate_5.acquisition
    (found,) = find_plates(replace(made, signal=made.signal[:, :, 0]), version=2)
    check_centres(found, plate_5.phantom.centres_mm)


def test_of_several_slices_the_one_through_the_spheres_is_taken() -> None:
    grid = replace(SMALL, shape=(110, 116, 5))
    phantom = digital_phantom(sphere_array(5, 2, 3.0), grid=grid, pose=Pose(height_mm=5.0))
    (found,) = find_plates(scan(phantom).acquisition, version=2)
    assert found.plane.axis == 2
    assert found.plane.index == 1  # the middle slice is 5 mm above the spheres
    check_centres(found, phantom.centres_mm)


def test_maps_alone_suffice(plate_5) -> None:
    (found,) = find_plates(None, plate_5.phantom.truth, version=2)
    assert found.array.plate == 5
    check_centres(found, plate_5.phantom.centres_mm)


def test_maps_tell_the_order_where_the_acquisition_does_not(plate_5) -> None:
    protocol = protocol_from_values(echo_time=[0.01], field_strength=3.0)
    single = replace(plate_5.acquisition, signal=plate_5.acquisition.signal[..., :1], protocol=protocol)
    (found,) = find_plates(single, plate_5.phantom.truth, version=2)
    check_centres(found, plate_5.phantom.centres_mm)
    with pytest.raises(InputError, match="their T1 does not identify them"):
        find_plates(single, version=2)


def test_maps_that_know_few_spheres_tell_nothing(plate_5) -> None:
    truth = plate_5.phantom.truth
    unknown = truth.value("T1") < 0.5
    maps = ParameterMaps(
        specs=truth.specs,
        values=truth.values.masked_fill(unknown[..., None], torch.nan),
        std=truth.std.masked_fill(unknown[..., None], torch.nan),
        status=truth.status.masked_fill(unknown, int(VoxelStatus.NOT_CONVERGED)),
        affine=truth.affine,
    )
    with pytest.raises(InputError, match="Give a T1 map"):
        find_plates(None, maps, version=2)


def test_the_plate_can_be_named_and_the_field_is_said(plate_5) -> None:
    (found,) = find_plates(plate_5.acquisition, version=1, plate=5)
    assert found.array.version == 1
    low_field = replace(SEVEN, field_strength=1.5)
    (found,) = find_plates(replace(plate_5.acquisition, protocol=low_field), version=2)
    assert found.array.nominal_field == 3.0


def test_noise_is_refused(noise_only) -> None:
    with pytest.raises(InputError, match=r"no system phantom in 1 slice\(s\)"):
        find_plates(noise_only, version=2)


@pytest.mark.parametrize("size", [1.0, 1.5, 1.9, 2.4])
def test_a_brain_is_refused(shared_data, size: float) -> None:
    data = loadmat(shared_data("brain_ir_qmrlab") / "IRData.mat")["IRData"].reshape(128, 128, 1, 9)
    times = [0.35, 0.5, 0.65, 0.8, 0.95, 1.1, 1.25, 1.4, 1.7]
    brain = Acquisition(
        signal=torch.from_numpy(data).double(),
        protocol=protocol_from_values(inversion_time=times),
        affine=torch.diag(torch.tensor([size, size, 5.0, 1.0]).double()),
    )
    with pytest.raises(InputError, match="no system phantom"):
        find_plates(brain, version=2)


def test_what_cannot_be_searched_is_refused(plate_5) -> None:
    made = plate_5.acquisition
    with pytest.raises(InputError, match="an image without an affine"):
        find_plates(replace(made, affine=None), version=2)
    with pytest.raises(InputError, match="not 1 axes of space"):
        find_plates(replace(made, signal=made.signal[:, 0, 0]), version=2)
    with pytest.raises(UsageError, match="neither an acquisition nor maps"):
        find_plates(None, version=2)
    with pytest.raises(UsageError, match="no values for plate 5 of a version 3 phantom"):
        find_plates(made, version=3)
