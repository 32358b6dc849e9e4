"""The pictures of an evaluation of maps, by file name."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Shaped
from numpy.typing import NDArray
from torch import Tensor

from unweight.benchmark.t1.sets import ALL
from unweight.benchmark.weighted.groups import LESIONS, TISSUE_NAMES
from unweight.benchmark.weighted.plots import MapsRow, draw_interval_coverage, draw_map_rows
from unweight.benchmark.weighted.scores import NAMES, MapsTried, ShownTrial
from unweight.benchmark.weighted.sets import HEALTHY
from unweight.metrics.scores import Score
from unweight.report.slices import lay_out, plane_of
from unweight.synth.simulate_weighted import SPECS

FRAME = 4  # voxels around the brain in pictures


def maps_figures(tried: MapsTried, scores: Sequence[Score]) -> dict[str, bytes]:
    """Return what can be drawn of one set: maps of an examination of each disease, and coverage.

    Args:
        tried: The set.
        scores: Of this set.
    """
    if not tried.answers:
        return {}
    drawn = {}
    for one in tried.shown:
        name = "maps" if one.trial.disease == HEALTHY else one.trial.disease
        drawn[f"{tried.name}_{name}.png"] = _maps(one, tried.name)
    found = coverage_by_tissue(scores)
    present = {group for methods in found.values() for shares in methods.values() for group in shares}
    if present:
        groups = [group for group in (ALL, *TISSUE_NAMES) if group in present]
        title = f"90 % intervals: {tried.name}"
        drawn[f"{tried.name}_coverage.png"] = draw_interval_coverage(found, groups, title)
    return drawn


def coverage_by_tissue(scores: Sequence[Score]) -> dict[str, dict[str, dict[str, float]]]:
    """Return the share of truths inside the 90 % interval by map, method and tissue, where there is one."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for one in scores:
        if one.metric == "interval_90" and one.group in (ALL, *TISSUE_NAMES):
            shares = found.setdefault(one.parameter, {}).setdefault(one.method, {})
            if math.isfinite(one.value):
                shares[one.group] = one.value
    return found


def _maps(shown: ShownTrial, name: str) -> bytes:
    """Draw the slice with most lesion, or the middle one, cut to the brain."""
    trial = shown.trial
    mask, affine = trial.examination.mask, trial.examination.affine
    plane = plane_of(tuple(mask.shape), np.eye(4) if affine is None else affine.numpy())
    places = torch.tensor([TISSUE_NAMES.index(one) for one in LESIONS])
    ill = torch.isin(trial.tissue, places).sum((0, 1))
    chosen = int(ill.argmax()) if bool(ill.any()) else mask.shape[2] // 2
    x, y, _ = mask.nonzero(as_tuple=True)
    box = tuple(slice(max(0, int(one.min()) - FRAME), int(one.max()) + FRAME + 1) for one in (x, y))

    def page(values: Shaped[Tensor, "x y slices"]) -> NDArray[np.floating]:
        held = torch.where(mask, values.double(), torch.nan)[box]
        return lay_out(held.numpy(), plane, chosen)

    truth = MapsRow(method="truth", maps=tuple(page(one) for one in trial.truth.unbind(-1)))
    rows = [
        MapsRow(method=method, maps=tuple(page(maps.value(parameter)) for parameter in NAMES))
        for method, maps in shown.maps.items()
    ]
    title = f"{name}: {', '.join(trial.kinds)}"
    lesions = page(torch.isin(trial.tissue, places)) > 0
    return draw_map_rows(rows, truth, SPECS, title, outlined=lesions)
