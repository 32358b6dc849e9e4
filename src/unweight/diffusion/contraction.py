"""How much too close together the samples of a few steps lie, when the data are Gaussian.

Samples over data, as standard deviations, for data of standard deviation s:

    DDIM        (1/s) ∏ (α α' s² + σ σ') / (α² s² + σ²)       for s = 1 and cosine: cos(π/2K)^K
    ancestral   the variance V' = w² V + τ² σ'²/σ², w = (weight of x) + (weight of x₀) α s²/(α² s² + σ²)

A first-order sampler of eight steps keeps 86 % of s = 1, but 24 % of s = 0.05. The mean is right in
both as far as the ladder starts from pure noise. So diffuse what is whitened, whose posterior has
s = 1 by construction, and divide the contraction out.

Reference: the step of Song, Meng, Ermon, ICLR 2021 (arXiv 2010.02502), put into the exact denoiser.
"""

import math

from unweight.core.errors import UsageError
from unweight.diffusion.ancestral import posterior_weights
from unweight.diffusion.descent import rungs
from unweight.diffusion.ladder import Ladder


def ddim_contraction(ladder: Ladder, sd: float) -> float:
    """Return the standard deviation of DDIM samples over that of the data, on a ladder that ends clean."""
    _check(ladder, sd)
    kept = 1.0
    for rung in rungs(ladder):
        along = rung.alpha * rung.next_alpha * sd**2 + rung.sigma * rung.next_sigma
        kept *= along / (rung.alpha**2 * sd**2 + rung.sigma**2)
    return kept / sd


def ancestral_contraction(ladder: Ladder, sd: float) -> float:
    """Return the standard deviation of ancestral samples over that of the data, on such a ladder."""
    _check(ladder, sd)
    variance = 1.0
    for rung in rungs(ladder):
        of_noisy, of_clean, spread = posterior_weights(rung)
        gain = rung.alpha * sd**2 / (rung.alpha**2 * sd**2 + rung.sigma**2)
        variance = (of_noisy + of_clean * gain) ** 2 * variance + spread**2
    return math.sqrt(variance) / sd


def variance_correction(ladder: Ladder, sd: float = 1.0) -> float:
    """Return what the variance of DDIM samples is to be multiplied with: contraction to the power -2."""
    return ddim_contraction(ladder, sd) ** -2


def _check(ladder: Ladder, sd: float) -> None:
    if not sd > 0:
        raise UsageError(f"the standard deviation of the data must be positive, not {sd:g}")
    if float(ladder.sigma[0]) != 0:
        raise UsageError(
            f"this ladder ends with noise of {float(ladder.sigma[0]):g} in the samples",
            remedy="Give one whose first level is clean.",
        )
