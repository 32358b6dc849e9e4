"""Runs map methods over sets of examinations, and keeps what they say of the voxels that are scored.

One examination at a time is made, mapped by every method, and forgotten but for its brain, since the maps
of all methods over all examinations would not fit into memory; a few are kept whole for the pictures. A
method that refuses one examination is left out of the set, so that all are scored on the same voxels.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import log10
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unweight.benchmark.t1.scores import INTERVAL_LEVEL, Refusal, Watch
from unweight.benchmark.weighted.groups import LESIONS, MIXED, TISSUE_NAMES
from unweight.benchmark.weighted.sets import MapsSet, MapsTrial
from unweight.core.errors import ProtocolError
from unweight.core.estimator import Estimator, Progress
from unweight.core.examination import Examination
from unweight.core.maps import ParameterMaps
from unweight.metrics.image_quality import DATA_RANGE, TISSUE_T2, psnr, ssim
from unweight.metrics.lesions import separate_lesions
from unweight.synth.simulate_weighted import SPECS

NAMES = tuple(spec.name for spec in SPECS)
MIXED_PLACE = TISSUE_NAMES.index(MIXED)
Ends = Float[Tensor, "voxels 3"]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Brain:
    """The scored voxels of one examination.

    Attributes:
        truth: T1 [s], T2 [s] and PD relative to CSF.
        tissue: Place in TISSUE_NAMES.
        lesion: Number of the lesion; −1 for none.
        kinds: What the examination is.
    """

    truth: Float[Tensor, "voxels 3"]
    tissue: Int[Tensor, " voxels"]
    lesion: Int[Tensor, " voxels"]
    kinds: tuple[str, str, str]

    def __len__(self) -> int:
        return len(self.truth)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class MapsAnswer:
    """What one method said of one examination.

    Attributes:
        values: Maps of the scored voxels, as `Brain.truth`; NaN where there is no value.
        lower: Lower end of the 90 % interval; NaN where the method gives none.
        upper: Upper end.
        quality: `psnr`, `psnr_pure`, `psnr_frame` [dB], `ssim` and, of T2, `psnr_tissue` [dB] by map and
            metric.
        seconds: It took [s].
    """

    values: Float[Tensor, "voxels 3"]
    lower: Float[Tensor, "voxels 3"]
    upper: Float[Tensor, "voxels 3"]
    quality: Mapping[tuple[str, str], float]
    seconds: float


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class ShownTrial:
    """One examination with the maps of every method, for a picture.

    Attributes:
        trial: The examination and its truth.
        maps: By method.
    """

    trial: MapsTrial
    maps: Mapping[str, ParameterMaps]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class MapsTried:
    """One set with what was said of it.

    Attributes:
        name: Of the set.
        brains: Of each examination.
        answers: Of each method, in the order of the examinations.
        shown: The first examination of each disease.
        refusals: Methods that are not among them.
    """

    name: str
    brains: tuple[Brain, ...]
    answers: Mapping[str, tuple[MapsAnswer, ...]]
    shown: tuple[ShownTrial, ...]
    refusals: tuple[Refusal, ...]


def try_methods(
    maps_set: MapsSet, methods: Mapping[str, Estimator[Examination]], watch: Watch
) -> MapsTried:
    """Run every method that accepts all examinations of a set.

    Args:
        maps_set: What to try them on.
        methods: By name.
        watch: Gives a progress report for a label, `internal 1/16: unet`.
    """
    running = dict(methods)
    answers: dict[str, list[MapsAnswer]] = {name: [] for name in methods}
    brains, refusals = [], []
    shown: dict[str, ShownTrial] = {}
    for number, trial in enumerate(maps_set.trials()):
        brains.append(brain_of(trial))
        kept: dict[str, ParameterMaps] = {}
        for name, estimator in tuple(running.items()):
            try:
                estimator.accept(trial.examination)
            except ProtocolError as error:
                refusals.append(Refusal(method=name, dataset=maps_set.name, reason=str(error)))
                del running[name], answers[name]
                continue
            with watch(f"{maps_set.name} {number + 1}/{maps_set.n_trials}: {name}") as report:
                maps, seconds = _ask(estimator, trial.examination, report)
            answers[name].append(answer_of(maps, trial, seconds))
            kept[name] = maps
        shown.setdefault(trial.disease, ShownTrial(trial=trial, maps=kept))
    return MapsTried(
        name=maps_set.name,
        brains=tuple(brains),
        answers={name: tuple(each) for name, each in answers.items()},
        shown=tuple(
            replace(one, maps={name: maps for name, maps in one.maps.items() if name in running})
            for one in shown.values()
        ),
        refusals=tuple(refusals),
    )


def brain_of(trial: MapsTrial) -> Brain:
    """Gather the scored voxels; lesions are numbered through all kinds of them."""
    mask = trial.examination.mask
    lesion = torch.full(mask.shape, -1)
    for name in LESIONS:
        found = separate_lesions(trial.tissue == TISSUE_NAMES.index(name))
        lesion = torch.where(found >= 0, found + 1 + lesion.max(), lesion)
    return Brain(truth=trial.truth[mask], tissue=trial.tissue[mask], lesion=lesion[mask], kinds=trial.kinds)


def answer_of(maps: ParameterMaps, trial: MapsTrial, seconds: float = 0.0) -> MapsAnswer:
    """Gather what was said of the scored voxels, and compare the maps as images."""
    mask = trial.examination.mask
    quality: dict[tuple[str, str], float] = {}
    for place, name in enumerate(NAMES):
        pair = (maps.value(name), trial.truth[..., place])
        quality[name, "psnr"] = psnr(*pair, mask, DATA_RANGE[name])
        quality[name, "psnr_pure"] = psnr(*pair, mask & (trial.tissue != MIXED_PLACE), DATA_RANGE[name])
        quality[name, "psnr_frame"] = quality[name, "psnr"] + 10 * log10(mask.numel() / int(mask.sum()))
        quality[name, "ssim"] = ssim(*pair, mask, DATA_RANGE[name])
        if name == "T2":
            quality[name, "psnr_tissue"] = psnr(*pair, mask & (pair[1] <= TISSUE_T2), TISSUE_T2)
    order = [[spec.name for spec in maps.specs].index(name) for name in NAMES]
    lower, upper = (_end(end, maps, order)[mask] for end in (maps.lower, maps.upper))
    return MapsAnswer(
        values=maps.values[..., order][mask], lower=lower, upper=upper, quality=quality, seconds=seconds
    )


def _ask(
    estimator: Estimator[Examination], examination: Examination, report: Progress
) -> tuple[ParameterMaps, float]:
    began = time.perf_counter()
    made = estimator(examination, report)
    return replace(made, draws=None), time.perf_counter() - began


def _end(
    end: Float[Tensor, "*voxels parameters"] | None, maps: ParameterMaps, order: list[int]
) -> Float[Tensor, "*voxels 3"]:
    """Return one end of the 90 % interval; NaN for methods that give none, or one of another level."""
    if end is None or maps.interval_level != INTERVAL_LEVEL:
        return torch.full_like(maps.values[..., order], torch.nan)
    return end[..., order]
