"""`unweight run`: a whole BIDS tree, from what is there to maps, tables and pages."""

import argparse
import importlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import final

from unweight.bids.derivatives.dataset import prepare_derivatives
from unweight.bids.derivatives.write import IGNORED, README
from unweight.bids.folders import is_folder
from unweight.cli.catalogue import COMMANDS
from unweight.cli.options import options_of
from unweight.cli.study.cluster_extra import check_installed
from unweight.cli.study.options import RunOptions
from unweight.cli.study.plan_tables import show_refusals, show_subjects
from unweight.cli.study.settings import RunSettings, filled, read_settings
from unweight.cli.study.worker import work
from unweight.cli.terminal import Course, console, course, error_line, table
from unweight.core.errors import InputError, UsageError
from unweight.core.memory import free_bytes
from unweight.files.atomic import DERIVATIVES, is_among_raw, write_bytes_atomic
from unweight.mapping.device import device_for
from unweight.registry import commands
from unweight.report.study import study_page
from unweight.run.configuration import weights_of, write_configuration
from unweight.run.cost import bytes_of, seconds_of, seconds_of_run
from unweight.run.group import LabelTree, study_of, write_study
from unweight.run.job import Job, Outcome, Settings
from unweight.run.local import Child, Tell, run_locally
from unweight.run.planned import Plan
from unweight.run.record import check_logs

MOST_SHOWN = 20
GIGA = 1e9
ENCRYPTED, PLAIN = "tls", "tcp"
ELSEWHERE = "unweight.cli.study.cluster"  # loads Dask
PAGE = "study.html"


def run(arguments: argparse.Namespace) -> int:
    """Plan, then make what is not made yet."""
    settings = read_settings(arguments.config, arguments.settings or ())
    options = options_of(RunOptions, filled(arguments, settings))
    _check_apart(options.bids_dir.resolve(), options.out_dir.resolve())
    if options.level == "group":
        return run_group(options)
    plan = options.plan(settings.options)
    workers, memory = _means(options)
    if plan.tasks:
        _check_memory(plan, workers, memory, options)
    _show(plan, workers, memory, options)
    if not plan.tasks:
        raise InputError(
            "no supported image series was found",
            remedy="See the reasons above, and check the BIDS names of the images.",
            path=options.bids_dir.absolute(),
        )
    faults = sum(refusal.fault for refusal in plan.refusals)
    if options.dry_run:
        return 1 if faults else 0
    _check_device(settings, options)
    jobs = _jobs(plan, settings, options)
    account = Account(total=len(jobs))
    with course(quiet=options.verbosity.quiet) as displayed:
        tell = partial(account.tell, displayed)
        _carry_out(jobs, tell, (workers, memory), options)
    return account.close(options, faults)


@final
@dataclass(kw_only=True)
class Account:
    """What has become of the visits so far.

    Attributes:
        total: How many there are.
        ended: How many have ended.
        outcomes: Of all their steps.
        subjects: Of the visits that have ended.
    """

    total: int
    ended: int = 0
    outcomes: list[Outcome] = field(default_factory=list)
    subjects: list[str] = field(default_factory=list)

    def tell(self, displayed: Course, job: Job, outcomes: Sequence[Outcome]) -> None:
        """Take note of a visit that has ended, and say so."""
        self.ended += 1
        self.outcomes += outcomes
        self.subjects.append(job.task.subject)
        displayed.bar("visits")(self.ended, self.total)
        parts = [f"{outcome.pipeline} {_told(outcome)}" for outcome in outcomes]
        displayed.line(f"{self.ended}/{self.total} {job.task.label}: {', '.join(parts)}")

    def close(self, options: RunOptions, faults: int) -> int:
        """Say what failed, and return the exit code."""
        failed = [outcome for outcome in self.outcomes if outcome.state == "failed"]
        count = {
            state: sum(outcome.state == state for outcome in self.outcomes) for state in ("done", "kept")
        }
        screen = console(quiet=options.verbosity.quiet)
        screen.print(
            f"{count['done']} steps done, {count['kept']} were complete before, {len(failed)} failed"
            + (f"; {faults} could not be planned" if faults else "")
        )
        for item in failed:
            error_line(f"{item.name}: {item.reason}")
        for path in self.pages(options):
            screen.print(str(path))
        return 1 if failed or faults else 0

    def pages(self, options: RunOptions) -> tuple[Path, ...]:
        """Return the pages of the subjects of the run; the output folder if there are none, or many."""
        subjects = dict.fromkeys(self.subjects)
        paths = tuple(options.out_dir / f"sub-{label}.html" for label in subjects)
        written = tuple(path for path in paths if path.is_file())
        if options.no_report or not written or len(written) > MOST_SHOWN:
            return (options.out_dir,)
        return written


