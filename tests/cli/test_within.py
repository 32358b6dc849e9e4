"""Nothing is written outside the folder of results, and raw data are opened for reading only."""

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from tests.bids.files import write_nifti
from tests.cli.outcome import called, state
from unweight.bids.derivatives.write import visit_locked

TIMES = (0.05, 0.4, 1.1, 2.5)
OPENED: list[str] = []
WATCHING: list[bool] = []
CHANGING = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate")


def _audit(event: str, arguments: tuple[object, ...]) -> None:
    if not WATCHING:
        return
    if event == "open" and isinstance(arguments[0], str | bytes):
        flags = arguments[2] if isinstance(arguments[2], int) else 0
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND):
            OPENED.append(os.fsdecode(arguments[0]))
    elif event in CHANGING:
        paths = [one for one in arguments[:2] if isinstance(one, str | bytes | os.PathLike)]
        OPENED.extend(os.fsdecode(one) for one in paths)


sys.addaudithook(_audit)


@contextmanager
def watched() -> Iterator[list[str]]:
    """Collect the paths that are opened for writing, renamed or removed."""
    OPENED.clear()
    WATCHING.append(True)
    try:
        yield OPENED
    finally:
        WATCHING.clear()


def raw_tree(root: Path) -> Path:
    rng = np.random.default_rng(0)
    t1 = rng.uniform(0.4, 1.4, (6, 6, 2))
    for index, time in enumerate(TIMES, start=1):
        values = np.abs(1000 * (1 - 1.96 * np.exp(-time / t1))) + rng.uniform(0, 5, t1.shape)
        path = root / "sub-01" / "anat" / f"sub-01_inv-{index}_IRT1.nii.gz"
        write_nifti(path, values.astype(np.float32), {"InversionTime": time, "RepetitionTime": 6.0})
    (root / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.10.0"}')
    return root


def t1(raw: Path, out: Path, *more: str) -> tuple[int, str]:
    outcome = called(["t1", raw, "-o", out, "--method", "ml", "--quiet", *more])
    return outcome.code, outcome.err


def test_raw_data_that_cannot_be_written_stay_as_they_are(tmp_path: Path) -> None:
    raw, out = raw_tree(tmp_path / "raw"), tmp_path / "out"
    for path in raw.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = state(raw)
    with watched() as written:
        assert t1(raw, out) == (0, "")
    assert state(raw) == before
    assert written
    # matplotlib keeps what it found out about fonts in a folder of the user.
    elsewhere = [path for path in written if not Path(path).is_relative_to(out)]
    assert [path for path in elsewhere if "/matplotlib" not in path] == []
    for path in raw.rglob("*"):
        path.chmod(0o755)


@pytest.mark.parametrize("link", ["sub-01", "sub-01/anat", "sub-01/figures"])
@pytest.mark.parametrize("target", ["elsewhere", "nowhere", "raw/sub-01/anat"])
def test_links_in_the_results_that_lead_out_are_refused(tmp_path: Path, link: str, target: str) -> None:
    raw, out = raw_tree(tmp_path / "raw"), tmp_path / "out"

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "sub-01_T1map.png").write_text("mine")
    (out / link).parent.mkdir(parents=True)
    (out / link).symlink_to(tmp_path / target)
    before = state(raw, elsewhere)
    code, said = t1(raw, out)
    assert code in (2, 3)
    assert "points outside the" in said
    assert "Remove the link." in said
    assert state(raw, elsewhere) == before
    assert not (tmp_path / "nowhere").exists()
    assert not list(out.rglob("*.nii.gz"))


