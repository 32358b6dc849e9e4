from pathlib import Path

import pytest

from tests.bids.files import ramp, write_bids_series, write_nifti
from unweight.bids.collection import find_collections, looks_like_bids
from unweight.core.errors import InputError


def test_series_are_found_subject_by_subject_in_the_order_of_their_links(tmp_path: Path) -> None:
    write_bids_series(tmp_path, "02", times=[0.01 * k for k in range(1, 12)])
    write_bids_series(tmp_path, "01", session="a")
    write_nifti(tmp_path / "sub-01" / "ses-a" / "anat" / "sub-01_ses-a_T1w.nii.gz", ramp(4, 3, 2), {})
    first, second = find_collections(tmp_path)
    assert first.label == "sub-01_ses-a_IRT1"
    assert second.label == "sub-02_IRT1"
    names = [path.name for path in second.files[""]]
    assert names[0] == "sub-02_inv-1_IRT1.nii.gz"
    assert names[-1] == "sub-02_inv-11_IRT1.nii.gz"
    assert [c.suffix for c in find_collections(tmp_path, ["T1w", "IRT1"], ["01"])] == ["IRT1", "T1w"]


def test_parts_and_runs_stay_apart(tmp_path: Path) -> None:
    for run in (1, 2):
        for echo in (1, 2, 3):
            for part in ("mag", "phase"):
                name = f"sub-01_run-{run}_echo-{echo}_part-{part}_MEGRE.nii"
                write_nifti(tmp_path / "sub-01" / "anat" / name, ramp(4, 3, 2))
    collections = find_collections(tmp_path, ["MEGRE"])
    assert [c.entities["run"] for c in collections] == ["1", "2"]
    assert {part: len(files) for part, files in collections[0].files.items()} == {"mag": 3, "phase": 3}


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("sub-01_inv-01_IRT1.nii.gz", "stands for the same volume as"),
        ("sub-01_inv-1_IRT1.nii", "stands for the same volume as"),
        ("sub-01_IRT1.nii", "needs inv-<number>"),
        ("sub-01_inv-x_IRT1.nii", "needs inv-<number>"),
        ("sub-02_inv-9_IRT1.nii", "not named as BIDS asks"),
        ("sub-01_ses-a_inv-9_IRT1.nii", "not named as BIDS asks"),
        ("sub-01_inv-ä_IRT1.nii", "not named as BIDS asks"),
    ],
)
def test_names_that_are_refused(tmp_path: Path, name: str, problem: str) -> None:
    write_bids_series(tmp_path)
    write_nifti(tmp_path / "sub-01" / "anat" / name, ramp(4, 3, 2))
    with pytest.raises(InputError, match=problem):
        find_collections(tmp_path)


def test_links_out_of_the_tree_are_refused(tmp_path: Path) -> None:
    write_bids_series(tmp_path / "bids")
    outside = write_nifti(tmp_path / "secret.nii", ramp(4, 3, 2))
    link = tmp_path / "bids" / "sub-01" / "anat" / "sub-01_inv-9_IRT1.nii"
    link.symlink_to(outside)
    with pytest.raises(InputError, match="leads out of the tree"):
        find_collections(tmp_path / "bids")
    link.unlink()
    link.symlink_to(tmp_path / "gone")
    with pytest.raises(InputError, match="a link to nothing"):
        find_collections(tmp_path / "bids")


def test_links_within_the_tree_are_followed(tmp_path: Path) -> None:
    first, *_ = write_bids_series(tmp_path)
    store = tmp_path / ".git" / "annex" / "x.nii.gz"
    store.parent.mkdir(parents=True)
    first.rename(store)
    first.symlink_to(store)
    assert len(find_collections(tmp_path)[0].files[""]) == 3


def test_subjects_and_suffixes_that_are_not_there(tmp_path: Path) -> None:
    write_bids_series(tmp_path)
    with pytest.raises(InputError, match="no such subject"):
        find_collections(tmp_path, subjects=["02"])
    with pytest.raises(InputError, match="cannot be a label"):
        find_collections(tmp_path, subjects=["../x"])
    with pytest.raises(InputError, match="series of suffix bold"):
        find_collections(tmp_path, ["bold"])
    with pytest.raises(InputError, match="no such folder"):
        find_collections(tmp_path / "absent")
    assert looks_like_bids(tmp_path)
    assert not looks_like_bids(tmp_path / "sub-01" / "anat")
