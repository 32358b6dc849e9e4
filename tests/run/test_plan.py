import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.bids.files import nifti_bytes, ramp
from tests.run.trees import SMALL, echoes, inversions, put
from unweight.core.errors import InputError
from unweight.run.plan import plan_run, redact_paths
from unweight.run.planned import Plan, PlannedStep, Unmapped

SECONDS_FOR_A_THOUSAND = 2.0


def plan(root: Path, *pipelines: str, **chosen: list[str]) -> Plan:
    return plan_run(root, pipelines or None, **chosen)  # type: ignore[arg-type]


def names(found: Plan) -> list[str]:
    return [step.name for step in found.steps]


def reasons(found: Plan) -> dict[tuple[str, str], str]:
    return {(one.label, one.pipeline): one.reason for one in found.refusals}


def only(found: Plan) -> Unmapped:
    assert found.tasks == ()
    (refusal,) = found.refusals
    return refusal


def test_sessions_are_tasks_and_series_are_steps(tmp_path: Path) -> None:
    for session in ("a", "b"):
        put(tmp_path, *inversions("01", middle=f"_ses-{session}_acq-fast"))
        put(tmp_path, *inversions("01", middle=f"_ses-{session}_acq-slow", count=4))
    put(tmp_path, *inversions("02"))
    found = plan(tmp_path)
    assert [task.label for task in found.tasks] == ["sub-01_ses-a", "sub-01_ses-b", "sub-02"]
    assert names(found) == [
        *("sub-01_ses-a_acq-fast_t1", "sub-01_ses-a_acq-slow_t1"),
        *("sub-01_ses-b_acq-fast_t1", "sub-01_ses-b_acq-slow_t1", "sub-02_t1"),
    ]
    assert found.refusals == ()
    step = found.steps[1]
    assert (step.voxels, step.volumes) == (24, 4)
    assert step.words(Path("in"), Path("out"), ("--method", "ml")) == (
        *("t1", *(f"in/sub-01/ses-a/anat/sub-01_ses-a_acq-slow_inv-{n}_IRT1.nii" for n in range(1, 5))),
        *("-o", "out", "--method", "ml"),
    )


def test_only_what_is_wanted_is_planned(tmp_path: Path) -> None:
    put(tmp_path, *inversions("01"), *echoes("01"), *inversions("02"))
    assert names(plan(tmp_path, "r2star")) == ["sub-01_r2star"]
    assert names(plan(tmp_path, "t1", subjects=["02"])) == ["sub-02_t1"]
    assert reasons(plan(tmp_path, "r2star"))["sub-02", ""] == "has IRT1; none is used by r2star"


def test_maps_beside_measured_t1_have_names_of_their_own(tmp_path: Path) -> None:
    weighted = [f"sub-01_{suffix}" for suffix in ("T1w", "T2w", "FLAIR")]
    put(tmp_path, *inversions("01"), *weighted)
    put(tmp_path, *(one.replace("01", "02") for one in weighted))
    measured, beside, alone = plan(tmp_path).steps
    assert measured.name == "sub-01_t1"
    assert beside.name == "sub-01_rec-weighted_maps"
    assert beside.extra == ("--rec", "weighted")
    assert alone.name == "sub-02_maps" and alone.extra == ()
    assert alone.words(Path("in"), Path("out")) == (
        *("maps", "--t1w", "in/sub-02/anat/sub-02_T1w.nii", "--t2w", "in/sub-02/anat/sub-02_T2w.nii"),
        *("--flair", "in/sub-02/anat/sub-02_FLAIR.nii", "-o", "out"),
    )


def test_maps_are_named_by_what_their_images_share(tmp_path: Path) -> None:
    """`unweight maps` names its files so, and a record must find them."""
    put(tmp_path, "sub-01_run-1_T1w", "sub-01_run-1_T2w")
    put(tmp_path, "sub-02_acq-mprage_run-1_T1w", "sub-02_acq-tse_run-1_T2w")
    assert names(plan(tmp_path)) == ["sub-01_run-1_maps", "sub-02_run-1_maps"]


