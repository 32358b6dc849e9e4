"""A set of maps with all that derivatives say about it, and the contract of what makes one.

Commands and `unweight.api` go the same way: options find series, their mapper reads each, names the set of
maps it becomes, and makes it. What is written is the same, to the bit.
"""

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar, final

from jaxtyping import Bool, Float
from torch import Tensor

from unweight.bids.derivatives.description import DerivedImage, derived_images
from unweight.bids.derivatives.provenance import Provenance
from unweight.bids.nifti.image import nifti_image
from unweight.bids.read import Series
from unweight.core.errors import IncompleteError, UsageError
from unweight.core.estimator import Progress
from unweight.core.maps import ParameterMaps, VoxelStatus
from unweight.core.parameter import ParameterSpec
from unweight.mapping.output import Destination, OutputSet, write_set
from unweight.metrics.accuracy import quartiles
from unweight.report.figures import draw_maps
from unweight.report.subject import write_subject_page

LOG = logging.getLogger(__name__)
Found = TypeVar("Found")
Read = TypeVar("Read")
Table = tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]


@final
@dataclass(frozen=True, kw_only=True)
class Feedback:
    """Where a mapper reports what it is doing.

    Attributes:
        line: Takes one line of text.
        progress: Takes the voxels done and the voxels in all.
    """

    line: Callable[[str], None] = lambda _: None
    progress: Progress | None = None


SILENT = Feedback()
LOW_SHARE = 0.5  # of usable voxels, below which the summary says so


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class MappedSeries:
    """The maps of one series, with what their derivatives say.

    Attributes:
        label: Name of the series.
        maps: Values, standard deviations, status.
        output: What the set is called in derivatives.
        provenance: What it was made from and how.
        beside: Further images of the set, such as the brain mask.
        heading: One line on the input.
        remarks: Notes for the reader.
        lines: Further lines of a summary.
        tables: Further tables of a summary, columns and rows.
        faults: What is missing, in sentences.
    """

    label: str
    maps: ParameterMaps
    output: OutputSet
    provenance: Provenance
    beside: tuple[DerivedImage, ...] = ()
    heading: str = ""
    remarks: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    faults: tuple[str, ...] = ()

    @property
    def specs(self) -> tuple[ParameterSpec, ...]:
        """What each map is."""
        return self.maps.specs

    @property
    def usable(self) -> Bool[Tensor, "*voxels"]:
        """Voxels whose status is OK."""
        return self.maps.usable

    def value(self, name: str) -> Float[Tensor, "*voxels"]:
        """Return the map of one parameter; NaN where there is no value."""
        return self.maps.value(name)

    def std(self, name: str) -> Float[Tensor, "*voxels"]:
        """Return the standard deviation of one parameter."""
        return self.maps.deviation(name)

    def images(self) -> tuple[str, ...]:
        """Return the names that `to_nifti` takes."""
        return tuple(image.key for image in self._images())

    def to_nifti(self, name: str = "") -> Any:
        """Return one image of the set as a nibabel image.

        Args:
            name: `T1`, `T1 std`, `T1 lower`, `misfit`, `status`, `brain` …; empty for the first map.

        Raises:
            UsageError: The set holds no such image.
        """
        images = {image.key: image for image in self._images()}
        key = name or next(iter(images))
        if key not in images:
            raise UsageError(f"there is no image {name}", remedy=f"There are {', '.join(images)}.")
        return nifti_image(images[key].values, self.maps.affine, self.provenance.placement)

    def save(self, folder: str | Path, *, figures: bool = True, report: bool = True) -> Path:
        """Write the set as BIDS derivatives, the files the command writes; return the first sidecar.

        Args:
            folder: Root of the derivatives; created if absent.
            figures: Whether the picture of the maps is written.
            report: Whether the page of the subject is written.

        Raises:
            OutputError: The folder holds maps of other images under this name, or cannot be written.
        """
        out = Path(folder)
        where = Destination(out=out, output=self.output)
        where.check()
        written, _ = write_set(
            self.maps, where, self.provenance, self.label, beside=self.beside, figures=figures
        )
        if report:
            write_subject_page(out, self.output.entities["sub"])
        return written.sidecar

    def __repr__(self) -> str:
        shape = " x ".join(str(size) for size in self.maps.status.shape)
        usable = int(self.usable.sum())
        lines = [f"{self.label}: {self.heading or f'{shape} voxels'}", f"{usable:,} voxels usable"]
        for spec in self.specs:
            values = self.value(spec.name)[self.usable]
            if len(values):
                low, middle, high = quartiles(values.double().numpy())
                lines.append(
                    f"{spec.name} [{spec.unit}]: median {middle:.4g}, quartiles {low:.4g} to {high:.4g}"
                )
        return "\n".join((*lines, *(f"note: {remark}" for remark in self.remarks)))

    def _repr_png_(self) -> bytes:
        """Draw maps, standard deviations and status: what a notebook shows."""
        return draw_maps(self.maps, self.label)

    def _images(self) -> tuple[DerivedImage, ...]:
        return (*derived_images(self.maps), *self.beside)


