"""One visit, carried out: what is complete is kept, the rest is done, and each step leaves a record.

A step that takes its process with it is begun again by the next worker, at most `MOST_ATTEMPTS` times in
one run; then it is given up, so that it does not stop the others.
"""

import contextlib
import hashlib
import json
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

from unweight import __version__
from unweight.bids.derivatives.whole_set import withdraw
from unweight.bids.derivatives.write import files_of, sidecar_path, sources_of, visit_locked
from unweight.bids.inheritance import entry_in_tree
from unweight.bids.names import subject_folder
from unweight.core.errors import InputError, OutputError, UnweightError
from unweight.files.atomic import UNFINISHED
from unweight.files.lock import locked
from unweight.run.job import Job, Outcome
from unweight.run.plan import nameless_word, redact_paths, relative_message
from unweight.run.planned import PlannedStep
from unweight.run.record import (
    LOCKS,
    LOGS,
    State,
    StepRecord,
    check_logs,
    hash_of,
    read_record,
    remove_record,
    write_record,
)

MOST_ATTEMPTS = 3
LONGEST_REASON = 2000
# The page comes when the visit is done, and what is said is kept in the records.
NOT_NOW = ("--no-report", "--quiet")


@final
@dataclass(frozen=True, kw_only=True)
class CommandResult:
    """What a command did.

    Attributes:
        code: Its exit code.
        text: What it said of errors.
    """

    code: int
    text: str


Call = Callable[[Sequence[str]], CommandResult]


def carry_out(job: Job, call: Call) -> tuple[Outcome, ...]:
    """Do what is not done yet of one visit.

    Args:
        job: The visit.
        call: Carries out the words of a command.
    """
    ended: list[Outcome] = []
    try:
        check_logs(job.out)
        with locked(job.out / LOGS / LOCKS / f"{job.task.label}.lock", wait=job.wait) as held:
            if not held:
                return tuple(
                    Outcome(name=step.name, pipeline=step.pipeline, state="busy") for step in job.task.steps
                )
            for step in job.task.steps:
                ended.append(_one(step, job, call))
            return (*ended, *_page(job, ended, call))
    except OutputError as error:
        left = [(step.name, step.pipeline) for step in job.task.steps[len(ended) :]]
        left = left or [(f"sub-{job.task.subject}_report", "report")]
        reason = redact_paths(str(error), job.root, job.out)
        failed = (
            Outcome(name=name, pipeline=pipeline, state="failed", reason=reason) for name, pipeline in left
        )
        return (*ended, *failed)


def _one(step: PlannedStep, job: Job, call: Call) -> Outcome:
    began = time.perf_counter()
    settings = job.settings
    before = read_record(job.out, step.name)
    result: Mapping[str, str] = {} if before is None else before.files
    of = _origin_key(step, job)
    if step.of and not of:
        return _refused(step, job, f"the map of {step.of} that it takes is not complete", result)
    try:
        key = key_of(step, job, of)
    except UnweightError as error:
        return _refused(step, job, relative_message(error, job.root), result)
    if before is not None and before.stands(job.out, key):
        return Outcome(name=step.name, pipeline=step.pipeline, state="kept")
    if before is not None and before.state is State.BEGUN:
        _clear(step, job.out)
    options = settings.options.get(step.pipeline, ())
    step = replace(step, reused=_complete_maps(step, job))
    words = (
        *step.words(Path("BIDS_DIR"), Path("OUT_DIR"), [nameless_word(word) for word in options]),
        *step.map_words(Path("OUT_DIR")),
    )
    record = StepRecord(
        name=step.name,
        pipeline=step.pipeline,
        key=key,
        state=State.BEGUN,
        attempts=1 + _attempts(before, key, settings.run),
        run=settings.run,
        command=shlex.join(("unweight", *words)),
        configuration=settings.configuration,
        files=result,
    )
    if record.attempts > MOST_ATTEMPTS:
        reason = f"its process ended {MOST_ATTEMPTS} times while it was computed; it may need more memory"
        return _ended(replace(record, state=State.FAILED, reason=reason), job, began)
    write_record(job.out, record)
    _remove_stale(step, result, job.out)
    values = call((*step.words(job.root, job.out, (*options, *NOT_NOW)), *step.map_words(job.out)))
    if values.code == 0:
        return _ended(replace(record, state=State.COMPLETE, files=_written(step, job.out)), job, began)
    reason = _reason(values.text, job) or f"ended with exit code {values.code}"
    return _ended(replace(record, state=State.FAILED, reason=reason), job, began)


