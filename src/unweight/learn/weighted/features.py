"""What a network sees of weighted images: each over its anchor, and what each voxel says by itself.

The gain of a clinical image is unknown. Each is divided by an anchor, its median over the brain, and
multiplied by the signal that an ordinary brain would have in it: then ln S is right but for one number per
image, which the network finds from what it knows of CSF and tissue. Of images with these gains the
posterior of each voxel by itself (`fit.weighted_posterior`) is computed, and given to the network beside
them.
"""

from dataclasses import dataclass, fields
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unweight.core.errors import InputError
from unweight.fit.weighted_posterior import VoxelPosterior, WeightedPosterior
from unweight.learn.weighted.conditioning import ln_reference

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
            "no voxel of the brain has a value in all images",
            remedy="Check that the images overlap, and that the mask lies on them.",
        )
    thin = brain[:, :: 1 + brain.shape[1] // MOST_RANKED].float()
    median, bright = thin.median(1).values, thin.quantile(BRIGHT, dim=1)
    for place, value in enumerate(median.tolist()):
        if not value > 0:
            name = names[place] if names else f"image {place + 1}"
            raise InputError(
                f"the {name} has no signal in half of the brain",
                remedy="Check the image, and that the mask lies on its brain.",
            )
    ranks = torch.tensor(LEVELS).to(thin)
    levels = (thin.quantile(ranks, dim=1).T / median[:, None]).clamp(min=1e-6).log()
    return Anchors(median=median, bright=bright, levels=levels.clamp(DARKEST, BRIGHTEST))


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class WeightedFeatures:
    """What a network sees of one or several slices.

    Attributes:
        images: ln S over its anchor, plus the signal of an ordinary brain; 0 outside and where missing.
        physics: PHYSICS of each voxel, brought to the order of one; 0 outside.
        posterior: What they were made from.
    """

    images: Planes
    physics: Float[Tensor, "batch physics height width"]
    posterior: VoxelPosterior


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
    seen = inside[:, None] & present[:, None, None]
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
        images=torch.where(seen, ln_signal, 0.0),
        physics=torch.where(inside[:, None], physics, 0.0),
        posterior=posterior,
    )


def _inside_only(
    ln_signal: Planes,
    noise: Planes,
    inside: Bool[Tensor, "batch height width"],
    rows: Float[Tensor, "1 images timings"],
    present: Bool[Tensor, "1 images"],
) -> VoxelPosterior:
    """Return the posterior of voxels of the brain; outside all is 0, or 1 for what has a logarithm."""
    parts = zip(
        *(torch.split(one.movedim(1, 0)[:, inside][None], BLOCK, dim=2) for one in (ln_signal, noise)),
        strict=True,
    )
    found = [POSTERIOR(some, sd, rows, present) for some, sd in parts]

    def laid(name: str) -> Float[Tensor, "batch height width"]:
        plane = torch.full(inside.shape, float("sd" in name)).to(ln_signal)
        plane[inside] = torch.cat([getattr(one, name)[0] for one in found])
        return plane

    return VoxelPosterior(**{one.name: laid(one.name) for one in fields(VoxelPosterior)})
