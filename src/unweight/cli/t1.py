"""`unweight t1`: from images to T1, PD and inversion efficiency, with their standard deviations."""

import argparse
import time
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import torch
from rich.console import Console

from unweight.bids.derivatives.provenance import provenance_of
from unweight.bids.derivatives.write import WrittenMaps
from unweight.bids.read import FoundSeries, Series, find_inputs
from unweight.bids.series.overrides import Given
from unweight.cli.account import voxel_table
from unweight.cli.arguments import series_numbers
from unweight.cli.device import device_for
from unweight.cli.pages import Mapped, check_any_value, each_with_page
from unweight.cli.standing import Destination, keep
from unweight.cli.t1_method import T1Method, check_method, fitted_method, method_for
from unweight.cli.terminal import console, progress
from unweight.core.acquisition import Acquisition, SignalKind
from unweight.core.errors import UsageError
from unweight.core.estimator import Estimator
from unweight.core.maps import ParameterMaps
from unweight.learn.t1.posterior import PosteriorT1, posterior_doubts
from unweight.prepare.computing_memory import check_memory
from unweight.signals.inversion_recovery import T1


def run(arguments: argparse.Namespace) -> int:
    """Map every series found; a series that fails does not stop the others."""
    screen = console(quiet=arguments.quiet)
    check_method(arguments)  # a wrong setting is an error before any file is read
    device_for(arguments.device)
    found = find_inputs(arguments.inputs, given_from(arguments), subjects=arguments.subjects)
    return each_with_page(
        [(one.label, one) for one in found], lambda _, one: _map(one, arguments, screen), arguments, screen
    )


def given_from(arguments: argparse.Namespace) -> Given:
    """Take from the command line what is said about the files."""
    if arguments.signed and arguments.magnitude:
        raise UsageError("--signed and --magnitude exclude each other")
    kind = SignalKind.SIGNED if arguments.signed else SignalKind.MAGNITUDE if arguments.magnitude else None

    def times(values: list[float] | None) -> tuple[float, ...] | None:
        return None if values is None else tuple(values)

    return Given(
        inversion_time=times(arguments.ti),
        repetition_time=times(arguments.tr),
        echo_time=times(arguments.te),
        readout_time=times(arguments.readout_time),
        kind=kind,
        mask=arguments.mask,
        series=series_numbers(arguments.series),
    )


def _map(one: FoundSeries, arguments: argparse.Namespace, screen: Console) -> Mapped:
    """Map one series."""
    began = time.perf_counter()
    series = one.read()
    where = Destination(
        out=arguments.out,
        entities=series.entities,
        sources=series.sources,
        root=series.root,
        first=T1,
    )
    where.check(series.acquisition.voxels)
    acquisition = _prepared(series.acquisition, arguments)
    method = method_for(acquisition, arguments)
    check_memory("t1", acquisition.signal.shape, acquisition.signal.device, method.name)
    with progress(one.label, quiet=arguments.quiet) as report:
        maps = _on(acquisition.signal.device, method.estimator)(acquisition, report)
        remarks: tuple[str, ...] = ()
        if isinstance(method.estimator, PosteriorT1):
            doubts = posterior_doubts(maps, method.estimator.protocols)
            remarks = doubts.remarks
            if doubts.fall_back and arguments.method == "auto":
                method = fitted_method(arguments, f"of the posterior, {doubts.fall_back}")
                maps = method.estimator(acquisition, report)
            elif doubts.fall_back:
                remarks = (*remarks, f"{doubts.fall_back}; --method ml is the better answer")
    check_any_value(maps)
    provenance = replace(
        provenance_of(
            series, algorithm=method.algorithm, reference=method.reference, settings=method.settings
        ),
        notes=remarks,
    )
    written, figure = keep(maps, where, provenance, one.label, arguments)
    seconds = time.perf_counter() - began
    _summarise(screen, series, (method, maps, remarks), (written, figure), seconds)
    return Mapped(subject=series.entities["sub"], faults=series.faults)


def _prepared(acquisition: Acquisition, arguments: argparse.Namespace) -> Acquisition:
    moved = acquisition.to(device_for(arguments.device))
    known = dict(moved.known)
    if arguments.efficiency is not None:
        known["B"] = torch.full(moved.voxels, arguments.efficiency, device=moved.signal.device)
    return replace(
        moved,
        known=MappingProxyType(known),
        noise_sd=arguments.noise_sd if arguments.noise_sd is not None else moved.noise_sd,
    )


def _on(device: torch.device, estimator: Estimator[Acquisition]) -> Estimator[Acquisition]:
    """Return the estimator with its network, if it has one, on the device."""
    network = getattr(estimator, "network", None)
    if isinstance(network, torch.nn.Module):
        network.to(device)
    return estimator


def _summarise(
    screen: Console,
    series: Series,
    mapped: tuple[T1Method, ParameterMaps, tuple[str, ...]],
    made: tuple[WrittenMaps, Path | None],
    seconds: float,
) -> None:
    (method, maps, remarks), (written, figure) = mapped, made
    protocol, kind = series.acquisition.protocol, series.acquisition.kind.value
    shape = " x ".join(str(size) for size in maps.status.shape)
    times = ", ".join(f"{1e3 * ti:g}" for ti in protocol.require("inversion_time", "t1").tolist())
    screen.print(f"{kind} inversion recovery, {shape} voxels, TI {times} ms, {seconds:.1f} s")
    screen.print(f"method {method.name}" + (f", because {method.reason}" if method.reason else ""))
    for note in (*series.notes, *remarks):
        screen.print(f"note: {note}")
    screen.print(voxel_table(maps))
    usable = maps.usable
    if bool(usable.any()):
        t1 = maps.value("T1")[usable]
        low, middle, high = torch.quantile(_at_most(t1), torch.tensor([0.25, 0.5, 0.75]).to(t1)).tolist()
        screen.print(f"T1 of usable voxels: median {middle:.3f} s, quartiles {low:.3f} to {high:.3f} s")
        if maps.noise_sd is not None:
            likelihood = maps.notes.get("likelihood")  # of a fit; the published networks have none
            how = "" if likelihood is None else f", {likelihood}"
            screen.print(f"noise SD {maps.noise_sd:.4g} (unit of the input){how}")
    for path in (*written.images.values(), figure):
        if path is not None:
            screen.print(str(path))


def _at_most(values: torch.Tensor, count: int = 1_000_000) -> torch.Tensor:
    """Return an even selection of the values, for quantiles take no more than 16 million."""
    return values[:: max(1, len(values) // count)]
