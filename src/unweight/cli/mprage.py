"""`unweight mprage`: a T1w image made of a multi-echo gradient echo."""

import argparse
import time
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from torch import Tensor

from unweight.bids.derivatives.provenance import provenance_of
from unweight.bids.nifti.grid import check_same_grid
from unweight.bids.nifti.volume import open_volume
from unweight.bids.read import Series, find_inputs, read_complex, read_inputs, source_of
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
from unweight.core.errors import InputError, UsageError
from unweight.fit.susceptibility import SusceptibilityFit
from unweight.learn.mprage.estimator import T1W_IMAGE, EchoT1w
from unweight.learn.mprage.methods import load_synthesiser
from unweight.learn.mprage.synthesis import Synthesiser, seconds_ahead
from unweight.learn.pairs.echo_channels import Conditions
from unweight.learn.pairs.planes import Planes
from unweight.learn.training.model_card import Card
from unweight.prepare.computing_memory import check_memory
from unweight.prepare.qsm_series import FieldDirection, direction_of
from unweight.prepare.t1w_companions import made_beside
from unweight.registry import method, methods

FAMILY = "mprage"
COPIED = ("MagneticFieldStrength", "Manufacturer")


def run(arguments: argparse.Namespace) -> int:
    """Make an image of every series found; a series that fails does not stop the others."""
    screen = console(quiet=arguments.quiet)
    files = (arguments.mag, arguments.phase)
    if bool(arguments.inputs) == any(files) or (arguments.mag is None) != (not any(files)):
        raise UsageError(
            "give either a BIDS tree, a folder or files, or --mag (with --phase)",
            remedy="unweight mprage bids_tree -o images",
        )
    if arguments.no_phase and arguments.phase:
        raise UsageError("--phase and --no-phase exclude each other")
    chosen = method(arguments.method, FAMILY)
    if arguments.planes == Planes.ALTERNATE.value and not chosen.draws:
        raise UsageError(f"{arguments.method} has no steps between which planes could alternate")
    if arguments.draws is not None and not chosen.draws:
        drawing = " or ".join(item.name for item in methods(FAMILY) if item.draws)
        raise UsageError(f"{arguments.method} draws nothing", remedy=f"Use {drawing} for --draws.")
    synthesise, card = load_synthesiser(
        chosen.weights,
        arguments.weights,
        device=device_for(arguments.device),
        planes=None if arguments.planes is None else Planes(arguments.planes),
        n_draws=arguments.draws,
        seed=arguments.seed,
    )
    made = (synthesise, card)
    if any(files):
        series = [("series", _of_files(arguments))]
        return each_with_page(
            series, lambda label, one: _make(label, one, (made, arguments, screen)), arguments, screen
        )
    found = find_inputs(
        arguments.inputs, _given(arguments), suffixes=("MEGRE",), subjects=arguments.subjects
    )
    if len(found) > 1 and (arguments.r2star or arguments.chi_map):
        raise UsageError(
            f"a map belongs to one series, and there are {len(found)}",
            remedy="Choose one with --subjects.",
        )
    return each_with_page(
        [(one.label, one) for one in found],
        lambda label, one: _make(label, one.read(), (made, arguments, screen)),
        arguments,
        screen,
    )


def _of_files(arguments: argparse.Namespace) -> Series:
    given = _given(arguments)
    if arguments.phase is None:
        return read_inputs(arguments.mag, replace(given, kind=SignalKind.MAGNITUDE), suffixes=("MEGRE",))[0]
    return read_complex(arguments.mag, arguments.phase, given)


def _given(arguments: argparse.Namespace) -> Given:
    return Given(
        echo_time=None if arguments.te is None else tuple(arguments.te),
        kind=SignalKind.MAGNITUDE if arguments.no_phase else SignalKind.COMPLEX,
        mask=arguments.mask,
        series=series_numbers(arguments.series),
        phase=PhaseScaling(inverted=arguments.invert_phase),
        field_strength=arguments.field,
    )


