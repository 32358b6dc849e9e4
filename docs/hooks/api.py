"""A page for each module of the public rooms, and for each room the list of them."""

import pkgutil
from importlib import import_module
from pathlib import Path

import unweight

ROOMS = {
    "registry": "The list of methods, pipelines, signal models, metrics, data sets and quantities.",
    "core": "Acquisition, protocol, parameter, maps, estimator: the classes that all packages use.",
    "signals": "Physics: one sequence per file, noise, Fisher information and the Cramér–Rao bound.",
    "fit": "Classical estimators, and the exact grid posterior.",
    "learn": "Learned estimators, their training, calibration, weights and cards, by family.",
    "susceptibility": "From phase to field, and from field to susceptibility.",
    "files": "Atomic writes, locks, frozen sets of samples and small text files.",
    "bids": "NIfTI, sidecars, BIDS trees and DICOM in; derivatives and raw data out.",
    "heads": "Heads to simulate, from BrainWeb, MNI152 and any label image.",
    "prepare": "From a user's files to the input of each estimator: registration, brain mask, bias field.",
    "phantom": "The NIST/ISMRM system phantom: facts, a digital copy, the finder, the sphere table.",
    "synth": "Simulation: anatomy, tissue, scanner, protocols, cohorts.",
    "metrics": "Pure functions from maps to scores.",
    "benchmark": "Methods compared on simulated and real data.",
    "report": "Reports, figures and colour maps.",
    "mapping": "From files or arrays to maps: shared by the commands and `unweight.api`.",
    "run": "Whole studies: plan, execute, record.",
    "nets": "Networks independent of MRI.",
    "diffusion": "Noise schedules, samplers, losses and exact reference solutions, independent of MRI.",
    "testing": "Checks of the interfaces, for built-in classes and for your own.",
}


def modules_of(room: str) -> tuple[str, ...]:
    """Return the names of the modules of a room, sorted; those of a room within it as `inner.module`."""
    package = import_module(f"{unweight.__name__}.{room}")
    prefix = f"{unweight.__name__}.{room}."
    modules = pkgutil.walk_packages(package.__path__, prefix)
    return tuple(sorted(module.name.removeprefix(prefix) for module in modules if not module.ispkg))


def write_api(folder: Path) -> None:
    """Write the pages of all rooms, and their list."""
    rows = []
    for room, about in ROOMS.items():
        (folder / room).mkdir(parents=True, exist_ok=True)
        names = modules_of(room)
        for name in names:
            (folder / room / f"{name}.md").write_text(_module(f"unweight.{room}.{name}"), encoding="utf-8")
        (folder / room / "index.md").write_text(_room(room, about, names), encoding="utf-8")
        rows.append(f"| [`unweight.{room}`]({room}/index.md) | {about} |")
    (folder / "index.md").write_text(_index(rows), encoding="utf-8")


def first_line(module: str) -> str:
    """Return the first paragraph of a module's docstring, as a table cell."""
    text = (import_module(module).__doc__ or "").strip().split("\n\n")[0]
    return " ".join(text.split()).rstrip(":").replace("|", "\\|").replace("*", "\\*")


def _module(module: str) -> str:
    return (
        f"# {module.removeprefix('unweight.')}\n\n"
        f"```{{eval-rst}}\n.. automodule:: {module}\n   :members:\n   :show-inheritance:\n```\n"
    )


def _room(room: str, about: str, names: tuple[str, ...]) -> str:
    rows = [f"| [`{name}`]({name}.md) | {first_line(f'unweight.{room}.{name}')} |" for name in names]
    listed = "\n".join(names)
    return (
        f"# unweight.{room}\n\n{about}\n\n| module | contents |\n| --- | --- |\n" + "\n".join(rows) + "\n\n"
        f"```{{toctree}}\n:hidden:\n\n{listed}\n```\n"
    )


def _index(rows: list[str]) -> str:
    listed = "\n".join(f"{room}/index" for room in ROOMS)
    return (
        "# Python\n\n"
        "All modules follow one path: files → `Acquisition` → `Estimator` → `ParameterMaps` → files. "
        "Names are imported from the module that holds them, as in "
        "`from unweight.fit.inversion_recovery import InversionRecoveryFit`. Shapes are part of the types: "
        '`Float[Tensor, "*voxels volumes"]` has any voxel axes, then volumes. Inside, times are in '
        "seconds, angles in radians, fields in hertz or tesla, and "
        "space in millimetres.\n\n| package | contents |\n| --- | --- |\n" + "\n".join(rows) + "\n\n"
        f"```{{toctree}}\n:hidden:\n\n{listed}\n```\n"
    )