def key_of(step: PlannedStep, job: Job, of: str = "") -> str:
    """Return the SHA-256 of all that decides what a step gives: input, settings, weights, version.

    A map of an earlier step is taken only where the step would compute the same values, and is not part of
    it: a step stays complete when the step that it took a map from is not asked for any more.

    Args:
        step: Of the job.
        job: With the settings.
        of: The same of the step whose map is its image; empty if its images are in the tree.

    Raises:
        InputError: A file cannot be read, or its sidecars contradict each other.
    """
    inputs = []
    for option, paths in step.inputs.items():
        for path in paths:
            digest = hash_of(job.root / path)
            if not digest:
                raise InputError("cannot be read", remedy="Check the file.", path=job.root / path)
            told_of = entry_in_tree(job.root, job.root / path).sidecar.fields
            inputs.append((option, path, digest, dict(told_of)))
    content = {
        **({"of": of} if of else {}),
        "pipeline": step.pipeline,
        "extra": step.extra,
        "options": job.settings.options.get(step.pipeline, ()),
        "weights": dict(job.settings.weights.get(step.pipeline, {})),
        "version": __version__,
        "inputs": inputs,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _complete_maps(step: PlannedStep, job: Job) -> dict[str, str]:
    """Return which maps of earlier steps are complete, and of the images and settings as they are."""
    complete = {}
    for option, command in step.reused.items():
        source = step.source_of(option, job.task.steps)
        record = None if source is None else read_record(job.out, source.name)
        if source is None or record is None:
            continue
        with contextlib.suppress(UnweightError):  # which the step itself meets as well, and reports
            if record.stands(job.out, key_of(source, job)):
                complete[option] = command
    return complete


def _origin_key(step: PlannedStep, job: Job) -> str:
    """Return the key of the earlier step whose map is the image of a step; empty if it is not complete.

    The earlier step has just been carried out or kept, so that its record is of the images as they are.
    """
    origin = step.origin(job.task.steps)
    record = None if origin is None else read_record(job.out, origin.name)
    return record.key if record is not None and record.stands(job.out, record.key) else ""


def _clear(step: PlannedStep, out: Path) -> None:
    """Remove what a process that died left half-written."""
    maps, pictures = (
        subject_folder(out, step.entities) / "anat",
        out / f"sub-{step.entities['sub']}/figures",
    )
    with visit_locked(out, step.entities):
        for folder in (maps, pictures):
            for left in folder.glob(f".*{UNFINISHED}"):
                left.unlink(missing_ok=True)


def _attempts(before: StepRecord | None, key: str, run: str) -> int:
    """Return how often this run has begun a step that never ended."""
    if before is None or before.state is not State.BEGUN or before.key != key or before.run != run:
        return 0
    return before.attempts


def _ended(record: StepRecord, job: Job, began: float) -> Outcome:
    """Write down how a step ended."""
    done = record.state is State.COMPLETE and bool(record.files)
    if record.state is State.COMPLETE and not done:
        record = replace(record, state=State.FAILED, reason="it wrote no complete set of maps")
    try:
        write_record(job.out, replace(record, attempts=0, run=""))
    except OutputError:
        remove_record(job.out, record.name)
        if done:
            raise
    return Outcome(
        name=record.name,
        pipeline=record.pipeline,
        state="done" if done else "failed",
        reason=record.reason,
        seconds=time.perf_counter() - began,
    )


def _remove_stale(step: PlannedStep, result: Mapping[str, str], out: Path) -> None:
    """Remove what this step made of other images than it has now; a command would not write over it."""
    first = step.first
    sources = sources_of(out, step.entities, *first)
    now = {Path(path).name for paths in step.inputs.values() for path in paths}
    if sources is None or {source.rpartition("/")[2] for source in sources} == now:
        return
    root = out.resolve()
    with visit_locked(out, step.entities):
        own = [
            out / path
            for path, digest in result.items()
            if (out / path).resolve().is_relative_to(root) and hash_of(out / path) == digest
        ]
        withdraw(sidecar_path(out, step.entities, *first), own)


def _refused(step: PlannedStep, job: Job, reason: str, result: Mapping[str, str]) -> Outcome:
    """Write down why a step was not begun."""
    record = StepRecord(
        name=step.name,
        pipeline=step.pipeline,
        key="",
        state=State.FAILED,
        reason=reason,
        configuration=job.settings.configuration,
        files=result,
    )
    return _ended(record, job, time.perf_counter())


def _written(step: PlannedStep, out: Path) -> dict[str, str]:
    """Return the SHA-256 of each file a step wrote."""
    suffix, desc = step.first
    files = list(files_of(out, step.entities, suffix, desc))
    pictures = out / f"sub-{step.entities['sub']}" / "figures"
    drawn = [pictures / path.name.replace(".nii.gz", ".png") for path in files]
    files += [path for path in drawn if path.suffix == ".png" and path.is_file()]
    return {path.relative_to(out).as_posix(): hash_of(path) for path in files}


def _page(job: Job, outcomes: Sequence[Outcome], call: Call) -> tuple[Outcome, ...]:
    """Write the page of the subject if something is new, or there is none."""
    subject = job.task.subject
    new = any(outcome.state == "done" for outcome in outcomes)
    something = new or any(outcome.state == "kept" for outcome in outcomes)
    if (
        not job.settings.report
        or not something
        or (not new and (job.out / f"sub-{subject}.html").is_file())
    ):
        return ()
    began = time.perf_counter()
    with locked(job.out / LOGS / LOCKS / f"sub-{subject}.page.lock", wait=True):
        shared = ("--shared-assets",) if job.settings.shared_assets else ()
        values = call(("report", str(job.out), "--participant-label", subject, "--quiet", *shared))
    if values.code == 0:
        return ()
    return (
        Outcome(
            name=f"sub-{subject}_report",
            pipeline="report",
            state="failed",
            reason=_reason(values.text, job),
            seconds=time.perf_counter() - began,
        ),
    )


def _reason(text: str, job: Job) -> str:
    """Return the errors of a command in one line, without what tells of people or machines."""
    line = " ".join(text.split())[:LONGEST_REASON]
    return redact_paths(line.removeprefix("unweight ").strip(), job.root, job.out)
