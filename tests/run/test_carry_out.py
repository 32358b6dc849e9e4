import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.run.jobs import Pretended, planned_job
from tests.run.trees import SMALL, inversions, put
from unweight.core.errors import OutputError
from unweight.files.lock import locked
from unweight.run import carry_out as module
from unweight.run.carry_out import MOST_ATTEMPTS, NOT_NOW, CommandResult, carry_out, key_of
from unweight.run.job import Job, Outcome
from unweight.run.planned import PlannedStep
from unweight.run.record import State, StepRecord, read_record, write_record

MAP = "sub-01/anat/sub-01_T1map.nii.gz"


def states(outcomes: tuple[Outcome, ...]) -> list[str]:
    return [one.state for one in outcomes]


def record_of(job: Job) -> StepRecord:
    found = read_record(job.out, job.task.steps[0].name)
    assert found is not None
    return found


def test_what_is_done_is_recorded_and_kept(tmp_path: Path) -> None:
    job, command = planned_job(tmp_path, options={"t1": ("--method", "ml")}), Pretended()
    (first,) = carry_out(job, command)
    assert (first.name, first.pipeline, first.state) == ("sub-01_t1", "t1", "done")
    assert command.calls[0] == (*job.task.steps[0].words(job.root, job.out), "--method", "ml", *NOT_NOW)
    record = record_of(job)
    assert record.state is State.COMPLETE and (record.attempts, record.run) == (0, "")
    assert record.configuration == "config-0.json"
    assert record.command == (
        "unweight t1 BIDS_DIR/sub-01/anat/sub-01_inv-1_IRT1.nii "
        "BIDS_DIR/sub-01/anat/sub-01_inv-2_IRT1.nii BIDS_DIR/sub-01/anat/sub-01_inv-3_IRT1.nii "
        "-o OUT_DIR --method ml"
    )
    made = {str(path.relative_to(job.out)) for path in (job.out / "sub-01").rglob("*") if path.is_file()}
    assert set(record.files) == made and MAP in made
    assert states(carry_out(job, command)) == ["kept"]
    assert states(carry_out(replace(job, settings=replace(job.settings, run="other")), command)) == ["kept"]
    assert len(command.calls) == 1


def changed_input(job: Job) -> Job:
    put(job.root, inversions("01")[1], content=SMALL + b"\0")
    return job


def changed_sidecar(job: Job) -> Job:
    (job.root / "sub-01" / "anat" / "sub-01_inv-1_IRT1.json").write_text('{"InversionTime": 0.1}')
    return job


def inherited_sidecar(job: Job) -> Job:
    (job.root / "IRT1.json").write_text('{"EchoTime": 0.1}')
    return job


def changed_option(job: Job) -> Job:
    return replace(job, settings=replace(job.settings, options={"t1": ("--efficiency", "2")}))


def changed_weights(job: Job) -> Job:
    return replace(job, settings=replace(job.settings, weights={"t1": {"t1-posterior": "other"}}))


def deleted_output(job: Job) -> Job:
    (job.out / MAP).unlink()
    return job


def altered_output(job: Job) -> Job:
    (job.out / MAP).write_bytes(b"altered")
    return job


def altered_sidecar_of_output(job: Job) -> Job:
    (job.out / MAP.replace(".nii.gz", ".json")).write_text("{}")
    return job


def damaged_record(job: Job) -> Job:
    (job.out / "logs" / "steps" / "sub-01_t1.json").write_text("{")
    return job


@pytest.mark.parametrize(
    "change",
    [
        changed_input,
        changed_sidecar,
        inherited_sidecar,
        changed_option,
        changed_weights,
        deleted_output,
        altered_output,
        altered_sidecar_of_output,
        damaged_record,
    ],
)
def test_a_change_leads_to_doing_it_again(tmp_path: Path, change: Callable[[Job], Job]) -> None:
    job, command = planned_job(tmp_path), Pretended()
    assert states(carry_out(job, command)) == ["done"]
    job = change(job)
    assert states(carry_out(job, command)) == ["done"]
    assert states(carry_out(job, command)) == ["kept"]
    assert len(command.calls) == 2


def test_weights_of_other_commands_change_nothing(tmp_path: Path) -> None:
    job = planned_job(tmp_path)
    settings = replace(job.settings, weights={"maps": {"maps": "x"}}, options={"maps": ("--n4",)}, run="b")
    step = job.task.steps[0]
    assert key_of(step, job) == key_of(step, replace(job, settings=settings))


def test_another_version_does_it_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = planned_job(tmp_path)
    before = key_of(job.task.steps[0], job)
    monkeypatch.setattr(module, "__version__", "99.0")
    assert key_of(job.task.steps[0], job) != before