def _make(
    label: str, series: Series, how: tuple[tuple[Synthesiser, Card], argparse.Namespace, Console]
) -> Mapped:
    """Make an image of one series."""
    (synthesise, card), arguments, screen = how
    began = time.perf_counter()
    where = Destination(
        out=arguments.out,
        entities=series.entities,
        sources=series.sources,
        root=series.root,
        first=T1W_IMAGE,
    )
    where.check(series.acquisition.voxels)
    check_memory("mprage", series.acquisition.signal.shape, device_for(arguments.device))
    if series.faults:
        raise InputError("; ".join(series.faults), remedy="An image is made of complete series only.")
    check_echoes(series.sidecars, series.suffix, Echoes.GRADIENT, "The network knows gradient echoes only.")
    left_out = set(arguments.without or ())
    given = _maps_given(arguments, series)
    found = FieldDirection()
    if series.acquisition.kind is SignalKind.COMPLEX and "chi" not in left_out and "Chi" not in given:
        found = direction_of(series, arguments.b0_direction)
    series = replace(series, notes=(*series.notes, *found.notes))
    estimator = EchoT1w(
        synthesise=synthesise,
        conditions=Conditions(r2star="r2star" not in left_out, chi="chi" not in left_out),
        fit=SusceptibilityFit(direction=found.direction),
        given=given,
        voxel_mm=card.ranges["voxel_mm"],
    )
    estimator.accept(series.acquisition)
    screen.print(f"{label}: R2* and susceptibility")
    prepared = estimator.prepare(series.acquisition, estimator.fit if estimator.conditions.chi else None)
    ahead = seconds_ahead(synthesise, prepared.channels())
    screen.print(f"{label}: {card.name}, about {_told(ahead)}")
    with progress(label, quiet=arguments.quiet) as report:
        maps = estimator.make(prepared, series.acquisition.affine, report)
    check_any_value(maps)
    remarks = (*series.notes, *estimator.remarks(prepared), card.limits)
    settings = {
        "Weights": card.name,
        "WeightsVersion": card.version,
        "WeightsSHA256": card.sha256,
        "TrainedOn": card.trained_on,
        "Seed": arguments.seed,
        "Draws": 0 if maps.draws is None else len(maps.draws),
        "BrainMask": "given" if arguments.mask is not None else "found in the last echo",
        "Given": {name: source_of(path, None) for name, path in _paths_given(arguments).items()},
    }
    chosen = method(arguments.method, FAMILY)
    told = ["echoes"]
    told += ["R2*"] * int(maps.notes["told_r2star"]) + ["susceptibility"] * int(maps.notes["told_chi"])
    provenance = replace(
        provenance_of(
            series,
            algorithm=chosen.algorithm.format(told=", ".join(told)),
            reference=chosen.reference,
            settings=settings,
        ),
        notes=remarks,
        acquired={name: series.sidecar[name] for name in COPIED if name in series.sidecar},
        skull_stripped=True,
    )
    written, picture = keep(maps, where, provenance, label, arguments, made_beside(maps, prepared.mask))
    shape = " x ".join(str(size) for size in series.acquisition.voxels)
    screen.print(f"{shape} voxels, {time.perf_counter() - began:.1f} s")
    for note in (*series.notes, *estimator.remarks(prepared)):
        screen.print(f"note: {note}")
    summarise(screen, maps)
    for path in (*written.images.values(), picture):
        if path is not None:
            screen.print(str(path))
    return Mapped(subject=series.entities["sub"], faults=series.faults)


def _paths_given(arguments: argparse.Namespace) -> dict[str, Path]:
    paths = {"R2star": arguments.r2star, "Chi": arguments.chi_map, "mask": arguments.mask}
    return {name: path for name, path in paths.items() if path is not None}


def _maps_given(arguments: argparse.Namespace, series: Series) -> dict[str, Tensor]:
    """Return the maps given, on the grid of the echoes."""
    found = {}
    for name, path in _paths_given(arguments).items():
        if name == "mask":
            continue
        volume = open_volume(path)
        check_same_grid([open_volume(series.files[0]).grid, volume.grid])
        if volume.data.ndim != 3:
            raise InputError("is not one volume", remedy="Give one volume.", path=path)
        found[name] = volume.data.float()
    return found


def _told(seconds: float) -> str:
    return f"{seconds / 60:.1f} min" if seconds >= 90 else f"{seconds:.0f} s"
