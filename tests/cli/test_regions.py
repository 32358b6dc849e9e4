"""Maps and a label image in files, to a table in the terminal and in a file."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from unweight.cli.main import main

AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])
HEADER = ["map", "region", "index", "voxels", "missing", "mean", "sd", "median", "unit"]


def save(path: Path, values: np.ndarray, affine: np.ndarray = AFFINE) -> str:
    nib.save(nib.Nifti1Image(values, affine), path)
    return str(path)


def table_of(path: Path) -> list[list[str]]:
    return [line.split("\t") for line in path.read_text().splitlines()]


@pytest.fixture
def labels(tmp_path: Path) -> str:
    """Background, a cube of 5³ and a plate of 2 layers."""
    numbers = np.zeros((12, 8, 8), dtype=np.int16)
    numbers[1:6, 1:6, 1:6] = 1
    numbers[8:10] = 42
    return save(tmp_path / "sub-01_dseg.nii.gz", numbers)


@pytest.fixture
def t1(tmp_path: Path) -> str:
    values = np.full((12, 8, 8), 9.0, dtype=np.float32)
    values[1:6] = np.linspace(0.5, 1.5, 5)[:, None, None]
    values[8, 0, 0] = np.nan
    (tmp_path / "sub-01_T1map.json").write_text('{"Units": "s"}')
    return save(tmp_path / "sub-01_T1map.nii.gz", values)


def test_maps_become_a_table(
    labels: str, t1: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "sub-01_dseg.tsv").write_text("index\tname\tcolor\n1\tThe cube\t#ff0000\n7\tNothing\t#0\n")
    second = save(tmp_path / "sub-01_Chimap.nii.gz", np.full((12, 8, 8), -0.03, dtype=np.float32))
    out = tmp_path / "new" / "regions.tsv"
    assert main(["regions", t1, second, "--labels", labels, "-o", str(out)]) == 0
    header, cube, absent, plate, *others = table_of(out)
    assert header == HEADER
    assert cube[:5] == ["sub-01_T1map", "The cube", "1", "125", "0"]
    assert [float(cell) for cell in cube[5:8]] == pytest.approx([1.0, np.sqrt(0.125 * 125 / 124), 1.0])
    assert cube[8] == "s"
    assert absent == ["sub-01_T1map", "Nothing", "7", "0", "0", "n/a", "n/a", "n/a", "s"]
    assert plate[:6] == ["sub-01_T1map", "42", "42", "128", "1", "9"]
    assert [row[0] for row in others] == ["sub-01_Chimap"] * 3
    assert float(others[0][5]) == pytest.approx(-0.03) and others[0][8] == "n/a"
    shown = capsys.readouterr().out
    assert "The cube" in shown and "Nothing" in shown and "-0.03" in shown and "voxels" in shown


def test_labels_on_a_finer_grid_are_resampled(
    t1: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Voxels of 1 mm: the edges of the cube lie within those of 2 mm, which belong to no region then."""
    numbers = np.zeros((24, 16, 16), dtype=np.int16)
    numbers[3:11, 2:12, 2:12] = 1
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    affine[:3, 3] = -0.5
    fine = save(tmp_path / "fine_dseg.nii.gz", numbers, affine)
    out = tmp_path / "regions.tsv"
    assert main(["regions", t1, "--labels", fine, "-o", str(out)]) == 0
    (row,) = table_of(out)[1:]
    assert row[1:5] == ["1", "1", "75", "0"]
    assert float(row[5]) == pytest.approx(1.0)
    assert "movement between the scans is not corrected" in " ".join(capsys.readouterr().out.split())


def test_erosion_and_mask(labels: str, t1: str, tmp_path: Path) -> None:
    inside = np.zeros((12, 8, 8), dtype=np.uint8)
    inside[:3] = 1
    mask = save(tmp_path / "mask.nii.gz", inside)
    out = tmp_path / "regions.tsv"
    words = ["regions", t1, "--labels", labels, "--quiet", "-o", str(out), "--erode", "1"]
    assert main(words) == 0
    assert [row[3] for row in table_of(out)[1:]] == ["27", "0"]
    assert main([*words, "--mask", mask]) == 0
    cube = table_of(out)[1]
    assert (cube[3], float(cube[5])) == ("9", pytest.approx(0.75))


