"""What `unweight r2star` and `unweight t2` share: series of echoes in, maps of a decay out."""

import argparse
import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from unweight.bids.collection import Collection, Unreadable
from unweight.bids.derivatives.description import DerivedImage
from unweight.bids.derivatives.provenance import provenance_of
from unweight.bids.names import image_stem, parse_stem
from unweight.bids.read import FoundSeries, find_inputs
from unweight.bids.series.overrides import Given
from unweight.bids.series.readout import Echoes, check_echoes
from unweight.cli.account import voxel_table
from unweight.cli.arguments import series_numbers
from unweight.cli.device import device_for
from unweight.cli.pages import Mapped, check_any_value, each_with_page
from unweight.cli.standing import Destination, keep
from unweight.cli.terminal import console, progress
from unweight.core.acquisition import Acquisition, SignalKind
from unweight.core.maps import ParameterMaps
from unweight.fit.decay_solver import DecaySolver
from unweight.fit.noise_level import noise_from_background
from unweight.fit.relaxation import RelaxationFit
from unweight.prepare.computing_memory import check_memory
from unweight.registry import build
from unweight.registry import method as method_named
from unweight.signals.parameters import R2STAR, T2

ECHOES = {
    R2STAR.suffix: (Echoes.GRADIENT, "Spin echoes decay with T2; use unweight t2."),
    T2.suffix: (Echoes.SPIN, "Gradient echoes decay with T2*; use unweight r2star."),
}
DECAY = "decay"  # family of the methods
FEW = 2  # echoes, that say nothing of their noise
Beside = Callable[[ParameterMaps], list[DerivedImage]]


def map_decays(arguments: argparse.Namespace, suffix: str, fit: RelaxationFit, beside: Beside) -> int:
    """Map every series found; a series that fails does not stop the others.

    Args:
        arguments: Of the command.
        suffix: Of the images in a BIDS tree.
        fit: What maps them.
        beside: Gives further images of the set.
    """
    screen = console(quiet=arguments.quiet)
    device_for(arguments.device)  # an error before any file is read
    given = Given(
        echo_time=None if arguments.te is None else tuple(arguments.te),
        mask=arguments.mask,
        series=series_numbers(arguments.series),
    )
    found = find_inputs(arguments.inputs, given, suffixes=(suffix,), subjects=arguments.subjects)

    def work(_: str, one: FoundSeries) -> Mapped:
        return _map(one, arguments, screen, (fit, beside))

    return each_with_page([(one.label, one) for one in found], work, arguments, screen)


def solver_of(method: str) -> DecaySolver:
    """Return what a method is called on the command line."""
    solver: DecaySolver = build(method_named(method, DECAY))
    return solver


def _map(
    one: FoundSeries, arguments: argparse.Namespace, screen: Console, parts: tuple[RelaxationFit, Beside]
) -> Mapped:
    """Map one series."""
    fit, beside = parts
    began = time.perf_counter()
    series = _without_phase(one).read()
    command = "t2" if fit.quantity is T2 else "r2star"
    check_memory(command, series.acquisition.signal.shape, device_for(arguments.device))
    acquisition = series.acquisition.to(device_for(arguments.device))
    if acquisition.kind is SignalKind.COMPLEX:
        acquisition = replace(acquisition, signal=acquisition.signal.abs(), kind=SignalKind.MAGNITUDE)
    if arguments.noise_sd is not None:
        acquisition = replace(acquisition, noise_sd=arguments.noise_sd)
    if acquisition.noise_sd is None and acquisition.protocol.n_volumes == FEW:
        acquisition = _with_noise_of_background(acquisition)
    spec = fit.parameters[0]
    check_echoes(series.sidecars, series.suffix, *ECHOES[spec.suffix])
    where = Destination(
        out=arguments.out,
        entities=series.entities,
        sources=series.sources,
        root=series.root,
        first=spec,
    )
    where.check(acquisition.voxels)
    with progress(one.label, quiet=arguments.quiet) as report:
        maps = fit(acquisition, report)
    check_any_value(maps)
    method = method_named(arguments.method, DECAY)
    settings = {
        "Method": arguments.method,
        "SkipFirst": fit.skip_first,
        "NoiseFloor": maps.notes.get("noise_floor"),
    }
    provenance = provenance_of(
        series,
        algorithm=f"{spec.name} by {method.algorithm}",
        reference=method.reference,
        settings=settings,
    )
    written, picture = keep(maps, where, provenance, one.label, arguments, beside(maps))
    seconds = time.perf_counter() - began
    times = ", ".join(f"{1e3 * te:g}" for te in acquisition.protocol.require("echo_time", "decay").tolist())
    shape = " x ".join(str(size) for size in acquisition.voxels)
    screen.print(f"{shape} voxels, TE {times} ms, {method.algorithm}, {seconds:.1f} s")
    for note in series.notes:
        screen.print(f"note: {note}")
    screen.print(_floor_of(maps))
    summarise(screen, maps)
    for path in (*written.images.values(), picture):
        if path is not None:
            screen.print(str(path))
    return Mapped(subject=series.entities["sub"], faults=series.faults)


def _floor_of(maps: ParameterMaps) -> str:
    """Return the noise floor in words."""
    level, source = maps.notes.get("noise_floor"), maps.notes["noise_floor_from"]
    return f"noise floor {source}" if level is None else f"noise floor {level:.4g}, from {source}"


def _with_noise_of_background(acquisition: Acquisition) -> Acquisition:
    """Take the noise from the background, where echoes are too few to leave residuals."""
    noise = noise_from_background(acquisition.signal.reshape(-1, acquisition.signal.shape[-1]))
    return replace(acquisition, noise_sd=noise) if math.isfinite(noise) else acquisition


def _without_phase(one: FoundSeries) -> FoundSeries:
    """Return the series to be read as magnitude, or as complex where only its two channels are there."""
    parts = _parts(one.origin)
    two_channels = {"real", "imag"} <= parts and not {"mag", ""} & parts
    kind = SignalKind.COMPLEX if two_channels else SignalKind.MAGNITUDE
    return replace(one, given=replace(one.given, kind=kind))


def _parts(origin: Collection | Unreadable | tuple[Path, ...] | Path) -> set[str]:
    """Return the parts that names tell of."""
    if isinstance(origin, Collection):
        return set(origin.files)
    if isinstance(origin, Path | Unreadable):
        return set()
    names = [parse_stem(image_stem(path) or "") for path in origin]
    return {"" if name is None else name.entities.get("part", "") for name in names}


def summarise(screen: Console, maps: ParameterMaps) -> None:
    """Say what became of the voxels, and the quartiles of each map."""
    screen.print(voxel_table(maps))
    usable = maps.usable
    if not bool(usable.any()):
        return
    for spec in maps.specs:
        values = maps.value(spec.name)[usable]
        ranked = values[:: max(1, len(values) // 1_000_000)].sort().values
        low, middle, high = (float(ranked[int(share * (len(ranked) - 1))]) for share in (0.25, 0.5, 0.75))
        screen.print(
            f"{spec.name} of usable voxels: median {middle:.4g} {spec.unit}, "
            f"quartiles {low:.4g} to {high:.4g} {spec.unit}"
        )
