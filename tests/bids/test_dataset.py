import json
from pathlib import Path

import pytest

from tests.bids.files import write_bids_series
from unweight.bids.dataset import prepare_derivatives, prepare_raw
from unweight.core.errors import OutputError


def test_a_derivative_dataset_is_described_and_linked(tmp_path: Path) -> None:
    write_bids_series(tmp_path)
    out = tmp_path / "derivatives" / "unweight"
    for _ in range(2):
        prepare_derivatives(out, tmp_path, ["*.html"], "text")
        prepare_derivatives(out, None, ["logs"], "other text")
    described = json.loads((out / "dataset_description.json").read_text())
    assert described["DatasetType"] == "derivative"
    assert described["DatasetLinks"] == {"raw": "../.."}
    assert str(tmp_path) not in json.dumps(described)
    assert (out / ".bidsignore").read_text() == "*.html\nlogs\n"
    assert (out / "README.md").read_text() == "text"


def test_what_is_unchanged_is_not_written_again(tmp_path: Path) -> None:
    prepare_raw(tmp_path, "Images", "text")
    before = (tmp_path / "dataset_description.json").stat().st_ino
    prepare_raw(tmp_path, "Images", "text")
    assert (tmp_path / "dataset_description.json").stat().st_ino == before


def test_the_dataset_of_another_is_left_alone(tmp_path: Path) -> None:
    write_bids_series(tmp_path)
    before = (tmp_path / "dataset_description.json").read_bytes()
    with pytest.raises(OutputError, match="describes another dataset"):
        prepare_derivatives(tmp_path, None, [], "text")
    with pytest.raises(OutputError, match="describes another dataset"):
        prepare_raw(tmp_path, "Images", "text")
    assert (tmp_path / "dataset_description.json").read_bytes() == before
    (tmp_path / "dataset_description.json").write_text("{")
    with pytest.raises(OutputError, match="not valid JSON"):
        prepare_raw(tmp_path, "Images", "text")
    (tmp_path / "dataset_description.json").unlink()
    with pytest.raises(OutputError, match="no description that says whose"):
        prepare_raw(tmp_path, "Images", "text")