def test_of_several_weighted_images_one_is_chosen_and_too_few_are_refused(tmp_path: Path) -> None:
    put(tmp_path, "sub-01_T1w", "sub-02_run-1_T1w", "sub-02_run-2_T1w", "sub-02_T2w")
    put(tmp_path, "sub-03_ce-gd_T1w", "sub-04_T1w", "sub-04_ce-gd_T1w", "sub-04_T2w")
    found = plan(tmp_path)
    assert names(found) == ["sub-02_maps", "sub-04_maps"]
    first, second = found.steps
    assert first.inputs["--t1w"] == ("sub-02/anat/sub-02_run-1_T1w.nii",)
    assert any("sub-02_run-2_T1w.nii" in note and "further run" in note for note in first.notes)
    assert any("contrast agent" in note for note in second.notes)
    too_few, agent = found.refusals
    assert too_few.reason == "has T1w only; two of T1w, T2w and FLAIR are needed" and not too_few.fault
    assert "contrast agent" in agent.reason and "only" not in agent.reason and not agent.fault


def test_gradient_echoes_without_phase(tmp_path: Path) -> None:
    put(tmp_path, *echoes("01"))
    found = plan(tmp_path)
    assert names(found) == ["sub-01_r2star", "sub-01_mprage"]
    assert found.steps[1].extra == ("--no-phase",)
    assert reasons(found) == {("sub-01_MEGRE", "qsm"): "has no phase images"}
    assert not found.refusals[0].fault


def test_gradient_echoes_with_phase_or_two_channels(tmp_path: Path) -> None:
    put(tmp_path, *echoes("01", "mag", "phase"), *echoes("02", "real", "imag"), *echoes("03", "", "phase"))
    found = plan(tmp_path)
    assert names(found) == [
        f"sub-{subject}_{command}"
        for subject in ("01", "02", "03")
        for command in ("r2star", "qsm", "mprage")
    ]
    assert all(step.extra == () for step in found.steps)
    used = {step.name: "".join(step.inputs[""]) for step in found.steps}
    assert "part-phase" not in used["sub-01_r2star"] and "part-mag" in used["sub-01_r2star"]
    assert used["sub-01_qsm"].count("part-phase") == used["sub-01_qsm"].count("part-mag") == 3
    assert used["sub-02_r2star"].count("part-imag") == used["sub-02_qsm"].count("part-real") == 3


def test_phase_without_magnitude_is_refused_for_what_is_missing(tmp_path: Path) -> None:
    put(tmp_path, *echoes("01", "phase"))
    found = plan(tmp_path)
    assert found.tasks == ()
    assert {one.pipeline for one in found.refusals} == {"r2star", "qsm", "mprage"}
    for one in found.refusals:
        assert "no phase" not in one.reason and "3 phase" in one.reason


def test_a_single_echo_is_not_enough(tmp_path: Path) -> None:
    put(tmp_path, *echoes("01", "mag", "phase", count=1))
    assert {pipeline: reason for (_, pipeline), reason in reasons(plan(tmp_path)).items()} == {
        "r2star": "has 1 image; r2star needs 2 at least",
        "qsm": "has 1 image; qsm needs 2 at least",
        "mprage": "has 1 image; mprage needs 2 at least",
    }


def test_a_single_magnitude_is_not_enough(tmp_path: Path) -> None:
    put(tmp_path, *echoes("01", count=1))
    found = plan(tmp_path)
    assert found.tasks == () and not any(one.fault for one in found.refusals)
    assert {pipeline: reason for (_, pipeline), reason in reasons(found).items()} == {
        "r2star": "has 1 image; r2star needs 2 at least",
        "qsm": "has no phase images",
        "mprage": "has 1 image; mprage needs 2 at least",
    }


def test_phase_of_a_weighted_image_is_one_echo(tmp_path: Path) -> None:
    put(tmp_path, "sub-01_part-mag_T1w", "sub-01_part-phase_T1w", "sub-01_T2w")
    found = plan(tmp_path)
    assert names(found) == ["sub-01_maps"]
    assert found.steps[0].inputs["--t1w"] == ("sub-01/anat/sub-01_part-mag_T1w.nii",)
    assert reasons(found)["sub-01_T1w", "qsm"] == "has one echo; qsm needs several (MEGRE)"


