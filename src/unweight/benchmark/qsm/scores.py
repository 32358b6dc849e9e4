"""Every stage of susceptibility mapping against its truth, and all of them together.

Stages are tried alone, each from what would be true before it: R2* and the field from the images, the local
field from the true total one, susceptibility from the true local field with the noise that phase leaves
in it. End to end nothing is known but the images.
"""

import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unweight.benchmark.qsm.heads import QsmHead
from unweight.core.acquisition import SignalKind
from unweight.core.estimator import Progress
from unweight.core.seeding import seeded_generator
from unweight.fit.arlo import Arlo
from unweight.fit.log_linear import LogLinear
from unweight.fit.nonlinear_decay import NonlinearDecay
from unweight.fit.relaxation import RelaxationFit
from unweight.fit.susceptibility import SusceptibilityFit
from unweight.metrics.scores import Score
from unweight.metrics.susceptibility import (
    challenge_labels,
    field_scores,
    slope_through_regions,
    susceptibility_scores,
)
from unweight.prepare.echo_mask import find_brain_in_echoes
from unweight.prepare.qsm_series import BACKGROUNDS, INVERSIONS
from unweight.susceptibility.field_map import field_map, fit_line
from unweight.susceptibility.geometry import GYROMAGNETIC_RATIO
from unweight.susceptibility.unwrap import unwrap_by_laplacian
from unweight.synth.tissue.materials import INDEX

SOLVERS = {"log-linear": LogLinear(), "arlo": Arlo(), "nonlinear": NonlinearDecay()}
STRUCTURES = (
    *("pallidum", "putamen", "caudate", "thalamus", "red_nucleus", "substantia_nigra", "dentate"),
    *("white_matter", "grey_matter", "csf"),
)
PURE = 0.99
FROM_TRUTH = "from the true field"
UNITS = {"nrmse": "%", "nrmse_detrended": "%", "hfen": "%", "mae": "ppm", "seconds": "s", "bias": "1/s"}
Volume = Float[Tensor, "x y z"]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class TriedQsm:
    """What was measured on one head.

    Attributes:
        head: The head.
        scores: All of them.
        maps: Susceptibility by method, NaN outside, for pictures.
    """

    head: QsmHead
    scores: tuple[Score, ...]
    maps: dict[str, Volume] = field(default_factory=dict)


def pairs() -> tuple[str, ...]:
    """Return the names of all ways from images to susceptibility: background + inversion."""
    return tuple(f"{first}+{second}" for first in BACKGROUNDS for second in INVERSIONS)


def try_head(head: QsmHead, ways: tuple[str, ...], progress: Progress | None = None) -> TriedQsm:
    """Measure every stage on one head.

    Args:
        head: The head.
        ways: End to end, of `pairs`.
        progress: Called with the parts done and the parts in all.
    """
    total = 3 + len(INVERSIONS) + len(ways)
    done = 0

    def count() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)

    scores: list[Score] = []
    for measure in (_decay, _fields, _backgrounds):
        scores += measure(head)
        count()
    maps: dict[str, Volume] = {}
    for name, chi in _inverted(head):
        maps[f"{name} {FROM_TRUTH}"] = chi.map
        scores += _chi(head, f"{name} {FROM_TRUTH}", chi, head.clean)
        count()
    for name, chi in _end_to_end(head, ways):
        maps[name] = chi.map
        scores += _chi(head, name, chi, head.clean & ~chi.map.isnan())
        count()
    return TriedQsm(head=head, scores=tuple(scores), maps=maps)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class _Chi:
    map: Volume
    seconds: float


def _score(head: QsmHead, method: str, name: str, group: str, numbers: dict[str, float]) -> list[Score]:
    n = int(head.clean.sum())
    return [
        Score(
            method=method,
            dataset=f"{head.dataset} {head.name}",
            group=group,
            metric=metric,
            value=value,
            n=n,
            unit=UNITS.get(metric, "1"),
            parameter=name,
        )
        for metric, value in numbers.items()
    ]


def _decay(head: QsmHead) -> list[Score]:
    """Score R2* in pure voxels of each structure."""
    magnitude = replace(
        head.acquisition, signal=head.acquisition.signal.abs(), kind=SignalKind.MAGNITUDE, mask=head.clean
    )
    scores = []
    for name, solver in SOLVERS.items():
        began = time.perf_counter()
        found = RelaxationFit(solver=solver)(magnitude)
        seconds = time.perf_counter() - began
        scores += _score(head, name, "R2star", "brain", {"seconds": seconds})
        for structure in STRUCTURES:
            here = head.clean & (head.purity > PURE) & (head.materials == INDEX[structure]) & found.usable
            if not bool(here.any()):
                continue
            error = (found.value("R2star") - head.r2star)[here]
            numbers = {"bias": float(error.mean()), "rmse": float(error.square().mean().sqrt())}
            scores += _score(head, name, "R2star", structure, numbers)
    return scores


