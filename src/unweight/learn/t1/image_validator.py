"""How well a network that sees weighted images does: the estimator it becomes, against truth and fit.

The maps are made by the estimator itself, so what is scored is what a user gets. Scores are over voxels to
which both the network and the fit give a value; the share without a value is told beside them.
"""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unweight.core.acquisition import Acquisition
from unweight.core.errors import UsageError
from unweight.core.maps import ParameterMaps, VoxelStatus
from unweight.core.seeding import seeded_generator
from unweight.fit.inversion_recovery import InversionRecoveryFit
from unweight.learn.t1.diffusor import DiffusorT1
from unweight.learn.t1.recurrent import RecurrentT1
from unweight.learn.t1.regression import RegressionT1
from unweight.learn.t1.slabs import draw_scan
from unweight.learn.training.conformal import GAUSSIAN
from unweight.learn.training.recipe import DIFFUSOR, Recipe
from unweight.learn.training.validator import Calibration, Examination, Slabs
from unweight.nets.recurrent import RecurrentInference
from unweight.nets.resnet import ResNet

ONE_SD = 0.6827  # share of a normal law within one standard deviation
FEWEST = 200
SHORT = 0.15  # [s]
N_DRAWS, N_STEPS = 10, {"cpu": 100}
QUICK: Calibration = {"n_draws": 2, "n_steps": 20, "relative_sd": (0.0, 0.0, 0.0)}
ALL_STEPS = 1000
ImageEstimator = RegressionT1 | RecurrentT1 | DiffusorT1


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class ImageExamination(Examination):
    """Examines a network of one protocol.

    Attributes:
        slabs: For validation, as `learn.t1.image_slabs` makes them.
        recipe: Of the network.
        fitted: T1 of the fit in each slab, NaN where it has none [s].
    """

    slabs: Slabs
    recipe: Recipe
    fitted: Float[Tensor, "slabs x y"]

    def check(self, network: nn.Module) -> dict[str, float]:
        """Return the scores of a network in training; a diffusor makes two draws in a few steps."""
        scores = self.score(network, QUICK)
        if self.recipe.method != DIFFUSOR:
            del scores["coverage_90"]  # it has no standard deviation yet
        return scores

    def calibrate(self, network: nn.Module, slabs: Slabs | None) -> Calibration:
        """Return draws and steps of a diffusor, or else the relative error that two voxels in three keep.

        A root mean square would be that of the few voxels with next to no water.

        Raises:
            UsageError: The network gives a value to hardly any voxel.
        """
        if self.recipe.method == DIFFUSOR:
            return {"n_draws": N_DRAWS, "n_steps": N_STEPS.get(self.recipe.preset, ALL_STEPS)}
        judged = self.slabs if slabs is None else slabs
        values, _, _ = _maps_of(image_estimator(network, self.recipe, QUICK), judged, self.recipe)
        valued = torch.isfinite(values).all(1)
        if int(valued.sum()) < FEWEST:
            raise UsageError(
                f"the network gives a value to {int(valued.sum())} voxels, too few to find its errors",
                remedy="Train it longer.",
            )
        truth = judged["truth"].float().movedim(1, -1)
        error = (values.movedim(1, -1) - truth).abs() / values.movedim(1, -1).abs().clamp(min=1e-6)
        known = error[valued & torch.isfinite(truth).all(-1)]
        rank = max(1, round(ONE_SD * len(known)))
        return {"relative_sd": [float(one) for one in known.kthvalue(rank, dim=0).values]}

    def score(self, network: nn.Module, calibration: Calibration) -> dict[str, float]:
        """Return errors of ln T1, coverage, and the share of voxels without a value."""
        values, std, wanted = _maps_of(
            image_estimator(network, self.recipe, calibration), self.slabs, self.recipe
        )
        truth = self.slabs["truth"][:, 0].float()
        t1, reach = values[:, 0], GAUSSIAN * std[:, 0]
        wanted = wanted & (truth > 0) & torch.isfinite(self.fitted)
        valued = wanted & torch.isfinite(t1)
        scores = {"share_without_value": 1 - int(valued.sum()) / max(1, int(wanted.sum()))}
        if not bool(valued.any()):
            return {**scores, "coverage_90": 0.0}
        error, fit_error = ((t1 / truth).log(), (self.fitted / truth).log())
        scores["rmse_ln_t1"] = _rms(error[valued])
        scores["rmse_ln_t1_fit"] = _rms(fit_error[valued])
        scores["coverage_90"] = float(((t1 - truth).abs() <= reach)[valued].float().mean())
        short = valued & (truth < SHORT)
        if bool(short.any()):
            scores["rmse_ln_t1_short"] = _rms(error[short])
            scores["rmse_ln_t1_short_fit"] = _rms(fit_error[short])
        return scores


def image_examination(slabs: Slabs, recipe: Recipe) -> ImageExamination:
    """Fit the slabs, and return the examination."""
    fit = InversionRecoveryFit()
    rows = [fit(acquisition).value("T1") for acquisition in _acquisitions(slabs, recipe)]
    return ImageExamination(slabs=slabs, recipe=recipe, fitted=torch.stack(rows).float())


def image_estimator(
    network: nn.Module,
    recipe: Recipe,
    calibration: Calibration,
    repetition_time: tuple[float, float] | None = None,
) -> ImageEstimator:
    """Return the estimator that a network becomes.

    Args:
        network: Trained, or in training.
        recipe: Of the network.
        calibration: As the card keeps it.
        repetition_time: Shortest and longest TR to accept [s]; None for that of the recipe alone.
    """
    times = recipe.series.inversion_times
    repetition = repetition_time or (recipe.series.repetition_time,) * 2
    if recipe.method == DIFFUSOR:
        return DiffusorT1(
            network=network,
            inversion_time=times,
            repetition_time=repetition,
            n_draws=int(calibration["n_draws"]),
            n_steps=int(calibration["n_steps"]),
        )
    first, second, third = calibration["relative_sd"]
    spread = (float(first), float(second), float(third))
    if isinstance(network, ResNet):
        return RegressionT1(
            network=network, inversion_time=times, repetition_time=repetition, relative_sd=spread
        )
    if isinstance(network, RecurrentInference):
        return RecurrentT1(
            network=network, inversion_time=times, repetition_time=repetition, relative_sd=spread
        )
    raise UsageError(f"nothing examines a {type(network).__name__}")


def _acquisitions(slabs: Slabs, recipe: Recipe) -> list[Acquisition]:
    protocol = draw_scan(recipe.series, seeded_generator(recipe.seed, "protocol")).protocol
    return [Acquisition(signal=one.float().movedim(0, -1), protocol=protocol) for one in slabs["signal"]]


def _maps_of(
    estimator: ImageEstimator, slabs: Slabs, recipe: Recipe
) -> tuple[Float[Tensor, "slabs 3 x y"], Float[Tensor, "slabs 3 x y"], Tensor]:
    """Return values, standard deviations, and where maps are wanted."""
    maps: list[ParameterMaps] = [estimator(one) for one in _acquisitions(slabs, recipe)]
    empty = torch.tensor([int(VoxelStatus.MASKED), int(VoxelStatus.NO_SIGNAL)], dtype=torch.uint8)
    return (
        torch.stack([one.values.movedim(-1, 0) for one in maps]),
        torch.stack([one.std.movedim(-1, 0) for one in maps]),
        torch.stack([~torch.isin(one.status, empty) for one in maps]),
    )


def _rms(error: Float[Tensor, " voxels"]) -> float:
    return float(error.double().square().mean().sqrt())