def _told(outcome: Outcome) -> str:
    return {"done": f"{outcome.seconds:.1f} s", "kept": "complete before", "failed": "FAILED"}.get(
        outcome.state, outcome.state
    )


def _check_apart(raw: Path, out: Path) -> None:
    """Refuse to write among the raw images."""
    if is_among_raw(out, raw):
        raise UsageError(
            "the output folder is inside the raw dataset, which is only read",
            remedy=f"Give another folder; {DERIVATIVES}/unweight in the dataset is the usual place.",
        )


def _means(options: RunOptions) -> tuple[int, float]:
    """Return the number of workers and the memory of each [byte]."""
    workers = 1 if options.workers is None else options.workers
    if workers < 1:
        raise UsageError(f"--workers {workers} is not possible", remedy="Give 1 or more.")
    _check_elsewhere(options)
    if options.memory is not None and not options.memory > 0:
        raise UsageError("the memory must be positive", remedy="Give it in gigabytes.")
    if options.memory is not None:
        return workers, GIGA * options.memory / workers
    if options.cluster:
        raise UsageError(
            "a batch system needs the memory of each worker",
            remedy="Give --memory, in gigabytes for all workers together.",
        )
    return workers, 0.9 * free_bytes() / workers


def _check_elsewhere(options: RunOptions) -> None:
    """Refuse workers elsewhere that cannot be had, or to whom anybody could talk."""
    if options.cluster and options.scheduler:
        raise UsageError("--cluster and --scheduler cannot be combined", remedy="Give one of them.")
    if options.cluster:
        check_installed("--cluster")
    if not options.scheduler:
        return
    check_installed("--scheduler")
    scheme = options.scheduler.rpartition("://")[0] or PLAIN
    if scheme not in (ENCRYPTED, PLAIN):
        raise UsageError(
            f"{options.scheduler!r} is not a valid scheduler address", remedy="Give tls://HOST:PORT."
        )
    if scheme == PLAIN and not options.insecure:
        raise UsageError(
            f"the scheduler at {options.scheduler} accepts work from any client that can reach it",
            remedy="Start it with certificates and give tls://HOST:PORT; if nobody else can reach it, "
            "--insecure accepts it.",
        )
    if scheme == ENCRYPTED:
        importlib.import_module(ELSEWHERE).check_certificates()


