"""`unweight maps`: from T1w, T2w and FLAIR to T1, T2 and PD, with intervals and a check."""

import argparse
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console

from unweight.bids.collection import Collection, Unreadable, find_collections, with_absent
from unweight.bids.derivatives.description import brain_image
from unweight.bids.derivatives.provenance import Provenance
from unweight.bids.series.weighted import CONTRASTS, GivenWeighting
from unweight.cli.maps_method import estimator_for
from unweight.cli.pages import Mapped, check_any_value, each_with_page
from unweight.cli.standing import Destination, keep
from unweight.cli.terminal import console, progress, table
from unweight.core.errors import InputError, UsageError
from unweight.core.estimator import Estimator
from unweight.core.examination import Examination
from unweight.core.maps import ParameterMaps, VoxelStatus
from unweight.core.weighting import Readout
from unweight.metrics.resynthesis import SynthesisedImage, resynthesise
from unweight.prepare.weighted_images import MapsFiles, ReadExamination, read_examination
from unweight.registry import method
from unweight.registry.records import Method
from unweight.run.visit import weighted_images
from unweight.signals.parameters import T1


def run(arguments: argparse.Namespace) -> int:
    """Map every examination found; one that fails does not stop the others."""
    screen = console(quiet=arguments.quiet)
    found = list(_examinations(arguments))
    estimator = estimator_for(arguments)  # what is wrong with weights or device is an error of the call

    def work(label: str, files: MapsFiles | InputError) -> Mapped:
        if isinstance(files, InputError):
            raise files
        return _map(label, files, (estimator, arguments, screen))

    return each_with_page(found, work, arguments, screen, "examinations")


def _examinations(arguments: argparse.Namespace) -> Iterator[tuple[str, MapsFiles | InputError]]:
    """Give the examinations asked for: that of the files, or all of a BIDS tree."""
    named = {name: getattr(arguments, name.lower()) for name in CONTRASTS}
    files = {name: path for name, path in named.items() if path is not None}
    common = MapsFiles(
        images=files,
        given={name: _given(name, arguments) for name in CONTRASTS},
        mask=arguments.mask,
        field_strength=arguments.field,
        reference=_contrast(arguments.reference),
        register=not arguments.no_register,
        correct_bias=arguments.n4,
    )
    if bool(files) == bool(arguments.inputs):
        raise UsageError(
            "give either a BIDS tree, or files with --t1w, --t2w and --flair",
            remedy="unweight maps bids_tree -o maps",
        )
    if files:
        yield "examination", common
        return
    if len(arguments.inputs) > 1 or arguments.mask is not None:
        raise UsageError(
            "one BIDS tree at a time, without --mask", remedy="Give files for a mask of your own."
        )
    for label, images in _in_tree(arguments.inputs[0], arguments.subjects):
        yield label, images if isinstance(images, InputError) else replace(common, images=images)


def _in_tree(root: Path, subjects: list[str] | None) -> Iterator[tuple[str, dict[str, Path] | InputError]]:
    """Give the images of each subject and session of a BIDS tree."""
    found = find_collections(root.absolute(), CONTRASTS, subjects)
    found = with_absent(found, CONTRASTS, subjects)
    before = [one for one in found if "ce" not in one.entities]  # a contrast agent
    if not before:
        raise InputError("no T1w, T2w or FLAIR in this BIDS tree", remedy="Check the path.", path=root)
    visits: dict[str, list[Collection | Unreadable]] = {}
    for one in before:
        label = "_".join(f"{key}-{one.entities[key]}" for key in ("sub", "ses") if key in one.entities)
        visits.setdefault(label, []).append(one)
    for label, members in visits.items():
        fault = next((one.error for one in members if isinstance(one, Unreadable)), None)
        series = [one for one in members if isinstance(one, Collection)]
        try:
            yield label, weighted_images(series) if fault is None else fault
        except InputError as error:
            yield label, error


def _given(name: str, arguments: argparse.Namespace) -> GivenWeighting:
    told = {short: getattr(arguments, f"{name.lower()}_{short}") for short in ("tr", "te", "ti", "flip")}
    readout = getattr(arguments, f"{name.lower()}_readout")
    return GivenWeighting(
        repetition_time=told["tr"],
        echo_time=told["te"],
        inversion_time=told["ti"],
        flip_angle=told["flip"],
        readout=None if readout is None else Readout(readout),
    )


