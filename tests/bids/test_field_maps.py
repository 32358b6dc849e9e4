"""Which field map is for a series, and in which unit it is."""

import json
from pathlib import Path

import pytest

from unweight.bids.field_maps import field_map_for, in_percent
from unweight.core.errors import InputError

IMAGES = (
    "sub-01/ses-a/anat/sub-01_ses-a_flip-1_VFA.nii.gz",
    "sub-01/ses-a/anat/sub-01_ses-a_flip-2_VFA.nii.gz",
)


def write(root: Path, name: str, fields: dict[str, object] | None = None) -> Path:
    path = root / "sub-01" / "ses-a" / "fmap" / f"sub-01_ses-a_{name}.nii.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    if fields is not None:
        path.with_name(path.name.replace(".nii.gz", ".json")).write_text(json.dumps(fields))
    return path


def chosen(root: Path) -> Path | None:
    return field_map_for(root, root / "sub-01" / "ses-a", "TB1map", [root / image for image in IMAGES])


def test_there_may_be_none(tmp_path: Path) -> None:
    assert chosen(tmp_path) is None
    write(tmp_path, "RB1map")
    write(tmp_path, "TB1TFL")
    assert chosen(tmp_path) is None


def test_a_single_map_is_for_all_images(tmp_path: Path) -> None:
    path = write(tmp_path, "TB1map")
    assert chosen(tmp_path) == path


@pytest.mark.parametrize("name", ["ses-a/anat/sub-01_ses-a_flip-2_VFA.nii.gz", f"bids::{IMAGES[0]}"])
def test_a_map_for_these_images_goes_before_others(name: str, tmp_path: Path) -> None:
    write(tmp_path, "acq-a_TB1map")
    path = write(tmp_path, "acq-b_TB1map", {"IntendedFor": ["anat/else.nii.gz", name]})
    assert chosen(tmp_path) == path


def test_a_map_for_other_images_is_not_taken(tmp_path: Path) -> None:
    write(tmp_path, "TB1map", {"IntendedFor": "ses-a/anat/sub-01_ses-a_MEGRE.nii.gz"})
    assert chosen(tmp_path) is None


@pytest.mark.parametrize("fields", [None, {"IntendedFor": "ses-a/anat/sub-01_ses-a_flip-1_VFA.nii.gz"}])
def test_several_maps_are_refused(fields: dict[str, object] | None, tmp_path: Path) -> None:
    for name in ("acq-a_TB1map", "acq-b_TB1map"):
        write(tmp_path, name, fields)
    with pytest.raises(InputError) as caught:
        chosen(tmp_path)
    assert "acq-a_TB1map" in caught.value.problem and "acq-b_TB1map" in caught.value.problem
    assert "IntendedFor" in caught.value.remedy


def test_what_it_is_for_must_be_text(tmp_path: Path) -> None:
    path = write(tmp_path, "TB1map", {"IntendedFor": 1})
    with pytest.raises(InputError) as caught:
        chosen(tmp_path)
    assert caught.value.path == path


@pytest.mark.parametrize(
    ("unit", "percent"), [("percent", True), ("%", True), ("arbitrary", False), (None, False)]
)
def test_the_unit_is_in_the_sidecar(unit: str | None, percent: bool, tmp_path: Path) -> None:
    path = write(tmp_path, "TB1map", {} if unit is None else {"Units": unit})
    assert in_percent(path) is in_percent(path, tmp_path) is percent


def test_the_unit_may_be_inherited(tmp_path: Path) -> None:
    path = write(tmp_path, "TB1map")
    (tmp_path / "TB1map.json").write_text(json.dumps({"Units": "percent"}))
    assert in_percent(path, tmp_path)
    assert not in_percent(path)
