"""The pictures of an evaluation, by file name."""

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unweight.benchmark.t1.heads import BRAIN_NAME, BRAINS
from unweight.benchmark.t1.plots import (
    MethodSlice,
    SphereBound,
    SphereSeries,
    draw_coverage,
    draw_error_by_bin,
    draw_methods,
    draw_sparsification,
    draw_spheres,
)
from unweight.benchmark.t1.published import PUBLISHED, SPHERE_NAMES, SPHERES_MS
from unweight.benchmark.t1.scores import Evaluated, prediction_of, said_of
from unweight.benchmark.t1.sets import ALL, EXACT, FIELD, PHANTOM, PLATE, SNR, TRUTH, VERSION
from unweight.metrics.accuracy import T1_BIN_NAMES
from unweight.metrics.calibration import LEVELS, Sparsification, sparsification
from unweight.metrics.scores import Score
from unweight.phantom.facts import sphere_array
from unweight.report.slices import lay_out, plane_of
from unweight.signals.inversion_recovery import InversionRecovery
from unweight.signals.noise import Rician
from unweight.signals.parameters import T1
from unweight.signals.precision import cramer_rao_bound
from unweight.synth.protocols.standard import seven_inversions

N_BOUND = 60
EFFICIENCY = 1.95  # near the middle of the phantom
FRAME = 4  # voxels around the head in pictures


def figures_of(evaluated: Evaluated) -> dict[str, bytes]:
    """Return what can be drawn of one set: spheres, coverage, sparsification, errors by T1, and maps."""
    trial_set, scores = evaluated.trial_set, evaluated.scores
    if trial_set.reference != TRUTH or not evaluated.answers:
        return {}
    name = trial_set.name
    groups = {group for one in trial_set.groups for group in one.names}
    group = BRAIN_NAME if BRAIN_NAME in groups else ALL
    where = name if group == ALL else f"{name}, {group}"
    drawn = {
        f"{name}_coverage.png": draw_coverage(coverage_found(scores, group), f"Intervals of T1: {where}"),
    }
    curves = _curves(evaluated, group)
    if curves:
        title = f"Do large error bars find large errors? {where}"
        drawn[f"{name}_sparsification.png"] = draw_sparsification(curves, title)
    if T1_BIN_NAMES[0] in groups:
        drawn[f"{name}_error_by_bin.png"] = draw_error_by_bin(scores, f"Error of T1: {name}")
    if name == PHANTOM:
        drawn |= _spheres(evaluated)
    if name == BRAINS:
        drawn["brains_maps.png"] = _maps(evaluated)
    return drawn


def coverage_found(scores: Iterable[Score], group: str) -> dict[str, dict[float, float]]:
    """Return the share of truths inside the interval of each level, by method."""
    found: dict[str, dict[float, float]] = {}
    levels = {f"coverage_{100 * level:.0f}": level for level in LEVELS}
    for one in scores:
        if one.group == group and one.metric in levels:
            found.setdefault(one.method, {})[levels[one.metric]] = one.value
    return found


def _spheres(evaluated: Evaluated) -> dict[str, bytes]:
    """Draw what the methods measured in the spheres, and on a page of its own what was published."""
    n_seeds = len(evaluated.trial_set.trials)
    where = f"Plate {PLATE}, version {VERSION}, seven inversions"
    measured = [_series(evaluated.scores, method) for method in evaluated.answers]
    published = [
        SphereSeries(
            method=one.method,
            true=tuple(t1 / 1e3 for t1 in SPHERES_MS),
            mean=tuple(t1 / 1e3 for t1 in one.mean_ms),
            sd=tuple(sd / 1e3 for sd in one.sd_ms),
            published=True,
        )
        for one in PUBLISHED
    ]
    return {
        f"{PHANTOM}_spheres.png": draw_spheres(
            measured,
            f"{where}: simulated, SNR {SNR:g}, {n_seeds} noise seed{'s'[: n_seeds > 1]}",
            bound=_bound(),
        ),
        f"{PHANTOM}_spheres_published.png": draw_spheres(
            published, f"{where}: a scan at {FIELD:g} T, as published (arXiv 2407.16477)"
        ),
    }


def _series(scores: Sequence[Score], method: str) -> SphereSeries:
    value = {(one.group, one.metric): one.value for one in scores if one.method == method}
    mean, sd = (
        tuple(value.get((name, metric), math.nan) for name in SPHERE_NAMES) for metric in ("mean", "sd")
    )
    nominal = sphere_array(PLATE, VERSION, FIELD).nominal.t1
    return SphereSeries(method=method, true=nominal, mean=mean, sd=sd)


def _bound() -> SphereBound:
    """Return the smallest SD of a voxel at PD 1."""
    low, high = SPHERES_MS[-1] / 1e3, SPHERES_MS[0] / 1e3
    t1 = torch.logspace(math.log10(low), math.log10(high), N_BOUND, dtype=torch.float64)
    theta = torch.stack([t1, torch.ones_like(t1), torch.full_like(t1, EFFICIENCY)], dim=-1)
    bound = cramer_rao_bound(
        InversionRecovery(), theta, seven_inversions().protocol, Rician(sigma=1.0 / SNR)
    )
    return SphereBound(true=tuple(t1.tolist()), relative_sd=tuple((bound[:, 0] / t1).tolist()))


def _curves(evaluated: Evaluated, group: str) -> Mapping[str, Sparsification]:
    trial_set = evaluated.trial_set
    chosen = next(one.index == one.names.index(group) for one in trial_set.groups if group in one.names)
    curves = {}
    for name, answer in evaluated.answers.items():
        prediction = prediction_of(trial_set, said_of(trial_set, answer)).valued(chosen)
        if len(prediction.mean):
            curves[name] = sparsification(prediction)
    return curves


def _maps(evaluated: Evaluated) -> bytes:
    """Draw the first slice, cut to the head."""
    trial = evaluated.trial_set.trials[0]
    affine = trial.acquisition.affine
    plane = plane_of(tuple(trial.scored.shape), np.eye(4) if affine is None else affine.numpy())
    x, y, _ = trial.scored.nonzero(as_tuple=True)
    box = tuple(
        slice(max(0, int(places.min()) - FRAME), int(places.max()) + FRAME + 1) for places in (x, y)
    )

    def page(values: Tensor) -> NDArray[np.floating]:
        shown = torch.where(trial.scored, values.double(), torch.nan)[box]
        return lay_out(shown.numpy(), plane, 0)

    slices = [
        MethodSlice(
            method=name, t1=page(answer.maps[0].value("T1")), sd=page(answer.maps[0].deviation("T1"))
        )
        for name, answer in evaluated.answers.items()
        if name != EXACT
    ]
    truth = torch.full(trial.scored.shape, torch.nan) if trial.truth is None else trial.truth.value("T1")
    return draw_methods(slices, page(truth), T1, f"A slice that no method was trained on, SNR {SNR:g}")