def _contrast(option: str | None) -> str | None:
    return next((name for name in CONTRASTS if name.lower() == option), None)


def _map(
    label: str, files: MapsFiles, how: tuple[Estimator[Examination], argparse.Namespace, Console]
) -> Mapped:
    """Map one examination."""
    estimator, arguments, screen = how
    began = time.perf_counter()
    read = read_examination(files)
    entities = read.entities if arguments.rec is None else {**read.entities, "rec": arguments.rec}
    where = Destination(
        out=arguments.out,
        entities=entities,
        sources=read.sources,
        root=read.root,
        first=T1,
    )
    where.check(read.examination.mask.shape)
    with progress(label, quiet=arguments.quiet) as report:
        upright = estimator(read.examination, report)
    check_any_value(upright)
    again = resynthesise(upright, read.examination)
    maps = _on_reference(upright, read)
    written, picture = keep(
        maps,
        where,
        _provenance(read, method(arguments.method, "weighted"), again),
        label,
        arguments,
        [brain_image(read.turn.undo(read.examination.mask), str(read.settings["BrainMask"]))],
    )
    _summarise(screen, (read, maps, again), time.perf_counter() - began)
    screen.print(str(written.images["T1"].parent))
    if picture is not None:
        screen.print(str(picture))
    return Mapped(subject=read.entities["sub"])


def _on_reference(maps: ParameterMaps, read: ReadExamination) -> ParameterMaps:
    """Return the maps turned back to the axes of the reference image."""

    def back(values: torch.Tensor | None) -> torch.Tensor | None:
        return None if values is None else read.turn.undo(values)

    return replace(
        maps,
        values=read.turn.undo(maps.values),
        std=read.turn.undo(maps.std),
        status=read.turn.undo(maps.status),
        lower=back(maps.lower),
        upper=back(maps.upper),
        misfit=back(maps.misfit),
        affine=read.placement.affine,
    )


def _provenance(read: ReadExamination, method: Method, again: tuple[SynthesisedImage, ...]) -> Provenance:
    checked = {one.name: {"Correlation": round(one.correlation, 4)} for one in again}
    return Provenance(
        sources=read.sources,
        algorithm=method.algorithm,
        reference=method.reference,
        root=read.root,
        settings={**read.settings, "Method": method.name, "MadeAgain": checked},
        acquired=read.acquired,
        skull_stripped=read.skull_stripped,
        placement=read.placement,
    )


def _summarise(
    screen: Console,
    made: tuple[ReadExamination, ParameterMaps, tuple[SynthesisedImage, ...]],
    seconds: float,
) -> None:
    read, maps, again = made
    shape = " x ".join(str(size) for size in maps.status.shape)
    names = ", ".join(f"{one.name} ({one.weighting.readout})" for one in read.examination.images)
    screen.print(f"{names}, {read.examination.field_strength:g} T, {shape} voxels, {seconds:.1f} s")
    for note in (*read.notes, *(f"{name}: {told}" for name, told in maps.notes.items())):
        screen.print(f"note: {note}")
    usable = maps.usable
    rows = [
        (spec.name, *(f"{float(one):.3f}" for one in _quartiles(maps.value(spec.name)[usable])), spec.unit)
        for spec in maps.specs
    ]
    screen.print(table(("map", "25 %", "median", "75 %", "unit"), rows))
    rows = [(one.name, f"{one.correlation:.3f}", f"{100 * one.error:.1f} %") for one in again]
    screen.print(table(("made again", "correlation", "median difference"), rows))
    counts = {status: count for status, count in maps.count().items() if status is not VoxelStatus.MASKED}
    total = sum(counts.values())
    for status, count in counts.items():
        screen.print(f"{status.name}: {count} voxels ({100 * count / total:.1f} %), {status.meaning}")


def _quartiles(values: torch.Tensor) -> list[float]:
    if not len(values):
        return [float("nan")] * 3
    ranked = values.sort().values
    return [float(ranked[int(share * (len(ranked) - 1))]) for share in (0.25, 0.5, 0.75)]