def test_a_failure_is_recorded_with_its_reason_and_tried_again(tmp_path: Path) -> None:
    job = planned_job(tmp_path)
    command = Pretended(
        said=CommandResult(code=2, text=f"unweight t1: {job.root}/sub-01/x.nii: is\ntorn\x1b[2J.\n")
    )
    for _ in range(MOST_ATTEMPTS + 1):  # a failure that ends is no attempt that never ended
        (outcome,) = carry_out(job, command)
        assert outcome.state == "failed"
        assert outcome.reason == "t1: sub-01/x.nii: is torn\\x1b[2J."
    assert record_of(job).state is State.FAILED
    assert record_of(job).reason == outcome.reason
    assert len(command.calls) == MOST_ATTEMPTS + 1
    assert states(carry_out(job, Pretended())) == ["done"]


def test_a_command_that_says_nothing_still_has_a_reason(tmp_path: Path) -> None:
    (outcome,) = carry_out(planned_job(tmp_path), Pretended(said=CommandResult(code=70, text="")))
    assert outcome.reason == "ended with exit code 70"


def test_no_reason_has_an_absolute_path(tmp_path: Path) -> None:
    text = (
        f"{tmp_path}/weights/t1-posterior.json: cannot be read; /home/someone/.venv/lib/x.py, line 3; "
        f"'/opt/a b/c.nii' and 10/20 of 1/s at https://example.org/a"
    )
    job = planned_job(tmp_path, options={"t1": ("--weights", f"{tmp_path}/weights")})
    (outcome,) = carry_out(job, Pretended(said=CommandResult(code=2, text=text)))
    for private in (str(tmp_path), "/home", "someone", "/opt"):
        assert private not in outcome.reason
    for kept in (
        "t1-posterior.json: cannot be read",
        "x.py, line 3",
        "c.nii",
        "10/20 of 1/s",
        "https://example.org/a",
    ):
        assert kept in outcome.reason
    record = (job.out / "logs" / "steps" / "sub-01_t1.json").read_text()
    assert str(tmp_path) not in record and "someone" not in record


def test_a_command_without_a_complete_set_failed(tmp_path: Path) -> None:
    job = planned_job(tmp_path)
    (outcome,) = carry_out(job, lambda words: CommandResult(code=0, text=""))
    assert outcome.state == "failed" and "no complete set of maps" in outcome.reason
    assert record_of(job).state is State.FAILED


def test_a_visit_another_run_works_on_is_busy(tmp_path: Path) -> None:
    job, command = planned_job(tmp_path), Pretended()
    with locked(job.out / "logs" / "locks" / "sub-01.lock", wait=False) as held:
        assert held
        assert states(carry_out(job, command)) == ["busy"]
    assert command.calls == []
    assert states(carry_out(job, command)) == ["done"]


def test_who_waits_finds_what_the_other_made(tmp_path: Path) -> None:
    job = planned_job(tmp_path)
    begun, mine, found = threading.Event(), Pretended(), []

    def held() -> None:
        begun.set()
        other.join(0.3)  # the other waits for as long as this takes

    def wait() -> None:
        begun.wait(10)
        found.extend(carry_out(replace(job, wait=True), mine))

    other = threading.Thread(target=wait)
    other.start()
    assert states(carry_out(job, Pretended(before=held))) == ["done"]
    other.join(10)
    assert states(tuple(found)) == ["kept"] and mine.calls == []


def test_a_step_that_ends_its_process_is_given_up(tmp_path: Path) -> None:
    job = planned_job(tmp_path)

    class Killed(BaseException):
        """Stands for SIGKILL: nothing of the process runs after it."""

    def die() -> None:
        raise Killed

    for attempt in range(1, MOST_ATTEMPTS + 1):
        with pytest.raises(Killed):
            carry_out(job, Pretended(before=die))
        record = record_of(job)
        assert (record.state, record.attempts, record.run) == (State.BEGUN, attempt, "first")
    (outcome,) = carry_out(job, Pretended())
    assert outcome.state == "failed"
    assert "ended 3 times" in outcome.reason and "memory" in outcome.reason
    assert record_of(job).state is State.FAILED
    # Another run tries it again.
    assert states(carry_out(replace(job, settings=replace(job.settings, run="next")), Pretended())) == [
        "done"
    ]


def test_attempts_of_another_run_or_input_do_not_count(tmp_path: Path) -> None:
    job = planned_job(tmp_path)
    step = job.task.steps[0]
    begun = StepRecord(
        name=step.name, pipeline="t1", key=key_of(step, job), state=State.BEGUN, attempts=3, run="first"
    )
    for other in (replace(begun, run="before"), replace(begun, key="other")):
        write_record(job.out, other)
        assert states(carry_out(job, Pretended())) == ["done"]


def test_an_input_that_is_gone_is_said(tmp_path: Path) -> None:
    job = planned_job(tmp_path)
    (job.root / job.task.steps[0].inputs[""][0]).unlink()
    (outcome,) = carry_out(job, Pretended())
    assert outcome.state == "failed"
    assert outcome.reason == "sub-01/anat/sub-01_inv-1_IRT1.nii: cannot be read. Check the file."
    assert record_of(job).reason == outcome.reason


