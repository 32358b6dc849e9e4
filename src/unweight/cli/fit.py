"""`unweight fit MODEL`: the maximum-likelihood fit of any signal model, and commands of single models."""

import argparse
import math
import time
from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from rich.console import Console
from torch import Tensor

from unweight.bids.derivatives.provenance import provenance_of
from unweight.bids.nifti.grid import check_same_grid
from unweight.bids.nifti.volume import open_grid, open_volume
from unweight.bids.read import FoundSeries, Series, find_inputs, source_of
from unweight.bids.series.overrides import Given
from unweight.cli.arguments import series_numbers
from unweight.cli.decay import summarise
from unweight.cli.device import device_for
from unweight.cli.pages import Mapped, check_any_value, each_with_page
from unweight.cli.standing import Destination, keep
from unweight.cli.terminal import console, progress
from unweight.core.acquisition import Acquisition, SignalKind
from unweight.core.errors import InputError, UsageError
from unweight.fit.least_squares import LeastSquaresFit
from unweight.fit.noise_level import noise_from_background, noise_from_neighbours
from unweight.prepare.computing_memory import check_memory
from unweight.registry import load, model, model_of_command
from unweight.registry.records import Model
from unweight.signals.model import SignalModel
from unweight.signals.parameters import B1, B

FIT = "fit"
KNOWN = {spec.name: spec for spec in (B1, B)}  # maps that models take beside their parameters
PERCENT = 100.0


def run(arguments: argparse.Namespace) -> int:
    """Fit every series found."""
    screen = console(quiet=arguments.quiet)
    device_for(arguments.device)  # an error before any file is read
    record = model(arguments.model) if arguments.command == FIT else model_of_command(arguments.command)
    known = dict(arguments.known)
    unknown = set(arguments.percent) - known.keys()
    if unknown:
        raise UsageError(f"--percent {min(unknown)} is of no known map", remedy="Give it with --known.")
    found = find_inputs(
        arguments.inputs, _given(arguments), suffixes=record.suffixes, subjects=arguments.subjects
    )
    if len(found) > 1 and known:
        raise UsageError(
            f"known maps are of one series, and {len(found)} were found",
            remedy="Give the files of one series, or one subject with --subjects.",
        )

    def work(_: str, series: FoundSeries) -> Mapped:
        return _map(series, record, arguments, screen)

    return each_with_page([(series.label, series) for series in found], work, arguments, screen)


def model_of(record: Model, kind: SignalKind) -> SignalModel:
    """Return a signal model for signals of a kind, if it comes in several."""
    target = load(record.target)
    built = target() if isinstance(target, type) else target
    if not isinstance(built, SignalModel):
        raise UsageError(f"{record.name} is no signal model", remedy="Correct the plug-in it comes from.")
    if is_dataclass(built) and "kind" in {field.name for field in fields(built)}:
        return replace(built, kind=kind)  # type: ignore[return-value,call-arg]  # of the same class
    return built


def _given(arguments: argparse.Namespace) -> Given:
    """Return what the caller says about the files."""
    if arguments.signed and arguments.complex:
        raise UsageError("--signed and --complex exclude each other")
    kind = SignalKind.SIGNED if arguments.signed else SignalKind.MAGNITUDE
    return Given(
        echo_time=_tuple(arguments.te),
        repetition_time=_tuple(arguments.tr),
        inversion_time=_tuple(arguments.ti),
        flip_angle=_tuple(arguments.flip),
        readout_time=_tuple(arguments.readout_time),
        kind=SignalKind.COMPLEX if arguments.complex else kind,
        mask=arguments.mask,
        series=series_numbers(arguments.series),
    )


def _tuple(values: list[float] | None) -> tuple[float, ...] | None:
    return None if values is None else tuple(values)


