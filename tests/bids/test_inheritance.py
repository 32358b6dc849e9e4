import json
from pathlib import Path

import pytest

from unweight.bids.inheritance import entry_beside, entry_in_tree
from unweight.bids.sidecar import Part
from unweight.core.errors import InputError


def tree(root: Path, **files: dict[str, object]) -> Path:
    """Write JSON files, given by path with `__` for `/`, and return the image they are about."""
    image = root / "sub-01" / "ses-a" / "anat" / "sub-01_ses-a_inv-1_part-mag_IRT1.nii"
    image.parent.mkdir(parents=True, exist_ok=True)
    for name, fields in files.items():
        path = root / (name.replace("__", "/").replace("D", "-") + ".json")
        path.write_text(json.dumps(fields))
    return image


def test_nearer_files_win_and_others_are_inherited(tmp_path: Path) -> None:
    image = tree(
        tmp_path,
        IRT1={"EchoTime": 0.01, "FlipAngle": 90, "Where": "root"},
        invD1_IRT1={"InversionTime": 0.05},
        invD2_IRT1={"InversionTime": 0.4},
        T1w={"FlipAngle": 8},
        **{
            "subD01__subD01_IRT1": {"Where": "subject", "EchoTime": 0.02},
            "subD01__sesDa__anat__subD01_sesDa_invD1_partDmag_IRT1": {"Where": "image"},
            "subD01__sesDa__anat__subD01_sesDa_invD1_IRT1": {"Where": "both parts", "RepetitionTime": 3},
        },
    )
    entry = entry_in_tree(tmp_path, image)
    assert entry.sidecar.fields == {
        "EchoTime": 0.02,
        "FlipAngle": 90,
        "InversionTime": 0.05,
        "RepetitionTime": 3,
        "Where": "image",
    }
    assert entry.sidecar.origin("InversionTime").name == "inv-1_IRT1.json"
    assert entry.sidecar.origin("Absent") == image
    assert entry.part is Part.MAGNITUDE


def test_equals_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    names = {
        "subD01__sesDa__anat__subD01_sesDa_invD1_IRT1": {"EchoTime": 0.01, "FlipAngle": 90},
        "subD01__sesDa__anat__subD01_sesDa_partDmag_IRT1": {"EchoTime": 0.02, "FlipAngle": 90},
    }
    with pytest.raises(InputError, match="EchoTime contradicts sub-01_ses-a_inv-1_IRT1"):
        entry_in_tree(tmp_path, tree(tmp_path, **names))


def test_loose_files_have_the_one_sidecar_of_their_name(tmp_path: Path) -> None:
    (tmp_path / "scan.json").write_text('{"EchoTime": 0.01}')
    (tmp_path / "IRT1.json").write_text('{"EchoTime": 0.02}')
    assert entry_beside(tmp_path / "scan.nii.gz").sidecar.fields == {"EchoTime": 0.01}
    assert entry_beside(tmp_path / "other.nii.gz").sidecar.fields == {}


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("s_e1_ph", Part.PHASE),
        ("s_real", Part.REAL),
        ("s_reala", Part.REAL),
        ("s_imaginary", Part.IMAGINARY),
        ("s_e1", None),
    ],
)
def test_endings_of_dcm2niix(tmp_path: Path, name: str, part: Part | None) -> None:
    assert entry_beside(tmp_path / f"{name}.nii").part is part


def test_real_sidecars_of_shared_trees(shared_data) -> None:
    root = shared_data("bids_qmri_cc0") / "qmri_mp2rage"
    entry = entry_in_tree(root, root / "sub-1" / "anat" / "sub-1_inv-1_part-mag_MP2RAGE.nii")
    inherited = json.loads((root / "MP2RAGE.json").read_text())
    own = json.loads((root / "sub-1" / "anat" / "sub-1_inv-1_MP2RAGE.json").read_text())
    assert entry.sidecar.fields == inherited | own
    assert entry.part is Part.MAGNITUDE
