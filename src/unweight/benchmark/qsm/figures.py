"""What an evaluation of susceptibility mapping draws of one head."""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unweight.benchmark.qsm.plots import draw_structures, draw_susceptibility
from unweight.benchmark.qsm.scores import FROM_TRUTH, STRUCTURES, TriedQsm
from unweight.report.slices import lay_out, plane_of
from unweight.synth.tissue.materials import INDEX

NUCLEI = STRUCTURES[:7]


def qsm_figures(tried: TriedQsm) -> dict[str, bytes]:
    """Return pictures by file name: maps beside the truth, and structures against it."""
    head = tried.head
    name = f"qsm_{head.dataset}_{head.name}"
    affine = head.acquisition.affine
    plane = plane_of(tuple(head.chi.shape), (torch.eye(4) if affine is None else affine).double().numpy())
    pallidum = (head.materials == INDEX["pallidum"]) & head.clean
    others = [axis for axis in range(3) if axis != plane.slice_axis]
    most = int(pallidum.sum(others).argmax())

    def shown(values: Tensor) -> NDArray[np.floating[Any]]:
        return lay_out(values.double().numpy(), plane, most)

    truth = torch.where(
        head.clean, head.chi - head.chi[head.clean].mean(), torch.full_like(head.chi, math.nan)
    )
    stages = {
        f"qsm_{kind}": {
            label.removesuffix(f" {FROM_TRUTH}"): chi
            for label, chi in tried.maps.items()
            if label.endswith(FROM_TRUTH) == (kind == "inversion")
        }
        for kind in ("inversion", "end_to_end")
    }
    figures: dict[str, bytes] = {}
    for kind, maps in stages.items():
        if not maps:
            continue
        centred = {label: chi - chi[head.clean & ~chi.isnan()].mean() for label, chi in maps.items()}
        figures[f"{name.replace('qsm', kind, 1)}.png"] = draw_susceptibility(
            {"truth": shown(truth), **{label: shown(chi) for label, chi in centred.items()}},
            f"{head.name}, {head.dataset}: {kind.removeprefix('qsm_').replace('_', ' ')}",
        )
    scores = {
        (one.method, one.group, one.metric): one.value for one in tried.scores if one.parameter == "Chi"
    }
    ways = list(stages["qsm_end_to_end"])
    there = [one for one in NUCLEI if ways and (ways[0], one, "true") in scores]
    if there:
        figures[f"{name}_structures.png"] = draw_structures(
            [scores[ways[0], one, "true"] for one in there],
            {way: [scores.get((way, one, "mean"), math.nan) for one in there] for way in ways},
            there,
            f"{head.name}, {head.dataset}: mean of structures, end to end",
        )
    return figures
