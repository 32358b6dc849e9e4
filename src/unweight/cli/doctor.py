"""`unweight doctor`: what this machine has, in lines to paste into a question."""

import argparse
import importlib.metadata
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import final

import torch

from unweight import __version__
from unweight.cli.options import Verbosity, options_of
from unweight.cli.process import n_cores
from unweight.cli.study.cluster_extra import INSTALL, absent
from unweight.cli.terminal import console, table
from unweight.core.errors import UnweightError
from unweight.learn.training.weights import available, load_weights
from unweight.registry import trained_methods

PACKAGES = (
    "torch",
    "numpy",
    "scipy",
    "nibabel",
    "matplotlib",
    "dcm2niix",
    "pydicom",
    "jaxtyping",
    "rich",
    "SimpleITK",
)

# Optional programs, and what needs them.
PROGRAMS = (
    ("bids-validator-deno", "the BIDS validator"),
    ("mri_synthseg", "evaluate mprage --segmenter synthseg"),
    ("run_fastsurfer.sh", "evaluate mprage --segmenter fastsurfer"),
    ("qsmxt", "evaluate qsm with the methods of QSMxT"),
)


@final
@dataclass(frozen=True, kw_only=True)
class DoctorOptions:
    """Options of `unweight doctor`.

    Attributes:
        verbosity: What is printed.
    """

    verbosity: Verbosity


def run(arguments: argparse.Namespace) -> int:
    """Print versions, processors, memory, devices, optional programs, and whether the weights are whole."""
    options = options_of(DoctorOptions, arguments)
    rows = [("unweight", __version__), ("python", platform.python_version())]
    rows += [(name, _version(name)) for name in PACKAGES]
    rows += [
        ("system", f"{platform.system()} {platform.machine()}"),
        ("processors", f"{n_cores()} usable, {torch.get_num_threads()} threads"),
        ("memory", _memory()),
        ("cuda", _cuda()),
        ("extra cluster", _cluster()),
        ("dcm2niix program", "found" if _has_dcm2niix() else "not found: DICOM cannot be read"),
        *(
            (name, "found" if shutil.which(name) else f"not found (optional: {use})")
            for name, use in PROGRAMS
        ),
    ]
    damaged = _damaged_weights()
    rows.append(("weights", "; ".join(damaged) or f"{len(available())} networks, all undamaged"))
    console(quiet=options.verbosity.quiet).print(table(("what", "found"), rows))
    return 1 if damaged else 0


def _damaged_weights() -> list[str]:
    """Return what is wrong with the weights that come with the package."""
    stored = available()
    needed = [record.weights for record in trained_methods() if record.shipped]
    problems = [f"{name} absent" for name in needed if name not in stored]
    for name in stored:
        try:
            load_weights(name)
        except UnweightError as error:
            problems.append(f"{name}: {error}")
    return problems


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _memory() -> str:
    try:
        fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    except OSError:
        return "unknown"
    total, free = (int(fields[name].split()[0]) / 2**20 for name in ("MemTotal", "MemAvailable"))
    return f"{total:.1f} GiB, {free:.1f} GiB available"


def _cuda() -> str:
    if not torch.cuda.is_available():
        return "none; computing on the CPU"
    name, size = torch.cuda.get_device_name(0), torch.cuda.get_device_properties(0).total_memory
    return f"{name}, {size / 2**30:.0f} GiB"


def _cluster() -> str:
    missing = absent()
    if not missing:
        return "installed"
    return f"not installed: {', '.join(missing)} ({INSTALL}, for --cluster and --scheduler)"


def _has_dcm2niix() -> bool:
    return "not installed" not in _version("dcm2niix")
