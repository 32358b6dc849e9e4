import gzip
import os
import resource
import struct
import tracemalloc
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.bids.files import AFFINE, nifti_bytes, ramp, write_header, write_nifti
from unweight.bids.nifti.volume import Volume, open_grid, open_volume
from unweight.core.errors import InputError


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("kind", ["u1", "i2", "u2", "i4", "f4", "f8", ">i2", ">f4"])
def test_values_and_affine_survive(tmp_path: Path, ending: str, kind: str) -> None:
    data = ramp(4, 3, 2).astype(kind)
    volume = open_volume(write_nifti(tmp_path / f"a{ending}", data))
    assert volume.data.dtype == torch.float32
    np.testing.assert_array_equal(volume.data.numpy(), data.astype(np.float32))
    np.testing.assert_allclose(volume.grid.affine.numpy(), AFFINE, atol=1e-6)
    assert volume.grid.same_as(open_grid(tmp_path / f"a{ending}"))


def test_nifti_2(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti2Image(ramp(4, 3, 2), AFFINE), tmp_path / "a.nii")
    np.testing.assert_array_equal(open_volume(tmp_path / "a.nii").data.numpy(), ramp(4, 3, 2))


def test_slope_and_intercept(tmp_path: Path) -> None:
    path = write_header(tmp_path / "a.nii", ramp(4, 3, 2).astype("i2"), scl_slope=2.0, scl_inter=-4096.0)
    np.testing.assert_array_equal(open_volume(path).data.numpy(), 2 * ramp(4, 3, 2) - 4096)
    path = write_header(tmp_path / "b.nii", ramp(4, 3, 2).astype("i2"), scl_slope=0.0, scl_inter=7.0)
    np.testing.assert_array_equal(open_volume(path).data.numpy(), ramp(4, 3, 2))


@pytest.mark.parametrize(
    ("slope", "intercept", "factor", "shift"),
    [(np.nan, np.nan, 1, 0), (np.nan, 5.0, 1, 0), (2.0, np.nan, 2, 0), (0.0, np.nan, 1, 0)],
)
def test_scaling_that_is_no_number_is_no_scaling(
    tmp_path: Path, slope: float, intercept: float, factor: float, shift: float
) -> None:
    data = ramp(4, 3, 2).astype("i2")
    path = write_header(tmp_path / "a.nii", data, scl_slope=slope, scl_inter=intercept)
    np.testing.assert_array_equal(open_volume(path).data.numpy(), factor * ramp(4, 3, 2) + shift)


def test_large_integers_with_an_offset_keep_their_digits(tmp_path: Path) -> None:
    data = (2**30 + np.arange(24)).reshape(4, 3, 2).astype("i4")
    path = write_header(tmp_path / "a.nii", data, scl_slope=1.0, scl_inter=-float(2**30))
    np.testing.assert_array_equal(open_volume(path).data.numpy().ravel(), np.arange(24))


def test_trailing_axes_of_one_are_dropped_and_missing_ones_added(tmp_path: Path) -> None:
    assert open_volume(write_nifti(tmp_path / "a.nii", ramp(4, 3, 2, 1, 1))).data.shape == (4, 3, 2)
    assert open_volume(write_nifti(tmp_path / "b.nii", ramp(4, 3))).data.shape == (4, 3, 1)
    assert open_volume(write_nifti(tmp_path / "c.nii", ramp(4, 3, 2, 5))).data.shape == (4, 3, 2, 5)


def test_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "link.nii").symlink_to(write_nifti(tmp_path / "a.nii", ramp(4, 3, 2)))
    assert open_volume(tmp_path / "link.nii").data.shape == (4, 3, 2)


def test_orientation_is_sform_else_qform_else_voxel_sizes(tmp_path: Path) -> None:
    other = AFFINE.copy()
    other[:3, 3] += 5
    content = bytearray(nifti_bytes(ramp(4, 3, 2)))
    header = nibabel.Nifti1Header(bytes(content[:348]))
    header.set_sform(other, 1)
    (tmp_path / "both.nii").write_bytes(header.binaryblock + content[348:])
    both = open_volume(tmp_path / "both.nii")
    np.testing.assert_allclose(both.grid.affine.numpy(), other, atol=1e-5)
    assert "sform and qform" in both.notes[0]
    header["sform_code"] = 0
    (tmp_path / "qform.nii").write_bytes(header.binaryblock + content[348:])
    np.testing.assert_allclose(open_grid(tmp_path / "qform.nii").affine.numpy(), AFFINE, atol=1e-5)
    header["qform_code"] = 0
    (tmp_path / "none.nii").write_bytes(header.binaryblock + content[348:])
    none = open_volume(tmp_path / "none.nii")
    np.testing.assert_allclose(none.grid.affine.numpy(), np.diag([1.5, 2, 3, 1]), atol=1e-5)
    assert "no orientation" in none.notes[0]