def _check_memory(plan: Plan, workers: int, memory: float, options: RunOptions) -> None:
    """Refuse to begin what will not fit."""
    largest = max(plan.steps, key=bytes_of)
    need = bytes_of(largest)
    if options.scheduler is None and need > memory:
        fit = int(workers * memory // need)
        remedy = f"Use --workers {fit}" if fit else "Use a machine with more memory"
        raise UsageError(
            f"{largest.name} needs about {need / GIGA:.1f} GB, and each of {workers} workers has "
            f"{memory / GIGA:.1f} GB",
            remedy=f"{remedy}, or set the memory with --memory.",
        )


def _check_device(settings: RunSettings, options: RunOptions) -> None:
    """Refuse a GPU that is not here, unless workers are elsewhere."""
    wanted = options.gpu or any("cuda" in words for words in settings.options.values())
    if wanted and not (options.cluster or options.scheduler):
        device_for("cuda")


def _show(plan: Plan, workers: int, memory: float, options: RunOptions) -> None:
    """Say what will be done, and what will not."""
    screen = console(quiet=options.verbosity.quiet)
    rows = []
    for name in commands():
        steps = [step for step in plan.steps if step.pipeline == name]
        if steps:
            seconds, most = sum(map(seconds_of, steps)), max(map(bytes_of, steps))
            rows.append((name, str(len(steps)), _duration(seconds), f"{most / GIGA:.1f} GB"))
    if rows:
        screen.print(table(("command", "series", "time of one core", "most memory"), rows))
        total = _duration(seconds_of_run(plan.tasks, workers))
        who = f"{workers} worker{'s' if workers > 1 else ''} of {memory / GIGA:.1f} GB"
        screen.print(f"{len(plan.tasks)} visits, {len(plan.steps)} series, about {total} with {who}")
    if options.dry_run:
        show_subjects(plan, options.bids_dir, options.out_dir, screen, _duration)
    refusal = plan.refusals if options.dry_run else plan.refusals[:MOST_SHOWN]
    show_refusals(refusal, screen)
    if len(refusal) < len(plan.refusals):
        screen.print(f"and {len(plan.refusals) - len(refusal)} more that are not processed; see --dry-run")


def _jobs(plan: Plan, settings: RunSettings, options: RunOptions) -> list[Job]:
    root, out = options.bids_dir.absolute(), options.out_dir.absolute()
    check_logs(out)
    prepare_derivatives(out, root, IGNORED, README)
    pipelines = sorted({step.pipeline for step in plan.steps})
    words = {name: (*settings.options[name], *_device(name, options)) for name in pipelines}
    weights = {name: weights_of(name, _weights_folder(words[name])) for name in pipelines}
    info = Settings(
        root=str(root),
        out=str(out),
        options=words,
        weights=weights,
        configuration=write_configuration(out, words, weights),
        run=secrets.token_hex(8),
        report=not options.no_report,
        shared_assets=options.shared_assets,
    )
    return [Job(task=task, settings=info) for task in plan.tasks]


def _device(command: str, options: RunOptions) -> tuple[str, ...]:
    """Return the words that let a command compute on a GPU, if it can and is to."""
    names = [name for argument in COMMANDS[command].arguments for name in argument.names]
    return ("--device", "cuda") if options.gpu and "--device" in names else ()


def _weights_folder(words: Sequence[str]) -> Path | None:
    return Path(words[words.index("--weights") + 1]) if "--weights" in words else None


def _carry_out(jobs: Sequence[Job], tell: Tell, means: tuple[int, float], options: RunOptions) -> None:
    workers, memory = means
    if options.cluster or options.scheduler:
        elsewhere = importlib.import_module(ELSEWHERE)
        elsewhere.carry_out_elsewhere(jobs, tell, means, options)
        return
    count = min(workers, len(jobs))
    children = [Child(module=work.__module__, most_bytes=int(memory)) for _ in range(count)]
    run_locally(jobs, children, tell)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def run_group(options: RunOptions) -> int:
    """Read what there is of all subjects, and write tables and page; 1 if some steps failed."""
    erode = options.erode or 0
    if erode < 0:
        raise UsageError(f"a region cannot be eroded {erode} times", remedy="Give 0 or more.")
    if options.labels is not None and not is_folder(options.labels):
        raise InputError("there is no such folder of labels", remedy="Check the path.", path=options.labels)
    check_logs(options.out_dir)
    labels = None if options.labels is None else LabelTree(folder=options.labels, erode=erode)
    study = study_of(options.out_dir, options.bids_dir, labels, erode=erode)
    written = [*write_study(options.out_dir, study), options.out_dir / PAGE]
    write_bytes_atomic(written[-1], study_page(study))
    screen = console(quiet=options.verbosity.quiet)
    for remark in study.remarks:
        error_line(remark)
    subjects = len({row.subject for row in study.qc})
    screen.print(f"{subjects} subjects, {len(study.qc)} maps, {len(study.failures)} failures")
    for path in written:
        screen.print(str(path))
    unmeasured = labels is not None and bool(study.qc) and not study.regions
    return 1 if study.failures or unmeasured else 0
