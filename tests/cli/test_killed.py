"""A mapping command is killed between two names: what every command then says, and what mends it."""

from pathlib import Path

import numpy as np
import pytest

from tests.bids.files import write_nifti
from tests.bids.killed_writer import writer
from tests.cli.outcome import called
from tests.cli.test_within import raw_tree
from unweight.bids.derivatives.write import is_complete
from unweight.bids.nifti.volume import open_volume

NAME = "sub-01_T1map"
OLD, NEW = 1.8, 1.9  # efficiencies, by which the maps can be told apart


def efficiency_of(out: Path) -> float:
    return round(float(open_volume(out / "sub-01/anat/sub-01_IEmap.nii.gz").data.nanmedian()), 4)


def check_readers(raw: Path, out: Path, labels: Path) -> bool:
    """See that all readers agree whether the set is unfinished, and return whether it is."""
    image = out / "sub-01/anat" / f"{NAME}.nii.gz"
    said = {
        "report": called(["report", out]),
        "phantom": called(["phantom", out, "--version", "1"]),
        "regions": called(["regions", image, "--labels", labels]),
        "group": called(["run", raw, out, "group"]),
    }
    unfinished = {f"unfinished set {NAME}" in one.err for name, one in said.items() if name != "group"}
    table = (out / "group_desc-failures.tsv").read_text()
    if True in unfinished:
        assert unfinished == {True}
        assert all(one.code != 0 for one in said.values())
        assert f"the unfinished set {NAME}" in table
        assert f"the unfinished set {NAME}" in (out / "sub-01.html").read_text()
        return True
    assert said["report"].code == said["regions"].code == said["group"].code == 0
    assert efficiency_of(out) in (OLD, NEW)
    return False


@pytest.mark.parametrize("steps", [[16], pytest.param(range(1, 60), marks=pytest.mark.slow)])
def test_t1_killed_at_a_rename(tmp_path: Path, steps: list[int]) -> None:
    raw = raw_tree(tmp_path / "raw")
    labels = write_nifti(tmp_path / "labels.nii.gz", np.ones((6, 6, 2), np.uint8))
    words = ["t1", str(raw), "--method", "ml", "--quiet", "--no-figures", "--no-report"]
    found = []
    with writer() as process:
        for step in steps:
            out = tmp_path / f"out{step}"
            assert not process.killed(0, *words, "-o", str(out), "--efficiency", str(OLD))
            again = (*words, "-o", str(out), "--efficiency", str(NEW))
            if not process.killed(step, *again):
                break
            found.append(check_readers(raw, out, labels))
            assert not process.killed(0, *again)
            assert is_complete(out, {"sub": "01"})
            assert efficiency_of(out) == NEW
            assert not check_readers(raw, out, labels)
    assert True in found


def test_run_mends_what_t1_left(tmp_path: Path) -> None:
    raw, out = raw_tree(tmp_path / "raw"), tmp_path / "out"
    words = ("t1", str(raw), "--method", "ml", "--quiet", "--no-figures", "--no-report", "-o", str(out))
    with writer() as process:
        assert process.killed(16, *words)
    assert not is_complete(out, {"sub": "01"})
    run = ["run", raw, out, "participant", "--set", "t1.method=ml", "--no-report", "--quiet"]
    outcome = called(run)
    assert outcome.code == 0, outcome.err
    assert is_complete(out, {"sub": "01"})
    assert not list(out.rglob(".*.json"))