def test_metres_and_micrometres_become_millimetres(tmp_path: Path) -> None:
    path = write_header(tmp_path / "a.nii", ramp(4, 3, 2), xyzt_units=3)
    np.testing.assert_allclose(open_grid(path).affine.numpy()[:3], AFFINE[:3] * 1e-3, rtol=1e-6)


def test_voxels_that_are_not_finite_are_kept_and_told(tmp_path: Path) -> None:
    data = ramp(4, 3, 2)
    data[0, 0, 0], data[1, 0, 0] = np.nan, np.inf
    volume = open_volume(write_nifti(tmp_path / "a.nii", data))
    assert int((~torch.isfinite(volume.data)).sum()) == 2
    assert "2 of 24 values are not finite" in volume.notes[0]


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"dim": [3, -4, 3, 2, 1, 1, 1, 1]}, "its size is -4x3x2"),
        ({"dim": [3, 0, 3, 2, 1, 1, 1, 1]}, "its size is 0x3x2"),
        ({"dim": [9, 4, 3, 2, 1, 1, 1, 1]}, "claims 9 dimensions"),
        ({"dim": [5, 4, 3, 1, 1, 2, 1, 1]}, "has 5 dimensions"),
        ({"dim": [3, 32767, 32767, 32767, 1, 1, 1, 1]}, "more than the limit"),
        ({"dim": [3, 400, 300, 200, 1, 1, 1, 1]}, "is shorter than its header states"),
        ({"dim": [3, 1, 1, 1, 1, 1, 1, 1]}, None),
        ({"pixdim": [1, 0, 2, 3, 0, 0, 0, 0]}, "voxel size along axis 1"),
        ({"pixdim": [1, -2, 2, 3, 0, 0, 0, 0]}, "voxel size along axis 1"),
        ({"pixdim": [1, np.nan, 2, 3, 0, 0, 0, 0]}, "voxel size along axis 1"),
        ({"srow_x": [np.nan, 0, 0, 0]}, "affine is not finite"),
        ({"srow_x": [1, 1, 0, 0], "srow_y": [1, 1, 0, 0]}, "affine is singular"),
        (
            {"srow_x": [0, 0, 0, 0], "srow_y": [0, 2, 0, 0], "srow_z": [0, 0, 3, 0]},
            "its affine has voxels of 0x",
        ),
        ({"srow_x": [1, 0, 0, 1e9]}, "a kilometre away"),
        ({"scl_slope": -np.inf}, "scaling is not finite"),
        ({"scl_inter": np.inf}, "scaling is not finite"),
        ({"vox_offset": np.nan}, "vox_offset"),
        ({"vox_offset": 0}, "vox_offset"),
        ({"vox_offset": 1e30}, "vox_offset"),
        ({"xyzt_units": 6}, "unit of length"),
        ({"datatype": 128, "bitpix": 24}, "colours"),
        ({"datatype": 777}, "data type is unknown"),
        ({"magic": b"ni1"}, "half of a .hdr/.img pair"),
        ({"magic": b"xyz"}, "not a NIfTI file"),
        ({"scl_slope": 1e30}, "values beyond"),
    ],
)
def test_one_error_for_each_fault_of_a_header(
    tmp_path: Path, fields: dict[str, object], problem: str | None
) -> None:
    path = write_header(tmp_path / "a.nii", ramp(4, 3, 2), **fields)
    if problem is None:  # some bytes left over are tolerated as padding
        assert open_volume(path).data.shape == (1, 1, 1)
        return
    with pytest.raises(InputError, match=problem) as caught:
        open_volume(path)
    assert caught.value.path == path
    assert caught.value.remedy


