"""The NIST/ISMRM system phantom in T1 maps: found, measured, drawn.

The images, or else the signals that the maps explain, show every sphere in some volume. Their mean over a
sphere is fitted once more: a T1 of the region, which averages signals instead of T1 and so does not lean
to the side on which the distribution of T1 has its tail.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

import torch

from unweight.bids.derivatives.read import StoredMaps, find_maps, read_maps
from unweight.bids.derivatives.write import anat_folder
from unweight.bids.nifti.grid import TOLERANCE, farthest_mm
from unweight.bids.read import find_inputs
from unweight.core.acquisition import Acquisition, SignalKind
from unweight.core.errors import InputError
from unweight.files.atomic import write_bytes_atomic
from unweight.files.text_files import write_table
from unweight.fit.inversion_recovery import InversionRecoveryFit
from unweight.mapping.calls import AnyPath, as_stored, bare_label, paths_of
from unweight.mapping.output import figure_path
from unweight.mapping.series import MappedSeries
from unweight.phantom.finder import FoundPlate, find_plates
from unweight.phantom.spheres import ROI_RADIUS_MM, SphereT1, measure_t1, sphere_signals
from unweight.report.figures import SphereMark, draw_phantom
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
SHOWN = ("sphere", "nominal ms", "T1 ms", "SD ms", "error %", "status", "T1 of region ms", "error %")


@final
@dataclass(frozen=True, kw_only=True)
class PhantomOptions:
    """Which phantom, and how it is measured.

    Attributes:
        version: 1 for serial numbers up to 0041, 2 from 0042.
        plate: 4 (MnCl2) or 5 (NiCl2); None to tell by T1.
        radius_mm: Of the region in each sphere [mm].
        field_strength: [T]; None for what the files say.
    """

    version: int
    plate: int | None = None
    radius_mm: float = ROI_RADIUS_MM
    field_strength: float | None = None


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class PhantomPlate:
    """The spheres of one plate, measured.

    Attributes:
        stored: The maps it was found in.
        plate: Where it is.
        spheres: T1 of each sphere beside its nominal value.
        region_t1_s: T1 fitted to the mean signal of each sphere [s].
        radius_mm: Of the regions [mm].
    """

    stored: StoredMaps
    plate: FoundPlate
    spheres: tuple[SphereT1, ...]
    region_t1_s: tuple[float, ...]
    radius_mm: float

    @property
    def title(self) -> str:
        """Subject, plate and nominal values in one line."""
        array = self.plate.array
        return (
            f"sub-{self.stored.entities['sub']}: plate {array.plate} ({array.solution}), version "
            f"{array.version}, nominal values at {array.nominal_field:g} T and 20 °C"
        )

    def rows(self) -> list[tuple[str | float | int, ...]]:
        """Return the table as it is written, columns `COLUMNS`."""
        return [_cells(row, t1) for row, t1 in zip(self.spheres, self.region_t1_s, strict=True)]

    def shown_rows(self) -> list[tuple[str, ...]]:
        """Return the table as it is printed, columns `SHOWN`."""
        return [
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
            for row, t1 in zip(self.spheres, self.region_t1_s, strict=True)
        ]

    def save(self, folder: str | Path) -> tuple[Path, Path]:
        """Write table and picture beside the maps in a folder of derivatives; return where they are."""
        out, subject = Path(folder), self.stored.entities["sub"]
        stem = "_".join(f"{key}-{value}" for key, value in self.stored.entities.items())
        stem = f"{stem}_desc-plate{self.plate.array.plate}_phantom"
        table = anat_folder(out, self.stored.entities) / f"{stem}.tsv"
        write_table(table, self.rows(), COLUMNS)
        figure = figure_path(out, Path(f"{stem}.nii.gz"), subject)
        write_bytes_atomic(figure, self._repr_png_())
        return table, figure

    def __repr__(self) -> str:
        rows = [SHOWN, *self.shown_rows()]
        widths = [max(len(row[index]) for row in rows) for index in range(len(SHOWN))]
        lines = [
            "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows
        ]
        return "\n".join((self.title, *lines))

    def _repr_png_(self) -> bytes:
        """Draw the plate: what a notebook shows."""
        marks = _marks(self.spheres, self.stored, self.radius_mm)
        return draw_phantom(self.stored.maps, marks, self.title)


def stored_sidecars(out: Path, subjects: Sequence[str] | None = None) -> tuple[Path, ...]:
    """Return the sidecars of the T1 maps in a folder of derivatives.

    Args:
        out: The folder.
        subjects: Labels of the subjects; None for all.

    Raises:
        InputError: There are none.
    """
    paths = find_maps(out, T1.suffix)
    if subjects is None:
        return paths
    wanted = {f"sub-{label}" for label in subjects}
    kept = tuple(path for path in paths if path.relative_to(out).parts[0] in wanted)
    if not kept:
        raise InputError(
            f"contains no T1 map of {', '.join(sorted(wanted))}", remedy="Check the label.", path=out
        )
    return kept


def read_t1_maps(out: Path, sidecar: Path) -> StoredMaps:
    """Return a stored set of T1 maps.

    Raises:
        InputError: It is not whole.
    """
    return read_maps(out, sidecar, (T1, PD, B))


def measure_plates(
    stored: StoredMaps, options: PhantomOptions, images: Sequence[Path] = ()
) -> tuple[PhantomPlate, ...]:
    """Return the plates in a set of T1 maps, measured.

    Args:
        stored: The maps.
        options: Which phantom.
        images: The images the maps were made from; empty for the signals that the maps explain.

    Raises:
        InputError: There is no phantom, or the images are not those of the maps.
    """
    signals = _images(list(images), stored) if images else _explained(stored)
    field = stored.field_strength if options.field_strength is None else options.field_strength
    plates = find_plates(
        replace(signals, signal=signals.signal.nan_to_num()),
        stored.maps,
        version=options.version,
        plate=options.plate,
        field_strength=field,
    )
    return tuple(_measured(stored, plate, signals, options.radius_mm) for plate in plates)


def _measured(
    stored: StoredMaps, plate: FoundPlate, signals: Acquisition, radius_mm: float
) -> PhantomPlate:
    spheres = measure_t1(stored.maps, plate, radius_mm=radius_mm)
    means = sphere_signals(signals, plate, radius_mm=radius_mm)
    region = _fit_regions(replace(signals, signal=means, affine=None, saturated=None), stored)
    return PhantomPlate(
        stored=stored, plate=plate, spheres=spheres, region_t1_s=tuple(region), radius_mm=radius_mm
    )


def _images(paths: list[Path], stored: StoredMaps) -> Acquisition:
    """Return the acquisition the maps were made from, read again."""
    matching = [
        item for item in find_inputs(paths) if len(paths) > 1 or item.entities == stored.entities
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
            remedy="Give the images of this T1 map.",
            path=paths[0],
        )
    return acquisition


def _explained(stored: StoredMaps) -> Acquisition:
    """Return the signed signals that the maps explain; NaN where there is no value."""
    if stored.protocol is None:
        raise InputError(
            "does not contain the timings of the images",
            remedy="Compute the maps again.",
            path=stored.folder,
        )
    model = InversionRecovery(kind=SignalKind.SIGNED, complete=_complete(stored))
    return Acquisition(
        signal=model(stored.maps.values, stored.protocol),
        protocol=stored.protocol,
        kind=SignalKind.SIGNED,
        affine=stored.maps.affine,
    )


def _complete(stored: StoredMaps) -> float | None:
    """Return C of the signal equation the maps were made with."""
    complete = stored.settings.get("complete")
    return complete if isinstance(complete, float) else None


def _fit_regions(means: Acquisition, stored: StoredMaps) -> list[float]:
    """Return T1 fitted to the mean signal of each sphere."""
    fit = InversionRecoveryFit(complete=_complete(stored))
    return [float(t1) for t1 in fit(means).value("T1")]


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


def analyse_phantom(
    maps: MappedSeries | AnyPath,
    *,
    version: int,
    plate: int | None = None,
    radius_mm: float = PhantomOptions.radius_mm,
    field_strength: float | None = None,
    images: AnyPath | Sequence[AnyPath] | None = None,
    subject: str | None = None,
) -> tuple[PhantomPlate, ...]:
    """Measure the spheres of the NIST/ISMRM system phantom in T1 maps: `unweight phantom`.

    Args:
        maps: What `map_t1` returned, or a folder of derivatives.
        version: 1 for serial numbers up to 0041, 2 from 0042.
        plate: 4 (MnCl2) or 5 (NiCl2); None to tell by T1.
        radius_mm: Of the region in each sphere [mm].
        field_strength: [T]; None for what the files say.
        images: Files that the maps were made from, whose signals are then fitted in each sphere.
        subject: Of a folder, which; None for all.

    Returns:
        The plates found, in the order of the maps.

    Raises:
        UnweightError: There is no phantom, or the call cannot be used.
    """
    options = PhantomOptions(
        version=version, plate=plate, radius_mm=radius_mm, field_strength=field_strength
    )
    sources = () if images is None else paths_of(images) or ()
    if isinstance(maps, MappedSeries):
        return measure_plates(as_stored(maps), options, sources)
    folder = Path(maps)
    sidecars = stored_sidecars(folder, None if subject is None else [bare_label(subject)])
    return tuple(
        plate_measured
        for sidecar in sidecars
        for plate_measured in measure_plates(read_t1_maps(folder, sidecar), options, sources)
    )
