"""Which images of an exam are mapped: of each contrast the best, with the reason against the others.

Candidates of one contrast are ordered by what decides first: whether maps can be made of them, whether they
are original, without contrast agent, a whole head, of the shortest echo time (T1w of several echoes),
normalised by the scanner, of small voxels, of the shortest name, and repeated: in a BIDS tree the first run
is taken, of an exam as scanned the last.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from types import MappingProxyType
from typing import final

from unweight.bids.exam.kind import ImageKind
from unweight.bids.nifti.grid import Grid
from unweight.bids.nifti.volume import count_volumes, open_grid
from unweight.bids.series.part import Entry
from unweight.bids.series.weighted import CONTRASTS, GivenWeighting, weighting_from
from unweight.bids.sidecar import Sidecar
from unweight.core.errors import InputError, MissingValuesError, UnweightError

FEWEST = 2  # images that maps need
HEAD_MM = 90.0  # the shortest edge of a stack of slices that covers a head
VOLUME_STEP = math.log(1.1)  # voxels that differ by less count as equally large
NORMALISED = "NORM"


class Fitness(IntEnum):
    """How far an image can be mapped.

    Attributes:
        READY: Maps can be made of it.
        INCOMPLETE: A value is missing that the caller can give, or the file is at fault.
        UNSUPPORTED: It lies outside what the method was trained for, or its readout has no model.
    """

    READY = 0
    INCOMPLETE = 1
    UNSUPPORTED = 2


@final
@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What a method can do with an image.

    Attributes:
        fitness: In a word.
        problem: What is in the way; empty if nothing is.
        options: That give what is missing, as on the command line: `--t1w-tr S --t1w-ti S`.
    """

    fitness: Fitness
    problem: str = ""
    options: str = ""


Judge = Callable[[str, Sidecar], Judgement]  # of a contrast and its sidecar


