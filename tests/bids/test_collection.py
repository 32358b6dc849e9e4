import shutil
from pathlib import Path

import pytest

from tests.bids.closed_folders import close
from tests.bids.files import ramp, write_bids_series, write_nifti
from unweight.bids.collection import Collection, Unreadable, find_collections, looks_like_bids
from unweight.core.errors import InputError


def collections_of(root: Path, *chosen: list[str]) -> list[Collection]:
    found = find_collections(root, *chosen)
    assert all(isinstance(one, Collection) for one in found)
    return [one for one in found if isinstance(one, Collection)]


def faults_of(root: Path, *chosen: list[str]) -> list[tuple[str, str]]:
    """Return label and problem of what cannot be used."""
    found = find_collections(root, *chosen)
    return [(one.label, one.error.problem) for one in found if isinstance(one, Unreadable)]


def test_series_are_found_subject_by_subject_in_the_order_of_their_links(tmp_path: Path) -> None:
    write_bids_series(tmp_path, "02", times=[0.01 * k for k in range(1, 12)])
    write_bids_series(tmp_path, "01", session="a")
    write_nifti(tmp_path / "sub-01" / "ses-a" / "anat" / "sub-01_ses-a_T1w.nii.gz", ramp(4, 3, 2), {})
    first, second = collections_of(tmp_path)
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
    collections = collections_of(tmp_path, ["MEGRE"])
    assert [c.entities["run"] for c in collections] == ["1", "2"]
    assert {part: len(files) for part, files in collections[0].files.items()} == {"mag": 3, "phase": 3}


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("sub-01_inv-01_IRT1.nii.gz", "has the same BIDS entities as"),
        ("sub-01_inv-1_IRT1.nii", "has the same BIDS entities as"),
        ("sub-01_IRT1.nii", "needs inv-<number>"),
        ("sub-01_inv-x_IRT1.nii", "needs inv-<number>"),
        ("sub-02_inv-9_IRT1.nii", "no valid BIDS name"),
        ("sub-01_ses-a_inv-9_IRT1.nii", "no valid BIDS name"),
        ("sub-01_inv-ä_IRT1.nii", "no valid BIDS name"),
    ],
)
def test_names_that_are_refused(tmp_path: Path, name: str, problem: str) -> None:
    write_bids_series(tmp_path)
    write_nifti(tmp_path / "sub-01" / "anat" / name, ramp(4, 3, 2))
    write_bids_series(tmp_path, "02")
    bad, good = find_collections(tmp_path)
    assert isinstance(bad, Unreadable) and problem in str(bad.error)
    assert bad.label in ("sub-01", "sub-01_IRT1") and good.label == "sub-02_IRT1"


def test_links_out_of_the_tree_are_refused(tmp_path: Path) -> None:
    write_bids_series(tmp_path / "bids")
    outside = write_nifti(tmp_path / "secret.nii", ramp(4, 3, 2))
    link = tmp_path / "bids" / "sub-01" / "anat" / "sub-01_inv-9_IRT1.nii"
    link.symlink_to(outside)
    assert faults_of(tmp_path / "bids") == [
        ("sub-01_IRT1", "is reached through a link that points outside the dataset")
    ]
    link.unlink()
    link.symlink_to(tmp_path / "gone")
    assert faults_of(tmp_path / "bids") == [("sub-01_IRT1", "is a broken link")]


@pytest.mark.parametrize("store", ["clone/.git/annex/objects/x", "super/.git/modules/raw/annex/objects/x"])
def test_annexed_content_outside_the_tree_is_read(tmp_path: Path, store: str) -> None:
    first, *_ = write_bids_series(tmp_path / "bids")
    kept = tmp_path / store / "MD5E-s1.nii.gz"
    kept.parent.mkdir(parents=True)
    first.rename(kept)
    first.symlink_to(kept)
    (one,) = collections_of(tmp_path / "bids")
    assert one.files[""][0] == first


def test_what_is_wrong_with_one_series_or_session_leaves_the_others(tmp_path: Path) -> None:
    for session in ("a", "b", "c"):
        write_bids_series(tmp_path, session=session)
    twice = tmp_path / "sub-01/ses-a/anat/sub-01_ses-a_inv-1_IRT1.nii"
    write_nifti(twice, ramp(4, 3, 2))
    write_nifti(tmp_path / "sub-01/ses-a/anat/sub-01_ses-a_T1w.nii", ramp(4, 3, 2))
    (tmp_path / "sub-01/ses-b/anat/sub-02_ses-b_inv-9_IRT1.nii").symlink_to(twice)
    found = find_collections(tmp_path, ["IRT1", "T1w"])
    assert [(one.label, isinstance(one, Collection)) for one in found] == [
        ("sub-01_ses-a_IRT1", False),
        ("sub-01_ses-a_T1w", True),
        ("sub-01_ses-b", False),
        ("sub-01_ses-c_IRT1", True),
    ]


def test_folders_that_are_no_subject_are_named(tmp_path: Path) -> None:
    write_bids_series(tmp_path)
    shutil.copytree(tmp_path / "sub-01", tmp_path / "sub-01 (copy)")
    (tmp_path / "sub-02").symlink_to(tmp_path / "gone")
    (tmp_path / "sub-03" / "anat").mkdir(parents=True)
    (tmp_path / "sub-04.zip").write_bytes(b"PK")
    write_bids_series(tmp_path, "05")
    assert faults_of(tmp_path) == [
        ("sub-01 (copy)", "'01 (copy)' is not a valid label of a subject"),
        ("sub-02", "is a broken link"),
        ("sub-03", "contains no files"),
    ]
    assert sum(isinstance(one, Collection) for one in find_collections(tmp_path)) == 2


@pytest.mark.parametrize("closed", ["sub-02", "sub-02/anat", "sub-02/ses-a", "sub-02/ses-a/anat"])
def test_a_folder_that_may_not_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closed: str
) -> None:
    write_bids_series(tmp_path)
    write_bids_series(tmp_path, "02")
    write_bids_series(tmp_path, "02", session="a")
    close(monkeypatch, tmp_path / closed)
    faults = faults_of(tmp_path)
    assert [problem for _, problem in faults] == ["cannot be read (Permission denied)"]
    assert faults[0][0] == ("sub-02_ses-a" if "ses" in closed else "sub-02")
    assert "sub-01_IRT1" in [one.label for one in find_collections(tmp_path)]


def test_links_within_the_tree_are_followed(tmp_path: Path) -> None:
    first, *_ = write_bids_series(tmp_path)
    store = tmp_path / ".git" / "annex" / "x.nii.gz"
    store.parent.mkdir(parents=True)
    first.rename(store)
    first.symlink_to(store)
    assert len(collections_of(tmp_path)[0].files[""]) == 3


def test_subjects_and_suffixes_that_are_not_there(tmp_path: Path) -> None:
    write_bids_series(tmp_path)
    assert faults_of(tmp_path, ["IRT1"], ["02", "01"]) == [("sub-02", "there is no such subject")]
    ((_, problem),) = faults_of(tmp_path, ["IRT1"], ["../x"])
    assert "is not a valid label" in problem
    with pytest.raises(InputError, match="series of suffix bold"):
        find_collections(tmp_path, ["bold"])
    with pytest.raises(InputError, match="no such folder"):
        find_collections(tmp_path / "absent")
    assert looks_like_bids(tmp_path)
    assert not looks_like_bids(tmp_path / "sub-01" / "anat")