def test_spin_echoes(tmp_path: Path) -> None:
    put(tmp_path, *echoes("01", suffix="MESE"), "sub-01_T1w", "sub-01_T2w")
    found = plan(tmp_path)
    assert names(found) == ["sub-01_rec-weighted_maps", "sub-01_t2"]


def test_too_few_inversions_but_one_file_may_hold_all(tmp_path: Path) -> None:
    put(tmp_path, *inversions("01", count=2))
    put(tmp_path, *inversions("02", count=1), content=nifti_bytes(ramp(4, 3, 2, 5)))
    put(tmp_path, *inversions("03", count=1), content=nifti_bytes(ramp(4, 3, 2, 2)))
    found = plan(tmp_path)
    reason = "has 2 images; t1 needs 3 at least"
    assert reasons(found) == {("sub-01_IRT1", "t1"): reason, ("sub-03_IRT1", "t1"): reason}
    assert names(found) == ["sub-02_t1"] and found.steps[0].volumes == 5


def test_series_that_would_have_one_name_are_refused(tmp_path: Path) -> None:
    """Names of maps have no `mt`, so the second would stand where the first does."""
    put(tmp_path, *echoes("01", middle="_mt-on"), *echoes("01", middle="_mt-off"), *inversions("01"))
    found = plan(tmp_path, "t1", "r2star")
    assert names(found) == ["sub-01_t1"]
    assert [(one.label, one.fault) for one in found.refusals] == [("sub-01_r2star", True)] * 2
    assert ["mt-off" in one.reason for one in found.refusals] == [True, False]


def test_empty_files_are_faults_with_a_reason(tmp_path: Path) -> None:
    put(tmp_path, *inversions("01"), content=b"")
    put(tmp_path, *inversions("02"))
    found = plan(tmp_path)
    assert names(found) == ["sub-02_t1"]
    (refusal,) = found.refusals
    assert refusal.fault
    assert refusal.reason == "sub-01/anat/sub-01_inv-1_IRT1.nii is empty (0 bytes), and 2 more"


def test_files_that_are_no_images_are_faults(tmp_path: Path) -> None:
    put(tmp_path, *inversions("01"), content=b"this is no image" * 100)
    for path in put(tmp_path, *inversions("02")):
        path.unlink()
        path.mkdir()
    found = plan(tmp_path)
    assert found.tasks == ()
    assert [one.fault for one in found.refusals] == [True, True]
    assert all(str(tmp_path) not in one.reason and one.reason for one in found.refusals)
    assert "sub-01_inv-1_IRT1.nii" in found.refusals[0].reason


def test_malformed_names_of_one_subject_do_not_stop_others(tmp_path: Path) -> None:
    put(tmp_path, *inversions("01"), *inversions("03"))
    bad = tmp_path / "sub-02" / "anat"
    bad.mkdir(parents=True)
    (bad / "sub-02_inv-one_IRT1.nii").write_bytes(SMALL)
    (tmp_path / "sub-0 4").mkdir()
    found = plan(tmp_path)
    assert names(found) == ["sub-01_t1", "sub-03_t1"]
    told = {one.label: one.reason for one in found.refusals}
    assert "inv-<number>" in told["sub-02_IRT1"]
    assert "is not a valid label of a subject" in told["sub-0 4"]
    assert all(one.fault for one in found.refusals)


def test_a_link_out_of_the_tree_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "bids"
    (outside,) = put(tmp_path / "secret", "sub-01_T1w")
    put(root, "sub-01_T2w", *inversions("02"))
    (root / "sub-01" / "anat" / "sub-01_T1w.nii").symlink_to(outside)
    found = plan(root)
    assert names(found) == ["sub-02_t1"]
    (refusal,) = found.refusals
    assert refusal.fault and "points outside the dataset" in refusal.reason
    assert str(tmp_path) not in refusal.reason


@pytest.mark.parametrize("name", ["sub-\x1b[31mred", "sub-a\nb", "sub-[bold]", "sub-\udcff"])
def test_messages_about_strange_folders_can_be_printed(tmp_path: Path, name: str) -> None:
    put(tmp_path, *inversions("01"))
    (tmp_path / name / "anat").mkdir(parents=True)
    (tmp_path / name / "anat" / f"{name}_T1w.nii").write_bytes(SMALL)
    found = plan(tmp_path)
    assert names(found) == ["sub-01_t1"]
    (refusal,) = found.refusals
    for text in (refusal.label, refusal.reason):
        assert text.isprintable() and text
        assert str(tmp_path) not in text


