import json
from pathlib import Path

import pytest
import torch

from unweight.bids.derivatives.provenance import Provenance
from unweight.bids.derivatives.stored import Condition, read_table, stored_subject, subjects_in
from unweight.bids.derivatives.write import write_maps
from unweight.core.errors import InputError
from unweight.core.maps import ParameterMaps
from unweight.signals.parameters import CHI, T1


@pytest.fixture
def out(tmp_path: Path) -> Path:
    for spec in (CHI, T1):
        maps = ParameterMaps(
            specs=(spec,),
            values=torch.ones(2, 3, 4, 1),
            std=torch.ones(2, 3, 4, 1),
            status=torch.zeros(2, 3, 4, dtype=torch.uint8),
            affine=torch.eye(4),
        )
        write_maps(maps, tmp_path, {"sub": "01"}, Provenance(sources=("a",), algorithm="none"))
    return tmp_path


def test_sets_are_found_with_their_images(out: Path) -> None:
    subject = stored_subject(out, "01")
    assert [one.name.suffix for one in subject.sets] == ["Chimap", "T1map"]
    first = subject.sets[0].images
    assert [(one.name.suffix, one.desc) for one in first[:3]] == [
        ("Chimap", ""),
        ("Chimap", "std"),
        ("dseg", "Chistatus"),
    ]
    assert first[0].unit == "ppm"
    assert {one.condition for one in first} == {Condition.WHOLE}


def test_missing_and_changed_images_are_told_apart(out: Path) -> None:
    folder = out / "sub-01" / "anat"
    (folder / "sub-01_desc-std_T1map.nii.gz").unlink()
    (folder / "sub-01_T1map.nii.gz").write_bytes(b"other")
    images = {one.path.name: one.condition for one in stored_subject(out, "01").sets[1].images}
    assert images["sub-01_desc-std_T1map.nii.gz"] is Condition.MISSING
    assert images["sub-01_T1map.nii.gz"] is Condition.CHANGED
    assert images["sub-01_desc-status_dseg.nii.gz"] is Condition.WHOLE


def test_a_damaged_sidecar_is_a_problem_and_no_error(out: Path) -> None:
    (out / "sub-01" / "anat" / "sub-01_T1map.json").write_text("{")
    subject = stored_subject(out, "01")
    assert [one.name.suffix for one in subject.sets] == ["Chimap"]
    assert "sub-01_T1map.json" in subject.problems[0]


def test_listed_names_do_not_lead_out_of_the_folder(out: Path) -> None:
    path = out / "sub-01" / "anat" / "sub-01_T1map.json"
    fields = json.loads(path.read_text())
    fields["unweight"]["SHA256"] = {"../../../etc/sub-9_T1map.nii.gz": "00", "sub-01_T1map.nii.gz": 7}
    path.write_text(json.dumps(fields))
    images = stored_subject(out, "01").sets[1].images
    assert [one.path.parent for one in images] == [path.parent]


def test_messages(tmp_path: Path, out: Path) -> None:
    assert subjects_in(out) == ("01",)
    with pytest.raises(InputError, match="no maps of subject 02"):
        stored_subject(out, "02")
    with pytest.raises(InputError, match="is not a valid label"):
        stored_subject(out, "../..")
    empty = tmp_path / "empty"
    with pytest.raises(InputError, match="is not a folder"):
        subjects_in(empty)
    empty.mkdir()
    with pytest.raises(InputError, match="no maps of any subject"):
        subjects_in(empty)


def test_tables_are_read_and_other_files_are_none(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("region\tmean\nputamen\t1.5\nbroken\n")
    assert read_table(path) == [{"region": "putamen", "mean": "1.5"}]
    path.write_bytes(b"\xff\xfe\x00")
    assert read_table(path) == []
    assert read_table(tmp_path / "absent.tsv") == []