def test_faults_of_a_file(tmp_path: Path) -> None:
    good = nifti_bytes(ramp(4, 3, 2))
    faults = {
        "empty.nii": (b"", "empty"),
        "short.nii": (good[:100], "not a NIfTI file"),
        "cut.nii": (good[:-4], "ends before"),
        "cut.nii.gz": (gzip.compress(good)[:-12], "ends before"),
        "checksum.nii.gz": (gzip.compress(good)[:-8] + b"\0" * 8, "ends before"),
        "text.nii": (b"hello " * 100, "not a NIfTI file"),
        "more.nii": (good + b"\0" * 5000, "more data than its header describes"),
        "complex.nii": (nifti_bytes(ramp(4, 3, 2).astype("c8")), "complex numbers"),
        "nan.nii": (nifti_bytes(np.full((4, 3, 2), np.nan, "f4")), "no finite value"),
    }
    for name, (content, problem) in faults.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=problem):
            open_volume(tmp_path / name)
    for path, problem in ((tmp_path / "absent.nii", "no such file"), (tmp_path, "not a file")):
        with pytest.raises(InputError, match=problem):
            open_volume(path)


def test_complex_is_read_when_wanted(tmp_path: Path) -> None:
    data = ramp(4, 3, 2) + 1j * ramp(4, 3, 2)[::-1]
    volume = open_volume(write_nifti(tmp_path / "a.nii", data.astype("c8")), complex_wanted=True)
    np.testing.assert_array_equal(volume.data.numpy(), data.astype("c8"))


def test_a_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.nii")
    with pytest.raises(InputError, match="not a file"):
        open_volume(tmp_path / "pipe.nii")


def test_bombs_cost_nothing(tmp_path: Path) -> None:
    head = bytearray(nifti_bytes(ramp(4, 3, 2))[:352])
    claims = bytearray(head)
    claims[40:56] = struct.pack("<8h", 3, 1200, 1200, 700, 1, 1, 1, 1)  # 4 GB, below the limit
    bomb = gzip.compress(bytes(head) + b"\0" * (64 * 2**20))
    files = {
        "claims.nii": bytes(claims),
        "claims.nii.gz": gzip.compress(bytes(claims)),
        "bomb.nii.gz": bomb,
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        tracemalloc.start()
        with pytest.raises(InputError):
            open_volume(tmp_path / name)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 4 * 2**20, name


def test_clipped_voxels_are_flagged(tmp_path: Path) -> None:
    data = (np.random.default_rng(0).integers(0, 3000, (20, 20, 4))).astype("i2")
    data[3:6, 3:6, 1] = 4095
    volume = open_volume(write_nifti(tmp_path / "a.nii", data))
    assert volume.saturated is not None
    np.testing.assert_array_equal(volume.saturated.numpy(), data == 4095)
    assert open_volume(write_nifti(tmp_path / "b.nii", data.astype("f4"))).saturated is None


BASE = nifti_bytes(ramp(4, 4, 4).astype("i2"))
MUTATIONS = st.lists(st.tuples(st.integers(0, 351), st.integers(0, 255)), max_size=6)


@settings(
    max_examples=1000,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    mutations=MUTATIONS,
    cut=st.none() | st.integers(0, len(BASE)),
    squeezed=st.sampled_from(["no", "yes", "cut"]),
)
def test_any_damage_gives_a_volume_or_one_error(
    tmp_path: Path, mutations: list[tuple[int, int]], cut: int | None, squeezed: str
) -> None:
    content = bytearray(BASE)
    for position, value in mutations:
        content[position] = value
    damaged = bytes(content[:cut])
    if squeezed != "no":
        damaged = gzip.compress(damaged, 1)
        damaged = damaged[: 3 * len(damaged) // 4] if squeezed == "cut" else damaged
    path = tmp_path / "a.nii"
    path.write_bytes(damaged)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        volume = open_volume(path)
    except InputError as error:
        assert error.path == path
    else:
        _check_usable(volume)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kB


def _check_usable(volume: Volume) -> None:
    assert volume.data.ndim in (3, 4)
    assert bool(torch.isfinite(volume.data).any())
    assert bool(torch.isfinite(volume.grid.affine).all())
    assert abs(float(torch.linalg.det(volume.grid.affine[:3, :3]))) > 0


def test_shared_images(shared_data) -> None:
    brain = open_volume(shared_data("mprage_uih") / "T1w_1mm_faceless.nii.gz")
    assert brain.data.shape == (160, 230, 256)
    phase = open_volume(shared_data("fmap_dcm_qa") / "Si_3_gre_field_magph_e2_ph.nii")
    assert (float(phase.data.min()), float(phase.data.max())) == (-4096.0, 4094.0)
    for path in sorted(shared_data("bids_qmri_cc0").rglob("*.nii*")):
        with pytest.raises(InputError, match=r"empty \(0 bytes\)"):
            open_volume(path)
