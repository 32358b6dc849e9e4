"""`unweight maps` and `unweight validate` on an exam as a scanner exports it."""

import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.bids.exam_dicom import EXAM, FLAIR, MPRAGE, T2W, write_exam
from unweight.bids.dicom.exam import exam_of_dicom
from unweight.cli.main import main

CAPTURE = pytest.CaptureFixture[str]
WORDS = ("--no-figures", "--method", "physics")
PHILIPS = replace(MPRAGE, tags=dict(MPRAGE.tags) | {"RepetitionTime": 6.5, "Manufacturer": "Philips"})


def mask_of(folder: Path, path: Path) -> Path:
    """Write a mask of the ball in the T1w of an exam."""
    with exam_of_dicom(folder) as exam:
        image = nib.load(exam.candidates[0].entry.path)
        values = np.asarray(image.dataobj)
        nib.save(nib.Nifti1Image((values > 100).astype("u1"), image.affine), path)
    return path


def test_a_folder_of_dicom_becomes_maps_that_record_the_choice(tmp_path: Path, capsys: CAPTURE) -> None:
    folder = write_exam(tmp_path / "exam", [*EXAM, replace(MPRAGE, number=20)])
    mask = mask_of(folder, tmp_path / "mask.nii.gz")
    out = tmp_path / "out"
    assert main(["maps", str(folder), "--mask", str(mask), "-o", str(out), *WORDS]) == 0
    shown = capsys.readouterr().out
    assert "T1w: series 20 (3D MPRAGE" in shown and "T1w left out: series 5" in shown
    settings = json.loads((out / "sub-01/anat/sub-01_T1map.json").read_text())["unweight"]["Settings"]
    assert settings["Choice"]["T1w"]["Image"] == "series 20"
    assert "repeated later" in settings["Choice"]["LeftOut"][0]
    assert settings["Images"]["FLAIR"]["InversionTime"] == 2.5
    assert "repeated later" in (out / "sub-01.html").read_text()


def test_what_is_missing_is_asked_for_at_once_and_then_mapped(tmp_path: Path, capsys: CAPTURE) -> None:
    bare = replace(
        FLAIR, tags={name: value for name, value in FLAIR.tags.items() if name != "InversionTime"}
    )
    timeless = {name: value for name, value in PHILIPS.tags.items() if name != "InversionTime"}
    folder = write_exam(tmp_path / "exam", [replace(PHILIPS, tags=timeless), T2W, bare])
    call = ["maps", str(folder), "-o", str(tmp_path / "out"), *WORDS]
    assert main(call) == 2
    said = capsys.readouterr().err
    assert "--t1w-ti S" in said and "--flair-ti S" in said and str(folder) in said
    assert main(["validate", str(folder)]) == 1
    assert "needs --t1w-tr S --t1w-ti S" in capsys.readouterr().out


def test_series_restrict_the_choice(tmp_path: Path, capsys: CAPTURE) -> None:
    folder = write_exam(tmp_path / "exam", EXAM)
    assert main(["maps", str(folder), "--series", "1", "5", "-o", str(tmp_path / "out"), *WORDS]) == 2
    assert "has T1w only" in capsys.readouterr().err


def test_validate_lists_every_series_with_its_use(tmp_path: Path, capsys: CAPTURE) -> None:
    folder = write_exam(tmp_path / "exam", EXAM)
    assert main(["validate", str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = {
        number: next(line for line in lines if line.startswith(f"series {number} "))
        for number in range(1, 14, 2)
    }
    assert all("mapped" in rows[number] for number in (5, 7, 9))
    assert "localizer" in rows[1] and "diffusion" in rows[3] and "T2*" in rows[11]
    assert list(tmp_path.iterdir()) == [folder]


def test_two_exams_in_one_folder_are_named(tmp_path: Path, capsys: CAPTURE) -> None:
    write_exam(tmp_path / "exam", [MPRAGE])
    folder = write_exam(tmp_path / "exam", [T2W, FLAIR])
    assert main(["validate", str(folder)]) == 2
    assert "2 exams" in capsys.readouterr().err
    assert main(["maps", str(folder), "-o", str(tmp_path / "out"), *WORDS]) == 2
    assert "2 exams" in capsys.readouterr().err