def test_sidecars_that_contradict_each_other_are_said(tmp_path: Path) -> None:
    job = planned_job(tmp_path)
    for name, value in (("inv-1_IRT1", 1), ("sub-01_IRT1", 2)):
        (job.root / f"{name}.json").write_text(json.dumps({"EchoTime": value}))
    (outcome,) = carry_out(job, Pretended())
    assert outcome.state == "failed" and "contradicts" in outcome.reason
    assert str(tmp_path) not in outcome.reason


def test_what_was_made_of_other_images_is_withdrawn_and_what_others_made_is_not(tmp_path: Path) -> None:
    """The command refuses to write over maps of other images; those of this step are its own."""
    job, there = planned_job(tmp_path), []
    assert states(carry_out(job, Pretended())) == ["done"]
    (job.out / MAP).with_name("sub-01_desc-mine_T1map.json").write_text("{}")
    put(job.root, inversions("01", count=4)[3])
    more = planned_job(tmp_path)
    step = replace(more.task.steps[0], inputs={"": (*more.task.steps[0].inputs[""], "sub-01/anat/x.nii")})
    (job.root / "sub-01/anat/x.nii").write_bytes(SMALL)
    more = replace(more, task=replace(more.task, steps=(step,)))
    command = Pretended(
        before=lambda: there.extend(path.name for path in (job.out / "sub-01").rglob("*.json"))
    )
    assert states(carry_out(more, command)) == ["done"]
    assert there == ["sub-01_desc-mine_T1map.json"]


def two_steps(job: Job) -> Job:
    """Return a job whose second step has no input that could be read."""
    broken = PlannedStep(pipeline="t1", entities={"sub": "01", "run": "2"}, inputs={"": ("none.nii",)})
    return replace(job, task=replace(job.task, steps=(broken, *job.task.steps)))


def test_one_step_that_fails_does_not_stop_the_others(tmp_path: Path) -> None:
    assert states(carry_out(two_steps(planned_job(tmp_path)), Pretended())) == ["failed", "done"]


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    job = planned_job(tmp_path)
    job.out.write_bytes(b"a file where a folder should be")
    (outcome,) = carry_out(job, Pretended())
    assert outcome.state == "failed" and "cannot be created" in outcome.reason
    assert str(tmp_path) not in outcome.reason


def test_a_disk_that_fills_up_leaves_no_record_of_a_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = planned_job(tmp_path)

    def full(out: Path, record: StepRecord) -> None:
        if record.state is State.COMPLETE:
            raise OutputError("could not be written (No space left on device)", path=out / "logs" / "x")
        write_record(out, record)

    monkeypatch.setattr(module, "write_record", full)
    (outcome,) = carry_out(job, Pretended())
    assert outcome.state == "failed"
    assert outcome.reason == "logs/x: could not be written (No space left on device)."
    assert read_record(job.out, "sub-01_t1") is None
    monkeypatch.undo()
    command = Pretended()
    assert states(carry_out(job, command)) == ["done"]
    assert len(command.calls) == 1


def test_what_was_done_before_the_disk_filled_up_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "bids", *inversions("01", middle="_run-2"))
    job = planned_job(tmp_path)
    assert [step.name for step in job.task.steps] == ["sub-01_run-2_t1", "sub-01_t1"]

    def full(out: Path, record: StepRecord) -> None:
        if record.name == "sub-01_t1":
            raise OutputError("could not be written (No space left on device)", path=out / "logs" / "x")
        write_record(out, record)

    monkeypatch.setattr(module, "write_record", full)
    assert states(carry_out(job, Pretended())) == ["done", "failed"]


def test_a_page_is_asked_for_when_something_is_new(tmp_path: Path) -> None:
    job, command = planned_job(tmp_path, report=True), Pretended()
    assert states(carry_out(job, command)) == ["done"]
    page = ("report", str(job.out), "--participant-label", "01", "--quiet")
    assert command.calls[1:] == [page]
    assert states(carry_out(job, command)) == ["kept"]
    assert command.calls[2:] == [page]  # there was none
    (job.out / "sub-01.html").write_text("page")
    carry_out(job, command)
    assert len(command.calls) == 3


def test_a_page_that_fails_is_a_failure_of_its_own(tmp_path: Path) -> None:
    job, made = planned_job(tmp_path, report=True), Pretended()

    def call(words: object) -> CommandResult:
        assert isinstance(words, tuple)
        return CommandResult(code=2, text="no page") if words[0] == "report" else made(words)

    first, second = carry_out(job, call)
    assert first.state == "done"
    assert (second.name, second.pipeline, second.state) == ("sub-01_report", "report", "failed")
    assert second.reason == "no page"
    assert states(carry_out(replace(job, settings=replace(job.settings, report=False)), made)) == ["kept"]
