"""`unweight slurm`: a job array that does `unweight run`, for sites that prefer it to workers that wait."""

import argparse
import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from unweight.cli.options import options_of
from unweight.cli.study.options import RunOptions, SlurmOptions
from unweight.cli.study.settings import filled, read_settings, with_absolute_path
from unweight.cli.terminal import console, error_line
from unweight.core.errors import InputError, UsageError
from unweight.files.atomic import write_bytes_atomic
from unweight.run.cost import bytes_of, seconds_of_run
from unweight.run.planned import Plan, PlannedTask

MARGIN, LEAST_SECONDS = 3.0, 900.0  # of the estimate: other machines are slower
SPARE = 1.5
GIGA = 1e9


def run(arguments: argparse.Namespace) -> int:
    """Write the script."""
    settings = read_settings(arguments.config, arguments.settings or ())
    options = options_of(SlurmOptions, filled(arguments, settings))
    if options.per_job < 1 or (options.at_once is not None and options.at_once < 1):
        raise UsageError("a job needs at least one subject, and at least one job must run at a time")
    if options.run.cluster or options.run.scheduler:
        raise UsageError(
            "[run] in the settings file sets cluster or scheduler, so each job of the array would "
            "start its own workers",
            remedy="Remove these entries from [run].",
        )
    plan = options.run.plan(settings.options)
    if not plan.tasks:
        raise InputError(
            "no supported image series was found",
            remedy="`unweight run … --dry-run` lists the reasons.",
            path=options.run.bids_dir.absolute(),
        )
    faults = [refusal for refusal in plan.refusals if refusal.fault]
    for fault in faults:
        error_line(f"{fault.label}: {fault.reason}")
    code = 1 if faults else 0
    text = script(plan, options)
    if options.script is None:
        screen = console()
        for line in text.splitlines():
            screen.print(line)
        return code
    write_bytes_atomic(options.script, text.encode())
    console(quiet=options.run.verbosity.quiet).print(f"sbatch {shlex.quote(str(options.script))}")
    return code


def script(plan: Plan, options: SlurmOptions) -> str:
    """Return the script of the array."""
    subjects = list(dict.fromkeys(task.subject for task in plan.tasks))
    groups = [subjects[at : at + options.per_job] for at in range(0, len(subjects), options.per_job)]
    memory = options.run.memory or SPARE * max(map(bytes_of, plan.steps)) / GIGA
    walltime = options.run.walltime or _walltime(plan.tasks, groups)
    limit = f"%{options.at_once}" if options.at_once else ""
    directives = [
        "--job-name=unweight",
        f"--array=0-{len(groups) - 1}{limit}",
        "--cpus-per-task=1",
        f"--mem={max(1, round(1000 * memory))}M",
        f"--time={walltime}",
        *([f"--partition={options.run.queue}"] if options.run.queue else []),
        *([f"--account={options.run.account}"] if options.run.account else []),
        *(["--gres=gpu:1"] if options.run.gpu else []),
        *(options.run.directives or []),
    ]
    lines = ["#!/usr/bin/env bash", *(f"#SBATCH {directive}" for directive in directives), "set -eu"]
    lines += ["export OMP_NUM_THREADS=1", "subjects=("]
    lines += [f"    {shlex.quote(' '.join(group))}" for group in groups]
    lines += [")", "# Complete results are kept; after a failure, submit the array again."]
    words = shlex.join(_words(options.run, memory))
    lines.append(f"{words} --participant-label ${{subjects[$SLURM_ARRAY_TASK_ID]}}")
    return "\n".join(lines) + "\n"


def _words(options: RunOptions, memory: float) -> Sequence[str]:
    """Return the call of one job, without its subjects."""
    words = ["unweight", "run", str(options.bids_dir.absolute()), str(options.out_dir.absolute())]
    words += ["participant", "--workers", "1", "--memory", f"{memory:.3g}"]
    for option, values in (("--session-id", options.sessions), ("--only", options.only)):
        words += [option, *values] if values else []
    if options.config is not None:
        words += ["--config", os.fspath(Path(options.config).absolute())]
    for setting in options.settings or ():
        words += ["--set", with_absolute_path(setting)]
    if options.bids_filter_file is not None:
        words += ["--bids-filter-file", str(options.bids_filter_file.absolute())]
    flags = {
        "--follow-links": options.follow_links,
        "--gpu": options.gpu,
        "--segment": options.segment,
        "--no-report": options.no_report,
        "--shared-assets": options.shared_assets,
    }
    return [*words, *(name for name, given in flags.items() if given)]


def _walltime(tasks: Sequence[PlannedTask], groups: Sequence[Sequence[str]]) -> str:
    """Return a limit with much room for a slower machine."""
    of_group = (
        seconds_of_run([task for task in tasks if task.subject in set(group)], workers=1)
        for group in groups
    )
    minutes = int(max(LEAST_SECONDS, MARGIN * max(of_group)) // 60) + 1
    return f"{minutes // 60:02d}:{minutes % 60:02d}:00"