def test_a_result_whose_name_is_a_link_to_raw_data_replaces_the_link(tmp_path: Path) -> None:
    raw, out = raw_tree(tmp_path / "raw"), tmp_path / "out"
    victim = raw / "sub-01" / "anat" / "sub-01_inv-1_IRT1.nii.gz"
    (out / "sub-01" / "anat").mkdir(parents=True)
    (out / "sub-01" / "figures").mkdir()
    assert t1(raw, out) == (0, "")
    for path in [*out.rglob("*.nii.gz"), *out.rglob("*.png"), *out.rglob("*map.json"), out / ".bidsignore"]:
        path.unlink()
        path.symlink_to(victim if path.suffix != ".json" else victim.with_name("sub-01_inv-1_IRT1.json"))
    before = state(raw)
    code, said = t1(raw, out)
    assert code in (0, 3), said
    assert state(raw) == before
    assert code == 3 or not any(path.is_symlink() for path in out.rglob("*T1map*"))


@pytest.mark.parametrize(
    "within", [".", "sub-01", "sub-01/anat", "sub-01/derivatives", "maps", "code/maps"]
)
def test_results_do_not_lie_among_raw_images(tmp_path: Path, within: str) -> None:
    raw = raw_tree(tmp_path / "raw")
    before = state(raw)
    code, said = t1(raw, raw / within)
    assert code == 3
    assert "Choose another folder; derivatives/unweight" in said
    assert state(raw) == before


def test_derivatives_within_raw_are_the_custom(tmp_path: Path) -> None:
    raw = raw_tree(tmp_path / "raw")
    assert t1(raw, raw / "derivatives" / "unweight")[0] == 0
    shutil.rmtree(raw / "derivatives")


def test_a_folder_where_a_picture_belongs_is_said(tmp_path: Path) -> None:
    raw, out = raw_tree(tmp_path / "raw"), tmp_path / "out"
    (out / "sub-01" / "figures" / "sub-01_T1map.png").mkdir(parents=True)
    code, said = t1(raw, out)
    assert code == 3
    assert "is in the place of a result" in said


def test_images_and_results_in_one_folder_are_the_same_images_again(tmp_path: Path) -> None:
    raw = raw_tree(tmp_path / "raw")
    for path in (raw / "sub-01" / "anat").iterdir():
        shutil.copy(path, tmp_path / path.name.replace("sub-01_inv-", "Doe_Jane_"))
    images = [str(path) for path in sorted(tmp_path.glob("Doe*.nii.gz"))]
    words = ["t1", *images, "-o", tmp_path, "--method", "ml", "--quiet", "--no-figures"]
    assert called(words).code == 0
    assert called(words).code == 0
    for path in (tmp_path / "sub-01").rglob("*.json"):
        assert "Doe" not in path.read_text()


def test_a_place_is_tried_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw, out = raw_tree(tmp_path / "raw"), tmp_path / "out"
    out.write_text("mine")
    monkeypatch.setattr("unweight.mapping.t1.method_for", lambda *_: pytest.fail("it computes already"))
    code, said = t1(raw, out)
    assert code == 3
    assert "could not be written" in said
    assert out.read_text() == "mine"


def test_records_are_not_written_through_a_link(tmp_path: Path) -> None:
    raw, out, elsewhere = raw_tree(tmp_path / "raw"), tmp_path / "out", tmp_path / "elsewhere"
    for link in ("logs", "logs/steps", "logs/locks"):
        elsewhere.mkdir()
        (out / link).parent.mkdir(parents=True)
        (out / link).symlink_to(elsewhere)
        for level in ("participant", "group"):
            outcome = called(["run", raw, out, level, "--quiet"])
            assert outcome.code == 3
            assert "points outside the" in outcome.err
        assert list(elsewhere.iterdir()) == []
        shutil.rmtree(out)
        elsewhere.rmdir()


def test_a_second_writer_of_a_subject_waits_then_gives_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw, out = raw_tree(tmp_path / "raw"), tmp_path / "out"
    monkeypatch.setattr("unweight.files.lock.LONGEST_WAIT", 0.2)
    with visit_locked(out, {"sub": "01"}):
        code, said = t1(raw, out)
        assert code == 3
        assert "held by another process, which has written sub-01" in said
    assert not list(out.rglob("*.nii.gz"))
    assert t1(raw, out) == (0, "")
