"""A mapping command is killed between two names: what every command then says, and what mends it."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.bids.files import write_nifti
from tests.bids.killed_writer import KINDS, write_version, writer
from tests.cli.outcome import Outcome, called
from tests.cli.test_within import raw_tree
from unweight.bids.derivatives.stored import unfinished_sets
from unweight.bids.derivatives.write import is_complete
from unweight.bids.nifti.volume import open_volume

NAME = "sub-01_T1map"
PATIENCE = 600  # s, for a run, whose worker loads all libraries
OLD, NEW = 1.8, 1.9  # efficiencies, by which the maps can be told apart


def efficiency_of(out: Path) -> float:
    return round(float(open_volume(out / "sub-01/anat/sub-01_IEmap.nii.gz").data.nanmedian()), 4)


def readers_of(raw: Path, out: Path, image: Path, labels: Path, kind: str) -> dict[str, Outcome]:
    """Call each command that reads maps; pages and tables come first, and the others need none of them."""
    said = {
        "report": called(["report", out]),
        "regions": called(["regions", image, "--labels", labels]),
        "cite": called(["cite", out]),
        "group": called(["run", raw, out, "group"]),
    }
    if kind == "t1":
        said["phantom"] = called(["phantom", out, "--phantom-version", "1"])
    if kind == "maps":
        said["contrast"] = called(["contrast", out, "--t1w", "-o", out.with_name("images"), "--no-report"])
    return said


def check_refused(said: Mapping[str, Outcome], out: Path, name: str) -> None:
    """See that each reader ended with an error, and named the set, `group` in its table."""
    table = (out / "group_desc-failures.tsv").read_text()
    assert f"the unfinished set {name}" in table
    assert f"the unfinished set {name}" in (out / "sub-01.html").read_text()
    for command, one in said.items():
        assert one.code in (1, 2), (command, one)
        assert command == "group" or f"unfinished set {name}" in one.err, (command, one)


def check_readers(raw: Path, out: Path, labels: Path) -> bool:
    """See that all readers agree whether the set is unfinished, and return whether it is."""
    image = out / "sub-01/anat" / f"{NAME}.nii.gz"
    said = readers_of(raw, out, image, labels, "t1")
    if any(f"unfinished set {NAME}" in one.err for one in said.values()):
        check_refused(said, out, NAME)
        return True
    codes = {command: one.code for command, one in said.items() if command != "phantom"}  # it is none
    assert set(codes.values()) == {0}, said
    assert efficiency_of(out) in (OLD, NEW)
    return False


@pytest.mark.parametrize("steps", [[16], pytest.param(range(1, 60), marks=pytest.mark.slow)])
def test_t1_killed_at_a_rename(tmp_path: Path, steps: Sequence[int]) -> None:
    raw = raw_tree(tmp_path / "raw")
    labels = write_nifti(tmp_path / "labels.nii.gz", np.ones((6, 6, 2), np.uint8))
    words = ["t1", str(raw), "--method", "ml", "--quiet", "--no-figures", "--no-report"]
    older, found = tmp_path / "older", []
    with writer() as process:
        assert not process.killed(0, *words, "-o", str(older), "--efficiency", str(OLD))
        for step in steps:
            out = tmp_path / f"out{step}"
            shutil.copytree(older, out)
            again = (*words, "-o", str(out), "--efficiency", str(NEW))
            if not process.killed(step, *again):
                break
            found.append(check_readers(raw, out, labels))
            assert not process.killed(0, *again)
            assert is_complete(out, {"sub": "01"})
            assert efficiency_of(out) == NEW
    assert True in found
    assert not check_readers(raw, out, labels)


@pytest.mark.parametrize("kind", KINDS)
def test_each_reader_names_an_unfinished_set(tmp_path: Path, kind: str) -> None:
    raw, out = raw_tree(tmp_path / "raw"), tmp_path / "out"
    labels = write_nifti(tmp_path / "labels.nii.gz", np.ones((3, 2, 2), np.uint8))
    write_version(kind, 1, out)
    with writer() as process:
        assert process.killed(6, "write", kind, "2", str(out))
    [name] = unfinished_sets(out, "01")
    image = out / "sub-01" / "ses-a" / "anat" / f"{name}.nii.gz"
    check_refused(readers_of(raw, out, image, labels, kind), out, name)
    write_version(kind, 2, out)
    assert unfinished_sets(out, "01") == ()
    assert called(["report", out]).code == called(["cite", out]).code == 0


def test_run_mends_what_t1_left(tmp_path: Path) -> None:
    raw, out = raw_tree(tmp_path / "raw"), tmp_path / "out"
    words = ("t1", str(raw), "--method", "ml", "--quiet", "--no-figures", "--no-report", "-o", str(out))
    with writer() as process:
        assert process.killed(16, *words)
    assert not is_complete(out, {"sub": "01"})
    run = ["run", raw, out, "participant", "--set", "t1.method=ml", "--no-report", "--quiet"]
    outcome = called(run, PATIENCE)
    assert outcome.code == 0, outcome.err
    assert is_complete(out, {"sub": "01"})
    assert not list(out.rglob(".*.json"))
