"""`unweight phantom`: the NIST/ISMRM system phantom in T1 maps, found, measured and drawn.

The images (`--images`), or else the signals that the maps explain, show every sphere in some volume.
Their mean over a sphere is fitted once more: a T1 of the region, which averages signals instead of T1
and so does not lean to the side on which the distribution of T1 has its tail.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console

from unweight.bids.derivatives.read import StoredMaps, find_maps, read_maps
from unweight.bids.nifti.grid import TOLERANCE, farthest_mm
from unweight.bids.read import find_inputs
from unweight.cli.each import each
from unweight.cli.standing import figure_path
from unweight.cli.terminal import console, table
from unweight.core.acquisition import Acquisition, SignalKind
from unweight.core.errors import InputError
from unweight.files.atomic import write_bytes_atomic
from unweight.files.text_files import write_table
from unweight.fit.inversion_recovery import InversionRecoveryFit
from unweight.phantom.finder import FoundPlate, find_plates
from unweight.phantom.spheres import SphereT1, measure_t1, sphere_signals
from unweight.report.figures import SphereMark, draw_phantom
from unweight.report.subject import write_subject_page
from unweight.signals.inversion_recovery import PD, T1, B, InversionRecovery

COLUMNS = (
    "sphere",
    "t1_nominal_s",
    "t1_mean_s",
    "t1_sd_s",
    "error_percent",
    "status",
    "t1_region_s",
    "error_region_percent",
    "n_voxels",
    "n_used",
    "t1_std_s",
    "x_mm",
    "y_mm",
    "z_mm",
)


def run(arguments: argparse.Namespace) -> int:
    """Measure every T1 map in a folder; one without a phantom does not stop the others."""
    screen = console(quiet=arguments.quiet)
    subjects = dict[str, None]()

    def measured(_: str, sidecar: Path) -> None:
        stored = read_maps(arguments.out, sidecar, (T1, PD, B))
        images = _images(arguments.images, stored) if arguments.images else _explained(stored)
        _measure(stored, images, arguments, screen)
        subjects[stored.entities["sub"]] = None

    def written(_: str, subject: str) -> None:
        screen.print(str(write_subject_page(arguments.out, subject)))

    found = [(path.relative_to(arguments.out).as_posix(), path) for path in _sidecars(arguments)]
    code = each(found, measured, arguments, "maps")
    pages = [(f"sub-{one}", one) for one in subjects if (arguments.out / f"sub-{one}.html").exists()]
    return max(code, each(pages, written, arguments, "pages"))


def _sidecars(arguments: argparse.Namespace) -> tuple[Path, ...]:
    """Return the sidecars of the T1 maps of the subjects asked for."""
    found = find_maps(arguments.out, T1.suffix)
    if arguments.subjects is None:
        return found
    wanted = {f"sub-{label}" for label in arguments.subjects}
    kept = tuple(path for path in found if path.relative_to(arguments.out).parts[0] in wanted)
    if not kept:
        raise InputError(
            f"holds no T1 map of {', '.join(sorted(wanted))}", remedy="Check the label.", path=arguments.out
        )
    return kept


def _images(paths: list[Path], stored: StoredMaps) -> Acquisition:
    """Return the acquisition the maps were made from, read again."""
    matching = [
        one for one in find_inputs(paths) if len(paths) > 1 or one.entities == stored.entities
    ] or list(find_inputs(paths))
    acquisition = matching[0].read().acquisition
    here, there = acquisition.affine, stored.maps.affine
    same_place = (
        acquisition.voxels == stored.maps.status.shape
        and here is not None
        and there is not None
        and farthest_mm(acquisition.voxels, here, there)
        <= TOLERANCE * float(here[:3, :3].norm(dim=0).min())
    )
    if not same_place:
        raise InputError(
            "these images are not on the grid of the T1 map",
            remedy="Give the images the map was made from.",
            path=paths[0],
        )
    return acquisition


def _explained(stored: StoredMaps) -> Acquisition:
    """Return the signed signals that the maps explain; NaN where there is no value."""
    if stored.protocol is None:
        raise InputError(
            "does not say how the images were timed", remedy="Make the maps again.", path=stored.folder
        )
    model = InversionRecovery(kind=SignalKind.SIGNED, complete=_complete(stored))
    return Acquisition(
        signal=model(stored.maps.values, stored.protocol),
        protocol=stored.protocol,
        kind=SignalKind.SIGNED,
        affine=stored.maps.affine,
    )


def _measure(
    stored: StoredMaps, explained: Acquisition, arguments: argparse.Namespace, screen: Console
) -> None:
    field = arguments.field if arguments.field is not None else stored.field_strength
    shown = replace(explained, signal=explained.signal.nan_to_num())
    plates = find_plates(
        shown, stored.maps, version=arguments.phantom_version, plate=arguments.plate, field_strength=field
    )
    for found in plates:
        rows = measure_t1(stored.maps, found, radius_mm=arguments.radius)
        signals = sphere_signals(explained, found, radius_mm=arguments.radius)
        region = _fit_regions(replace(explained, signal=signals, affine=None, saturated=None), stored)
        _report(stored, found, (rows, region), arguments, screen)


def _complete(stored: StoredMaps) -> float | None:
    """Return C of the signal equation the maps were made with."""
    complete = stored.settings.get("complete")
    return complete if isinstance(complete, float) else None


def _fit_regions(means: Acquisition, stored: StoredMaps) -> list[float]:
    """Return T1 fitted to the mean signal of each sphere."""
    fit = InversionRecoveryFit(complete=_complete(stored))
    return [float(t1) for t1 in fit(means).value("T1")]


def _report(
    stored: StoredMaps,
    found: FoundPlate,
    measured: tuple[tuple[SphereT1, ...], list[float]],
    arguments: argparse.Namespace,
    screen: Console,
) -> None:
    rows, region = measured
    stem = "_".join(f"{key}-{value}" for key, value in stored.entities.items())
    stem = f"{stem}_desc-plate{found.array.plate}_phantom"
    path = stored.folder / f"{stem}.tsv"
    write_table(path, [_cells(row, t1) for row, t1 in zip(rows, region, strict=True)], COLUMNS)
    subject = stored.entities["sub"]
    figure = figure_path(arguments.out, Path(f"{stem}.nii.gz"), subject)
    title = (
        f"sub-{subject}: plate {found.array.plate} ({found.array.solution}), version "
        f"{found.array.version}, nominal values at {found.array.nominal_field:g} T and 20 °C"
    )
    write_bytes_atomic(figure, draw_phantom(stored.maps, _marks(rows, stored, arguments.radius), title))
    shown = [
        (
            str(row.sphere),
            f"{1e3 * row.t1_nominal_s:.1f}",
            f"{1e3 * row.t1_mean_s:.1f}",
            f"{1e3 * row.t1_sd_s:.1f}",
            f"{row.error_percent:+.1f}",
            row.status.value,
            f"{1e3 * t1:.1f}",
            f"{100 * (t1 / row.t1_nominal_s - 1):+.1f}",
        )
        for row, t1 in zip(rows, region, strict=True)
    ]
    columns = ("sphere", "nominal ms", "T1 ms", "SD ms", "error %", "status", "T1 of region ms", "error %")
    screen.print(table(columns, shown, title))
    screen.print(str(path))
    screen.print(str(figure))


def _cells(row: SphereT1, region: float) -> tuple[str | float | int, ...]:
    return (
        row.sphere,
        row.t1_nominal_s,
        row.t1_mean_s,
        row.t1_sd_s,
        row.error_percent,
        row.status.value,
        region,
        100 * (region / row.t1_nominal_s - 1),
        row.n_voxels,
        row.n_used,
        row.t1_std_s,
        *row.centre_mm,
    )


def _marks(rows: tuple[SphereT1, ...], stored: StoredMaps, radius: float) -> list[SphereMark]:
    affine = stored.maps.affine
    to_voxel = torch.linalg.inv(torch.eye(4).double() if affine is None else affine.double())
    marks = []
    for row in rows:
        x, y, z = (to_voxel @ torch.tensor([*row.centre_mm, 1.0], dtype=torch.float64))[:3].tolist()
        marks.append(
            SphereMark(
                number=row.sphere,
                centre=(x, y, z),
                radius=radius,
                nominal=row.t1_nominal_s,
                mean=row.t1_mean_s,
                sd=row.t1_sd_s,
                status=row.status.value,
            )
        )
    return marks
