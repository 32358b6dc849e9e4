"""`unweight phantom`: the NIST/ISMRM system phantom in T1 maps, found, measured and drawn."""

import argparse
from pathlib import Path

import torch
from rich.console import Console

from unweight.bids.atomic import write_bytes_atomic
from unweight.bids.read_maps import StoredMaps, find_maps, read_maps
from unweight.bids.table import write_table
from unweight.cli.t1 import figure_path
from unweight.cli.terminal import console, error_line, table
from unweight.core.errors import InputError
from unweight.evaluate.phantom import FoundPlate, find_plates
from unweight.evaluate.spheres import SphereT1, measure_t1
from unweight.report.figures import SphereMark, draw_phantom
from unweight.signals.inversion_recovery import PD, T1, B

COLUMNS = (
    "sphere",
    "t1_nominal_s",
    "t1_mean_s",
    "t1_sd_s",
    "error_percent",
    "status",
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
    sidecars = find_maps(arguments.out, T1.suffix)
    failed = 0
    for sidecar in sidecars:
        try:
            stored = read_maps(arguments.out, sidecar, (T1, PD, B))
            for found in _plates(stored, arguments):
                _measure(stored, found, arguments, screen)
        except InputError as error:
            if len(sidecars) == 1 or arguments.debug:
                raise
            failed += 1
            error_line(f"{sidecar.name}: {error}")
    return 1 if failed else 0


def _plates(stored: StoredMaps, arguments: argparse.Namespace) -> tuple[FoundPlate, ...]:
    field = arguments.field if arguments.field is not None else stored.field_strength
    found = find_plates(
        None, stored.maps, version=arguments.phantom_version, plate=arguments.plate, field_strength=field
    )
    if not found:
        raise InputError(
            "no plate of the system phantom is to be seen in this T1 map",
            remedy="Check that the slice cuts the spheres (plate 4 or 5) and that TI and TR are right.",
            path=stored.folder,
        )
    return found


def _measure(stored: StoredMaps, found: FoundPlate, arguments: argparse.Namespace, screen: Console) -> None:
    rows = measure_t1(stored.maps, found, radius_mm=arguments.radius)
    stem = "_".join(f"{key}-{value}" for key, value in stored.entities.items())
    stem = f"{stem}_desc-plate{found.array.plate}_phantom"
    path = stored.folder / f"{stem}.tsv"
    write_table(path, [_cells(row) for row in rows], COLUMNS)
    subject = stored.entities["sub"]
    figure = figure_path(arguments.out, Path(f"{stem}.nii.gz"), subject)
    marks = _marks(rows, stored, arguments.radius)
    title = (
        f"sub-{subject}: plate {found.array.plate} ({found.array.solution}), version "
        f"{found.array.version}, nominal values at {found.array.nominal_field:g} T and 20 °C"
    )
    write_bytes_atomic(figure, draw_phantom(stored.maps, marks, title))
    shown = [
        (
            str(row.sphere),
            f"{1e3 * row.t1_nominal_s:.1f}",
            f"{1e3 * row.t1_mean_s:.1f}",
            f"{1e3 * row.t1_sd_s:.1f}",
            f"{row.error_percent:+.1f}",
            row.status.value,
        )
        for row in rows
    ]
    screen.print(table(("sphere", "nominal ms", "T1 ms", "SD ms", "error %", "status"), shown, title))
    screen.print(str(path))
    screen.print(str(figure))


def _cells(row: SphereT1) -> tuple[str | float | int, ...]:
    return (
        row.sphere,
        row.t1_nominal_s,
        row.t1_mean_s,
        row.t1_sd_s,
        row.error_percent,
        row.status.value,
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
