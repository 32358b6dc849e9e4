"""Exams put together from the sidecars of real scanners: what is chosen, asked for and left out."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from tests.bids.files import write_nifti
from unweight.bids.exam.choice import ExamChoice, Fitness
from unweight.bids.series.weighted import GivenWeighting
from unweight.core.errors import InputError, ProtocolError
from unweight.learn.weighted.protocol_judge import judge_of
from unweight.mapping.exam import ExamSource, check_choice, opened

EXAMS = {
    "siemens": ("siemens_ds005270_T1w", "siemens_ds005603_T2w_tse", "siemens_ds005270_FLAIR"),
    "space": ("siemens_T1_mprage_ns_sag_p2", "siemens_ds007135_T2w", "siemens_ds007135_FLAIR"),
    "philips": ("philips_ds004910_T1w", "siemens_ds005603_T2w_tse", "philips_ds004910_FLAIR"),
    "uih": ("uih_t1_gre_fsp_3d_sag_132222", "siemens_ds005603_T2w_tse", "siemens_ds005270_FLAIR"),
    "ge": ("ge_3D_Ax_T1_MP-RAGE", "siemens_ds005603_T2w_tse", "siemens_ds005270_FLAIR"),
}
MPRAGE_TIMES = GivenWeighting(repetition_time=2.3, inversion_time=0.9)


def choice_of(
    find: Callable[[str], Path], tmp_path: Path, exam: str, given: Mapping[str, GivenWeighting]
) -> ExamChoice:
    folder = find("sidecars")
    paths = []
    for number, name in enumerate(EXAMS[exam]):
        fields = json.loads((folder / f"{name}.json").read_text())
        paths.append(
            write_nifti(
                tmp_path / f"{number}.nii.gz", np.ones((24, 24, 24), "f4"), fields, np.diag([8, 8, 8, 1.0])
            )
        )
    with opened(ExamSource(origin=tuple(paths)), judge_of(given, "embedding")) as result:
        return result.choice


@pytest.mark.parametrize("exam", ["siemens", "ge"])
def test_a_turbo_spin_echo_exam_is_mapped_without_its_3d_flair(
    shared_data: Callable[[str], Path], tmp_path: Path, exam: str
) -> None:
    choice = choice_of(shared_data, tmp_path, exam, {})
    check_choice(choice)
    assert list(choice.chosen) == ["T1w", "T2w"]
    assert {item.fitness for item in choice.assessments.values()} == {Fitness.READY}
    (left,) = choice.left_out
    assert left.contrast == "FLAIR" and "TR" in left.reason


@pytest.mark.parametrize(
    ("exam", "fitness", "options"),
    [("philips", Fitness.INCOMPLETE, "--t1w-tr S --t1w-ti S"), ("uih", Fitness.READY, "")],
)
def test_what_a_scanner_does_not_write_is_asked_for_or_assumed(
    shared_data: Callable[[str], Path], tmp_path: Path, exam: str, fitness: Fitness, options: str
) -> None:
    choice = choice_of(shared_data, tmp_path, exam, {})
    check_choice(choice)
    assert choice.assessments["T1w"].fitness is fitness
    assert choice.assessments["T1w"].options == options
    full = choice_of(shared_data, tmp_path, exam, {"T1w": MPRAGE_TIMES})
    assert full.assessments["T1w"].fitness is Fitness.READY


def test_an_exam_of_3d_images_is_mapped_as_it_is(
    shared_data: Callable[[str], Path], tmp_path: Path
) -> None:
    choice = choice_of(shared_data, tmp_path, "space", {})
    check_choice(choice)
    assert list(choice.chosen) == ["T1w", "T2w", "FLAIR"]
    assert {item.fitness for item in choice.assessments.values()} == {Fitness.READY}


def test_an_exam_of_which_one_image_can_be_used_is_refused_with_all_reasons(
    shared_data: Callable[[str], Path], tmp_path: Path
) -> None:
    beyond = GivenWeighting(echo_time=0.18)
    choice = choice_of(shared_data, tmp_path, "space", {"T2w": beyond, "FLAIR": beyond})
    with pytest.raises(ProtocolError) as caught:
        check_choice(choice)
    assert "T2w" in caught.value.problem and "FLAIR" in caught.value.problem
    assert "T1w" not in caught.value.problem


def test_too_few_images_name_what_was_left_out(tmp_path: Path) -> None:
    fields = {"ScanningSequence": "SE", "RepetitionTime": 0.6, "EchoTime": 0.01, "ContrastBolusAgent": "x"}
    path = write_nifti(tmp_path / "a_T1w.nii", np.ones((4, 4, 4), "f4"), fields)
    source = ExamSource(origin=(path,))
    with opened(source, judge_of({}, "physics")) as exam, pytest.raises(InputError) as caught:
        check_choice(exam.choice)
    assert "contrast agent" in caught.value.problem and "--contrast-agent" in caught.value.remedy
