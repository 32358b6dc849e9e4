"""Results open in programs built on ITK; what those refuse is said."""

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.bids.files import nifti_bytes
from tests.cli.outcome import called
from tests.cli.test_within import raw_tree


def test_results_open_in_simpleitk_where_they_lie(tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    assert (
        called(["t1", raw_tree(tmp_path / "raw"), "-o", tmp_path / "out", "--method", "ml", "-q"]).code == 0
    )
    images = sorted((tmp_path / "out").rglob("*.nii.gz"))
    assert len(images) > 5
    for path in images:
        mine, theirs = nib.load(path), sitk.ReadImage(str(path))
        assert mine.get_sform(coded=True)[1] == mine.get_qform(coded=True)[1] == 1
        np.testing.assert_allclose(mine.get_sform(), mine.get_qform(), atol=1e-5)
        np.testing.assert_array_equal(
            sitk.GetArrayFromImage(theirs).T, np.asarray(mine.dataobj).astype(np.float32)
        )
        corner = theirs.TransformIndexToPhysicalPoint((1, 2, 1))
        expected = (mine.affine @ [1, 2, 1, 1])[:3] * [-1, -1, 1]  # ITK counts to the left and back
        np.testing.assert_allclose(corner, expected, atol=1e-4)


def test_a_sheared_grid_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    raw = raw_tree(tmp_path / "raw")
    for path in raw.rglob("*.nii.gz"):
        image = nib.load(path)
        affine = image.affine.copy()
        affine[0, 1] += 0.5
        path.write_bytes(gzip.compress(nifti_bytes(np.asarray(image.dataobj), affine)))
    assert called(["t1", raw, "-o", tmp_path / "out", "--method", "ml", "-q"]).code == 0
    assert "not orthogonal; programs based on ITK will reject the maps" in caplog.text
