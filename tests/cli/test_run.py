"""`unweight run` from a BIDS tree to maps, on real files of 24 voxels."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.run.trees import SMALL, T1, content_of, inversions, put, write_study
from unweight.bids.derivatives.write import is_complete
from unweight.cli.main import main
from unweight.cli.study import run as module
from unweight.cli.study.worker import work
from unweight.run.job import Job, outcomes_from_json
from unweight.run.local import Child, Tell
from unweight.run.record import State, records_of

CAPTURE = pytest.CaptureFixture[str]
WORDS = (
    "--only",
    "t1",
    "--no-report",
    "--memory",
    "4",
    "--set",
    "t1.method=ml",
    "--set",
    "t1.no-figures=true",
)
SUBJECTS = ("01", "02", "03")
# A run of its own, as a user starts it.
PROGRAM = (sys.executable, "-m", "unweight", "run")


def here_instead(jobs: Sequence[Job], _: Sequence[Child], tell: Tell) -> None:
    """Carry out jobs in this process, which spares the seconds in which another one starts."""
    for job in jobs:
        tell(job, outcomes_from_json(work(job.to_json())))


def call(raw: Path, out: Path, *more: object) -> int:
    return main(["run", str(raw), str(out), "participant", *WORDS, *map(str, more)])


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(tmp_path_factory.mktemp("run") / "bids")


@pytest.fixture(scope="module")
def made(raw: Path) -> Path:
    """What one worker, a process of its own, makes of all subjects."""
    before = content_of(raw)
    out = raw.with_name("one")
    assert call(raw, out, "--quiet") == 0
    assert content_of(raw) == before
    return out


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "run_locally", here_instead)


def study(out: Path) -> dict[str, bytes]:
    """Return what was made, without what tells of the folder it was made in."""
    return {
        name: content for name, content in content_of(out).items() if name != "dataset_description.json"
    }


def steps(out: Path) -> dict[str, State]:
    return {one.name: one.state for one in records_of(out)}


def test_maps_are_right_and_complete(made: Path) -> None:
    """Noise of 1 in 1000 moves a T1 by some tenths of a per cent; 2 % is several standard deviations."""
    for subject in SUBJECTS:
        found = np.asarray(nib.load(made / f"sub-{subject}/anat/sub-{subject}_T1map.nii.gz").dataobj)
        np.testing.assert_allclose(found, T1, rtol=0.02)
        assert is_complete(made, {"sub": subject})
    assert steps(made) == {f"sub-{subject}_t1": State.COMPLETE for subject in SUBJECTS}
    (configuration,) = made.glob("logs/config-*.json")
    content = json.loads(configuration.read_text())
    assert content["Options"] == {"t1": ["--method", "ml", "--no-figures"]}
    assert {one.configuration for one in records_of(made)} == {configuration.name}


def test_no_text_tells_of_the_machine(made: Path) -> None:
    for name, content in content_of(made).items():
        assert str(made.parent).encode() not in content, name
        assert str(Path.home()).encode() + b"/" not in content, name


def test_a_second_run_keeps_all(raw: Path, made: Path, here: None, capsys: CAPTURE) -> None:
    before = content_of(made)
    times = {path: path.stat().st_mtime_ns for path in made.rglob("*T1map*")}
    assert call(raw, made) == 0
    assert "0 steps done, 3 were complete before, 0 failed" in capsys.readouterr().out
    assert content_of(made) == before
    assert {path: path.stat().st_mtime_ns for path in made.rglob("*T1map*")} == times


def test_what_is_missing_or_altered_is_made_again(
    raw: Path, made: Path, tmp_path: Path, here: None, capsys: CAPTURE
) -> None:
    out = tmp_path / "maps"
    shutil.copytree(made, out)
    (out / "sub-02/anat/sub-02_T1map.nii.gz").write_bytes(b"altered")
    shutil.rmtree(out / "sub-03")
    assert call(raw, out) == 0
    assert "2 steps done, 1 were complete before, 0 failed" in capsys.readouterr().out
    assert study(out) == study(made)


def test_images_that_were_added_are_used(made: Path, tmp_path: Path, here: None) -> None:
    """A fifth inversion changes the series: its maps are those of this run, and may be replaced."""
    raw, out = write_study(tmp_path / "bids", 1), tmp_path / "maps"
    assert call(raw, out, "--quiet") == 0
    anat = raw / "sub-01" / "anat"
    shutil.copy(anat / "sub-01_inv-4_IRT1.nii.gz", anat / "sub-01_inv-5_IRT1.nii.gz")
    shutil.copy(anat / "sub-01_inv-4_IRT1.json", anat / "sub-01_inv-5_IRT1.json")
    assert call(raw, out, "--quiet") == 0
    told = json.loads((out / "sub-01/anat/sub-01_T1map.json").read_text())
    assert len(told["Sources"]) == 5


def test_a_dry_run_writes_nothing(raw: Path, tmp_path: Path, capsys: CAPTURE) -> None:
    before = content_of(tmp_path)
    assert call(raw, tmp_path / "out[a]", "--dry-run") == 0
    assert content_of(tmp_path) == before
    shown = capsys.readouterr().out
    assert "3 visits, 3 series" in shown
    assert shown.count("\nunweight t1 ") == 3 and "out[a]" in shown


def test_one_subject_that_cannot_be_planned_or_done_gives_1(
    raw: Path, made: Path, tmp_path: Path, here: None, capsys: CAPTURE
) -> None:
    tree = tmp_path / "bids"
    shutil.copytree(raw, tree)
    put(tree, *inversions("04"))  # no inversion times
    put(tree, *inversions("05"), content=b"")
    out = tmp_path / "maps"
    assert call(tree, out) == 1
    shown = capsys.readouterr()
    assert "3 steps done, 0 were complete before, 1 failed; 1 could not be planned" in shown.out
    assert "sub-05_IRT1 (t1): sub-05/anat/sub-05_inv-1_IRT1.nii is empty (0 bytes), and 2 more" in shown.err
    failed = next(line for line in shown.err.splitlines() if line.startswith("sub-04_t1: "))
    assert "inversion_time" in failed and str(tmp_path) not in failed
    assert steps(out) == {f"sub-{one}_t1": State.COMPLETE for one in SUBJECTS} | {"sub-04_t1": State.FAILED}
    assert call(tree, out, "--dry-run") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--workers", "0"), "--workers 0"),
        (("--memory", "0"), "the memory must be positive"),
        (("--memory", "0.01"), "needs about 0.5 GB"),
        (("--cluster", "slurm", "--scheduler", "tcp://127.0.0.1:9"), "cannot be combined"),
        (("--scheduler", "tcp://127.0.0.1:9"), "accepts work from any client that can reach it"),
        (("--scheduler", "127.0.0.1:9"), "accepts work from any client that can reach it"),
        (("--scheduler", "ws://127.0.0.1:9", "--insecure"), "is not a valid scheduler address"),
        (("--scheduler", "tls://127.0.0.1:9"), "requires a certificate, and none is given"),
        (("--set", "t1.method=magic"), "invalid choice"),
        (("--config", "none.toml"), "`unweight init` writes a settings file"),
        (("--participant-label", "99"), "no supported image series was found"),
    ],
)
def test_calls_that_cannot_be_understood_give_2(
    raw: Path, tmp_path: Path, capsys: CAPTURE, words: tuple[str, ...], message: str
) -> None:
    out = tmp_path / "out"
    assert call(raw, out, *words) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize("words", [("--cluster", "slurm"), ("--scheduler", "tls://127.0.0.1:9")])
@pytest.mark.parametrize("package", ["dask", "distributed", "dask_jobqueue", "cryptography"])
def test_workers_elsewhere_need_an_extra_that_is_named(
    raw: Path,
    tmp_path: Path,
    capsys: CAPTURE,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, str],
    package: str,
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    assert call(raw, tmp_path / "out", *words) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert f"{words[0]} needs {package.replace('_', '-')}, which is not installed here" in said
    assert "pip install 'unweight[cluster]'" in said and "unweight slurm" in said


def test_a_batch_system_is_told_of_memory(raw: Path, tmp_path: Path, capsys: CAPTURE) -> None:
    words = ["run", str(raw), str(tmp_path / "out"), "participant", "--only", "t1", "--cluster", "slurm"]
    assert main(words) == 2
    assert "needs the memory of each worker" in capsys.readouterr().err


@pytest.mark.parametrize("level", ["participant", "group"])
@pytest.mark.parametrize("inside", ["", "sub-01", "maps", "derivatives/../sub-02"])
def test_results_do_not_go_among_the_raw_images(
    raw: Path, capsys: CAPTURE, inside: str, level: str
) -> None:
    before = content_of(raw)
    assert main(["run", str(raw), str(raw / inside), level, "--only", "t1"]) == 2
    assert "inside the raw dataset" in capsys.readouterr().err
    assert content_of(raw) == before


def test_derivatives_in_the_tree_are_the_custom(tmp_path: Path, here: None) -> None:
    raw = write_study(tmp_path / "bids", 1)
    before = content_of(raw)
    out = raw / "derivatives" / "unweight"
    assert call(raw, out, "--quiet") == 0
    assert call(raw, out, "--quiet") == 0  # its own maps are no raw images
    after = content_of(raw)
    assert {name: after[name] for name in before} == before
    assert is_complete(out, {"sub": "01"})


def test_a_folder_of_someone_else_is_refused(raw: Path, tmp_path: Path, capsys: CAPTURE) -> None:
    put(tmp_path / "other", "sub-01_T1w", content=SMALL)
    before = content_of(tmp_path)
    assert call(raw, tmp_path / "other") == 3
    assert "Choose another folder" in capsys.readouterr().err
    assert content_of(tmp_path) == before


def test_two_workers_give_the_same_bytes(raw: Path, made: Path) -> None:
    out = raw.with_name("two")
    assert call(raw, out, "--workers", "2", "--quiet") == 0
    assert study(out) == study(made)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk that holds the maps of one subject or two, where this process may mount one."""
    mount = shutil.which("mount")
    folder = tmp_path / "disk"
    folder.mkdir()
    words = [mount or "mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(folder)]
    if mount is None or subprocess.run(words, capture_output=True, check=False).returncode != 0:
        pytest.skip("no right to mount a small disk here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_leaves_what_is_done_and_space_completes_it(
    raw: Path, made: Path, small_disk: Path, here: None, capsys: CAPTURE
) -> None:
    out = small_disk / "maps"
    assert call(raw, out) != 0
    assert "No space left on device" in capsys.readouterr().err
    first = [one for one in SUBJECTS if is_complete(out, {"sub": one})]
    assert first and len(first) < len(SUBJECTS)
    assert {name for name, state in steps(out).items() if state is State.COMPLETE} <= {
        f"sub-{one}_t1" for one in first
    }
    subprocess.run(["mount", "-o", "remount,size=4m", str(small_disk)], check=True)
    capsys.readouterr()
    assert call(raw, out) == 0
    assert f"{len(SUBJECTS)} steps done" not in capsys.readouterr().out
    assert study(out) == study(made)


@pytest.mark.slow
def test_two_runs_at_once_share_the_work(raw: Path, made: Path) -> None:
    out = raw.with_name("both")
    words = [*PROGRAM, str(raw), str(out), "participant", *WORDS]
    runs = [
        subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for _ in range(2)
    ]
    said = [one.communicate(timeout=300)[0] for one in runs]
    assert [one.returncode for one in runs] == [0, 0], said
    assert study(out) == study(made)
    lines = [line for text in said for line in text.splitlines() if "/3 sub-" in line]
    for subject in SUBJECTS:
        told = [line for line in lines if f"sub-{subject}:" in line]
        assert len(told) == 2
        assert sum("complete before" in line for line in told) == 1, told
