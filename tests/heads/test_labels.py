import json
from pathlib import Path

import numpy as np
import pytest

from tests.bids.files import write_nifti
from unweight.core.errors import InputError
from unweight.heads.labels import read_label_names, read_labels
from unweight.synth.tissue.materials import INDEX

NAMES = {"0": "background", "2": "white_matter", "1035": "grey_matter"}


def write_names(path: Path, table: object) -> Path:
    path.write_text(json.dumps(table))
    return path


def test_labels_are_translated_and_turned(tmp_path: Path) -> None:
    stored = np.zeros((3, 4, 2), dtype=np.int16)
    stored[0, 1, 0], stored[2, 3, 1] = 2, 1035
    # The files of the tests run along -x, y, z with voxels of 1.5, 2 and 3 mm.
    image = write_nifti(tmp_path / "a.nii.gz", stored)
    anatomy = read_labels(image, write_names(tmp_path / "a.json", NAMES), subject="x")
    assert anatomy.voxel_mm == pytest.approx((1.5, 2.0, 3.0))
    assert int(anatomy.labels[2, 1, 0]) == INDEX["white_matter"]
    assert int(anatomy.labels[0, 3, 1]) == INDEX["grey_matter"]
    assert int((anatomy.labels != 0).sum()) == 2
    assert anatomy.affine[:3, 3].tolist() == pytest.approx([10 - 2 * 1.5, -20, 5])
    assert anatomy.subject == "x"


def test_labels_without_a_name_are_listed(tmp_path: Path) -> None:
    image = write_nifti(tmp_path / "a.nii", np.full((2, 2, 2), 17, dtype=np.int16))
    names = write_names(tmp_path / "a.json", NAMES)
    with pytest.raises(InputError, match="labels without a material: 17"):
        read_labels(image, names, subject="x")
    halves = write_nifti(tmp_path / "b.nii", np.full((2, 2, 2), 0.5, dtype=np.float32))
    with pytest.raises(InputError, match="not labels"):
        read_labels(halves, names, subject="x")
    series = write_nifti(tmp_path / "c.nii", np.zeros((2, 2, 2, 3), dtype=np.int16))
    with pytest.raises(InputError, match="is a series"):
        read_labels(series, names, subject="x")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"0": "background", "1": "cheese"}, "unknown materials: cheese"),
        ({"0": 3}, "unknown materials: 3"),
        ({"one": "csf"}, "not label numbers: one"),
        ([], "must be a table"),
        ({}, "must be a table"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path: Path, table: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_label_names(write_names(tmp_path / "a.json", table))


def test_files_that_are_no_tables(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with pytest.raises(InputError, match="cannot be read"):
        read_label_names(path)
    path.write_bytes(b"{\xff")
    with pytest.raises(InputError, match="is not JSON"):
        read_label_names(path)
