import json
from pathlib import Path

import numpy as np
import pytest

from tests.bids.files import AFFINE, write_nifti
from unweight.bids.nifti.label_image import one_volume, read_label_image, read_region_names
from unweight.core.errors import InputError

NUMBERS = np.array([[[0, 1], [1, 42]], [[0, 0], [42, 42]]], dtype=np.int16)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return write_nifti(tmp_path / "sub-01_dseg.nii.gz", NUMBERS)


def test_numbers_and_grid_are_those_of_the_file(image: Path) -> None:
    found = read_label_image(image)
    assert np.array_equal(found.labels.numpy(), NUMBERS)
    assert found.names == {1: "1", 42: "42"}
    np.testing.assert_allclose(found.grid.affine.numpy(), AFFINE)
    assert tuple(found.grid.shape) == NUMBERS.shape


def test_names_lie_beside_or_are_given(image: Path, tmp_path: Path) -> None:
    beside = tmp_path / "sub-01_dseg.tsv"
    beside.write_text("index\tname\tcolor\n42\tThalamus\tred\n7\tNowhere\tblue\n\n")
    assert read_label_image(image).names == {1: "1", 7: "Nowhere", 42: "Thalamus"}
    given = tmp_path / "names.json"
    given.write_text(json.dumps({"1": "caudate"}))
    assert read_label_image(image, given).names == {1: "caudate", 42: "42"}


def test_a_table_of_something_else_names_nothing(image: Path, tmp_path: Path) -> None:
    (tmp_path / "sub-01_dseg.tsv").write_text("onset\tduration\n1\t2\n")
    (tmp_path / "sub-01_dseg.json").write_text('{"Manual": true}')
    assert read_label_image(image).names == {1: "1", 42: "42"}
    assert read_region_names(tmp_path / "sub-01_dseg.json") is None
    with pytest.raises(InputError, match="does not name regions"):
        read_label_image(image, tmp_path / "sub-01_dseg.tsv")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"index\tname\n1\tA\n1\tB\n", "names label 1 twice"),
        (b"index\tname\n-1\tA\n", "'-1' is not a label number"),
        (b"index\tname\n1\n", "label 1 has no usable name"),
        (b"\xff\xfei\x00n", "is not text"),
    ],
)
def test_a_damaged_table_is_said(image: Path, tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "sub-01_dseg.tsv").write_bytes(content)
    with pytest.raises(InputError, match=f"sub-01_dseg.tsv: {message}"):
        read_label_image(image)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (0.5, "contains invalid labels in 8 voxels, such as 0.5"),
        (-1.0, "contains invalid labels in 8 voxels, such as -1"),
        (np.nan, "has no finite value"),
        (2.0**25, "contains invalid labels"),
        (0.0, "contains no regions, only 0"),
    ],
)
def test_what_is_no_label_is_said(tmp_path: Path, value: float, message: str) -> None:
    path = write_nifti(tmp_path / "x_dseg.nii", np.full((2, 2, 2), value, dtype=np.float32))
    with pytest.raises(InputError, match=message):
        read_label_image(path)


def test_a_series_is_no_label_image(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "x.nii", np.ones((2, 2, 2, 3), dtype=np.int16))
    with pytest.raises(InputError, match="is a series of 3 volumes") as caught:
        one_volume(path, "the mask")
    assert caught.value.remedy == "Give the mask as one volume."


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "latin-1"])
def test_names_are_read_as_spreadsheets_write_them(image: Path, tmp_path: Path, encoding: str) -> None:
    (tmp_path / "sub-01_dseg.tsv").write_bytes("index\tname\r1\tRäume\r".encode(encoding))
    assert read_label_image(image).names[1] == "Räume"


def test_names_of_other_labels_are_refused(image: Path, tmp_path: Path) -> None:
    (tmp_path / "sub-01_dseg.tsv").write_text("index\tname\n0\tnone\n1001\tA\n1002\tB\n")
    with pytest.raises(InputError, match="and the names are of 1001"):
        read_label_image(image)


def test_names_of_freesurfer_and_fastsurfer(image: Path, tmp_path: Path) -> None:
    """The first lines of FreeSurferColorLUT.txt (v 1.105) and of FastSurfer_ColorLUT.tsv, with label 42."""
    colours = tmp_path / "FreeSurferColorLUT.txt"
    colours.write_text(
        "#$Id: FreeSurferColorLUT.txt,v 1.105 2015/07/29 18:23:03 greve Exp $\n\n"
        "#No. Label Name:                            R   G   B   A\n\n"
        "0   Unknown                                 0   0   0   0\n"
        "1   Left-Cerebral-Exterior                  70  130 180 0\n"
        "2   Left-Cerebral-White-Matter              245 245 245 0\n"
        "42  Right-Cerebral-Cortex                   205 62  78  0\n"
    )
    assert read_label_image(image, colours).names == {
        1: "Left-Cerebral-Exterior",
        42: "Right-Cerebral-Cortex",
    }
    table = tmp_path / "FastSurfer_ColorLUT.tsv"
    table.write_text(
        "ID\tLabelName\tR\tG\tB\tA\n0\tBackground\t0\t0\t0\t0\n"
        "2\tLeft-Cerebral-White-Matter\t245\t245\t245\t0\n42\tRight-Cerebral-Cortex\t205\t62\t78\t0\n"
    )
    names = read_label_image(image, table).names
    assert names == {1: "1", 2: "Left-Cerebral-White-Matter", 42: "Right-Cerebral-Cortex"}
    colours.write_text("some notes on the study\n")
    with pytest.raises(InputError, match="does not name regions"):
        read_label_image(image, colours)


def test_names_of_a_dataset_are_inherited(tmp_path: Path) -> None:
    """fMRIPrep writes a table for each segmentation at the root, its names in quotation marks."""
    path = write_nifti(tmp_path / "sub-01" / "anat" / "sub-01_desc-aseg_dseg.nii.gz", NUMBERS)
    (tmp_path / "dataset_description.json").write_text("{}")
    (tmp_path / "desc-aseg_dseg.tsv").write_text(
        'index\tname\tcolor\n0\t"Unknown"\t#000000\n1\t"Left-Cerebral-Exterior"\t#4682b4\n'
        '2\t"Left-Cerebral-White-Matter"\t#f5f5f5\n'
    )
    (tmp_path / "desc-aparcaseg_dseg.tsv").write_text("index\tname\n1\tAnother\n")
    (tmp_path.parent / "dseg.tsv").write_text("index\tname\n42\tBeyond the dataset\n")
    assert read_label_image(path).names == {1: "Left-Cerebral-Exterior", 42: "42"}
