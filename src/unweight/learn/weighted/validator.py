"""How well a network does that makes maps from weighted images: errors, PSNR, and its intervals."""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unweight.learn.training.conformal import GAUSSIAN, Conformal, calibrate, conformal_from_plain
from unweight.learn.training.trainable import Assessment, Calibration, Samples, Validator
from unweight.learn.weighted.task import N_MAPS, RANGES, InputAdapter, answer_maps

NAMES = ("T1", "T2", "PD")
EDGES = ((0.6, 0.9, 1.3, 2.0, 3.0), (0.06, 0.09, 0.15, 0.4), (0.7, 0.8, 0.9))
N_AT_ONCE = 8


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class FreeAnswers:
    """Predictions of a network for the voxels that count.

    Attributes:
        free: Estimates of ln T1, ln T2 and ln PD.
        sd: Their standard deviations.
        truth: What they should be.
    """

    free: Float[Tensor, "voxels 3"]
    sd: Float[Tensor, "voxels 3"]
    truth: Float[Tensor, "voxels 3"]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class MapsValidator(Validator):
    """Scores a network of `learn.weighted.task`.

    Attributes:
        slabs: For validation, as `learn.weighted.slabs` makes them.
        adapter: What the network gets of a batch.
    """

    slabs: Samples
    adapter: InputAdapter

    def check(self, network: nn.Module) -> dict[str, float]:
        """Return the scores of a network in training, intervals not calibrated."""
        result = free_answers(network, self.adapter, self.slabs)
        return _errors(result) | {
            "coverage_90": _coverage(result, (Conformal(edges=(), factors=(GAUSSIAN,)),) * 3)
        }

    def assess(self, network: nn.Module, calibration: Samples | None) -> Assessment:
        """Find the half-widths of the intervals, and score with them."""
        result = self.calibrate(network, calibration)
        return Assessment(calibration=result, metrics=self.score(network, result))

    def calibrate(self, network: nn.Module, slabs: Samples | None) -> Calibration:
        """Return conformal half-widths of each map by bins of its estimate."""
        result = free_answers(network, self.adapter, self.slabs if slabs is None else slabs)
        return {
            name: calibrate(
                result.free[:, index], result.sd[:, index], result.truth[:, index], edges
            ).to_plain()
            for index, (name, edges) in enumerate(zip(NAMES, EDGES, strict=True))
        }

    def score(self, network: nn.Module, calibration: Calibration) -> dict[str, float]:
        """Return the scores with calibrated intervals."""
        result = free_answers(network, self.adapter, self.slabs)
        scores = _errors(result)
        for index, name in enumerate(NAMES):
            interval = conformal_from_plain(calibration[name])
            scores[f"coverage_90_{name.lower()}"] = _covered(result, index, interval)
        return scores


def free_answers(network: nn.Module, adapter: InputAdapter, slabs: Samples) -> FreeAnswers:
    """Return predictions of a network for the voxels of slabs that count, on the processor."""
    device = next(network.parameters()).device
    rows: list[tuple[Tensor, Tensor, Tensor]] = []
    with torch.no_grad():
        for some in torch.split(torch.arange(len(slabs["images"])), N_AT_ONCE):
            part = {name: slab[some].to(device).float() for name, slab in slabs.items()}
            free, sd = answer_maps(adapter(network, part))
            counts = torch.isfinite(part["target"]).all(1)
            free, sd, truth = (item.movedim(1, -1)[counts].cpu() for item in (free, sd, part["target"]))
            rows.append((free, sd, truth))
    free, sd, truth = (torch.cat(column) for column in zip(*rows, strict=True))
    return FreeAnswers(free=free, sd=sd, truth=truth)


def _errors(answers: FreeAnswers) -> dict[str, float]:
    truth, estimate = answers.truth.double().exp(), answers.free.double().exp()
    scores: dict[str, float] = {}
    for index, name in enumerate(NAMES):
        away = estimate[:, index] - truth[:, index]
        rms = max(float(away.square().mean().sqrt()), 1e-9)
        scores[f"psnr_{name.lower()}"] = 20 * float(torch.log10(torch.tensor(RANGES[index] / rms)))
        scores[f"percentage_error_{name.lower()}"] = 100 * float((away.abs() / truth[:, index]).mean())
    return scores


def _coverage(answers: FreeAnswers, intervals: tuple[Conformal, ...]) -> float:
    each = [_covered(answers, index, interval) for index, interval in enumerate(intervals)]
    return sum(each) / N_MAPS


def _covered(answers: FreeAnswers, index: int, interval: Conformal) -> float:
    reach = answers.sd[:, index] * interval.half_width(answers.free[:, index])
    return float(((answers.free[:, index] - answers.truth[:, index]).abs() <= reach).float().mean())
