"""Inputs of a network for weighted images: the images, the fit of each voxel, and the timings.

Input of a network from weighted images: each over its anchor, and a fit of each voxel alone.

The gain of a clinical image is unknown. Each is divided by an anchor, its median over the brain, and
multiplied by the signal that an ordinary brain would have in it: then ln S is right but for one number per
image, which the network finds from its training on CSF and tissue. Of images with these gains the
posterior of each voxel by itself (`fit.weighted_posterior`) is computed, and given to the network beside
them.

Conditions of a network on an image: its timings, and what they do to tissue.

A token holds, for TR, TE, TI, the end of the echo train, the flip angle, the length of an MPRAGE train and
the field strength, the logarithm and Fourier features of it (`nets.embedding`) and whether it is known;
which readout it was, and whether an inversion came first; and a fingerprint,

    F_k = ln S(θ_k) − ln S(θ_ref),     θ_k = (T1, T2) of nine waters from tissue to CSF,

the contrast that the timings give by the signal equation. Two protocols with the same fingerprint give the
same images, whatever their timings: this is what a network needs in order to serve protocols it never saw.
"""

import math
from dataclasses import dataclass, fields
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unweight.core.errors import InputError
from unweight.core.weighting import READOUTS
from unweight.fit.weighted_posterior import WeightedPosterior, WeightedVoxelPosterior
from unweight.nets.embedding import log_fourier_features
from unweight.signals.weighted import COLUMN, weighted_signal

POSTERIOR = WeightedPosterior()
DARKEST, BRIGHTEST = -4.0, 2.0  # of ln S over the anchor
ASSUMED_SNR = 50.0  # of the 95th percentile of an image; what noise an image has is seldom known
BRIGHT = 0.95
LEVELS = (0.02, 0.1, 0.25, 0.4, 0.6, 0.75, 0.9, 0.98)
BLOCK = 8192  # voxels at a time: what is computed for them stays in the cache
MOST_RANKED = 1_000_000  # voxels that a quantile is taken of
PHYSICS = ("ln_t1", "ln_t1_sd", "ln_r2", "ln_r2_sd", "ln_pd", "ln_pd_sd", "misfit", "inside")
Planes = Float[Tensor, "batch images height width"]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Anchors:
    """One number per image that brings it to a common scale.

    Attributes:
        median: Over the brain [unit of the image].
        bright: 95th percentile over the brain.
        levels: Logarithm of LEVELS of its intensities over the brain, relative to the median: what tells
            how bright CSF and how dark white matter is, however large the brain.
    """

    median: Float[Tensor, " images"]
    bright: Float[Tensor, " images"]
    levels: Float[Tensor, "images levels"]


