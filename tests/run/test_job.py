import json
from dataclasses import replace
from pathlib import Path

from tests.run.jobs import job_of
from unweight.run.job import Job, Outcome, job_from_json, outcomes_from_json, outcomes_to_json
from unweight.run.planned import PlannedStep, PlannedTask

STEPS = (
    PlannedStep(
        pipeline="maps",
        entities={"sub": "01", "ses": "a"},
        inputs={"--t1w": ("sub-01/anat/a b.nii",), "--t2w": ('"é\n".nii', "x")},
        extra=("--rec", "weighted"),
        voxels=24,
        volumes=2,
    ),
    PlannedStep(pipeline="t1", entities={"sub": "01"}, inputs={"": ()}),
)


def whole() -> Job:
    job = replace(job_of("01", task=PlannedTask(subject="01", session="a", steps=STEPS)), wait=True)
    settings = replace(
        job.settings,
        options={"maps": ("--method", "physics"), "t1": ()},
        weights={"maps": {"maps": "0" * 64}},
    )
    return replace(job, settings=settings)


def test_a_job_survives_the_way_to_its_worker() -> None:
    text = whole().to_json()
    assert "\n" not in text  # one line is one job
    assert job_from_json(text) == whole()
    assert json.loads(text)["settings"]["run"] == "first"


def test_paths_of_a_job() -> None:
    job = job_of("01", Path("/raw"), Path("/out"))
    assert (job.root, job.out) == (Path("/raw"), Path("/out"))


def test_outcomes_survive_the_way_back() -> None:
    outcomes = (
        Outcome(name="sub-01_t1", pipeline="t1", state="done", seconds=1.5),
        Outcome(name="sub-01_maps", pipeline="maps", state="failed", reason="two\nlines, é"),
    )
    text = outcomes_to_json(outcomes)
    assert "\n" not in text
    assert outcomes_from_json(text) == outcomes
    assert outcomes_from_json(outcomes_to_json(())) == ()
