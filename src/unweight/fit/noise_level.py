"""How noisy an acquisition is, from what a fit leaves over.

With d volumes more than parameters, RSS/sigma² of a voxel that the model describes follows
chi-square with d degrees of freedom. The median over many voxels, divided by the median of that
distribution, gives sigma² and does not mind the few voxels that the model does not describe. It holds
whatever the model leaves over, physiology and ghosts included: right for error bars, too large for
the Rician law, which knows thermal noise only. That is measured in the background, where magnitudes
are Rayleigh and the sum of 2n squared Gaussians over n volumes follows chi-square.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unweight.core.acquisition import Acquisition, SignalKind
from unweight.core.chi_square import chi_square_median

N_BINS = 256
MIN_GROUP = 50  # voxels
NORMAL_MAD = 1.4826  # standard deviation over median size, of Gaussian numbers
APART = 5.0  # of the mean signal over that of the background


def noise_from_residuals(
    rss: Float[Tensor, " voxels"], degrees: int, strength: Float[Tensor, " voxels"]
) -> float:
    """Return the noise standard deviation of one channel [unit of the signal].

    Args:
        rss: Residual sum of squares of each voxel.
        degrees: Volumes minus parameters.
        strength: Largest signal of each voxel; voxels of pure background are left out by it, for
            their residuals follow the Rayleigh law and are smaller.

    Returns:
        NaN if there is no voxel or no degree of freedom.
    """
    usable = torch.isfinite(rss) & (strength > 0)
    if degrees < 1 or not bool(usable.any()):
        return math.nan
    residual, height = rss[usable], strength[usable]
    chosen = bright(height)
    return math.sqrt(float(residual[chosen].median()) / chi_square_median(degrees))


def noise_from_background(signal: Float[Tensor, "voxels volumes"]) -> float:
    """Return the thermal noise of one channel from a magnitude image's background, or NaN.

    Background are the voxels below Otsu's threshold, if there are two separate groups; voxels that
    are exactly zero in some volume were not measured and do not count.
    """
    lit = ((signal > 0) & torch.isfinite(signal)).all(-1)
    measured = signal[lit].double()
    if not len(measured):
        return math.nan
    dark = ~bright(measured.amax(-1))
    if int(dark.sum()) < MIN_GROUP:
        return math.nan
    energy = (measured[dark] ** 2).sum(-1)
    return math.sqrt(float(energy.median()) / chi_square_median(2 * signal.shape[-1]))


def thermal_noise(acquisition: Acquisition, sigma: float) -> float:
    """Return the noise of one channel that the Rician law may be used with, or NaN where it is not known.

    Args:
        acquisition: Magnitudes; other signals do not follow that law.
        sigma: Noise from the residuals, which hold at least the thermal noise.
    """
    if acquisition.kind is not SignalKind.MAGNITUDE:
        return math.nan
    if acquisition.noise_sd is not None:
        return acquisition.noise_sd
    background = noise_from_background(acquisition.signal.reshape(-1, acquisition.signal.shape[-1]))
    return min(background, sigma) if background > 0 else math.nan


def noise_from_neighbours(signal: Float[Tensor, "x y z volumes"], inside: Bool[Tensor, "x y z"]) -> float:
    """Return an upper estimate of the noise of one channel from neighbouring voxels, or NaN.

    The second difference of noise along a row, a − 2b + c, has the variance 6σ²; anatomy adds to it, the
    less the finer the voxels. The estimate is the least, over the first two axes, of 1.4826 times its
    median size over √6.

    Reference: Donoho, Johnstone, Biometrika 81:425, 1994 (noise from the median of fine differences).

    Args:
        signal: Real volumes.
        inside: Voxels that count.
    """
    estimates = []
    for axis in (0, 1):
        rows, there = signal.movedim(axis, 0), inside.movedim(axis, 0)
        known = there[2:] & there[1:-1] & there[:-2]
        if int(known.sum()) >= MIN_GROUP:
            second = (rows[2:] - 2 * rows[1:-1] + rows[:-2])[known].double().abs()
            estimates.append(NORMAL_MAD * float(second.median()) / math.sqrt(6))
    return min(estimates, default=math.nan)


def bright(strength: Float[Tensor, " voxels"], apart: float = APART) -> Bool[Tensor, " voxels"]:
    """Return the voxels above Otsu's threshold on the logarithm, if it splits two separate groups.

    The split counts only if the groups' means lie a factor apart and the upper one holds at least 50
    voxels; otherwise all voxels are taken for signal (Otsu, IEEE Trans SMC 9:62, 1979).

    Args:
        strength: Positive values.
        apart: The factor.
    """
    everything = torch.ones_like(strength, dtype=torch.bool)
    level = torch.log(strength.double())
    low, high = float(level.min()), float(level.max())
    if len(strength) < 100 or not high > low:
        return everything
    counts = torch.histc(level, bins=N_BINS, min=low, max=high)
    centres = low + (torch.arange(N_BINS).to(level) + 0.5) * (high - low) / N_BINS
    weight = counts.cumsum(0) / counts.sum()
    mass = (counts * centres).cumsum(0) / counts.sum()
    between = (mass[-1] * weight - mass) ** 2 / (weight * (1 - weight)).clamp(min=1e-12)
    above = level > centres[int(between[:-1].argmax())]
    if int(above.sum()) < MIN_GROUP or bool(above.all()):
        return everything
    separate = float(level[above].mean() - level[~above].mean()) > math.log(apart)
    return above if separate else everything
