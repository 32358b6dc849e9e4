"""Commands for whole studies."""

from pathlib import Path

from unweight.cli.arguments import Command, argument, flag, label
from unweight.registry import commands

BATCH = ("slurm", "pbs", "sge", "lsf", "oar", "htcondor")
CONFIG = "unweight.toml"


def session(text: str) -> str:
    """Take a session label with or without `ses-`."""
    return text.removeprefix("ses-")


def line(text: str) -> str:
    """Take one line of printable characters: further lines would be further orders of a job script."""
    if not text.isprintable():
        raise ValueError("line breaks and control characters are not allowed")
    return text


TREES = (
    argument("bids_dir", metavar="BIDS_DIR", type=Path, help="raw BIDS tree; nothing is written there"),
    argument(
        "out_dir", metavar="OUT_DIR", type=Path, help="output directory for derivatives; created if absent"
    ),
)
CHOICE = (
    argument(
        "--participant-label",
        "--participant_label",
        "--subjects",
        dest="subjects",
        nargs="+",
        type=label,
        metavar="LABEL",
        help="only these subjects",
    ),
    argument(
        "--session-id",
        "--session_id",
        dest="sessions",
        nargs="+",
        type=session,
        metavar="LABEL",
        help="only these sessions",
    ),
    argument("--only", nargs="+", choices=commands(), help="what to make; default: all that can be made"),
    argument("--config", type=Path, metavar="TOML", help="settings, as `unweight init` writes them"),
    argument(
        "--set",
        dest="settings",
        action="append",
        metavar="SECTION.KEY=VALUE",
        help="one setting, over that of the file: --set t1.method=ml",
    ),
    argument("--memory", type=float, metavar="GB", help="for all workers together (default: what is free)"),
    flag("--gpu", help="compute on a GPU, one for each worker"),
    flag("--no-report", help="write no page for each subject"),
)
BATCH_JOB = (
    argument(
        "--walltime", type=line, metavar="H:M:S", help="of one job of a batch system (default 04:00:00)"
    ),
    argument("--queue", type=line, metavar="NAME", help="or partition, of a batch system"),
    argument("--account", type=line, metavar="NAME", help="or project, of a batch system"),
    argument(
        "--directive",
        dest="directives",
        action="append",
        type=line,
        metavar="TEXT",
        help="a further line of the script of a job, without its prefix: --directive=--constraint=intel",
    ),
)

RUN = Command(
    module="unweight.cli.study.run",
    summary="a whole BIDS tree: find what can be made for each subject, and make it",
    arguments=(
        *TREES,
        argument(
            "level",
            choices=("participant", "group"),
            help="participant: maps; group: tables and a page of all subjects",
        ),
        *CHOICE,
        flag("--dry-run", help="say what would be done, with estimates of time and memory"),
        argument("--workers", type=int, metavar="N", help="visits at a time (default 1)"),
        argument("--cluster", choices=BATCH, help="let the workers be jobs of a batch system"),
        argument(
            "--scheduler",
            metavar="ADDRESS",
            help="use the workers of a Dask scheduler that runs, at tls://HOST:PORT",
        ),
        flag("--insecure", help="take a scheduler at tcp:// too, where anybody can have code run"),
        argument(
            "--interface",
            metavar="NAME",
            help="with --cluster: network interface that scheduler and workers listen on, as ib0",
        ),
        *BATCH_JOB,
        argument(
            "--labels-dir",
            dest="labels",
            old="--labels",
            type=Path,
            metavar="DIR",
            help="group: a tree of label images (_dseg) on the grid of the maps, to measure them in",
        ),
        argument(
            "--erode", type=int, metavar="N", help="group: voxels to take off each region (default 0)"
        ),
    ),
    epilogue=(
        "unweight run bids_tree maps participant\n"
        "unweight run bids_tree maps participant --participant-label 01 02 --only t1 --dry-run\n"
        "unweight run bids_tree maps participant --workers 4 --config unweight.toml\n"
        "unweight run bids_tree maps participant --cluster slurm --workers 20 --memory 160\n"
        "unweight run bids_tree maps group"
    ),
)
INIT = Command(
    module="unweight.cli.study.init",
    summary="write the settings of `unweight run`, with what each means",
    arguments=(
        argument(
            "path", metavar="TOML", nargs="?", type=Path, default=Path(CONFIG), help=f"default: {CONFIG}"
        ),
    ),
    epilogue="unweight init\nunweight run bids_tree maps participant --config unweight.toml",
)
SLURM = Command(
    module="unweight.cli.study.slurm",
    summary="write a SLURM job array that does `unweight run` for a few subjects each",
    arguments=(
        *TREES,
        *CHOICE,
        *BATCH_JOB,
        argument("--per-job", type=int, default=1, metavar="N", help="subjects of a job (default 1)"),
        argument("--at-once", type=int, metavar="N", help="jobs that may run at a time"),
        argument(
            "-o", "--script", type=Path, metavar="FILE", help="write it to this file; default: show it"
        ),
    ),
    epilogue="unweight slurm bids_tree maps --walltime 01:00:00 --at-once 50 -o maps.sbatch",
)
