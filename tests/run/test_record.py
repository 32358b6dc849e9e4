import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from unweight.core.errors import OutputError
from unweight.run.record import (
    State,
    StepRecord,
    hash_of,
    read_record,
    records_of,
    remove_record,
    write_record,
)

RECORD = StepRecord(
    name="sub-01_t1",
    pipeline="t1",
    key="abc",
    state=State.COMPLETE,
    attempts=2,
    run="first",
    reason="none, é",
    command="unweight t1 BIDS_DIR/x.nii",
    configuration="config-0.json",
    files={"sub-01/anat/a.nii.gz": hashlib.sha256(b"a").hexdigest()},
)
PATH = Path("logs/steps/sub-01_t1.json")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "sub-01" / "anat").mkdir(parents=True)
    (tmp_path / "sub-01" / "anat" / "a.nii.gz").write_bytes(b"a")
    return tmp_path


def test_a_record_survives_the_disk(out: Path) -> None:
    assert read_record(out, RECORD.name) is None
    write_record(out, RECORD)
    assert read_record(out, RECORD.name) == RECORD
    assert json.loads((out / PATH).read_text())["state"] == "complete"
    write_record(out, replace(RECORD, name="sub-00_t1"))
    assert [one.name for one in records_of(out)] == ["sub-00_t1", "sub-01_t1"]
    remove_record(out, RECORD.name)
    remove_record(out, RECORD.name)
    assert read_record(out, RECORD.name) is None


def test_complete_stands_as_long_as_nothing_has_changed(out: Path) -> None:
    assert RECORD.stands(out, "abc")
    assert not RECORD.stands(out, "other")
    assert not replace(RECORD, state=State.BEGUN).stands(out, "abc")
    assert not replace(RECORD, state=State.FAILED).stands(out, "abc")
    assert not replace(RECORD, files={}).stands(out, "abc")
    (out / "sub-01" / "anat" / "a.nii.gz").write_bytes(b"b")
    assert not RECORD.stands(out, "abc")
    (out / "sub-01" / "anat" / "a.nii.gz").unlink()
    assert not RECORD.stands(out, "abc")


def test_sha256_of_a_file(tmp_path: Path) -> None:
    """FIPS 180-2, appendix B.1."""
    (tmp_path / "abc").write_bytes(b"abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert hash_of(tmp_path / "abc") == known
    assert hash_of(tmp_path / "none") == "" == hash_of(tmp_path)


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b'{"name": "sub-01_t1"}',
        json.dumps({"state": "odd"}).encode(),
    ],
)
def test_a_damaged_record_is_none(out: Path, damage: bytes) -> None:
    write_record(out, RECORD)
    (out / PATH).write_bytes(damage)
    assert read_record(out, RECORD.name) is None
    assert list(records_of(out)) == []


@pytest.mark.parametrize(
    ("field", "value"), [("state", "odd"), ("attempts", "many"), ("files", ["a"]), ("files", None)]
)
def test_a_record_with_a_wrong_field_is_none(out: Path, field: str, value: object) -> None:
    write_record(out, RECORD)
    fields = json.loads((out / PATH).read_text())
    (out / PATH).write_text(json.dumps(fields | {field: value}))
    assert read_record(out, RECORD.name) is None


def test_a_record_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "logs").write_bytes(b"a file where a folder should be")
    with pytest.raises(OutputError, match="could not be written"):
        write_record(tmp_path, RECORD)
