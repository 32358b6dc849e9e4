"""Commands for whole studies."""

from pathlib import Path

from unweight.cli.arguments import SHARED_ASSETS, Command, argument, flag, label
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
    argument("bids_dir", metavar="BIDS_DIR", type=Path, help="raw BIDS dataset; only read"),
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
    argument(
        "--only", nargs="+", choices=commands(), help="kinds of maps; default: all that the images allow"
    ),
    argument(
        "--bids-filter-file",
        "--bids_filter_file",
        type=Path,
        metavar="JSON",
        help='which series to use, by suffix and entities, as for fMRIPrep: {"t1w": {"acquisition": null}}',
    ),
    flag("--follow-links", help="accept images that are links to files outside the dataset"),
    argument("--config", type=Path, metavar="TOML", help="settings file, see `unweight init`"),
    argument(
        "--set",
        dest="settings",
        action="append",
        metavar="SECTION.KEY=VALUE",
        help="setting that overrides the file: --set t1.method=ml",
    ),
    argument(
        "--memory",
        type=float,
        metavar="GB",
        help="total memory for all workers (default: 90 %% of the free memory)",
    ),
    flag("--gpu", help="use one GPU per worker"),
    flag("--segment", help="also segment the T1 maps and synthetic T1w images, for values in regions"),
    flag("--no-report", help="do not write the HTML reports"),
    SHARED_ASSETS,
)
BATCH_JOB = (
    argument(
        "--walltime",
        type=line,
        metavar="H:M:S",
        help="time limit of one job of a batch system (default 04:00:00)",
    ),
    argument("--queue", type=line, metavar="NAME", help="queue or partition of a batch system"),
    argument("--account", type=line, metavar="NAME", help="account or project of a batch system"),
    argument(
        "--directive",
        dest="directives",
        action="append",
        type=line,
        metavar="TEXT",
        help="additional directive of the job script, without its prefix: --directive=--constraint=intel",
    ),
)

RUN = Command(
    module="unweight.cli.study.run",
    summary="process a BIDS dataset (BIDS App): all maps that the images of each subject allow",
    arguments=(
        *TREES,
        argument(
            "level",
            choices=("participant", "group"),
            help="participant: maps; group: tables and a report of all subjects",
        ),
        *CHOICE,
        flag("--dry-run", help="list planned steps with estimates of time and memory"),
        argument(
            "--workers", type=int, metavar="N", help="number of sessions processed in parallel (default 1)"
        ),
        argument("--cluster", choices=BATCH, help="run the workers as jobs of a batch system"),
        argument(
            "--scheduler",
            metavar="ADDRESS",
            help="use the workers of an existing Dask scheduler at tls://HOST:PORT",
        ),
        flag(
            "--insecure",
            help="accept a scheduler at tcp://, which has no authentication: any client can execute code",
        ),
        argument(
            "--interface",
            metavar="NAME",
            help="with --cluster: network interface of scheduler and workers, for example ib0",
        ),
        *BATCH_JOB,
        argument(
            "--labels-dir",
            dest="labels",
            old="--labels",
            type=Path,
            metavar="DIR",
            help="group: dataset of label images (_dseg) in the space of the scans, for regional "
            "statistics; for example the derivatives of fMRIPrep",
        ),
        argument(
            "--erode",
            type=int,
            metavar="N",
            help="group: voxels to remove at region boundaries (default 0)",
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
    summary="write a file with all settings of `unweight run` and their explanation",
    arguments=(
        argument(
            "path", metavar="TOML", nargs="?", type=Path, default=Path(CONFIG), help=f"default: {CONFIG}"
        ),
    ),
    epilogue="unweight init\nunweight run bids_tree maps participant --config unweight.toml",
)
SLURM = Command(
    module="unweight.cli.study.slurm",
    summary="write the script of a SLURM job array for `unweight run`",
    arguments=(
        *TREES,
        *CHOICE,
        *BATCH_JOB,
        argument("--per-job", type=int, default=1, metavar="N", help="subjects per job (default 1)"),
        argument("--at-once", type=int, metavar="N", help="maximum number of jobs running in parallel"),
        argument(
            "-o", "--script", type=Path, metavar="FILE", help="output file; default: print the script"
        ),
    ),
    epilogue="unweight slurm bids_tree maps --walltime 01:00:00 --at-once 50 -o maps.sbatch",
)
