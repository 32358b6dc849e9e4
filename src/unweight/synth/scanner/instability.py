"""Errors that differ between the volumes of a series and are smooth in space.

    S'_v(r) = S_v(r)·(1 + g·f_v(r)) + a·max_v|S_v(r)|·h_v(r)

f and h are independent random fields of mean 0 and variance 1: white noise smoothed by a Gaussian of
standard deviation `length`, of which the share w of the variance is constant over each volume,

    f_v(r) = √w·c_v + √(1 − w)·(G ∗ n_v)(r)/sd(G ∗ n_v),    c_v ~ N(0, 1).

They stand for what a repeated scan of a living head shows and thermal noise does not explain: drift of
gain, pulsation, partial motion, magnetisation transfer of multi-slice trains. On a real
inversion-recovery brain the residuals of a fit were 3.4 times the background noise, and those of
neighbours correlated by 0.8.
"""

import math
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from unweight.core.errors import UsageError
from unweight.synth.sampling import Ends, bernoulli, draw_log_uniform, draw_uniform


@final
@dataclass(frozen=True, kw_only=True)
class InstabilityPrior:
    """Ranges that instabilities are drawn from; 0 as lower end of `gain` or `added` is not allowed.

    Attributes:
        probability: Share of series with an instability.
        gain: Relative standard deviation of the gain, log-uniform [1].
        added: Standard deviation of the added signal over the brightest volume, log-uniform [1].
        length: Standard deviation of the smoothing, log-uniform [voxel].
        common: Largest share of the variance that is constant over a volume [1].
    """

    probability: float = 0.5
    gain: Ends = (0.001, 0.05)
    added: Ends = (0.0005, 0.025)
    length: Ends = (0.7, 40.0)
    common: float = 0.7

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1 or not 0 <= self.common <= 1:
            raise UsageError("the probability and the common share of an instability lie between 0 and 1")


@final
@dataclass(frozen=True, kw_only=True)
class Instability:
    """How strong the errors between volumes of one series are.

    Attributes:
        gain: Relative standard deviation of the gain, g [1].
        added: Standard deviation of the added signal over the brightest volume, a [1].
        length: Standard deviation of the smoothing [voxel].
        common: Share of the variance that is constant over a volume, w [1].
    """

    gain: float
    added: float
    length: float
    common: float


def draw_instability(prior: InstabilityPrior, generator: torch.Generator) -> Instability | None:
    """Draw the instability of one series; None if it has none.

    Half of the unstable series have gain errors, a quarter added ones, a quarter both.
    """
    if prior.probability == 0 or not bernoulli(prior.probability, generator):
        return None
    gain, added = draw_log_uniform(prior.gain, generator), draw_log_uniform(prior.added, generator)
    kind = draw_uniform((0.0, 1.0), generator)
    return Instability(
        gain=0.0 if 0.5 <= kind < 0.75 else gain,
        added=0.0 if kind < 0.5 else added,
        length=draw_log_uniform(prior.length, generator),
        common=draw_uniform((0.0, prior.common), generator),
    )


def destabilise(
    signal: Float[Tensor, "*space volumes"] | Complex[Tensor, "*space volumes"],
    instability: Instability,
    generator: torch.Generator,
) -> Float[Tensor, "*space volumes"] | Complex[Tensor, "*space volumes"]:
    """Return the volumes with errors of gain and added signal.

    Args:
        signal: Noise-free volumes of one slice or slab.
        instability: How strong the errors are.
        generator: For the fields.
    """
    result = signal
    if instability.gain:
        result = result * (1 + instability.gain * _fields(signal, instability, generator))
    if instability.added:
        brightest = signal.abs().amax(-1, keepdim=True)
        result = result + instability.added * brightest * _fields(signal, instability, generator)
    return result


def _fields(
    signal: Float[Tensor, "*space volumes"] | Complex[Tensor, "*space volumes"],
    instability: Instability,
    generator: torch.Generator,
) -> Float[Tensor, "*space volumes"]:
    """Return one random field of mean 0 and variance 1 for each volume.

    The variance is that over realisations: the white noise covers four kernel widths beyond the image, so
    that a field much smoother than the image is nearly constant within it, not forced to mean 0.
    """
    axes = tuple(axis for axis in range(signal.ndim - 1) if signal.shape[axis] > 1)
    margin = math.ceil(4 * instability.length)
    wide = [size + (2 * margin if axis in axes else 0) for axis, size in enumerate(signal.shape)]
    field = torch.randn(*wide, generator=generator, device=generator.device).to(signal.device)
    factor = 1.0
    for axis in axes:
        frequency = torch.fft.fftfreq(wide[axis], device=field.device)
        window = torch.exp(-2 * (math.pi * instability.length * frequency) ** 2)
        factor *= float(window.square().mean())
        shape = [-1 if other == axis else 1 for other in range(field.ndim)]
        field = torch.fft.ifft(torch.fft.fft(field, dim=axis) * window.reshape(shape), dim=axis).real
    for axis in axes:
        field = field.narrow(axis, margin, signal.shape[axis])
    constant = torch.randn(signal.shape[-1], generator=generator, device=generator.device).to(field)
    smooth = field / math.sqrt(factor)
    result: Tensor = math.sqrt(1 - instability.common) * smooth + math.sqrt(instability.common) * constant
    return result.to(signal.real)