def anchors_of(
    signals: Float[Tensor, "images *voxels"], inside: Bool[Tensor, "*voxels"], names: tuple[str, ...] = ()
) -> Anchors:
    """Return the anchors of images over a brain.

    Raises:
        InputError: An image has no signal there.
    """
    brain = signals[:, inside]
    if brain.shape[1] == 0:
        raise InputError(
            "no brain voxel has a value in all images",
            remedy="Check that the images overlap, and that the mask covers their brain.",
        )
    thin = brain[:, :: 1 + brain.shape[1] // MOST_RANKED].float()
    median, bright = thin.median(1).values, thin.quantile(BRIGHT, dim=1)
    for place, value in enumerate(median.tolist()):
        if not value > 0:
            name = names[place] if names else f"image {place + 1}"
            raise InputError(
                f"the {name} has no signal in half of the brain",
                remedy="Check the image, and that the mask covers its brain.",
            )
    ranks = torch.tensor(LEVELS).to(thin)
    levels = (thin.quantile(ranks, dim=1).T / median[:, None]).clamp(min=1e-6).log()
    return Anchors(median=median, bright=bright, levels=levels.clamp(DARKEST, BRIGHTEST))


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class WeightedFeatures:
    """Input of a network for one or several slices.

    Attributes:
        images: ln S over its anchor, plus the signal of an ordinary brain; 0 outside and where missing.
        physics: PHYSICS of each voxel, brought to the order of one; 0 outside.
        posterior: What they were made from.
    """

    images: Planes
    physics: Float[Tensor, "batch physics height width"]
    posterior: WeightedVoxelPosterior


def features_of(
    signals: Planes,
    inside: Bool[Tensor, "batch height width"],
    anchors: Anchors,
    rows: Float[Tensor, "images timings"],
    field_strength: float,
    present: Bool[Tensor, " images"],
) -> WeightedFeatures:
    """Return the features of slices of one examination.

    Args:
        signals: Slices of each image.
        inside: The brain.
        anchors: Of the whole examination.
        rows: Timings, completed.
        field_strength: [T]
        present: Which images there are.
    """
    field = torch.full((1,), field_strength).to(signals)
    reference = ln_reference(rows.to(signals)[None], field)[0]
    median = torch.where(present, anchors.median.to(signals), 1.0)[:, None, None]
    known = inside[:, None] & present[:, None, None]
    ln_signal = (signals / median).clamp(min=1e-6).log().clamp(DARKEST, BRIGHTEST)
    ln_signal = ln_signal + torch.where(present, reference, 0.0)[:, None, None]
    noise = (anchors.bright.to(signals)[:, None, None] / ASSUMED_SNR) / signals.clamp(min=1e-9)
    posterior = _inside_only(ln_signal, noise, inside, rows.to(signals)[None], present[None])
    r2 = posterior.r2.clamp(min=0.2)
    physics = torch.stack(
        [
            2.0 * posterior.ln_t1,
            posterior.ln_t1_sd.log() + 1.5,
            r2.log() - 2.0,
            (posterior.r2_sd / r2).log() + 1.0,
            4.0 * (posterior.ln_pd + 0.2),
            posterior.ln_pd_sd.log() + 2.5,
            (1e-2 + posterior.misfit).log().clamp(-4, 6) / 2,
            inside.to(signals),
        ],
        dim=1,
    )
    return WeightedFeatures(
        images=torch.where(known, ln_signal, 0.0),
        physics=torch.where(inside[:, None], physics, 0.0),
        posterior=posterior,
    )


def _inside_only(
    ln_signal: Planes,
    noise: Planes,
    inside: Bool[Tensor, "batch height width"],
    rows: Float[Tensor, "1 images timings"],
    present: Bool[Tensor, "1 images"],
) -> WeightedVoxelPosterior:
    """Return the posterior of voxels of the brain; outside all is 0, or 1 for what has a logarithm."""
    parts = zip(
        *(torch.split(item.movedim(1, 0)[:, inside][None], BLOCK, dim=2) for item in (ln_signal, noise)),
        strict=True,
    )
    result = [POSTERIOR(some, sd, rows, present) for some, sd in parts]

    def laid(name: str) -> Float[Tensor, "batch height width"]:
        plane = torch.full(inside.shape, float("sd" in name)).to(ln_signal)
        plane[inside] = torch.cat([getattr(item, name)[0] for item in result])
        return plane

    return WeightedVoxelPosterior(
        **{field.name: laid(field.name) for field in fields(WeightedVoxelPosterior)}
    )


N_FREQUENCIES = 4
SPANS: dict[str, tuple[float, float]] = {
    "repetition_time": (0.2, 15.0),
    "echo_time": (0.001, 0.3),
    "inversion_time": (0.3, 4.0),
    "readout_time": (0.005, 0.6),
    "flip_angle": (0.05, 1.6),
    "train_duration": (0.3, 3.0),
    "field_strength": (1.0, 7.0),
}
FINGERPRINT = (
    (0.35, 0.06),
    (0.65, 0.07),
    (0.85, 0.07),
    (1.05, 0.09),
    (1.3, 0.11),
    (1.7, 0.11),
    (2.2, 0.2),
    (3.2, 0.6),
    (4.3, 1.9),
)
NAMES = ("T1w", "T2w", "FLAIR")
FEATURES_EACH = 2 + 2 * N_FREQUENCIES
N_TOKEN = len(SPANS) * FEATURES_EACH + len(READOUTS) + 1 + len(FINGERPRINT)
CONTRAST_FLOOR = -4.0
# An ordinary brain: between grey and white matter, whose T1 grows with the field by this power.
REFERENCE_T1, REFERENCE_T2, REFERENCE_PD = 1.15, 0.085, 0.77
FIELD_POWER = 0.38
Rows = Float[Tensor, "batch images timings"]
Fields = Float[Tensor, " batch"]


def tokens_of(rows: Rows, field_strength: Fields) -> Float[Tensor, "batch images token"]:
    """Return the token of each image.

    Args:
        rows: Timings, completed; NaN where a timing does not apply, or in all of a missing image.
        field_strength: [T]
    """
    field = field_strength[:, None].expand(rows.shape[:2])
    values = {name: rows[..., COLUMN[name]] for name in SPANS if name in COLUMN}
    values["train_duration"] = rows[..., COLUMN["echo_spacing"]] * rows[..., COLUMN["train_length"]]
    values["field_strength"] = field
    features = [_described(values[name], span) for name, span in SPANS.items()]
    kind = torch.stack([(rows[..., 0] == place).to(rows) for place in range(len(READOUTS))], dim=-1)
    inverts = torch.isfinite(values["inversion_time"]).to(rows)[..., None]
    return torch.cat([*features, kind, inverts, fingerprint(rows, field_strength)], dim=-1)


def name_tokens(n_images: int, batch: int) -> Float[Tensor, "batch images token"]:
    """Return tokens that tell which contrast each image is, in the order of NAMES, and nothing else."""
    token = torch.zeros(n_images, N_TOKEN)
    token[torch.arange(n_images), torch.arange(n_images)] = 1.0
    return token.expand(batch, n_images, N_TOKEN)


def fingerprint(rows: Rows, field_strength: Fields) -> Float[Tensor, "batch images waters"]:
    """Return what the timings do to nine waters, relative to an ordinary brain; 0 for missing images."""
    points = torch.tensor(FINGERPRINT).to(rows)
    signal = weighted_signal(points[:, 0], points[:, 1], torch.ones_like(points[:, 0]), rows[..., None, :])
    contrast = signal.log() - ln_reference(rows, field_strength)[..., None]
    return (contrast + math.log(REFERENCE_PD)).clamp(min=CONTRAST_FLOOR, max=-CONTRAST_FLOOR).nan_to_num()


def ln_reference(rows: Rows, field_strength: Fields) -> Float[Tensor, "batch images"]:
    """Return the logarithm of the signal of an ordinary brain; NaN for missing images."""
    t1 = reference_t1(field_strength)[:, None].to(rows)
    pd = torch.full_like(t1, REFERENCE_PD)
    return weighted_signal(t1, torch.full_like(t1, REFERENCE_T2), pd, rows).log()


def reference_t1(field_strength: Fields) -> Fields:
    """Return the T1 of an ordinary brain [s]."""
    return REFERENCE_T1 * (field_strength / 3.0) ** FIELD_POWER


def _described(values: Float[Tensor, "batch images"], span: tuple[float, float]) -> Tensor:
    there = torch.isfinite(values) & (values > 0)
    features = log_fourier_features(
        torch.where(there, values, span[0]), span=span, n_frequencies=N_FREQUENCIES
    )
    return torch.cat([features * there[..., None], there.to(values)[..., None]], dim=-1)
