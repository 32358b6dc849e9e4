from pathlib import Path

import pytest

from unweight.bids.names import BidsName, check_label, image_stem, parse_stem, subject_folder
from unweight.core.errors import InputError


def test_names_survive_being_taken_apart() -> None:
    stem = "sub-01_ses-a_acq-fse_run-2_inv-1_part-real_IRT1"
    name = parse_stem(stem)
    assert name is not None
    assert name.suffix == "IRT1"
    assert name.entities["part"] == "real"
    assert name.stem == stem
    assert BidsName(entities={"desc": "std", "sub": "01"}, suffix="T1map").stem == "sub-01_desc-std_T1map"


@pytest.mark.parametrize(
    "stem", ["sub-_T1w", "sub-01_x_T1w", "sub-0/1_T1w", "sub-01_sub-02_T1w", "sub-01_", "sub-ä_T1w"]
)
def test_what_is_no_bids_name(stem: str) -> None:
    assert parse_stem(stem) is None


def test_image_endings() -> None:
    assert image_stem(Path("a/b.nii.gz")) == "b"
    assert image_stem(Path("a/b.nii")) == "b"
    assert image_stem(Path("a/b.json")) is None


@pytest.mark.parametrize("label", ["../../etc", "-rf", "a b", "a\0", "ä", "", "x" * 65, "a\n", "a/b", "."])
def test_labels_that_are_refused(tmp_path: Path, label: str) -> None:
    with pytest.raises(InputError, match="is not a valid label"):
        check_label(label, "a subject")
    with pytest.raises(InputError, match="is not a valid label"):
        subject_folder(tmp_path, {"sub": label})


def test_a_subject_folder_that_leads_out_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "sub-01").symlink_to(tmp_path / "out")
    with pytest.raises(InputError, match="points outside the dataset"):
        subject_folder(tmp_path / "root", {"sub": "01"})
    with pytest.raises(InputError, match="subject label is needed"):
        subject_folder(tmp_path / "root", {"ses": "01"})
    assert subject_folder(tmp_path, {"sub": "01", "ses": "a"}) == tmp_path / "sub-01" / "ses-a"
