import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from tests.bids.files import AFFINE
from unweight.bids.nifti.image import image_bytes
from unweight.bids.nifti.volume import open_volume
from unweight.core.errors import UsageError

MAP = torch.arange(24.0).reshape(4, 3, 2)


def test_the_header_says_all_that_viewers_need(tmp_path: Path) -> None:
    (tmp_path / "a.nii.gz").write_bytes(image_bytes(MAP, torch.from_numpy(AFFINE)))
    image = nibabel.load(tmp_path / "a.nii.gz")
    header = image.header
    np.testing.assert_allclose(image.get_sform(), AFFINE, atol=1e-6)
    np.testing.assert_allclose(image.get_qform(), AFFINE, atol=1e-5)
    assert (int(header["sform_code"]), int(header["qform_code"])) == (1, 1)
    assert header.get_xyzt_units() == ("mm", "sec")
    assert header.get_data_dtype() == np.float32
    stored = nibabel.Nifti1Header(gzip.decompress((tmp_path / "a.nii.gz").read_bytes())[:348])
    assert (float(stored["scl_slope"]), float(stored["scl_inter"])) == (1.0, 0.0)
    assert (float(header["cal_min"]), float(header["cal_max"])) == (0.0, pytest.approx(22.77))
    volume = open_volume(tmp_path / "a.nii.gz")
    assert torch.equal(volume.data, MAP)
    assert volume.notes == ()


def test_the_same_bytes_each_time_and_no_name_or_time_in_them() -> None:
    content = image_bytes(MAP, torch.from_numpy(AFFINE))
    assert content == image_bytes(MAP.clone(), torch.from_numpy(AFFINE))
    assert content[3] == 0  # no file name
    assert content[4:8] == b"\0\0\0\0"  # no time


def test_nan_labels_and_masks(tmp_path: Path) -> None:
    values = MAP.clone()
    values[0] = float("nan")
    for tensor, kind in (
        (values, "f4"),
        (MAP.to(torch.uint8), "u1"),
        (MAP > 3, "u1"),
        (values.double(), "f4"),
    ):
        (tmp_path / "a.nii.gz").write_bytes(image_bytes(tensor, torch.from_numpy(AFFINE)))
        image = nibabel.load(tmp_path / "a.nii.gz")
        assert image.get_data_dtype() == np.dtype(kind)
        np.testing.assert_array_equal(np.asarray(image.dataobj), tensor.numpy().astype(kind))
    image_bytes(torch.full((2, 2, 2), float("nan")), None)


def test_without_an_affine_none_is_claimed() -> None:
    header = nibabel.Nifti1Header(gzip.decompress(image_bytes(MAP[0], None))[:348])
    assert (int(header["sform_code"]), int(header["qform_code"])) == (0, 0)
    assert header.get_data_shape() == (3, 2, 1)


def test_shear_is_told(caplog: pytest.LogCaptureFixture) -> None:
    sheared = AFFINE.copy()
    sheared[0, 1] = 0.5
    image_bytes(MAP, torch.from_numpy(sheared))
    assert "not orthogonal" in caplog.text


def test_four_dimensions_are_no_map() -> None:
    with pytest.raises(UsageError, match="three dimensions"):
        image_bytes(MAP[..., None], None)