def test_messages_about_strange_sessions_and_suffixes_can_be_printed(tmp_path: Path) -> None:
    (tmp_path / "sub-01" / "ses-\x1b[2J").mkdir(parents=True)
    func = tmp_path / "sub-02" / "func"
    func.mkdir(parents=True)
    (func / "sub-02_\x1b[2J.nii").write_bytes(SMALL)
    for one in plan(tmp_path).refusals:
        assert one.label.isprintable() and one.reason.isprintable()


def test_paths_in_messages_lose_the_folders_above_the_tree() -> None:
    root = Path("/data/people/bids")
    assert redact_paths("/data/people/bids/sub-01/x.nii is torn", root) == "sub-01/x.nii is torn"
    assert redact_paths("in /data/people/bids.", root) == "in .."
    assert redact_paths("a\x1b[2Jb\x07", root) == "a\\x1b[2Jb\\x07"


def test_size_is_that_of_one_volume(tmp_path: Path) -> None:
    volumes = nifti_bytes(np.ones((4, 3, 2, 5), dtype=np.float32))
    put(tmp_path, "sub-01_inv-1_IRT1", content=volumes)
    (step,) = plan(tmp_path).steps
    assert step.voxels == 24


def test_a_tree_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such folder"):
        plan(tmp_path / "none")


@pytest.mark.parametrize(
    ("tree", "reason"),
    [
        ("qmri_mp2rage", "has MP2RAGE, T1map, UNIT1, defacemask; none is used by"),
        ("qmri_mp2rageme", "has MP2RAGE, TB1map; none is used by"),
        ("qmri_sa2rage", "has TB1SRGE; none is used by"),
        ("qmri_tb1tfl", "has TB1TFL; none is used by"),
    ],
)
def test_published_trees_of_other_kinds_are_refused_with_the_reason(
    shared_data: Callable[[str], Path], tree: str, reason: str
) -> None:
    refusal = only(plan(shared_data("bids_qmri_cc0") / tree))
    assert refusal.reason.startswith(reason)
    assert not refusal.fault


def test_published_files_under_our_suffixes_are_empty(
    shared_data: Callable[[str], Path], tmp_path: Path
) -> None:
    """The published images hold 0 bytes; as inversion recovery they would be faults, and say so."""
    source = shared_data("bids_qmri_cc0") / "qmri_mp2rage"
    anat = tmp_path / "sub-1" / "anat"
    anat.mkdir(parents=True)
    for number in (1, 2):
        path = source / "sub-1" / "anat" / f"sub-1_inv-{number}_part-mag_MP2RAGE.nii"
        shutil.copy(path, anat / f"sub-1_inv-{number}_IRT1.nii")
    shutil.copy(path, anat / "sub-1_inv-3_IRT1.nii")
    refusal = only(plan(tmp_path))
    assert refusal.fault and "is empty (0 bytes), and 2 more" in refusal.reason


def test_a_thousand_subjects_take_time_in_proportion(tmp_path: Path) -> None:
    """Ten times as many must not take more than thirty times as long, on a machine others use too."""
    for number in range(300):
        put(tmp_path, *inversions(f"{number:04d}"))

    def seconds(count: int) -> float:
        began = time.process_time()
        assert len(plan(tmp_path, subjects=[f"{n:04d}" for n in range(count)]).tasks) == count
        return time.process_time() - began

    seconds(10)
    assert seconds(300) < 30 * min(seconds(30) for _ in range(3))


@pytest.mark.slow
def test_a_thousand_subjects_are_planned_in_two_seconds(tmp_path: Path) -> None:
    for number in range(1000):
        put(tmp_path, *inversions(f"{number:04d}"))
    began = time.process_time()
    assert len(plan(tmp_path).tasks) == 1000
    assert time.process_time() - began <= SECONDS_FOR_A_THOUSAND


def test_steps_are_what_they_say() -> None:
    step = PlannedStep(pipeline="t1", entities={"run": "2", "ses": "a", "sub": "01"}, inputs={})
    assert step.name == "sub-01_ses-a_run-2_t1"