def _map(found: FoundSeries, record: Model, arguments: argparse.Namespace, screen: Console) -> Mapped:
    """Map one series."""
    began = time.perf_counter()
    series = found.read()
    device = device_for(arguments.device)
    check_memory(FIT, series.acquisition.signal.shape, device)
    fit = LeastSquaresFit(model=model_of(record, series.acquisition.kind), fixed=dict(arguments.fix))
    known = _known(series, fit.model, arguments)
    mask = series.acquisition.inside
    for values in known.values():
        mask = mask & torch.isfinite(values)
    acquisition = replace(series.acquisition, known=known, mask=mask)
    acquisition, noise_note = _with_noise(acquisition, fit, arguments.noise_sd)
    acquisition = acquisition.to(device)
    fit.accept(acquisition)
    entities = series.entities if arguments.rec is None else {**series.entities, "rec": arguments.rec}
    maps_known = {name: source_of(Path(path), series.root) for name, path in arguments.known}
    series = replace(series, sources=(*series.sources, *maps_known.values()))
    where = Destination(
        out=arguments.out,
        entities=entities,
        sources=series.sources,
        root=series.root,
        first=fit.parameters[0],
    )
    where.check(acquisition.voxels)
    with progress(found.label, quiet=arguments.quiet) as report:
        maps = fit(acquisition, report)
    check_any_value(maps)
    held = dict(arguments.fix)
    settings = {"Model": record.name, "Known": sorted(known), "Fixed": held}
    names = " and ".join(spec.name for spec in fit.parameters)
    provenance = provenance_of(
        series,
        algorithm=f"{names} by least squares of the signal model {record.name} "
        f"({maps.notes['likelihood']} likelihood)",
        reference=record.reference,
        settings=settings,
    )
    written, picture = keep(maps, where, provenance, found.label, arguments)
    shape = " x ".join(str(size) for size in acquisition.voxels)
    seconds, volumes = time.perf_counter() - began, acquisition.protocol.n_volumes
    screen.print(f"{shape} voxels, {volumes} volumes, {record.name}, {seconds:.1f} s")
    for note in (*series.notes, *((noise_note,) if noise_note else ())):
        screen.print(f"note: {note}")
    summarise(screen, maps)
    for path in (*written.images.values(), picture):
        if path is not None:
            screen.print(str(path))
    return Mapped(subject=series.entities["sub"], faults=series.faults)


def _known(series: Series, built: SignalModel, arguments: argparse.Namespace) -> dict[str, Tensor]:
    """Read the maps that are known, on the grid of the series.

    Raises:
        UsageError: The model takes no map of a name.
        InputError: A map is unusable, or not of the unit it should have.
    """
    specs = KNOWN | {spec.name: spec for spec in built.parameters}
    maps: dict[str, Tensor] = {}
    for name, text in arguments.known:
        if name not in specs:
            raise UsageError(
                f"a map of {name} is of no use to this model", remedy=f"It takes {', '.join(specs)}."
            )
        path = Path(text)
        check_same_grid([open_grid(series.files[0]), open_grid(path)])
        volume = open_volume(path)
        if volume.data.ndim != 3:
            raise InputError("is not one volume", remedy="Give one volume.", path=path)
        values = volume.data.to(series.acquisition.signal.real) / (
            PERCENT if name in arguments.percent else 1.0
        )
        _check_range(values[series.acquisition.inside], name, (specs[name].lower, specs[name].upper), path)
        maps[name] = values.reshape(series.acquisition.voxels)
    return maps


def _check_range(
    values: Float[Tensor, " inside"], name: str, ends: tuple[float, float], path: Path
) -> None:
    """Refuse a map whose median is not possible: it has another unit."""
    middle = float(values.nanmedian()) if len(values) else math.nan
    if not ends[0] <= middle <= ends[1]:
        percent = ends[0] <= middle / PERCENT <= ends[1]
        raise InputError(
            f"the median of {name} is {middle:.4g}, and it lies between {ends[0]:g} and {ends[1]:g}",
            remedy=f"If it is in percent, add --percent {name}." if percent else "Check its unit.",
            path=path,
        )


def _with_noise(
    acquisition: Acquisition, fit: LeastSquaresFit, given: float | None
) -> tuple[Acquisition, str]:
    """Give the noise where volumes are too few to leave residuals, and say where it is from."""
    if given is not None:
        return replace(acquisition, noise_sd=given), ""
    held = {*fit.fixed, *acquisition.known}
    n_free = sum(spec.name not in held for spec in fit.parameters)
    channels = 2 if acquisition.kind is SignalKind.COMPLEX else 1
    if channels * acquisition.protocol.n_volumes > n_free:
        return acquisition, ""
    signal = acquisition.signal
    noise, source = math.nan, "background"
    if acquisition.kind is SignalKind.MAGNITUDE:
        lit = torch.where(torch.isfinite(signal), signal, 0.0)
        noise = noise_from_background(lit.reshape(-1, signal.shape[-1]))
    if not noise > 0 and acquisition.kind is not SignalKind.COMPLEX and signal.ndim == 4:
        noise, source = (
            noise_from_neighbours(signal, acquisition.inside),
            "differences of neighbouring voxels",
        )
    if not noise > 0:
        return acquisition, ""
    note = f"noise {noise:.4g}, from the {source}, for as many volumes as parameters leave no residuals"
    return replace(acquisition, noise_sd=noise), note
