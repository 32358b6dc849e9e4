"""`unweight qsm`: from magnitude and phase to magnetic susceptibility."""

import argparse
import time
from dataclasses import replace
from functools import partial

from rich.console import Console

from unweight.bids.derivatives.provenance import provenance_of
from unweight.bids.read import Series, find_inputs, read_complex
from unweight.bids.series.overrides import Given
from unweight.bids.series.phase import PhaseScaling
from unweight.bids.series.readout import Echoes, check_echoes
from unweight.cli.arguments import series_numbers
from unweight.cli.decay import summarise
from unweight.cli.device import device_for
from unweight.cli.pages import Mapped, check_any_value, each_with_page
from unweight.cli.standing import Destination, keep
from unweight.cli.terminal import console, progress
from unweight.core.acquisition import SignalKind
from unweight.core.errors import UsageError
from unweight.fit.susceptibility import Reference, SusceptibilityFit
from unweight.prepare.computing_memory import check_memory
from unweight.prepare.qsm_series import BACKGROUNDS, INVERSIONS, direction_of, map_susceptibility
from unweight.prepare.qsmxt import qsmxt_background, qsmxt_inversion
from unweight.registry import method
from unweight.signals.parameters import CHI
from unweight.susceptibility.background import BackgroundRemoval
from unweight.susceptibility.inversion import DipoleInversion

ALGORITHM = (
    "Susceptibility from multi-echo phase: exact unwrapping, MCPC-3D-S offset, weighted line through "
    "phase, {background} background removal, {inversion} dipole inversion"
)
REFERENCE = "QSM consensus, Magn Reson Med 91:1834, 2024"
BIPOLAR = {"auto": None, "yes": True, "no": False}


def run(arguments: argparse.Namespace) -> int:
    """Map every series found; a series that fails does not stop the others."""
    screen = console(quiet=arguments.quiet)
    given = _given(arguments)
    files = (arguments.mag, arguments.phase)
    if bool(arguments.inputs) == any(files) or any(files) != all(files):
        raise UsageError(
            "give either a BIDS tree, a folder or files, or --mag together with --phase",
            remedy="unweight qsm bids_tree -o maps",
        )
    fit = _fit(arguments)
    device_for(arguments.device)  # an error before any file is read
    if any(files):
        series = [("series", read_complex(arguments.mag, arguments.phase, given))]
        return each_with_page(
            series, lambda label, one: _map(label, one, (fit, arguments, screen)), arguments, screen
        )
    found = find_inputs(arguments.inputs, given, suffixes=("MEGRE",), subjects=arguments.subjects)
    return each_with_page(
        [(one.label, one) for one in found],
        lambda label, one: _map(label, one.read(), (fit, arguments, screen)),
        arguments,
        screen,
    )


def _given(arguments: argparse.Namespace) -> Given:
    turn = arguments.phase_range
    return Given(
        echo_time=None if arguments.te is None else tuple(arguments.te),
        kind=SignalKind.COMPLEX,
        mask=arguments.mask,
        series=series_numbers(arguments.series),
        phase=PhaseScaling(
            turn=None if turn is None else (turn[0], turn[1]),
            whole_range=arguments.phase_full_range,
            inverted=arguments.invert_phase,
        ),
        field_strength=arguments.field,
    )


def _fit(arguments: argparse.Namespace) -> SusceptibilityFit:
    if not arguments.quality_limit > 0:
        raise UsageError("the limit of the phase residual must be positive")
    direction = arguments.b0_direction
    background: BackgroundRemoval = BACKGROUNDS[arguments.background]
    inversion: DipoleInversion = INVERSIONS[arguments.inversion]
    if arguments.qsmxt:
        background = partial(qsmxt_background, method=arguments.background)
        inversion = partial(qsmxt_inversion, method=_inversion_name(arguments))
    return SusceptibilityFit(
        background=background,
        inversion=inversion,
        reference=Reference(arguments.reference),
        bipolar=BIPOLAR[arguments.bipolar],
        direction=None if direction is None else (direction[0], direction[1], direction[2]),
        quality_limit=arguments.quality_limit,
    )


def _inversion_name(arguments: argparse.Namespace) -> str:
    """Return the inversion asked for; where qsmxt has none of this name, its own takes its place."""
    chosen = method(arguments.inversion, "qsm", "inversion")
    return chosen.substitute if arguments.qsmxt and chosen.substitute else chosen.name


def _map(label: str, series: Series, how: tuple[SusceptibilityFit, argparse.Namespace, Console]) -> Mapped:
    """Map one series."""
    fit, arguments, screen = how
    began = time.perf_counter()
    where = Destination(
        out=arguments.out,
        entities=series.entities,
        sources=series.sources,
        root=series.root,
        first=CHI,
    )
    where.check(series.acquisition.voxels)
    check_memory("qsm", series.acquisition.signal.shape, device_for(arguments.device))
    check_echoes(series.sidecars, series.suffix, Echoes.GRADIENT, "Phase of spin echoes tells no field.")
    found = direction_of(series, fit.direction)
    fit = replace(fit, direction=found.direction)
    series = replace(series, notes=(*series.notes, *found.notes))
    series = replace(series, acquisition=series.acquisition.to(device_for(arguments.device)))
    with progress(label, quiet=arguments.quiet) as report:
        made = map_susceptibility(series, fit, report)
    check_any_value(made.maps)
    names = {"background": arguments.background, "inversion": _inversion_name(arguments)}
    provenance = provenance_of(
        series, algorithm=ALGORITHM.format(**names), reference=REFERENCE, settings=made.settings
    )
    provenance = replace(provenance, notes=_nameless(series, made.notes))
    written, picture = keep(made.maps, where, provenance, label, arguments, made.beside)
    protocol, seconds = series.acquisition.protocol, time.perf_counter() - began
    times = ", ".join(f"{1e3 * te:g}" for te in protocol.require("echo_time", "qsm").tolist())
    shape = " x ".join(str(size) for size in series.acquisition.voxels)
    screen.print(f"{shape} voxels, {protocol.field_strength:g} T, TE {times} ms, {seconds:.1f} s")
    for note in made.notes:
        screen.print(f"note: {note}")
    summarise(screen, made.maps)
    for path in (*written.images.values(), picture):
        if path is not None:
            screen.print(str(path))
    return Mapped(subject=series.entities["sub"], faults=series.faults)


def _nameless(series: Series, notes: tuple[str, ...]) -> tuple[str, ...]:
    """Return notes without the names of files outside a BIDS tree, which can be names of people."""
    if series.root is not None:
        return notes
    told = list(notes)
    for number, path in enumerate(series.files, start=1):
        told = [note.replace(path.name, f"image {number}") for note in told]
    return tuple(told)
