"""Series of DICOM images, in the order they were acquired, and the portions of them converted together.

dcm2niix stacks the volumes of a series whose inversion times differ and keeps one time only, so such a
series is taken apart: by inversion time, and by repetition where a time was acquired more than once.
Where the inversion time varies between slices, a portion is the n-th time of every slice.
"""

import itertools
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import final

from unweight.bids.dicom.header import NO_NUMBER, DicomImage
from unweight.core.errors import InputError

MOST_REPEATS = 64  # of one time; beyond, it is another kind of series
STEADY = 1.0  # how far the offset of a slice may differ between inversion times [ms]
GAP = 1.5  # of the usual distance between slices
Stack = tuple[object, ...]


@final
@dataclass(frozen=True, kw_only=True)
class DicomSeries:
    """The images of one series.

    Attributes:
        number: As the scanner counts; -1 without one.
        description: In words.
        images: Its images.
    """

    number: int
    description: str
    images: tuple[DicomImage, ...]

    @property
    def name(self) -> str:
        """How a user knows it: `series 8 "ir_50"`."""
        number = "without number" if self.number == NO_NUMBER else str(self.number)
        return f"series {number}" + (f' "{self.description}"' if self.description else "")

    @property
    def summary(self) -> str:
        """Number, description, grid and times."""
        rows, columns = (int(size) for size in self.images[0].geometry[:2])
        slices = len({image.position for image in self.images if image.n_frames == 1})
        grid = f"{columns} x {rows}" + (f" x {slices}" if slices else "")
        frames = max(image.n_frames for image in self.images)
        parts = [self.name, grid if frames == 1 else f"{grid}, {frames} frames"]
        for label, times in (
            ("TI", (time for image in self.images for time in image.inversion_times)),
            ("TE", (time for image in self.images for time in image.echo_times)),
        ):
            listed = _listed(times)
            parts += [f"{label} {listed} ms"] if listed else ([f"no {label}"] if label == "TI" else [])
        return ", ".join(parts)


@final
@dataclass(frozen=True, kw_only=True)
class Portion:
    """Images of one series that are converted together.

    Attributes:
        series: They belong to.
        images: All of them.
        inversion_time: Which they share [s]; None if they have none, or share none.
        slice_times: Inversion times by slice, where slices differ [ms].
        unordered: Whether nothing says which of its volumes came first.
    """

    series: DicomSeries
    images: tuple[DicomImage, ...]
    inversion_time: float | None
    slice_times: tuple[float, ...] = ()
    unordered: bool = False

    @property
    def place(self) -> tuple[int, str, int]:
        """What orders portions: number of the series, time, and number within the series."""
        return (self.series.number, *min(_moment(image) for image in self.images))


def series_of(images: Sequence[DicomImage]) -> tuple[DicomSeries, ...]:
    """Return the series in the order of their numbers, then of their times."""
    result: dict[str, list[DicomImage]] = defaultdict(list)
    for image in images:
        result[image.series].append(image)
    ranked = sorted(result.values(), key=lambda members: (members[0].number, min(map(_moment, members))))
    return tuple(
        DicomSeries(number=item[0].number, description=item[0].description, images=tuple(item))
        for item in ranked
    )


def chosen_series(series: Sequence[DicomSeries], numbers: Sequence[int] | None) -> tuple[DicomSeries, ...]:
    """Return the series of these numbers, in their order; all, if none are asked for.

    Raises:
        InputError: There is no series of a number.
    """
    if numbers is None:
        return tuple(series)
    absent = [number for number in numbers if number not in {entry.number for entry in series}]
    if absent:
        raise InputError(
            f"there is no series {', '.join(map(str, absent))}", remedy=f"There are: {listing(series)}."
        )
    return tuple(entry for number in dict.fromkeys(numbers) for entry in series if entry.number == number)


def listing(series: Iterable[DicomSeries]) -> str:
    """Return all series in a line, with their grids and times."""
    return "; ".join(entry.summary for entry in series)


def portions_of(series: DicomSeries, *, by_hand: bool) -> list[Portion]:
    """Return what is converted together, in the order of acquisition.

    Args:
        series: Images of one series.
        by_hand: Whether times are given by the caller, one per volume, so that their order matters.
    """
    if any(image.n_frames > 1 for image in series.images):
        return [_portion(series, series.images)]
    if _differs_by_slice(series.images):
        return _by_rank_of_time(series)
    by_time: dict[tuple[float, ...], list[DicomImage]] = defaultdict(list)
    for image in series.images:
        by_time[image.inversion_times].append(image)
    portions = [
        portion
        for times, members in by_time.items()
        for portion in _repeats(series, members, by_hand=by_hand)
    ]
    return sorted(portions, key=lambda portion: portion.place)


def without_lost_slices(portions: Sequence[Portion]) -> tuple[list[Portion], list[str]]:
    """Leave out volumes that lack slices which the other volumes of their kind have.

    Returns:
        The portions without these volumes, and a sentence on each.
    """
    places = {
        (index, volume): frozenset(image.position for image in members)
        for index, portion in enumerate(portions)
        for volume, members in _volumes(portion.images).items()
    }
    kinds: dict[Stack, Counter[frozenset[float | None]]] = defaultdict(Counter)
    for (index, volume), positions in places.items():
        kinds[_kind(portions[index], volume)][positions] += 1
    kept, lost = [], []
    for index, portion in enumerate(portions):
        remaining: list[DicomImage] = []
        for volume, members in _volumes(portion.images).items():
            kind = kinds[_kind(portion, volume)]
            usual = max(kind, key=lambda positions: (kind[positions], len(positions)))
            here = places[index, volume]
            if here < usual and 2 * len(here) >= len(usual):
                lost.append(_lost(portion, members, len(here), len(usual)))
            else:
                remaining += members
        if remaining:
            kept.append(replace(portion, images=tuple(remaining)))
    return kept, lost