class SeriesMapper(ABC, Generic[Found, Read]):
    """Makes the maps of one series after the other. Networks are loaded when it is built."""

    what: ClassVar[str] = "series"

    @abstractmethod
    def read(self, source: Found) -> Read:
        """Read one series.

        Raises:
            InputError: It is unusable.
        """

    @abstractmethod
    def output(self, read: Read) -> OutputSet:
        """Return what its maps are called, before they are made."""

    @abstractmethod
    def estimate(self, label: str, read: Read, feedback: Feedback) -> MappedSeries:
        """Make the maps.

        Raises:
            ProtocolError: The method does not take this series.
        """


class MappingOptions(ABC, Generic[Found, Read]):
    """Options of one kind of mapping: a frozen dataclass, whose fields are those of its command."""

    @abstractmethod
    def find(self) -> Sequence[tuple[str, Found]]:
        """Return the series asked for by their labels, without reading them.

        Raises:
            InputError: There are none.
        """

    @abstractmethod
    def mapper(self) -> SeriesMapper[Found, Read]:
        """Return what maps them.

        Raises:
            UsageError: Options cannot be combined, or are impossible.
            InputError: Weights are absent or damaged.
        """


def map_found(
    mapper: SeriesMapper[Found, Read],
    label: str,
    source: Found,
    out: Path | None = None,
    feedback: Feedback = SILENT,
) -> MappedSeries:
    """Read and map one series.

    Args:
        mapper: For this kind of series.
        label: Of the series.
        source: What `find` returned.
        out: Root of the derivatives; what could not be written there is refused before it is computed.
        feedback: Where progress is reported.

    Raises:
        IncompleteError: No voxel has a value.
    """
    began = time.perf_counter()
    read = mapper.read(source)
    LOG.info("%s: images read in %.1f s", label, time.perf_counter() - began)
    if out is not None:
        Destination(out=out, output=mapper.output(read)).check()
    return map_read(mapper, label, read, feedback)


def map_read(
    mapper: SeriesMapper[Found, Read], label: str, read: Read, feedback: Feedback = SILENT
) -> MappedSeries:
    """Map a series that was read.

    Raises:
        IncompleteError: No voxel has a value.
    """
    began = time.perf_counter()
    mapped = mapper.estimate(label, read, feedback)
    LOG.info("%s: maps computed in %.1f s", label, time.perf_counter() - began)
    check_any_value(mapped.maps)
    return mapped


def check_any_value(maps: ParameterMaps) -> None:
    """Refuse maps in which no voxel has a value.

    Raises:
        IncompleteError: There is none; the reasons are counted.
    """
    if not bool(maps.failed.all()):
        return
    reasons = "; ".join(f"{count:,} voxels: {status.meaning}" for status, count in maps.count().items())
    raise IncompleteError(
        f"no voxel has a value, and nothing was written ({reasons})",
        remedy="Check images, times and mask.",
    )


def status_rows(maps: ParameterMaps) -> list[tuple[str, str, str, str]]:
    """Return name, count, share and meaning of each status that occurs.

    Shares are of the voxels with signal inside the mask; the others have none.
    """
    counts = maps.count()
    total = _n_with_signal(counts)
    return [
        (
            status.name.lower().replace("_", " "),
            f"{count:,}",
            "" if status.outside else f"{100 * count / total:.2f} %",
            status.meaning,
        )
        for status, count in counts.items()
    ]


def low_share(maps: ParameterMaps) -> str:
    """Return a sentence where fewer than half of the voxels with signal can be used; else an empty one."""
    counts = maps.count()
    share = counts.get(VoxelStatus.OK, 0) / max(1, _n_with_signal(counts))
    return "" if share >= LOW_SHARE else f"only {100 * share:.0f} % of the voxels with signal are usable"


def _n_with_signal(counts: Mapping[VoxelStatus, int]) -> int:
    return sum(count for status, count in counts.items() if not status.outside)


def output_of(series: Series, first: ParameterSpec) -> OutputSet:
    """Return what the maps of a series are called.

    Args:
        series: What was read.
        first: The first map.
    """
    return OutputSet(
        entities=series.entities,
        sources=series.sources,
        root=series.root,
        first=first,
        voxels=tuple(series.acquisition.voxels),
    )


def shape_of(voxels: Sequence[int]) -> str:
    """Return the shape of a grid in words."""
    return " x ".join(str(size) for size in voxels)


def milliseconds(times: Float[Tensor, " volumes"]) -> str:
    """Return times [s] as a list in milliseconds."""
    return ", ".join(f"{1e3 * time:g}" for time in times.tolist())
