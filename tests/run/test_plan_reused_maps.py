"""Maps that a step of a visit takes from an earlier one: when they are taken, and when not."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from tests.bids.maps import made_up_maps
from tests.run.jobs import job_of
from tests.run.trees import SMALL, echoes, put
from unweight.bids.derivatives.provenance import Provenance
from unweight.bids.derivatives.write import write_maps
from unweight.bids.read import entities_of
from unweight.registry import pipeline
from unweight.run.carry_out import CommandResult, carry_out
from unweight.run.cost import seconds_of
from unweight.run.job import Job, job_from_json
from unweight.run.plan import plan_run
from unweight.run.planned import PlannedStep
from unweight.run.record import State, read_record, write_record

CHI = "sub-01/anat/sub-01_Chimap.nii.gz"
WANTED = ("r2star", "qsm", "mprage")


def planned(
    folder: Path, wanted: Sequence[str] = WANTED, options: Mapping[str, Sequence[str]] | None = None
) -> Job:
    """Return a job for gradient echoes with phase."""
    root = folder / "bids"
    put(root, *echoes("01", "mag", "phase"))
    (task,) = plan_run(root, wanted, options=options).tasks
    return job_of("01", root, folder / "maps", task)


def mprage(job: Job) -> PlannedStep:
    (step,) = (step for step in job.task.steps if step.pipeline == "mprage")
    return step


@dataclass(kw_only=True)
class Sets:
    """A command that writes the set of its pipeline, of made-up values.

    Attributes:
        failing: Pipelines that fail.
        value: Of all voxels.
        calls: The words of each call, by pipeline.
    """

    failing: tuple[str, ...] = ()
    value: float = 1.0
    calls: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def __call__(self, words: Sequence[str]) -> CommandResult:
        self.calls[words[0]] = tuple(words)
        if words[0] in self.failing:
            return CommandResult(code=2, text="no")
        suffix, desc = pipeline(words[0]).first
        maps = made_up_maps(value=self.value, intervals=False, voxels=(2, 2, 2))
        spec = replace(maps.specs[0], suffix=suffix, desc=desc)
        maps = replace(maps, specs=(spec,), values=maps.values[..., :1], std=maps.std[..., :1])
        end = words.index("-o")
        images = [Path(word) for word in words[1:end]]
        sources = tuple(f"bids:raw:sub-01/anat/{path.name}" for path in images)
        origin = Provenance(sources=sources, algorithm="none")
        write_maps(maps, Path(words[end + 1]), entities_of(images), origin)
        return CommandResult(code=0, text="")


def given_map(command: Sets) -> str | None:
    """Return the file that `mprage` was given as susceptibility."""
    words = command.calls["mprage"]
    return words[words.index("--chi") + 1] if "--chi" in words else None


@pytest.mark.parametrize("wanted", [WANTED, tuple(reversed(WANTED))])
def test_the_map_is_computed_first_and_taken(tmp_path: Path, wanted: tuple[str, ...]) -> None:
    job, command = planned(tmp_path, wanted), Sets()
    assert job.task.steps[-1].pipeline == "mprage" and job.task.steps[-1].reused == {"--chi": "qsm"}
    assert [outcome.state for outcome in carry_out(job_from_json(job.to_json()), command)] == ["done"] * 3
    assert given_map(command) == str(job.out / CHI) and "--r2star" not in command.calls["mprage"]
    record = read_record(job.out, "sub-01_mprage")
    assert record is not None and record.command.endswith(f"--chi OUT_DIR/{CHI}")


def test_without_the_earlier_step_the_command_computes_its_own(tmp_path: Path) -> None:
    """Also where an earlier run has left a map of the same images."""
    assert carry_out(planned(tmp_path, ("qsm",)), Sets())[0].state == "done"
    command = Sets()
    job = planned(tmp_path, ("mprage",))
    assert mprage(job).reused == {}
    assert carry_out(job, command)[0].state == "done"
    assert given_map(command) is None


def test_a_failed_step_gives_no_map(tmp_path: Path) -> None:
    job, command = planned(tmp_path), Sets(failing=("qsm",))
    assert [outcome.state for outcome in carry_out(job, command)] == ["done", "failed", "done"]
    assert given_map(command) is None


def test_a_set_made_of_other_images_is_not_taken(tmp_path: Path) -> None:
    """It is left by a run on other images of the same names, and the step fails on the images of now."""
    assert carry_out(planned(tmp_path, ("qsm",)), Sets())[0].state == "done"
    job, command = planned(tmp_path), Sets(failing=("qsm",))
    put(job.root, *echoes("01", "mag", "phase"), content=SMALL + b"\0")
    carry_out(job, command)
    assert (job.out / CHI).is_file() and given_map(command) is None


def unfinished(job: Job) -> None:
    record = read_record(job.out, "sub-01_qsm")
    assert record is not None
    write_record(job.out, replace(record, state=State.BEGUN))


def altered(job: Job) -> None:
    (job.out / CHI).write_bytes(b"altered")


def removed(job: Job) -> None:
    (job.out / CHI).unlink()


def of_other_images(job: Job) -> None:
    Sets(value=2.0)(("qsm", *(str(job.root / path) for path in mprage(job).inputs[""]), "-o", str(job.out)))


@pytest.mark.parametrize("change", [unfinished, altered, removed, of_other_images])
def test_a_set_that_is_not_the_one_of_the_record_is_not_taken(
    tmp_path: Path, change: Callable[[Job], None]
) -> None:
    """The change comes from outside, between the two steps."""
    job, command = planned(tmp_path, ("qsm", "mprage")), Sets()
    single = replace(job, task=replace(job.task, steps=job.task.steps[:1]))
    assert carry_out(single, command)[0].state == "done"
    change(job)
    broken = Sets(failing=("qsm",))
    assert [outcome.state for outcome in carry_out(job, broken)] == ["failed", "done"]
    assert given_map(broken) is None


def test_a_step_stays_complete_whoever_computed_the_map(tmp_path: Path) -> None:
    job, command = planned(tmp_path), Sets()
    carry_out(job, command)
    assert {outcome.state for outcome in carry_out(job, command)} == {"kept"}
    assert carry_out(planned(tmp_path, ("mprage",)), command)[0].state == "kept"


def test_a_step_that_was_killed_takes_the_map_when_it_is_repeated(tmp_path: Path) -> None:
    job = planned(tmp_path)

    class Killed(BaseException):
        """Stands for SIGKILL."""

    class Killing(Sets):
        def __call__(self, words: Sequence[str]) -> CommandResult:
            if words[0] == "mprage":
                raise Killed
            return super().__call__(words)

    with pytest.raises(Killed):
        carry_out(job, Killing())
    command = Sets()
    assert [outcome.state for outcome in carry_out(job, command)] == ["kept", "kept", "done"]
    assert given_map(command) == str(job.out / CHI)


@pytest.mark.parametrize(
    ("options", "taken"),
    [
        ({}, True),
        ({"qsm": ("--no-figures",), "mprage": ("--method", "unet", "--seed", "3")}, True),
        ({"qsm": ("--field", "3"), "mprage": ("--field", "3")}, True),
        ({"qsm": ("--b0-direction", "0", "-1", "0")}, False),
        ({"qsm": ("--te", "0.1", "0.2"), "mprage": ("--te", "0.1", "0.3")}, False),
        ({"mprage": ("--invert-phase",)}, False),
        ({"qsm": ("--inversion", "tkd")}, False),
        ({"qsm": ("--reference", "csf")}, False),
        ({"mprage": ("--no-phase",)}, False),
        ({"mprage": ("--drop-condition", "chi")}, False),
    ],
)
def test_options_that_lead_to_another_map(
    tmp_path: Path, options: Mapping[str, Sequence[str]], taken: bool
) -> None:
    assert mprage(planned(tmp_path, options=options)).reused == ({"--chi": "qsm"} if taken else {})


def test_series_with_and_without_phase(tmp_path: Path) -> None:
    """The map is that of the same series; without phase there is none."""
    root = tmp_path / "bids"
    put(root, *echoes("01", "mag", "phase", middle="_run-1"), *echoes("01", "mag", middle="_run-2"))
    put(root, *echoes("01", "mag", "phase", middle="_run-3"))
    (task,) = plan_run(root, WANTED).tasks
    steps = {step.entities["run"]: step for step in task.steps if step.pipeline == "mprage"}
    assert {run: bool(step.reused) for run, step in steps.items()} == {"1": True, "2": False, "3": True}
    assert steps["3"].map_words(Path("out"))[1].endswith("sub-01_run-3_Chimap.nii.gz")


def test_the_time_of_the_map_is_spared() -> None:
    step = PlannedStep(pipeline="mprage", entities={"sub": "01"}, inputs={}, voxels=10**7, volumes=16)
    fewer = replace(step, reused={"--chi": "qsm"})
    (reuse,) = pipeline("mprage").reuses
    assert seconds_of(step) - seconds_of(fewer) == pytest.approx(1e-9 * reuse.nanoseconds * 10**7 * 16)
    assert seconds_of(fewer) > 0.3 * seconds_of(step)
