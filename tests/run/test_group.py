import csv
from html import unescape
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from tests.bids.files import write_nifti
from tests.bids.maps import AFFINE, SPECS
from tests.run.trees import inversions, put
from unweight.bids.derivatives.provenance import Provenance
from unweight.bids.derivatives.write import write_maps
from unweight.core.errors import InputError
from unweight.core.maps import ParameterMaps, VoxelStatus
from unweight.report.study import study_page
from unweight.run.group import LabelTree, study_of, write_study
from unweight.run.record import State, StepRecord, write_record

SHAPE = (4, 4, 4)
VALUES = torch.linspace(0.5, 1.5, 64).reshape(SHAPE)
FAILED = (0, 0, slice(0, 2))  # two voxels
MASKED = (3, 3)  # four voxels


def write_subject(out: Path, subject: str, session: str = "") -> Path:
    """Write maps whose T1 rises evenly; two voxels failed, four are outside the mask."""
    status = torch.full(SHAPE, int(VoxelStatus.OK), dtype=torch.uint8)
    status[FAILED] = int(VoxelStatus.NOT_CONVERGED)
    status[MASKED] = int(VoxelStatus.MASKED)
    values = torch.where(status == int(VoxelStatus.OK), VALUES, torch.nan)[..., None].repeat(
        1, 1, 1, len(SPECS)
    )
    maps = ParameterMaps(
        specs=SPECS, values=values, std=0.1 * values, status=status, misfit=torch.ones(SHAPE), affine=AFFINE
    )
    entities = {"sub": subject} | ({"ses": session} if session else {})
    return write_maps(maps, out, entities, Provenance(sources=(), algorithm="none")).images["T1"]


def write_labels(folder: Path, subject: str, desc: str = "") -> Path:
    """Write two regions, each half of the grid, and their names."""
    numbers = np.ones(SHAPE, dtype=np.int16)
    numbers[2:] = 7
    stem = f"sub-{subject}{desc}_dseg"
    path = folder / f"sub-{subject}" / "anat" / f"{stem}.nii.gz"
    write_nifti(path, numbers, affine=AFFINE.numpy())
    path.with_name(f"{stem}.tsv").write_text("index\tname\n1\tlow\n7\thigh\n")
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    for subject in ("01", "02"):
        write_subject(tmp_path / "maps", subject)
    return tmp_path / "maps"


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def test_shares_and_quartiles_of_each_map(out: Path, tmp_path: Path) -> None:
    """64 voxels, 4 masked and 2 failed: 58 of 60 usable; quartiles as numpy finds them."""
    study = study_of(out, tmp_path)
    assert [(row.subject, row.map) for row in study.qc] == [
        (subject, name) for subject in ("01", "02") for name in ("T1map", "PDmap", "IEmap")
    ]
    row = study.qc[0]
    assert (row.voxels, row.unit) == (60, "s")
    assert row.usable == pytest.approx(58 / 60) and row.failed == pytest.approx(2 / 60)
    assert row.suspect == pytest.approx(0.0)
    used = np.ones(SHAPE, dtype=bool)
    used[FAILED] = used[MASKED] = False
    expected = np.quantile(VALUES.numpy()[used].astype(np.float64), [0.25, 0.5, 0.75])
    assert (row.q25, row.median, row.q75) == pytest.approx(tuple(expected), rel=1e-6)
    assert row.misfit == pytest.approx(1.0)
    assert study.regions == () and study.failures == ()


def test_regions_are_measured_where_voxels_are_usable(out: Path, tmp_path: Path) -> None:
    labels = write_labels(tmp_path / "labels", "01")
    write_labels(tmp_path / "labels", "01", "_desc-T1status")  # of a map, not of regions
    study = study_of(out, tmp_path, LabelTree(folder=tmp_path / "labels"))
    assert [(row.subject, row.map, row.region) for row in study.regions] == [
        ("01", name, region) for name in ("T1map", "PDmap", "IEmap") for region in ("low", "high")
    ]
    low, high = study.regions[:2]
    assert low.voxels == 30 and high.voxels == 28
    assert low.mean == pytest.approx(float(VALUES.reshape(-1)[2:32].mean()), rel=1e-6)
    assert labels.exists()
    (eroded, *_) = study_of(out, tmp_path, LabelTree(folder=tmp_path / "labels", erode=1)).regions
    assert eroded.voxels < low.voxels


def test_labels_of_fmriprep_are_brought_onto_the_maps(out: Path, tmp_path: Path) -> None:
    """Its tables lie at the root, with names in quotation marks and of regions that are not there."""
    tree = tmp_path / "fmriprep"
    own = write_labels(tree, "01", "_desc-aseg")
    write_labels(tree, "01", "_space-MNI152NLin2009cAsym_desc-aseg")
    own.with_name("sub-01_desc-aseg_dseg.tsv").unlink()
    fine = np.repeat(np.repeat(np.repeat(nib.load(own).get_fdata().astype(np.int16), 2, 0), 2, 1), 2, 2)
    affine = AFFINE.numpy() @ np.diag([0.5, 0.5, 0.5, 1.0])
    affine[:3, 3] = AFFINE.numpy()[:3, 3] - 0.25 * AFFINE.numpy()[:3, :3].sum(1)
    write_nifti(own, fine, affine=affine)
    (tree / "dataset_description.json").write_text("{}")
    (tree / "desc-aseg_dseg.tsv").write_text(
        'index\tname\tcolor\n0\t"Unknown"\t#000000\n1\t"Left-Cerebral-Exterior"\t#4682b4\n'
        '2\t"Left-Cerebral-White-Matter"\t#f5f5f5\n7\t"Left-Cerebellum-White-Matter"\t#dcf8a4\n'
    )
    study = study_of(out, tmp_path, LabelTree(folder=tree))
    assert [(row.region, row.voxels) for row in study.regions[:2]] == [
        ("Left-Cerebral-Exterior", 30),
        ("Left-Cerebellum-White-Matter", 28),
    ]
    assert study.failures == ()
    assert any("movement between the scans is not corrected" in remark for remark in study.remarks)


