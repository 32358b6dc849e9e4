"""An exam in a folder of DICOM: which series are converted, which are chosen, and why not the others."""

from dataclasses import replace
from pathlib import Path

import pytest
from pydicom.uid import generate_uid

from tests.bids.exam_dicom import EXAM, FLAIR, LOCALIZER, MPRAGE, T2W, write_exam
from unweight.bids.dicom.exam import exam_of_dicom
from unweight.bids.exam.choice import by_timings, choose
from unweight.core.errors import InputError


def test_series_are_sorted_by_their_headers(tmp_path: Path) -> None:
    with exam_of_dicom(write_exam(tmp_path, EXAM)) as exam:
        assert {item.label: item.kind.contrast for item in exam.candidates} == {
            "series 5": "T1w",
            "series 7": "T2w",
            "series 9": "FLAIR",
        }
        reasons = {item.label: item.reason for item in exam.left_out}
        assert all(item.entry.path.is_file() for item in exam.candidates)
        assert exam.faults == ()
    assert set(reasons) == {f"series {number}" for number in (1, 3, 11, 12, 13)}
    words = {1: "localizer", 3: "diffusion", 11: "T2*", 12: "reformatted", 13: "CSPINE"}
    assert all(word in reasons[f"series {number}"] for number, word in words.items())


def test_orientations_that_cross_are_a_localizer_whatever_its_name(tmp_path: Path) -> None:
    unnamed = replace(LOCALIZER, description="t1 quick", tags=LOCALIZER.tags | {"EchoTime": 4.0})
    with exam_of_dicom(write_exam(tmp_path, [unnamed, T2W])) as exam:
        (left,) = exam.left_out
    assert "2 orientations" in left.reason


def test_a_repeated_series_replaces_the_first(tmp_path: Path) -> None:
    series = [MPRAGE, T2W, FLAIR, replace(MPRAGE, number=10)]
    with exam_of_dicom(write_exam(tmp_path, series)) as exam:
        choice = choose(exam.candidates, by_timings({}), last_run=True)
    assert choice.chosen["T1w"].label == "series 10"
    (left,) = choice.left_out
    assert left.label == "series 5" and "repeated later" in left.reason


def test_a_contrast_agent_is_seen_in_the_header(tmp_path: Path) -> None:
    after = replace(MPRAGE, tags=dict(MPRAGE.tags) | {"ContrastBolusAgent": "Gadovist"})
    with exam_of_dicom(write_exam(tmp_path, [after, T2W, FLAIR])) as exam:
        choice = choose(exam.candidates, by_timings({}))
    assert list(choice.chosen) == ["T2w", "FLAIR"]
    assert "contrast agent" in choice.left_out[0].reason


def test_two_exams_in_one_folder_are_refused(tmp_path: Path) -> None:
    write_exam(tmp_path, [MPRAGE], generate_uid())
    write_exam(tmp_path, [T2W, FLAIR], generate_uid())
    with pytest.raises(InputError, match="2 exams"), exam_of_dicom(tmp_path):
        pass
    with exam_of_dicom(tmp_path, (7, 9)) as exam:
        assert [item.kind.contrast for item in exam.candidates] == ["T2w", "FLAIR"]
