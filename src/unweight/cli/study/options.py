"""Options of `unweight run` and `unweight slurm`, and the plan that both make of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

from unweight.cli.options import Verbosity
from unweight.registry import commands, usual_commands
from unweight.run.filter_file import EVERYTHING, read_filter
from unweight.run.plan import SEGMENT, plan_run
from unweight.run.planned import Plan


@final
@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Options of `unweight run`.

    Attributes:
        bids_dir: Raw BIDS tree.
        out_dir: Root of the derivatives.
        level: `participant` or `group`.
        subjects: Labels; None for all.
        sessions: Labels; None for all.
        only: Commands to run; None for all that can be.
        config: File of settings.
        settings: Single settings over those of the file.
        memory: Of all workers together [GB].
        gpu: Whether to compute on a GPU.
        bids_filter_file: Queries for the series to use.
        follow_links: Whether images may lie outside the tree.
        shared_assets: Whether the viewer is a file beside the pages.
        segment: Whether T1 maps and synthetic images are segmented.
        no_report: Whether pages are left out.
        dry_run: Whether the plan is printed only.
        workers: Number of workers.
        cluster: Batch system whose jobs are the workers.
        scheduler: Address of a Dask scheduler.
        insecure: Whether a scheduler without certificates is accepted.
        interface: Network interface of the workers of a batch system.
        walltime: Of a job of a batch system.
        queue: Of a batch system.
        account: Of a batch system.
        directives: Further lines of the script of a job.
        labels: Tree of label images to measure the maps in.
        erode: Voxels to take off each region.
        verbosity: What is printed.
    """

    bids_dir: Path
    out_dir: Path
    level: str = "participant"
    subjects: tuple[str, ...] | None = None
    sessions: tuple[str, ...] | None = None
    only: tuple[str, ...] | None = None
    config: Path | None = None
    settings: tuple[str, ...] | None = None
    memory: float | None = None
    gpu: bool = False
    bids_filter_file: Path | None = None
    follow_links: bool = False
    shared_assets: bool = False
    segment: bool = False
    no_report: bool = False
    dry_run: bool = False
    workers: int | None = None
    cluster: str | None = None
    scheduler: str | None = None
    insecure: bool = False
    interface: str | None = None
    walltime: str | None = None
    queue: str | None = None
    account: str | None = None
    directives: tuple[str, ...] | None = None
    labels: Path | None = None
    erode: int | None = None
    verbosity: Verbosity = field(default_factory=Verbosity)

    def plan(self, options: Mapping[str, Sequence[str]]) -> Plan:
        """Return what the tree allows, of what is wanted, with these options of each command."""
        wanted = usual_commands() if self.only is None else self.only
        wanted = tuple(name for name in commands() if name in wanted or (self.segment and name == SEGMENT))
        chosen = EVERYTHING if self.bids_filter_file is None else read_filter(self.bids_filter_file)
        return plan_run(
            self.bids_dir.absolute(),
            wanted,
            self.subjects,
            self.sessions,
            series_filter=chosen,
            follow_links=self.follow_links,
            options=options,
        )


@final
@dataclass(frozen=True, kw_only=True)
class SlurmOptions:
    """Options of `unweight slurm`.

    Attributes:
        run: Of the run that the jobs carry out.
        per_job: Subjects of a job.
        at_once: Jobs that may run at a time; None for all.
        script: File to write; None to print it.
    """

    run: RunOptions
    per_job: int = 1
    at_once: int | None = None
    script: Path | None = None