def test_labels_in_no_known_space_are_a_failure(out: Path, tmp_path: Path) -> None:
    path = write_labels(tmp_path / "labels", "02")
    image = nib.Nifti1Image(np.ones((5, 4, 4), dtype=np.int16), AFFINE.numpy())
    image.set_sform(AFFINE.numpy(), code=4)
    nib.save(image, path)
    study = study_of(out, tmp_path, LabelTree(folder=tmp_path / "labels"))
    (failure,) = study.failures
    assert (failure.subject, failure.step) == ("02", "group")
    assert "standard space" in failure.reason


def test_a_damaged_set_is_a_failure_and_the_others_are_measured(out: Path, tmp_path: Path) -> None:
    (out / "sub-01/anat/sub-01_PDmap.nii.gz").write_bytes(b"altered")
    study = study_of(out, tmp_path)
    assert {row.subject for row in study.qc} == {"02"}
    (failure,) = study.failures
    assert failure.subject == "01"
    assert failure.reason == "sub-01_PDmap.nii.gz is missing or was changed. Compute the maps again."


def test_steps_that_failed_are_listed(out: Path, tmp_path: Path) -> None:
    for name, state in (("sub-03_ses-a_t1", State.FAILED), ("sub-01_t1", State.COMPLETE)):
        write_record(out, StepRecord(name=name, pipeline="t1", key="", state=state, reason="is torn"))
    (failure,) = study_of(out, tmp_path).failures
    assert (failure.subject, failure.session, failure.step, failure.reason) == ("03", "a", "t1", "is torn")


def test_whatever_the_table_of_participants_holds_the_study_is_made(out: Path, tmp_path: Path) -> None:
    (tmp_path / "participants.tsv").write_bytes(
        "participant_id\tage\tsite\nsub-01\t31\tZürich\nsub-02\told\tx\n".encode("latin-1")
    )
    study = study_of(out, tmp_path)
    assert [(one.participant_id, one.age) for one in study.participants] == [("01", 31.0), ("02", None)]
    assert study.remarks == ("participants.tsv: not read as ages: sub-02 'old'",)
    assert study.remarks[0] in unescape(study_page(study).decode())


def test_a_folder_that_is_no_label_is_a_failure_of_its_name(out: Path, tmp_path: Path) -> None:
    put(tmp_path, *inversions("09"))
    (tmp_path / "sub-09").rename(tmp_path / "sub-09 (copy)")
    study = study_of(out, tmp_path)
    (failure,) = study.failures
    assert failure.subject == "sub-09 (copy)" and "is not a valid label" in failure.reason
    assert "09 (copy)" in study_page(study).decode()


def test_tables_survive_the_disk(out: Path, tmp_path: Path) -> None:
    write_labels(tmp_path / "labels", "01")
    write_subject(out, "03", "a")
    (out / "sub-01.html").write_text("page")
    study = study_of(out, tmp_path, LabelTree(folder=tmp_path / "labels"))
    assert study.pages == frozenset({"01"})
    qc, regions, failures = (rows(path) for path in write_study(out, study))
    # They join with participants.tsv and sessions.tsv.
    assert [row["participant_id"] for row in qc[::3]] == ["sub-01", "sub-02", "sub-03"]
    assert [row["session_id"] for row in qc[::3]] == ["n/a", "n/a", "ses-a"]
    assert {row["participant_id"] for row in regions} <= {"sub-01", "sub-02", "sub-03"}
    assert float(qc[0]["median"]) == pytest.approx(study.qc[0].median, rel=1e-6)
    assert len(regions) == 6 and regions[0]["region"] == "low"
    assert failures == []
    assert (out / "group_desc-failures.tsv").read_text().startswith("participant_id\t")


def test_a_folder_without_maps_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no maps of any subject"):
        study_of(tmp_path, tmp_path)


def test_a_study_of_failures_alone_has_its_table(tmp_path: Path) -> None:
    failed = StepRecord(name="sub-01_t1", pipeline="t1", key="", state=State.FAILED, reason="is empty")
    write_record(tmp_path, failed)
    (path,) = (one for one in write_study(tmp_path, study_of(tmp_path, tmp_path)) if "failures" in one.name)
    assert [(row["participant_id"], row["reason"]) for row in rows(path)] == [("sub-01", "is empty")]
    with pytest.raises(InputError, match="no maps of any subject"):
        study_of(tmp_path / "logs", tmp_path)


def test_files_that_cannot_be_used_are_failures_of_the_study(out: Path) -> None:
    raw = out.parent / "raw"
    for number in (1, 2, 3):
        path = raw / "sub-03" / "anat" / f"sub-03_inv-{number}_IRT1.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (failure,) = study_of(out, raw).failures
    assert (failure.subject, failure.step) == ("03", "t1")
    assert failure.reason.startswith("sub-03/anat/sub-03_inv-1_IRT1.nii.gz is empty (0 bytes)")
