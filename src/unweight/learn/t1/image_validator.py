"""Scores of a network of weighted images: the estimator it becomes, against truth and fit.

The maps are made by the estimator itself, so what is scored is what a user gets. Scores are over voxels to
which both the network and the fit give a value; the share without a value is reported beside them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unweight.core.acquisition import Acquisition
from unweight.core.errors import UsageError
from unweight.core.maps import ParameterMaps, VoxelStatus
from unweight.core.seeding import seeded_generator
from unweight.fit.inversion_recovery import InversionRecoveryFit
from unweight.learn.t1.network_t1 import NetworkT1, SliceInference
from unweight.learn.t1.protocols import TrainedProtocol
from unweight.learn.t1.slabs import SlabRecipe, draw_scan
from unweight.learn.training.conformal import GAUSSIAN
from unweight.learn.training.recipe import Recipe
from unweight.learn.training.trainable import Assessment, Calibration, Samples, Validator
from unweight.metrics.accuracy import rms

ONE_SD = 0.6827  # share of a normal law within one standard deviation
FEWEST = 200
SHORT = 0.15  # [s]
QUICK: Calibration = {"n_draws": 2, "n_steps": 20, "relative_sd": (0.0, 0.0, 0.0)}
ImageRecipe = Recipe[SlabRecipe, Any]
InferenceOf = Callable[[Calibration], SliceInference]
"""Returns how a network is used, by what the card keeps of its calibration."""


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class ImageValidator(Validator):
    """Scores a network of one protocol.

    Attributes:
        slabs: For validation, as `learn.t1.slabs` makes them.
        recipe: Of the network.
        fitted: T1 of the fit in each slab, NaN where it has none [s].
        inference: How the network is used.
        drawn: Draws and steps of a network that draws; None for those whose errors are to be found.
    """

    slabs: Samples
    recipe: ImageRecipe
    fitted: Float[Tensor, "slabs x y"]
    inference: InferenceOf
    drawn: Calibration | None = None

    def check(self, network: nn.Module) -> dict[str, float]:
        """Return the scores of a network in training; two draws in a few steps, where it draws."""
        scores = self.score(network, QUICK)
        if self.drawn is None:
            del scores["coverage_90"]  # it has no standard deviation yet
        return scores

    def assess(self, network: nn.Module, calibration: Samples | None) -> Assessment:
        """Find the relative errors, where the network draws none, and score with them."""
        calibrated = self.calibrate(network, calibration)
        return Assessment(calibration=calibrated, metrics=self.score(network, calibrated))

    def calibrate(self, network: nn.Module, slabs: Samples | None) -> Calibration:
        """Return draws and steps, or else the relative error that two voxels in three keep.

        A root mean square would be that of the few voxels with next to no water.

        Raises:
            UsageError: The network gives a value to hardly any voxel.
        """
        if self.drawn is not None:
            return self.drawn
        judged = self.slabs if slabs is None else slabs
        values, _, _ = self._maps(network, QUICK, judged)
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
        return {"relative_sd": [float(value) for value in known.kthvalue(rank, dim=0).values]}

    def score(self, network: nn.Module, calibration: Calibration) -> dict[str, float]:
        """Return errors of ln T1, coverage, and the share of voxels without a value."""
        values, std, wanted = self._maps(network, calibration, self.slabs)
        truth = self.slabs["truth"][:, 0].float()
        t1, reach = values[:, 0], GAUSSIAN * std[:, 0]
        wanted = wanted & (truth > 0) & torch.isfinite(self.fitted)
        valued = wanted & torch.isfinite(t1)
        scores = {"share_without_value": 1 - int(valued.sum()) / max(1, int(wanted.sum()))}
        if not bool(valued.any()):
            return {**scores, "coverage_90": 0.0}
        error, fit_error = ((t1 / truth).log(), (self.fitted / truth).log())
        scores["rmse_ln_t1"] = rms(error[valued])
        scores["rmse_ln_t1_fit"] = rms(fit_error[valued])
        scores["coverage_90"] = float(((t1 - truth).abs() <= reach)[valued].float().mean())
        short = valued & (truth < SHORT)
        if bool(short.any()):
            scores["rmse_ln_t1_short"] = rms(error[short])
            scores["rmse_ln_t1_short_fit"] = rms(fit_error[short])
        return scores

    def _maps(
        self, network: nn.Module, calibration: Calibration, slabs: Samples
    ) -> tuple[Float[Tensor, "slabs 3 x y"], Float[Tensor, "slabs 3 x y"], Tensor]:
        """Return values, standard deviations, and where maps are wanted."""
        estimator = image_estimator(network, self.recipe, self.inference(calibration))
        maps: list[ParameterMaps] = [estimator(slab) for slab in _acquisitions(slabs, self.recipe)]
        empty = torch.tensor([int(VoxelStatus.MASKED), int(VoxelStatus.NO_SIGNAL)], dtype=torch.uint8)
        return (
            torch.stack([part.values.movedim(-1, 0) for part in maps]),
            torch.stack([part.std.movedim(-1, 0) for part in maps]),
            torch.stack([~torch.isin(part.status, empty) for part in maps]),
        )


def image_validator(
    slabs: Samples, recipe: ImageRecipe, inference: InferenceOf, drawn: Calibration | None = None
) -> ImageValidator:
    """Fit the slabs, and return the validator."""
    fit = InversionRecoveryFit()
    rows = [fit(acquisition).value("T1") for acquisition in _acquisitions(slabs, recipe)]
    fitted = torch.stack(rows).float()
    return ImageValidator(slabs=slabs, recipe=recipe, fitted=fitted, inference=inference, drawn=drawn)


def image_estimator(
    network: nn.Module,
    recipe: ImageRecipe,
    inference: SliceInference,
    repetition_time: tuple[float, float] | None = None,
) -> NetworkT1:
    """Return the estimator that a network becomes.

    Args:
        network: Trained, or in training.
        recipe: Of the network.
        inference: How it is used.
        repetition_time: Shortest and longest TR to accept [s]; None for that of the recipe alone.
    """
    trained = TrainedProtocol(
        inversion_time=recipe.slabs.inversion_times,
        repetition_time=repetition_time or (recipe.slabs.repetition_time,) * 2,
        recipe=recipe.method,
    )
    return NetworkT1(network=network, trained=trained, inference=inference)


def _acquisitions(slabs: Samples, recipe: ImageRecipe) -> list[Acquisition]:
    protocol = draw_scan(recipe.slabs, seeded_generator(recipe.seed, "protocol")).protocol
    return [Acquisition(signal=slab.float().movedim(0, -1), protocol=protocol) for slab in slabs["signal"]]
