"""The posterior network: its output, its loss, and its validation.

The posterior network: its predictions of ln T1, ln PD and B, and the loss it is trained with.

    mean ln T1 = Σ_k w_k · fit_k + a·scale,   w_k ∝ exp(l_k) / sd_k²   over 5 × 5 neighbours, two fits each

The two fits are that with B free and that with B held at its usual value: how far B is known is for the
network to judge. The weights sum to one, so averaging cannot shift what all agree on, and where an edge
runs the network (l) closes it (kernel prediction: S. Bako et al., ACM Trans Graph 36:97, 2017); the rest is
a correction a. ln PD and B are only corrected. Each ln sd is relative to the scale.

    L = Σ_p c_p · mean ω · [ δ²(√(1 + (z/δ)²) − 1) + ln sd ],   z = (truth − mean)/sd,   δ = 2.5

is the Gaussian negative log-likelihood with its far tails cut (Huber), so that the few voxels whose fit is
hopeless do not drown the others. ω is small where what T1 is has become a matter of definition (`slabs`).

How well the posterior network does against the truth, the fit, and the exact posterior of a voxel.

Scores and intervals are over voxels whose T1 is not altogether a matter of definition (`weight` above a
tenth: all mixtures of brain tissue count). Where neighbours say
nothing the best that can be done is the posterior of the voxel alone, so on scattered voxels the error of
the network is compared with that of `fit.grid_posterior`, which knows the ranges and the noise.
"""

import math
from dataclasses import dataclass, replace
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from unweight.core.acquisition import Acquisition
from unweight.core.seeding import seeded_generator
from unweight.fit.grid_posterior import GridPosterior
from unweight.fit.inversion_recovery import InversionRecoveryFit
from unweight.learn.t1.features import (
    CHANNELS,
    FEATURES_VERSION,
    HELD,
    HELD_SD,
    LOG_SD,
    LOG_SD_SPREAD,
    LOG_T1,
    LOG_T1_SPREAD,
    PRESENT,
    fit_features,
    fit_twice,
)
from unweight.learn.t1.slabs import CONSTANT, SlabRecipe, draw_scan
from unweight.learn.training.conformal import GAUSSIAN, LEVEL, Conformal, calibrate, conformal_from_plain
from unweight.learn.training.trainable import Assessment, Batch, Calibration, Samples, Task, Validator
from unweight.metrics.accuracy import rms
from unweight.metrics.calibration import GaussianPrediction, sd_over_error, winkler
from unweight.nets.unet import UNet, UNetConfig
from unweight.synth.iid_voxels import ScatterPrior, scatter
from unweight.synth.protocols.standard import seven_inversions

N_PARAMETERS = 3
REACH = 5  # voxels along each side of the neighbourhood
OUTPUTS = 2 * N_PARAMETERS + 2 * REACH**2
LOG_SD_ENDS = (-3.0, 4.0)
FARTHEST = 60.0  # corrections beyond so many steps count as so many
TAIL = 2.5
OWN, OWN_HELD = 3.0, -3.0  # what the two fits of the voxel itself have over its neighbours untrained, in l
SHUT = -30.0  # l of a neighbour without signal
SMALLEST_SCALE = 1e-3
Maps = Float[Tensor, "batch parameters height width"]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class PosteriorTask(Task):
    """The network and its loss.

    Attributes:
        unet: The network: `CHANNELS` in, `OUTPUTS` out.
        shares: c of ln T1, ln PD and B.
    """

    unet: UNet
    shares: tuple[float, float, float] = (1.0, 0.25, 0.25)

    @property
    def network(self) -> nn.Module:
        """The U-Net."""
        return self.unet

    def loss(self, network: nn.Module, batch: Batch, generator: torch.Generator) -> Float[Tensor, ""]:
        """Return the loss of a batch with `channels`, `scale`, `target` and `weight`."""
        target, weight = batch["target"], batch["weight"][:, None]
        correction, log_sd = split_output(network(batch["channels"]), batch["channels"], batch["scale"])
        away = (target.nan_to_num().clamp(-FARTHEST, FARTHEST) - correction) * torch.exp(-log_sd)
        each = TAIL**2 * (torch.sqrt(1 + (away / TAIL) ** 2) - 1) + log_sd
        known = torch.isfinite(target)
        total = (each * weight * known).sum((0, 2, 3)) / known.sum((0, 2, 3)).clamp(min=1)
        return (total * torch.tensor(self.shares).to(total)).sum()


def posterior_config(widths: tuple[int, ...]) -> UNetConfig:
    """Return the network of these widths; a linear head, for averages must come easily."""
    return UNetConfig(in_channels=len(CHANNELS), out_channels=OUTPUTS, widths=widths, linear_head=True)


