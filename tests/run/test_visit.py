import gzip
from pathlib import Path

import pytest

from tests.run.trees import echoes, inversions, put
from unweight.bids.collection import Unreadable
from unweight.core.errors import InputError
from unweight.run.visit import Visit, visits_of, weighted_images


def found(root: Path, **chosen: list[str]) -> list[Visit]:
    visits = list(visits_of(root, **chosen))  # type: ignore[arg-type]
    assert all(isinstance(one, Visit) for one in visits)
    return visits  # type: ignore[return-value]


def test_each_session_is_a_visit_and_files_outside_them_another(tmp_path: Path) -> None:
    put(tmp_path, *inversions("01", middle="_ses-b"), *inversions("01", middle="_ses-a"))
    put(tmp_path, *inversions("02"), *echoes("02"))
    put(tmp_path, *inversions("03"), *inversions("03", middle="_ses-late"))
    visits = found(tmp_path)
    assert [one.label for one in visits] == [
        *("sub-01_ses-a", "sub-01_ses-b", "sub-02", "sub-03", "sub-03_ses-late"),
    ]
    assert [(one.subject, one.session) for one in visits[:2]] == [("01", "a"), ("01", "b")]
    assert [one.suffix for one in visits[2].series] == ["IRT1", "MEGRE"]
    assert visits[2].suffixes == ("IRT1", "MEGRE")
    assert [one.label for one in visits[3].of("IRT1")] == ["sub-03_IRT1"]
    assert visits[0].of("MEGRE") == ()


def test_subjects_and_sessions_can_be_chosen(tmp_path: Path) -> None:
    for subject in ("01", "02"):
        for session in ("a", "b"):
            put(tmp_path, *inversions(subject, middle=f"_ses-{session}"))
    assert [one.label for one in found(tmp_path, subjects=["02"])] == ["sub-02_ses-a", "sub-02_ses-b"]
    assert [one.label for one in found(tmp_path, sessions=["b"])] == ["sub-01_ses-b", "sub-02_ses-b"]


def test_a_subject_without_usable_images_is_still_a_visit(tmp_path: Path) -> None:
    put(tmp_path, "sub-01_bold", "sub-01_UNIT1")
    (visit,) = found(tmp_path)
    assert visit.series == ()
    assert visit.suffixes == ("UNIT1", "bold")


def test_what_is_wrong_with_one_subject_does_not_stop_the_others(tmp_path: Path) -> None:
    put(tmp_path, *inversions("01"), *inversions("03"))
    put(tmp_path, "sub-02_inv-1_IRT1")[0].rename(
        tmp_path / "sub-02" / "anat" / "sub-02_IRT1_inv-1_IRT1.nii"
    )
    first, second, third = visits_of(tmp_path)
    assert isinstance(first, Visit) and isinstance(third, Visit)
    assert isinstance(second, Unreadable)
    assert second.label == "sub-02"
    assert "has no valid BIDS name" in str(second.error)


def test_a_doubled_file_spoils_its_own_series(tmp_path: Path) -> None:
    (path,) = put(tmp_path, *inversions("01"), *echoes("01"), "sub-01_T1w")[-1:]
    path.with_suffix(".nii.gz").write_bytes(gzip.compress(path.read_bytes()))
    fault, visit = visits_of(tmp_path)
    assert isinstance(fault, Unreadable) and fault.label == "sub-01_T1w"
    assert isinstance(visit, Visit) and visit.spoilt == {"T1w"} and visit.has("T1w", "PDw")
    assert [one.suffix for one in visit.series] == ["IRT1", "MEGRE"]


def test_a_subject_that_is_not_there_is_said(tmp_path: Path) -> None:
    put(tmp_path, *inversions("01"))
    missing, there = visits_of(tmp_path, ["99", "01"])
    assert isinstance(missing, Unreadable) and "there is no such subject" in str(missing.error)
    assert isinstance(there, Visit)


def test_a_tree_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such folder"):
        list(visits_of(tmp_path / "none"))


def images(root: Path, *stems: str) -> dict[str, str]:
    put(root, *stems)
    (visit,) = found(root)
    return {name: entry.path.name for name, entry in weighted_images(visit.series).entries.items()}


def test_one_image_of_each_contrast(tmp_path: Path) -> None:
    stems = ("sub-01_T1w", "sub-01_FLAIR", "sub-01_T2w", "sub-01_PDw", "sub-01_ce-gd_T1w")
    assert images(tmp_path, *stems, "sub-01_part-phase_T2w") == {
        "T1w": "sub-01_T1w.nii",
        "T2w": "sub-01_T2w.nii",
        "FLAIR": "sub-01_FLAIR.nii",
    }


def test_compressed_images_and_magnitudes_count(tmp_path: Path) -> None:
    (path,) = put(tmp_path, "sub-01_part-mag_T1w")
    path.with_suffix(".nii.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    assert images(tmp_path, "sub-01_FLAIR")["T1w"] == "sub-01_part-mag_T1w.nii.gz"


@pytest.mark.parametrize(
    ("stems", "message"),
    [
        (("sub-01_T1w",), "has T1w only"),
        (("sub-01_T1w", "sub-01_ce-gd_T2w"), "has T1w only"),
        (("sub-01_ce-gd_T1w",), "has no T1w, T2w or FLAIR without contrast agent"),
    ],
)
def test_too_few_images_are_refused(tmp_path: Path, stems: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        images(tmp_path, *stems)
    assert "--t1w" in caught.value.remedy


def test_of_several_images_of_a_contrast_the_first_run_is_taken(tmp_path: Path) -> None:
    stems = ("sub-01_run-2_T1w", "sub-01_run-1_T1w", "sub-01_acq-b_run-1_T1w", "sub-01_T2w")
    put(tmp_path, *stems)
    (visit,) = found(tmp_path)
    choice = weighted_images(visit.series)
    assert choice.chosen["T1w"].label == "sub-01_run-1_T1w.nii"
    reasons = {item.label: item.reason for item in choice.left_out}
    assert reasons["sub-01_run-2_T1w.nii"] == "it is a further run"
    assert "entities" in reasons["sub-01_acq-b_run-1_T1w.nii"]