@final
@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One image of an exam.

    Attributes:
        label: For messages: a series with its number, or the name of a file.
        nameless: The same without what a person may have written: for sidecars of maps.
        entry: The image with its sidecar.
        kind: What it is.
        order: Of acquisition.
        entities: How many BIDS entities its name has.
        description: Of its series, as the scanner has it.
        fault: Why its sidecar cannot be read; empty if it can.
    """

    label: str
    nameless: str
    entry: Entry
    kind: ImageKind
    order: tuple[int, ...] = ()
    entities: int = 0
    description: str = ""
    fault: InputError | None = None


@final
@dataclass(frozen=True, kw_only=True)
class UnusedImage:
    """An image that is not mapped.

    Attributes:
        candidate: The image; None for a series that was not read beyond its header.
        label: For messages.
        nameless: For sidecars of maps.
        contrast: That it has; empty for none.
        reason: Why, in words.
        description: Of its series.
        sequence: Its readout and timings.
    """

    label: str
    nameless: str
    reason: str
    contrast: str = ""
    candidate: Candidate | None = None
    description: str = ""
    sequence: str = ""


@final
@dataclass(frozen=True, kw_only=True)
class ExamChoice:
    """The images of an exam that are mapped, and the others.

    Attributes:
        chosen: By contrast, in the order of CONTRASTS.
        assessments: Of the chosen, by contrast.
        left_out: The others.
        reasons: Why each of the chosen is taken, by contrast.
    """

    chosen: Mapping[str, Candidate]
    assessments: Mapping[str, Judgement]
    left_out: tuple[UnusedImage, ...] = ()
    reasons: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def entries(self) -> dict[str, Entry]:
        """The chosen images with their sidecars."""
        return {name: candidate.entry for name, candidate in self.chosen.items()}

    def lines(self, *, nameless: bool = False) -> tuple[str, ...]:
        """Return which images are mapped and why, and which images of the three contrasts are left out.

        Args:
            nameless: Whether names that a person may have given to files are avoided.
        """
        lines = []
        for name, candidate in self.chosen.items():
            what = f" ({candidate.kind.sequence})" if candidate.kind.sequence else ""
            label = candidate.nameless if nameless else candidate.label
            lines.append(f"{name}: {label}{what}, {self.reasons[name]}")
        for item in self.left_out:
            if item.contrast:
                label = item.nameless if nameless else item.label
                lines.append(f"{item.contrast} left out: {label}, {item.reason}")
        return tuple(lines)

    def facts(self) -> dict[str, object]:
        """Return the choice for a sidecar, without what a person may have written."""
        facts: dict[str, object] = {
            name: {
                "Image": candidate.nameless,
                "Sequence": candidate.kind.sequence,
                "Reason": self.reasons[name],
            }
            for name, candidate in self.chosen.items()
        }
        left = [
            f"{item.nameless}, {item.contrast}: {item.reason}" for item in self.left_out if item.contrast
        ]
        return {**facts, "LeftOut": left} if left else facts


def by_timings(given: Mapping[str, GivenWeighting]) -> Judge:
    """Return a judge that asks for all timings of a known readout, and for nothing else.

    Args:
        given: What the caller says of each contrast.
    """

    def judge(contrast: str, sidecar: Sidecar) -> Judgement:
        try:
            weighting_from(contrast, sidecar, given.get(contrast, GivenWeighting()))
        except MissingValuesError as error:
            options = " ".join(value.option for value in error.missing)
            return Judgement(fitness=Fitness.INCOMPLETE, problem=error.problem, options=options)
        except InputError as error:
            return Judgement(fitness=Fitness.UNSUPPORTED, problem=error.problem)
        return Judgement(fitness=Fitness.READY)

    return judge


def choose(
    candidates: Sequence[Candidate], judge: Judge, *, contrast_agent: bool = False, last_run: bool = False
) -> ExamChoice:
    """Return the images that are mapped.

    A contrast whose best image a method cannot use is left out where two others remain.

    Args:
        candidates: Of one exam.
        judge: What the method can do with an image.
        contrast_agent: Whether images after a contrast agent may be chosen, where there are no others.
        last_run: Whether of repeated images the last is chosen, and not the first.
    """
    chosen: dict[str, Candidate] = {}
    assessments: dict[str, Judgement] = {}
    reasons: dict[str, str] = {}
    left: list[UnusedImage] = []
    for candidate in candidates:
        if not candidate.kind.contrast:
            left.append(_left(candidate, candidate.kind.excluded))
    for name in CONTRASTS:
        of_contrast = [candidate for candidate in candidates if candidate.kind.contrast == name]
        allowed = [item for item in of_contrast if contrast_agent or not item.kind.agent]
        left += [_left(item, _after_agent(item)) for item in of_contrast if item not in allowed]
        if not allowed:
            continue
        ranked = _ranked(name, allowed, judge, last_run=last_run)
        best = ranked[0]
        chosen[name], assessments[name] = best.candidate, best.assessment
        reasons[name] = _why(ranked)
        left += [_left(item.candidate, _against(item, best)) for item in ranked[1:]]
    dropped = _dispensable(assessments)
    left += [_left(chosen[name], assessments[name].problem) for name in dropped]
    kept = [name for name in chosen if name not in dropped]
    return ExamChoice(
        chosen={name: chosen[name] for name in kept},
        assessments={name: assessments[name] for name in kept},
        left_out=tuple(left),
        reasons={name: reasons[name] for name in kept},
    )


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class _Ranked:
    """A candidate with what decides about it: one criterion after the other, and what it means to lose."""

    candidate: Candidate
    assessment: Judgement
    criteria: tuple[tuple[float, str], ...]

    @property
    def key(self) -> tuple[float, ...]:
        return tuple(value for value, _ in self.criteria)


def _ranked(name: str, candidates: Sequence[Candidate], judge: Judge, *, last_run: bool) -> list[_Ranked]:
    alone = len(candidates) == 1
    order = {
        id(item): place
        for place, item in enumerate(sorted(candidates, key=lambda item: item.order, reverse=last_run))
    }
    result = []
    for candidate in candidates:
        assessment = _assessed(name, candidate, judge)
        criteria = [(float(assessment.fitness), assessment.problem)]
        if not alone:
            criteria += _criteria(name, candidate)
        again = "it was repeated later" if last_run else "it is a further run"
        criteria.append((float(order[id(candidate)]), again))
        result.append(_Ranked(candidate=candidate, assessment=assessment, criteria=tuple(criteria)))
    return sorted(result, key=lambda item: item.key)


def _assessed(name: str, candidate: Candidate, judge: Judge) -> Judgement:
    if candidate.fault is not None:
        return Judgement(fitness=Fitness.INCOMPLETE, problem=candidate.fault.problem)
    return judge(name, candidate.entry.sidecar)


def _criteria(name: str, candidate: Candidate) -> list[tuple[float, str]]:
    """Return what speaks against a candidate, the first first; 0 where nothing does."""
    kind, sidecar = candidate.kind, candidate.entry.sidecar
    grid = _grid(candidate)
    volumes, steps, sizes, short = 1, 0.0, "", HEAD_MM
    if grid is not None:
        voxel = sorted(grid.voxel_mm)
        short = min(n * edge for n, edge in zip(grid.shape[:3], grid.voxel_mm, strict=True))
        volumes = count_volumes(grid.path)
        steps = float(round(math.log(max(math.prod(voxel), 1e-9)) / VOLUME_STEP))
        sizes = " x ".join(f"{edge:.3g}" for edge in voxel)
    echo = sidecar.fields.get("EchoTime")
    several = "EchoNumber" in sidecar.fields and name == "T1w" and isinstance(echo, int | float)
    types = " ".join(str(sidecar.fields.get("ImageType", "")).split()).upper()
    return [
        (float(volumes > 1), f"it holds {volumes} volumes"),
        (float(bool(kind.derived)), f"it is {kind.derived}"),
        (float(bool(kind.agent)), _after_agent(candidate)),
        (float(short < HEAD_MM), f"it covers {short:.0f} mm only"),
        (float(echo) if several and isinstance(echo, int | float) else 0.0, f"its TE {echo} s is longer"),
        (float(NORMALISED not in types), "the scanner did not normalise its intensities"),
        (steps, f"its voxels of {sizes} mm are larger"),
        (float(candidate.entities), "its name has more entities"),
    ]


def _why(ranked: Sequence[_Ranked]) -> str:
    """Return why the first of a contrast is taken."""
    if len(ranked) == 1:
        return "the only one"
    others = len(ranked) - 1
    best, second = ranked[:2]
    return f"preferred to {others} other{'s' if others > 1 else ''}, of the next: {_against(second, best)}"


def _against(item: _Ranked, best: _Ranked) -> str:
    """Return the first criterion by which another image is better."""
    pairs = zip(item.criteria, best.criteria, strict=True)
    return next((text for (value, text), (other, _) in pairs if value > other), "it comes later")


def _dispensable(assessments: Mapping[str, Judgement]) -> list[str]:
    """Return the contrasts that a method cannot use, where enough others remain."""
    useless = [name for name, item in assessments.items() if item.fitness is Fitness.UNSUPPORTED]
    return useless if len(assessments) - len(useless) >= FEWEST else []


def _after_agent(candidate: Candidate) -> str:
    return f"it was acquired after a contrast agent ({candidate.kind.agent})"


def _left(candidate: Candidate, reason: str) -> UnusedImage:
    return UnusedImage(
        label=candidate.label,
        nameless=candidate.nameless,
        contrast=candidate.kind.contrast,
        reason=reason.rstrip("."),
        candidate=candidate,
        description=candidate.description,
        sequence=candidate.kind.sequence,
    )


def _grid(candidate: Candidate) -> Grid | None:
    """Return the grid of an image; None if it cannot be read, which is an error when it is used."""
    try:
        return open_grid(candidate.entry.path)
    except UnweightError:
        return None