def split_output(
    output: Float[Tensor, "batch outputs height width"],
    channels: Float[Tensor, "batch channels height width"],
    scale: Maps,
) -> tuple[Maps, Maps]:
    """Return the prediction in the frame of the features: correction and ln sd, in units of scale.

    Args:
        output: Of the network.
        channels: What it saw.
        scale: Of the frame; 0 where there is no signal.
    """
    output, scale = output.float(), scale.float().clamp(min=SMALLEST_SCALE)
    correction, log_sd, levels = torch.split(output, [N_PARAMETERS, N_PARAMETERS, 2 * REACH**2], dim=1)
    own = F.one_hot(torch.tensor(REACH**2 // 2), REACH**2).to(output)[:, None, None]
    log_t1, held, held_sd = (
        channels[:, index : index + 1].float() * spread + middle
        for index, spread, middle in (
            (0, LOG_T1_SPREAD, LOG_T1),
            (HELD, LOG_T1_SPREAD, LOG_T1),
            (HELD_SD, LOG_SD_SPREAD, LOG_SD),
        )
    )
    precision = -2 * torch.cat([neighbours(scale[:, :1].log()), neighbours(held_sd)], dim=1)
    closed = neighbours(channels[:, PRESENT : PRESENT + 1].float()) < 0.5
    levels = levels + torch.cat([OWN * own, OWN_HELD + 0 * own]) + precision
    levels = levels.masked_fill(torch.cat([closed, closed], dim=1), SHUT)
    away = torch.cat([neighbours(log_t1), neighbours(held)], dim=1) - log_t1
    pull = (torch.softmax(levels, dim=1) * away).sum(1, keepdim=True)
    moved = correction[:, :1] + pull / scale[:, :1]
    return torch.cat([moved, correction[:, 1:]], dim=1), log_sd.clamp(*LOG_SD_ENDS)


def neighbours(image: Float[Tensor, "batch 1 height width"]) -> Float[Tensor, "batch places height width"]:
    """Return the values around each voxel, itself in the middle; 0 beyond the image."""
    unfolded = F.unfold(image, REACH, padding=REACH // 2)
    return unfolded.reshape(len(image), REACH**2, *image.shape[2:])


NAMES = ("T1", "PD", "B")
FEATURES = "features"  # of a calibration: version of the features it goes with
N_AT_ONCE = 4  # slabs
LEAST_WEIGHT = 0.1
SHORT = 0.15  # [s]
ANY_PD = (0.02, 10.0)
PLANE, SNR, SEED = (40, 40), 50.0, 0


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Answers:
    """Predictions of a network for some voxels, of ln T1, ln PD and B.

    Attributes:
        error: Estimate minus truth.
        sd: As the network predicts it.
        log_t1: Estimated.
        fit_error: Of the fit it corrects.
        bound: Cramér–Rao sd of that fit, at least the step in which it is corrected.
    """

    error: Float[Tensor, "voxels 3"]
    sd: Float[Tensor, "voxels 3"]
    log_t1: Float[Tensor, " voxels"]
    fit_error: Float[Tensor, "voxels 3"]
    bound: Float[Tensor, "voxels 3"]

    def select(self, chosen: Bool[Tensor, " voxels"]) -> "Answers":
        """Return some of them."""
        return Answers(
            error=self.error[chosen],
            sd=self.sd[chosen],
            log_t1=self.log_t1[chosen],
            fit_error=self.fit_error[chosen],
            bound=self.bound[chosen],
        )

    def scores(self) -> dict[str, float]:
        """Return root mean square errors of ln T1, and how often the truth lies in the interval."""
        within = (self.error[:, 0].abs() <= GAUSSIAN * self.sd[:, 0]).float().mean()
        return {
            "rmse_ln_t1": rms(self.error[:, 0]),
            "rmse_ln_t1_fit": rms(self.fit_error[:, 0]),
            "coverage_90": float(within),
        }


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Yardstick:
    """Scattered voxels, and how far the exact posterior is off.

    Attributes:
        slab: The input of the network for them, as one slab.
        exact: Root mean square error of ln T1.
    """

    slab: Samples
    exact: float


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class PosteriorValidator(Validator):
    """Scores a posterior network.

    Attributes:
        slabs: For validation, as `learn.t1.slabs` makes them.
        yardstick: The exact posterior.
    """

    slabs: Samples
    yardstick: Yardstick

    def check(self, network: nn.Module) -> dict[str, float]:
        """Return the scores of a network in training, intervals not calibrated."""
        return {**answers_of(network, self.slabs).scores(), **self._against_exact(network)}

    def assess(self, network: nn.Module, calibration: Samples | None) -> Assessment:
        """Find the half-widths of the intervals, and score with them."""
        result = self.calibrate(network, calibration)
        metrics = self.score(network, result)
        return Assessment(calibration={**result, FEATURES: FEATURES_VERSION}, metrics=metrics)

    def calibrate(self, network: nn.Module, slabs: Samples | None) -> Calibration:
        """Return conformal half-widths: for T1 by bins of its estimate, one each for PD and B."""
        answers = answers_of(network, self.slabs if slabs is None else slabs)
        intervals = [calibrate(answers.log_t1, answers.sd[:, 0], answers.log_t1 - answers.error[:, 0])]
        for index in (1, 2):
            truth = answers.log_t1 - answers.error[:, index]
            intervals.append(calibrate(answers.log_t1, answers.sd[:, index], truth, edges=()))
        return {name: interval.to_plain() for name, interval in zip(NAMES, intervals, strict=True)}

    def score(self, network: nn.Module, calibration: Calibration) -> dict[str, float]:
        """Return the scores with calibrated intervals, and those of short T1 apart."""
        answers = answers_of(network, self.slabs)
        scores = answers.scores()
        scores["coverage_90_uncalibrated"] = scores.pop("coverage_90")
        for index, name in enumerate(NAMES):
            interval = conformal_from_plain(calibration[name])
            scores[f"coverage_90_{name.lower()}"] = _coverage(answers, index, interval)
        scores.update(_sharpness(answers, conformal_from_plain(calibration["T1"])))
        true = answers.log_t1 - answers.error[:, 0]
        short = answers.select(true < math.log(SHORT))
        if len(short.error):
            scores["rmse_ln_t1_short"] = rms(short.error[:, 0])
            scores["rmse_ln_t1_short_fit"] = rms(short.fit_error[:, 0])
        return {**scores, **self._against_exact(network)}

    def _against_exact(self, network: nn.Module) -> dict[str, float]:
        answers = answers_of(network, self.yardstick.slab)
        return {"rmse_over_exact": rms(answers.error[:, 0]) / self.yardstick.exact}


def answers_of(network: nn.Module, slabs: Samples) -> Answers:
    """Return predictions of a network for the voxels of slabs that count, on the processor."""
    device = next(network.parameters()).device
    rows: list[list[Tensor]] = []
    with torch.no_grad():
        for some in torch.split(torch.arange(len(slabs["channels"])), N_AT_ONCE):
            part = {name: slab[some].to(device).float() for name, slab in slabs.items()}
            target, scale = part["target"], part["scale"]
            correction, log_sd = split_output(network(part["channels"]), part["channels"], scale)
            counts = torch.isfinite(target).all(1) & (part["weight"] > LEAST_WEIGHT)
            columns = ((correction - target) * scale, torch.exp(log_sd) * scale, -target * scale, scale)
            error, sd, fit_error, bound = (column.movedim(1, -1)[counts].cpu() for column in columns)
            rows.append([error, sd, part["log_t1"][counts].cpu() + error[:, 0], fit_error, bound])
    error, sd, log_t1, fit_error, bound = (torch.cat(column) for column in zip(*rows, strict=True))
    return Answers(error=error, sd=sd, log_t1=log_t1, fit_error=fit_error, bound=bound)


def yardstick_for(recipe: SlabRecipe) -> Yardstick:
    """Return scattered voxels at an SNR of 50 and what the exact posterior makes of them.

    The protocol is that of the recipe, or the seven published inversions if it has none.
    """
    generator = seeded_generator(SEED, "yardstick")
    scan = draw_scan(recipe, generator) if recipe.inversion_times else seven_inversions()
    # B differs from voxel to voxel: where it does not, neighbours say something after all.
    prior = ScatterPrior(snr=(SNR, SNR), level=0.0)
    voxels = scatter(prior, replace(scan, model=CONSTANT), PLANE, generator)
    acquisition = Acquisition(signal=voxels.signal, protocol=scan.protocol)
    # As for the network, the ranges of T1 and of B are known, but no unit of PD.
    grid = GridPosterior(
        pd_range=ANY_PD, t1_range=prior.t1, b_range=prior.efficiency, complete=CONSTANT.complete
    )
    exact = grid.integrate(replace(acquisition, noise_sd=voxels.noise_sd))
    fit = InversionRecoveryFit()
    features = fit_features(fit_twice(fit, acquisition))
    log_t1 = voxels.truth[..., 0].log()
    free = torch.stack([log_t1, voxels.truth[..., 1].log(), voxels.truth[..., 2]], dim=-1)
    target = ((free - features.base) / features.scale).masked_fill(~features.present[..., None], torch.nan)
    slab = {
        "channels": features.channels.movedim(-1, 0)[None],
        "target": target.movedim(-1, 0)[None],
        "scale": features.scale.movedim(-1, 0)[None],
        "log_t1": log_t1[None],
        "weight": features.present.float()[None],
    }
    error = exact.mean[:, 0] - log_t1.flatten()
    return Yardstick(slab=slab, exact=rms(error[features.present.flatten()]))


def _sharpness(best: Answers, interval: Conformal) -> dict[str, float]:
    """Return how wide the calibrated errors of ln T1 are beside the fit's bound and their own size."""
    sd = best.sd[:, 0] * interval.half_width(best.log_t1) / GAUSSIAN
    prediction = GaussianPrediction(mean=best.error[:, 0], sd=sd, truth=torch.zeros_like(sd))
    return {
        "sd_over_bound": float((sd / best.bound[:, 0]).median()),
        "sd_over_error": sd_over_error(prediction),
        "winkler_90": winkler(prediction, LEVEL),
    }


def _coverage(best: Answers, index: int, interval: Conformal) -> float:
    reach = best.sd[:, index] * interval.half_width(best.log_t1)
    return float((best.error[:, index].abs() <= reach).float().mean())