def test_names_from_json_given_or_beside(
    labels: str, t1: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    beside, given = tmp_path / "sub-01_dseg.json", tmp_path / "names.json"
    words = ["regions", t1, "--labels", labels]
    beside.write_text('{"Manual": true, "Space": "orig"}')  # what BIDS has there: no names
    assert main(words) == 0
    assert "cube" not in capsys.readouterr().out
    beside.write_text(json.dumps({"1": "beside", "0": "background"}))
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "beside" in shown and "background" in shown
    given.write_text(json.dumps({"1": "given"}))
    assert main([*words, "--names", str(given)]) == 0
    shown = capsys.readouterr().out
    assert "given" in shown and "beside" not in shown


def test_maps_of_one_name_are_told_apart(labels: str, t1: str, tmp_path: Path) -> None:
    other = tmp_path / "other" / "sub-01_T1map.nii.gz"
    other.parent.mkdir()
    save(other, np.ones((12, 8, 8), dtype=np.float32))
    out = tmp_path / "regions.tsv"
    assert main(["regions", t1, str(other), "--labels", labels, "--quiet", "-o", str(out)]) == 0
    assert [row[0] for row in table_of(out)[1::2]] == [t1, str(other)]


def refusal(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["regions", *words]) == 2
    said = capsys.readouterr()
    assert said.out == "" and len(said.err.strip().splitlines()) == 1
    return said.err


def test_unusable_images_are_refused(
    labels: str, t1: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shape = (12, 8, 8)
    halves = save(tmp_path / "halves.nii", np.full(shape, 0.5, dtype=np.float32))
    said = refusal([t1, "--labels", halves], capsys)
    assert "halves.nii: contains invalid labels in 768 voxels, such as 0.5" in said and "whole" in said
    negative = save(tmp_path / "negative.nii", np.full(shape, -1, dtype=np.int16))
    assert "invalid labels in 768 voxels, such as -1" in refusal([t1, "--labels", negative], capsys)
    empty = save(tmp_path / "empty.nii", np.zeros(shape, dtype=np.int16))
    assert "empty.nii: contains no regions, only 0" in refusal([t1, "--labels", empty], capsys)
    away = save(tmp_path / "away.nii", np.ones(shape, dtype=np.float32), AFFINE + 99 * np.eye(4, k=3))
    said = refusal([away, "--labels", labels], capsys)
    assert "sub-01_dseg.nii.gz: shares no region with away.nii" in said and "same subject" in said
    series = save(tmp_path / "series.nii", np.ones((*shape, 3), dtype=np.float32))
    assert "series.nii: is a series of 3 volumes" in refusal([series, "--labels", labels], capsys)
    assert "nowhere.nii: there is no such file" in refusal(
        [t1, "--labels", str(tmp_path / "nowhere.nii")], capsys
    )
    assert "eroded -2 times" in refusal([t1, "--labels", labels, "--erode", "-2"], capsys)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("n.tsv", "number\tname\n1\tcube\n", "does not name regions"),
        ("n.tsv", "", "does not name regions"),
        ("n.tsv", "index\tname\n1\tcube\n01\tagain\n", "names label 1 twice"),
        ("n.tsv", "index\tname\n1.5\tcube\n", "'1.5' is not a label number"),
        ("n.tsv", "index\tname\n1\n", "label 1 has no usable name"),
        ("n.tsv", b"\xff\xfei\x00n", "is not text"),
        ("n.tsv", "index\tname\n7\tcube\n8\tplate\n", "and the names are of 7"),
        ("n.json", '{"one": "cube"}', "does not name regions"),
        ("n.json", '{"1": 7}', "label 1 has no usable name"),
        ("n.json", '{"1": "a", "1": "b"}', "is not valid JSON"),
        ("gone.tsv", None, "cannot be read"),
    ],
)
def test_unusable_names_are_refused(
    labels: str,
    t1: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    content: str | bytes | None,
    message: str,
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    said = refusal([t1, "--labels", labels, "--names", str(path)], capsys)
    assert message in said and name in said


def test_a_map_that_cannot_be_measured_stops_no_other(
    labels: str, t1: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hollow = np.full((12, 8, 8), np.nan, dtype=np.float32)
    hollow[0] = 1.0  # outside all regions
    empty, out = save(tmp_path / "hollow.nii", hollow), tmp_path / "regions.tsv"
    assert main(["regions", empty, t1, "--labels", labels, "-o", str(out)]) == 1
    assert {row[0] for row in table_of(out)[1:]} == {"sub-01_T1map"}
    assert "hollow.nii: has no value in any region" in capsys.readouterr().err


def test_a_selection_without_a_voxel_is_an_error(
    labels: str, t1: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    beside = np.zeros((12, 8, 8), dtype=np.uint8)
    beside[11] = 1
    mask = save(tmp_path / "beside.nii", beside)
    assert "does not overlap any region" in refusal([t1, "--labels", labels, "--mask", mask], capsys)
    assert "has no value in any region" in refusal([t1, "--labels", labels, "--erode", "9"], capsys)