def _fields(head: QsmHead) -> list[Score]:
    """Score the field map, and what the Laplacian would make of the same phase."""
    signal, size = head.acquisition.signal, head.geometry.voxel_mm
    times = head.acquisition.protocol.require("echo_time", "evaluation").to(signal.real)
    ppm = 1 / (2 * math.pi * GYROMAGNETIC_RATIO * (head.acquisition.protocol.field_strength or 3.0))
    began = time.perf_counter()
    exact = field_map(signal, times, head.clean, size).rate
    took = time.perf_counter() - began
    scores = _field(head, "exact", "total field", (exact * ppm, head.total, head.clean), took)
    began = time.perf_counter()
    phase = torch.stack([unwrap_by_laplacian(one.angle(), size) for one in signal.unbind(-1)], dim=-1)
    smooth = fit_line(phase, signal.abs(), times).rate
    took = time.perf_counter() - began
    return scores + _field(head, "laplacian", "total field", (smooth * ppm, head.total, head.clean), took)


def _field(
    head: QsmHead,
    method: str,
    name: str,
    maps: tuple[Volume, Volume, Bool[Tensor, "x y z"]],
    seconds: float,
) -> list[Score]:
    found, true, mask = maps
    numbers = asdict(field_scores(found, true, mask)) | {"seconds": seconds}
    return _score(head, method, name, "brain", numbers)


def _backgrounds(head: QsmHead) -> list[Score]:
    """Score each removal from the true total field, where it keeps the mask."""
    true = head.local_in(head.clean)
    inside = torch.where(head.clean, head.total, torch.zeros_like(head.total))
    scores = []
    for name, remove in BACKGROUNDS.items():
        began = time.perf_counter()
        local = remove(inside, head.clean, head.geometry)
        seconds = time.perf_counter() - began
        scores += _field(head, name, "local field", (local.field, true, local.mask), seconds)
        kept = float(local.mask.sum() / head.clean.sum())
        scores += _score(head, name, "local field", "brain", {"kept": kept})
    return scores


def _inverted(head: QsmHead) -> Iterator[tuple[str, _Chi]]:
    """Give the susceptibility from the true local field with the noise that phase leaves in it."""
    magnitude = head.acquisition.signal.abs()
    times = head.acquisition.protocol.require("echo_time", "evaluation").to(magnitude)
    leverage = fit_line(torch.zeros_like(magnitude), magnitude, times).leverage
    strength = head.acquisition.protocol.field_strength or 3.0
    sd = head.noise_sd / leverage.sqrt() / (2 * math.pi * GYROMAGNETIC_RATIO * strength)
    generator = seeded_generator(0, "evaluation", "qsm field noise")
    noisy = head.local_in(head.clean) + sd * torch.randn(sd.shape, generator=generator)
    precision = leverage.sqrt()
    trust = (precision / precision[head.clean].median()).clamp(max=1)
    inside = torch.where(head.clean, noisy, torch.zeros_like(noisy))
    for name, invert in INVERSIONS.items():
        began = time.perf_counter()
        chi = invert(inside, head.clean, head.geometry, trust)
        yield name, _Chi(map=_without(chi, head.clean), seconds=time.perf_counter() - began)


def _end_to_end(head: QsmHead, ways: tuple[str, ...]) -> Iterator[tuple[str, _Chi]]:
    magnitude = head.acquisition.signal.abs()
    for way in ways:
        first, second = way.split("+")
        began = time.perf_counter()
        brain = find_brain_in_echoes(magnitude, head.geometry.voxel_mm)
        fit = SusceptibilityFit(background=BACKGROUNDS[first], inversion=INVERSIONS[second])
        maps = fit(replace(head.acquisition, mask=brain))
        yield way, _Chi(map=maps.value("Chi"), seconds=time.perf_counter() - began)


def _without(chi: Volume, mask: Bool[Tensor, "x y z"]) -> Volume:
    return torch.where(mask, chi, torch.full_like(chi, math.nan))


def _chi(head: QsmHead, method: str, chi: _Chi, mask: Bool[Tensor, "x y z"]) -> list[Score]:
    """Score a susceptibility map where it has values, and the means of its structures."""
    labels = challenge_labels(head.materials)
    numbers: dict[str, float] = asdict(susceptibility_scores(chi.map, head.chi, mask, labels))
    agreed = slope_through_regions(chi.map, head.chi, labels, mask)
    numbers |= {
        "slope": agreed.slope,
        "r": agreed.correlation,
        "mae": agreed.mean_absolute_error,
        "kept": float(mask.sum() / head.clean.sum()),
        "seconds": chi.seconds,
    }
    scores = _score(head, method, "Chi", "brain", numbers)
    zero, true_zero = chi.map[mask].mean(), head.chi[mask].mean()
    for structure in STRUCTURES:
        here = mask & (head.materials == INDEX[structure])
        if bool(here.any()):
            mean, true = float(chi.map[here].mean() - zero), float(head.chi[here].mean() - true_zero)
            scores += _score(head, method, "Chi", structure, {"mean": mean, "true": true})
    return scores