def gaps(portions: Sequence[Portion]) -> list[str]:
    """Return a sentence on each series with a hole between its slices."""
    result = []
    for portion in portions:
        for members in _volumes(portion.images).values():
            ranked = sorted({image.position for image in members if image.position is not None})
            steps = [after - before for before, after in itertools.pairwise(ranked)]
            if len(steps) > 1 and max(steps) > GAP * statistics.median(steps):
                result.append(
                    f"{portion.series.name}: slices are {statistics.median(steps):g} mm apart, and once "
                    f"{max(steps):g} mm; a slice is missing"
                )
    return list(dict.fromkeys(result))


def check_steady_offsets(portions: Sequence[Portion]) -> None:
    """Refuse slices whose inversion times differ by amounts that change from volume to volume.

    Raises:
        InputError: A constant shift of all times of a slice changes inversion efficiency alone; another
            shift would change T1.
    """
    shifts = [
        [time - portion.slice_times[0] for time in portion.slice_times]
        for portion in portions
        if portion.slice_times
    ]
    for shift in shifts[1:]:
        if len(shift) != len(shifts[0]) or any(
            abs(a - b) > STEADY for a, b in zip(shift, shifts[0], strict=True)
        ):
            raise InputError(
                "inversion times differ between slices, and differently in each volume",
                remedy="One time per volume is not sufficient. "
                "Map each slice separately, with its own times.",
            )


def _portion(series: DicomSeries, images: Sequence[DicomImage]) -> Portion:
    times = {image.inversion_times for image in images}
    shared = times.pop() if len(times) == 1 else ()
    time = shared[0] / 1e3 if len(shared) == 1 else None
    return Portion(series=series, images=tuple(images), inversion_time=time)


def _volumes(images: Iterable[DicomImage]) -> dict[Stack, list[DicomImage]]:
    """Return the images of each part, echo and plane."""
    volumes: dict[Stack, list[DicomImage]] = defaultdict(list)
    for image in images:
        volumes[image.part, image.echo_times, image.geometry].append(image)
    return volumes


def _places(images: Iterable[DicomImage]) -> dict[Stack, list[DicomImage]]:
    """Return the images of each place in each volume."""
    places: dict[Stack, list[DicomImage]] = defaultdict(list)
    for image in images:
        places[image.part, image.echo_times, image.geometry, image.position].append(image)
    return places


def _kind(portion: Portion, volume: Stack) -> Stack:
    """Return what volumes share that should have the same slices."""
    part, _, geometry = volume
    inverted = portion.inversion_time is not None or bool(portion.slice_times)
    return (part, geometry, inverted)


def _differs_by_slice(images: Sequence[DicomImage]) -> bool:
    """Whether every slice has the same number of inversion times, and the slices together have more."""
    times = {image.inversion_times for image in images}
    counts = {len({image.inversion_times for image in members}) for members in _places(images).values()}
    return () not in times and len(counts) == 1 and len(times) > counts.pop()


def _by_rank_of_time(series: DicomSeries) -> list[Portion]:
    """Return a portion for the first inversion time of every slice, for the second, and so on."""
    portions: dict[int, list[DicomImage]] = defaultdict(list)
    for members in _places(series.images).values():
        ranks = {
            time: rank for rank, time in enumerate(sorted({member.inversion_times for member in members}))
        }
        for image in members:
            portions[ranks[image.inversion_times]].append(image)
    return [
        Portion(
            series=series,
            images=tuple(members),
            inversion_time=None,
            slice_times=tuple(
                image.inversion_times[0] for image in sorted(members, key=lambda item: item.position or 0.0)
            ),
        )
        for _, members in sorted(portions.items())
    ]


def _repeats(series: DicomSeries, images: Sequence[DicomImage], *, by_hand: bool) -> list[Portion]:
    """Return a portion for each repetition of the same volumes; one, if they cannot be told apart.

    Repetitions of one inversion time differ in when they were acquired: the images of single coils do not.
    """
    places = _places(images)
    counts = {len(members) for members in places.values()}
    whole = _portion(series, images)
    if counts == {1} or max(counts) > MOST_REPEATS or not (by_hand or whole.inversion_time is not None):
        return [whole]
    ordered = all(
        len({_moment(image) if by_hand else image.acquired for image in members}) == len(members)
        for members in places.values()
    )
    if not ordered or (len(counts) > 1 and whole.inversion_time is None):
        return [replace(whole, unordered=True)]
    repeats: dict[int, list[DicomImage]] = defaultdict(list)
    for members in places.values():
        for rank, image in enumerate(sorted(members, key=_moment)):
            repeats[rank].append(image)
    return [_portion(series, members) for _, members in sorted(repeats.items())]


def _moment(image: DicomImage) -> tuple[str, int]:
    return image.acquired, image.instance_number


def _lost(portion: Portion, members: Sequence[DicomImage], n_here: int, n_usual: int) -> str:
    times = [
        f"{label} {_listed(listed)} ms"
        for label, listed in (
            ("TI", (time for image in members for time in image.inversion_times)),
            ("TE", (time for image in members for time in image.echo_times)),
        )
    ]
    return f"{portion.series.name} ({', '.join(times)}) has {n_here} of {n_usual} slices and is left out"


def _listed(times: Iterable[float]) -> str:
    return " ".join(f"{time:g}" for time in sorted(set(times)))
