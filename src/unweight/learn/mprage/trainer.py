"""One training on pairs of echoes and T1w, from patches to error bars and card.

pairs of training   → patches → weights
pairs of validation → scores, and the factor on standard deviations by which 90 % intervals cover 90 %
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor, nn

from unweight.core.errors import UsageError
from unweight.learn.mprage.assemble import T1wBase, synthesiser_of, t1w_task
from unweight.learn.mprage.echo_channels import MASK
from unweight.learn.mprage.intensity import DATA_RANGE
from unweight.learn.mprage.model_card_text import pair_card
from unweight.learn.mprage.pair import Pair
from unweight.learn.mprage.planar_denoiser import Planes
from unweight.learn.mprage.pool import PairPool
from unweight.learn.mprage.synthesis import Synthesis
from unweight.learn.segmentation.task import find_structures
from unweight.learn.training.loop import train
from unweight.learn.training.model_card import Card
from unweight.learn.training.precision import Precision
from unweight.learn.training.recipe import STRUCTURES, T1W_FAST, Recipe
from unweight.learn.training.trainer import SILENCE, Clock, Listener, place
from unweight.learn.training.weights import fill
from unweight.metrics.image_quality import psnr
from unweight.metrics.segmentation import label_overlaps
from unweight.metrics.structures import DEEP, LABELS, TISSUES

NOMINAL, NORMAL = 0.9, 1.6449
GLANCE = 12  # slices in the middle of each brain that a check looks at
MOST_VOXELS = 4_000_000  # that error bars are found on


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class PairParts:
    """Whose images are for what.

    Attributes:
        train: To learn from.
        validation: To score and calibrate on.
    """

    train: tuple[Pair, ...]
    validation: tuple[Pair, ...]

    def __post_init__(self) -> None:
        if not self.train or not self.validation:
            raise UsageError(
                f"{len(self.train)} subjects for training and {len(self.validation)} for validation",
                remedy="Both need at least one.",
            )
        both = {one.name for one in self.train} & {one.name for one in self.validation}
        if both:
            raise UsageError(f"{', '.join(sorted(both))} would be for training and for validation")


def teach_pairs(
    recipe: Recipe,
    parts: PairParts,
    *,
    device: torch.device,
    precision: Precision = Precision.AUTO,
    folder: Path | None = None,
    report: Listener = SILENCE,
    start: Mapping[str, Tensor] | None = None,
    base: T1wBase | None = None,
) -> tuple[dict[str, Tensor], Card] | None:
    """Train, calibrate and describe a network.

    Args:
        recipe: What to train.
        parts: Whom to learn from.
        device: Where to train.
        precision: Of the losses; `auto` is the faster one.
        folder: Where snapshot and log are kept; a training found there goes on.
        report: Told how it goes, in the first process only.
        start: Weights to start from instead of random ones.
        base: The regression whose residual is learned, for `mprage`.

    Returns:
        Weights and their card; None in all processes but the first.

    Raises:
        UsageError: The recipe cannot be followed, or the folder holds another training.
        InputError: `start` is of another network, or a file in the folder is damaged.
        OutputError: The folder cannot be written to.
    """
    task = t1w_task(recipe, base)
    if start is not None:
        fill(task.network, start)
    pool = PairPool(parts.train, recipe.patch, recipe.plan.batch_size)
    examination = PairExamination(
        recipe=recipe, pairs=tuple(glance(one) for one in parts.validation), base=base
    )
    clock = Clock(report=report)
    tensors = train(
        task,
        pool,
        recipe.plan,
        seed=recipe.seed,
        device=device,
        precision=precision,
        folder=folder,
        check=examination.check if place().rank == 0 else None,
        report=clock,
        announce=clock.hear,
    )
    if place().rank > 0:
        return None
    fill(task.network, tensors)
    network = task.network.eval()
    whole = PairExamination(recipe=recipe, pairs=parts.validation, base=base, planes=Planes.THREE)
    calibration, metrics = whole.calibrated(network)
    if base is not None:
        calibration = {**calibration, "base": base.sha256}
    card = pair_card(recipe, parts.train, parts.validation, calibration=calibration, metrics=metrics)
    return tensors, replace(card, seconds=round(clock.seconds, 3), precision=clock.precision)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class PairExamination:
    """Scores a network on pairs.

    Attributes:
        recipe: Of the network.
        pairs: For validation.
        base: The regression, for `mprage`.
        planes: Axial for a glance, three for the final score.
    """

    recipe: Recipe
    pairs: tuple[Pair, ...]
    base: T1wBase | None = None
    planes: Planes = Planes.AXIAL

    def check(self, network: nn.Module) -> dict[str, float]:
        """Return the scores of a network in training."""
        return self._scores(network.eval())[0]

    def calibrated(self, network: nn.Module) -> tuple[dict[str, Any], dict[str, float]]:
        """Return what makes error bars hold, and the scores with it."""
        scores, ratios = self._scores(network)
        if not len(ratios):
            return {}, scores
        spread = float(ratios.kthvalue(max(1, round(NOMINAL * len(ratios)))).values) / NORMAL
        return {"spread": spread}, scores

    def _scores(self, network: nn.Module) -> tuple[dict[str, float], Tensor]:
        """Return scores, and the errors over their standard deviations."""
        if self.recipe.method == STRUCTURES:
            return self._overlaps(network), torch.zeros(0)
        planes = Planes.ALTERNATE if self._descends else self.planes
        synthesise = synthesiser_of(
            self.recipe, network, {}, base=self.base, planes=planes, n_draws=self._n_draws
        )
        quality, ratios = [], []
        for pair in self.pairs:
            channels = pair.channels.float()
            inside, truth = channels[MASK] > 0, pair.target.float()
            made: Synthesis = synthesise(channels)
            quality.append(psnr(made.mean, truth, inside, DATA_RANGE))
            ratio = ((made.mean - truth).abs() / made.sd)[inside]
            ratios.append(ratio[torch.isfinite(ratio)])
        everything = torch.cat(ratios)
        step = max(1, len(everything) // MOST_VOXELS)
        return {"psnr": sum(quality) / len(quality)}, everything[::step]

    @property
    def _descends(self) -> bool:
        return self.recipe.method == T1W_FAST

    @property
    def _n_draws(self) -> int:
        if not self._descends:
            return 0
        return 1 if self.planes is Planes.AXIAL else 4

    def _overlaps(self, network: nn.Module) -> dict[str, float]:
        """Return mean Dice of tissues and of deep grey matter."""
        counts = torch.zeros(2, len(LABELS), dtype=torch.float64)
        for pair in self.pairs:
            mask = pair.channels[MASK].float()
            share = find_structures(network, pair.target.float(), mask, axial=self.planes is Planes.AXIAL)
            # Voxels outside the brain are background, which counts in neither mean.
            found = (share.argmax(0) * (mask > 0)).byte()
            counts += torch.stack(label_overlaps(found, pair.labels, len(LABELS)))
        dice = counts[0] / counts[1].clamp(min=1)
        return {
            "dice_tissues": float(dice[[LABELS[name] for name in TISSUES]].mean()),
            "dice_deep": float(dice[[LABELS[name] for name in DEEP]].mean()),
        }


def glance(pair: Pair) -> Pair:
    """Return a few slices through the middle of a brain."""
    middle = pair.target.shape[2] // 2
    some = slice(max(0, middle - GLANCE // 2), middle + GLANCE // 2)
    return Pair(
        channels=pair.channels[..., some],
        target=pair.target[..., some],
        labels=pair.labels[..., some],
        voxel_mm=pair.voxel_mm,
        name=pair.name,
        about=pair.about,
    )
