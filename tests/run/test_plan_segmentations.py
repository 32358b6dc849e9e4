"""Segmentations in a run: of which maps, when they are kept or refused, and what they are used for."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch

from tests.bids.maps import AFFINE, made_up_maps
from tests.run.jobs import job_of
from tests.run.trees import echoes, inversions, put
from unweight.bids.derivatives.provenance import Provenance
from unweight.bids.derivatives.stored import labels_for, stored_subject
from unweight.bids.derivatives.write import write_maps
from unweight.bids.nifti.grid import Grid, Placement
from unweight.core.maps import VoxelStatus
from unweight.learn.segmentation.segmenter import SegmentedBrain
from unweight.mapping.segment import Segmentation, StructureVolume, dataset_root
from unweight.metrics.brain_labels import BRAIN_LABELS
from unweight.registry import pipeline
from unweight.report.subject import subject_page
from unweight.run.carry_out import CommandResult, carry_out
from unweight.run.group import study_of
from unweight.run.job import Job, job_from_json
from unweight.run.plan import plan_run

VOXELS = (8, 6, 4)
WHITE, PUTAMEN = 2, 12


def write_set(out: Path, suffix: str = "T1map", desc: str = "", value: float = 1.0, **more: str) -> None:
    """Write a map of one value, usable everywhere."""
    maps = made_up_maps(value=value, intervals=False, voxels=VOXELS)
    spec = replace(maps.specs[0], suffix=suffix, desc=desc)
    status = torch.zeros(VOXELS, dtype=torch.uint8) + int(VoxelStatus.OK)
    values = torch.full((*VOXELS, 1), value)
    maps = replace(maps, specs=(spec,), values=values, std=0.1 * values, status=status)
    write_maps(maps, out, {"sub": "01", **more}, Provenance(sources=("a",), algorithm="none"))


def segmentation(desc: str, affine: torch.Tensor = AFFINE) -> Segmentation:
    """Return white matter with a putamen of eight voxels on the left."""
    labels = torch.full(VOXELS, WHITE, dtype=torch.uint8)
    labels[:2, :2, :2] = PUTAMEN
    return Segmentation(
        image=torch.rand(VOXELS),
        grid=Grid(shape=VOXELS, placement=Placement(affine=affine), path=Path("image")),
        brain=SegmentedBrain(labels=labels, probability=torch.ones(VOXELS)),
        volumes=tuple(
            StructureVolume(
                index=label.index, name=label.name, volume_ml=2.5, n_voxels=8, uncertain_share=0
            )
            for label in BRAIN_LABELS
        ),
        entities={"sub": "01", "desc": desc},
        source=f"sub-01_{desc}.nii.gz",
        root=None,
        card={"Weights": "known", "WeightsSHA256": "0" * 64},
        mask_how="given",
        remarks=("a remark",),
    )


@dataclass(kw_only=True)
class Commands:
    """Commands that write the set of their pipeline.

    Attributes:
        failing: Pipelines that fail.
        value: Of the maps.
        calls: The words of each call.
    """

    failing: tuple[str, ...] = ()
    value: float = 1.0
    calls: list[tuple[str, ...]] = field(default_factory=list)

    def __call__(self, words: Sequence[str]) -> CommandResult:
        self.calls.append(tuple(words))
        if words[0] in self.failing:
            return CommandResult(code=2, text="no")
        out = Path(words[words.index("-o") + 1])
        if words[0] == "segment":
            assert Path(words[-1]).is_file()
            segmentation(words[-1].rpartition("_")[2].removesuffix(".nii.gz")).save(out)
        else:
            suffix, desc = pipeline(words[0]).first
            write_set(out, suffix, desc, self.value)
        return CommandResult(code=0, text="")


def planned(folder: Path, *wanted: str) -> Job:
    """Return a job for inversion recovery and gradient echoes."""
    root = folder / "bids"
    put(root, *inversions("01"), *echoes("01", "mag", "phase"))
    (task,) = plan_run(root, wanted or None).tasks
    return job_of("01", root, folder / "maps", task)


def states(job: Job, command: Commands) -> dict[str, str]:
    return {outcome.name: outcome.state for outcome in carry_out(job_from_json(job.to_json()), command)}


def test_segmentations_are_planned_on_request_and_last(tmp_path: Path) -> None:
    assert "segment" not in {step.pipeline for step in planned(tmp_path).task.steps}
    steps = planned(tmp_path, "segment", "t1", "r2star", "mprage").task.steps
    assert [step.name for step in steps] == [
        *("sub-01_t1", "sub-01_r2star", "sub-01_mprage"),
        *("sub-01_desc-T1map_segment", "sub-01_desc-T1w_segment"),
    ]
    of_t1, of_mprage = steps[-2:]
    assert of_t1.words(Path("in"), Path("out")) == ("segment", "-o", "out")
    assert of_t1.map_words(Path("out")) == ("out/sub-01/anat/sub-01_T1map.nii.gz",)
    assert of_mprage.map_words(Path("out")) == ("out/sub-01/anat/sub-01_desc-synth_T1w.nii.gz",)


def test_segmentations_are_computed_once(tmp_path: Path) -> None:
    job, command = planned(tmp_path, "t1", "mprage", "segment"), Commands()
    assert set(states(job, command).values()) == {"done"}
    assert command.calls[-1] == (
        *("segment", "-o", str(job.out), "--no-report", "--quiet"),
        str(job.out / "sub-01/anat/sub-01_desc-synth_T1w.nii.gz"),
    )
    assert set(states(job, command).values()) == {"kept"}
    (job.out / "sub-01/anat/sub-01_desc-T1map_volumes.tsv").write_text("altered")
    again = states(job, command)
    assert again.pop("sub-01_desc-T1map_segment") == "done"
    assert set(again.values()) == {"kept"}


def test_maps_that_fail_are_not_segmented(tmp_path: Path) -> None:
    job, command = planned(tmp_path, "t1", "mprage", "segment"), Commands(failing=("t1",))
    found = states(job, command)
    assert found["sub-01_t1"] == found["sub-01_desc-T1map_segment"] == "failed"
    assert found["sub-01_desc-T1w_segment"] == "done"


def test_maps_of_other_images_are_segmented_again(tmp_path: Path) -> None:
    job, command = planned(tmp_path, "t1", "segment"), Commands()
    states(job, command)
    changed = replace(job, settings=replace(job.settings, options={"t1": ("--method", "ml")}))
    assert set(states(changed, command).values()) == {"done"}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "maps"
    write_set(folder, value=1.25)
    write_set(folder, "T2map", value=0.08, run="2")
    segmentation("T1map").save(folder)
    return folder


def test_labels_belong_to_the_maps_on_their_grid(out: Path, tmp_path: Path) -> None:
    moved = AFFINE.clone()
    moved[0, 3] += 7
    (out / "sub-01/anat/sub-01_desc-A_dseg.json").parent.mkdir(exist_ok=True)
    segmentation("A", moved).save(out)
    subject = stored_subject(out, "01")
    assert [item.name.stem for item in subject.segmentations] == [
        "sub-01_desc-A_dseg",
        "sub-01_desc-T1map_dseg",
    ]
    labels = {labels_for(item, subject) for item in subject.sets}
    assert labels == {out / "sub-01/anat/sub-01_desc-T1map_dseg.nii.gz"}


def test_the_group_measures_in_them(out: Path, tmp_path: Path) -> None:
    study = study_of(out, tmp_path)
    found = {(row.map, row.region): row for row in study.regions}
    putamen = found["T1map", "left_putamen"]
    assert (putamen.voxels, putamen.mean) == (8, pytest.approx(1.25))
    assert found["T2map", "left_putamen"].mean == pytest.approx(0.08)
    assert found["T1map", "right_putamen"].voxels == 0
    assert [row.map for row in study.qc] == ["T1map", "T2map"]
    assert study.failures == ()


def test_the_page_has_a_section(out: Path) -> None:
    page = subject_page(out, "01").decode()
    section = page[page.index('id="segmentation"') :]
    section = section[: section.index("</section>")]
    assert "desc-T1map" in section and "a remark" in section
    assert "1.25 ± 0" in section  # T1 of the putamen
    assert "data:image/png" in section
    (out / "sub-01/anat/sub-01_desc-T1map_dseg.nii.gz").write_bytes(b"altered")
    altered = subject_page(out, "01").decode()
    assert "sub-01_desc-T1map_dseg.nii.gz is changed since it was written" in altered


def test_maps_among_derivatives_can_be_segmented(tmp_path: Path) -> None:
    """Their dataset is not raw data, and may be written into."""
    write_set(tmp_path / "maps")
    assert dataset_root(tmp_path / "maps/sub-01/anat/sub-01_T1map.nii.gz") is None
    (tmp_path / "maps/dataset_description.json").write_text('{"Name": "a", "BIDSVersion": "1.9.0"}')
    assert dataset_root(tmp_path / "maps/sub-01/anat/sub-01_T1map.nii.gz") == tmp_path / "maps"
