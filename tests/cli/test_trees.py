"""One subject of a study is bad: in every command the others are done, it is named, and the code is 1."""

import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.bids.closed_folders import close
from tests.run.trees import T1, echoes, inversions, put, write_study
from unweight.cli.main import main
from unweight.core.errors import UsageError

CAPTURE = pytest.CaptureFixture[str]
PLAIN = ("--method", "ml", "--no-figures", "--no-report", "--quiet")


def _dropped(raw: Path) -> None:
    path = _first(raw)
    path.unlink()
    path.symlink_to("../../.git/annex/objects/MD5E-s1.nii")


def _first(raw: Path) -> Path:
    return min((raw / "sub-02" / "anat").glob("*.nii*"))


def _doubled(raw: Path) -> None:
    path = _first(raw)
    stem = path.name.partition(".")[0]
    nib.save(nib.load(path), path.with_name(f"{stem}.nii.gz" if path.suffix == ".nii" else f"{stem}.nii"))


def _copied(raw: Path) -> None:
    (raw / "sub-02").rename(raw / "sub-02 (copy)")


def _emptied(raw: Path) -> None:
    shutil.rmtree(raw / "sub-02" / "anat")


DEFECTS: dict[str, Callable[[Path], None]] = {
    "is a broken link": _dropped,
    "has the same BIDS entities": _doubled,
    "is not a valid label of a subject": _copied,
    "contains no files": _emptied,
}


def check_others(out: Path) -> None:
    """See that the two good subjects have the T1 they were made with, and no other has any."""
    found = sorted(out.glob("sub-*/anat/sub-*_T1map.nii.gz"))
    assert [path.name[:6] for path in found if "desc" not in path.name] == ["sub-01", "sub-03"]
    for path in found:
        if "desc" not in path.name:
            assert nib.load(path).get_fdata() == pytest.approx(T1, rel=0.05)


@pytest.mark.parametrize("defect", DEFECTS)
def test_t1_and_validate(tmp_path: Path, capsys: CAPTURE, defect: str) -> None:
    raw = write_study(tmp_path / "bids", 3)
    DEFECTS[defect](raw)
    assert main(["t1", str(raw), "-o", str(tmp_path / "maps"), *PLAIN]) == 1
    named = [line for line in capsys.readouterr().err.splitlines() if defect in line]
    assert len(named) == 1 and named[0].startswith("sub-02")
    check_others(tmp_path / "maps")
    assert main(["validate", str(raw), "--quiet"]) == 1
    assert defect in capsys.readouterr().err


def test_a_folder_that_may_not_be_read(
    tmp_path: Path, capsys: CAPTURE, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = write_study(tmp_path / "bids", 3)
    close(monkeypatch, raw / "sub-02")
    assert main(["t1", str(raw), "-o", str(tmp_path / "maps"), *PLAIN]) == 1
    assert "sub-02: cannot be read (Permission denied)" in capsys.readouterr().err
    check_others(tmp_path / "maps")


def test_a_subject_asked_for_that_is_not_there(tmp_path: Path, capsys: CAPTURE) -> None:
    raw = write_study(tmp_path / "bids", 1)
    put(raw, "sub-04_T1w")
    words = ["t1", str(raw), "-o", str(tmp_path / "maps"), *PLAIN, "--subjects", "01", "04", "99"]
    assert main(words) == 1
    said = capsys.readouterr().err
    assert "sub-04: has no IRT1 series" in said and "there is no such subject" in said
    assert (tmp_path / "maps/sub-01/anat/sub-01_T1map.nii.gz").is_file()


@pytest.mark.parametrize("command", ["r2star", "t2", "qsm", "mprage", "maps"])
def test_other_commands_name_it_as_well(tmp_path: Path, capsys: CAPTURE, command: str) -> None:
    suffix = {"t2": "MESE", "maps": "T1w"}.get(command, "MEGRE")
    for subject in ("01", "02"):
        if command == "maps":
            put(tmp_path / "bids", f"sub-{subject}_T1w", f"sub-{subject}_T2w")
        else:
            put(tmp_path / "bids", *echoes(subject, "mag", "phase", suffix=suffix))
    _doubled(tmp_path / "bids")
    assert main([command, str(tmp_path / "bids"), "-o", str(tmp_path / "maps"), "--quiet"]) == 1
    said = capsys.readouterr().err  # the other one has no times, which is found when it is read
    assert said.count("has the same BIDS entities") == 1 and "2 of 2" in said


def test_slurm_names_who_is_left_out(tmp_path: Path, capsys: CAPTURE) -> None:
    raw = write_study(tmp_path / "bids", 2)
    _doubled(raw)
    assert main(["slurm", str(raw), str(tmp_path / "maps"), "--script", str(tmp_path / "job.sh")]) == 1
    assert "sub-02_IRT1: sub-02/anat" in capsys.readouterr().err
    assert "    01\n" in (tmp_path / "job.sh").read_text()


@pytest.mark.parametrize("command", ["t1", "r2star", "qsm", "maps", "run"])
def test_a_gpu_that_is_not_here_is_one_error_before_the_work(
    tmp_path: Path, capsys: CAPTURE, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    def none(_: str) -> None:
        raise UsageError("no CUDA device is available")

    put(tmp_path / "bids", *inversions("01"), *inversions("02"), *echoes("01", "mag", "phase"))
    put(tmp_path / "bids", "sub-01_T1w", "sub-01_T2w", "sub-02_T1w", "sub-02_T2w")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    out = str(tmp_path / "maps")
    words = [command, str(tmp_path / "bids")]
    words += (
        [out, "participant", "--gpu", "--memory", "4"]
        if command == "run"
        else ["-o", out, "--device", "cuda"]
    )
    assert main([*words, "--quiet"]) == 2
    assert capsys.readouterr().err.count("no CUDA device is available") == 1
    assert not (tmp_path / "maps").exists()


def test_a_mask_without_a_signal_is_refused(tmp_path: Path, capsys: CAPTURE) -> None:
    raw = write_study(tmp_path / "bids", 1)
    for path in (raw / "sub-01" / "anat").glob("*.nii.gz"):
        image = nib.load(path)
        values = image.get_fdata(dtype=np.float32)
        values[0] = 0
        nib.save(nib.Nifti1Image(values, image.affine), path)
    mask = np.zeros(image.shape, dtype=np.uint8)
    mask[0] = 1
    nib.save(nib.Nifti1Image(mask, image.affine), tmp_path / "mask.nii")
    words = ["t1", str(raw), "-o", str(tmp_path / "maps"), "--mask", str(tmp_path / "mask.nii"), *PLAIN]
    assert main(words) == 2
    assert (
        "mask.nii: the mask contains no voxel in which the images have a signal" in capsys.readouterr().err
    )
