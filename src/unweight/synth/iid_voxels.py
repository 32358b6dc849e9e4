"""Spatially independent voxels: T1, PD and B of each are drawn alone.

Where neighbours are independent, the best estimate is the posterior of the single voxel. A network that
meets such scenes learns to trust its neighbours only as far as they agree with each other; and against
such a scene its error can be compared with the exact posterior (`fit.grid_posterior`).
"""

import math
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from unweight.core.errors import UsageError
from unweight.signals.noise import Rician
from unweight.synth.protocols.standard import Scan
from unweight.synth.sampling import Ends, bernoulli, draw_log_uniform, draw_uniform
from unweight.synth.scanner.fields import EfficiencyPrior, central_efficiency


@final
@dataclass(frozen=True, kw_only=True)
class ScatterPrior:
    """What single voxels are drawn from.

    Attributes:
        t1: Shortest and longest T1, evenly in the logarithm [s].
        pd: Lowest and highest PD [1].
        efficiency: Lowest and highest B [1].
        level: Probability that B is the same in all voxels, as it nearly is in a real head.
        scan: What B of the scan is drawn from, in place of `efficiency`: that of voxels lies within
            `spread` of it; None for no B of the scan.
        spread: Largest distance of a voxel's B from that of the scan, where they differ [1].
        snr: PD of 1 over the noise in one channel.
    """

    t1: Ends = (0.010, 6.0)
    pd: Ends = (0.5, 1.0)
    efficiency: Ends = (1.7, 2.0)
    level: float = 0.5
    scan: EfficiencyPrior | None = None
    spread: float = 0.15
    snr: Ends = (15.0, 300.0)

    def __post_init__(self) -> None:
        if not 0 < self.t1[0] < self.t1[1] or not 0 < self.pd[0] <= self.pd[1] or not self.snr[0] > 0:
            raise UsageError("the ranges of T1, PD and SNR must be positive and rising")


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Scatter:
    """Voxels on a plane, measured.

    Attributes:
        signal: Magnitudes.
        truth: T1 [s], PD and B.
        noise_sd: In one channel.
    """

    signal: Float[Tensor, "*space volumes"]
    truth: Float[Tensor, "*space parameters"]
    noise_sd: float


def scatter(prior: ScatterPrior, scan: Scan, shape: tuple[int, ...], generator: torch.Generator) -> Scatter:
    """Draw voxels and measure their magnitudes.

    Args:
        prior: What to draw from.
        scan: Model, with signs, of (T1, PD, B), and timings.
        shape: Of the plane.
        generator: For everything drawn.
    """
    share = torch.rand(*shape, 3, generator=generator, device=generator.device)
    t1 = torch.exp(math.log(prior.t1[0]) + share[..., 0] * math.log(prior.t1[1] / prior.t1[0]))
    pd = prior.pd[0] + (prior.pd[1] - prior.pd[0]) * share[..., 1]
    b = _efficiencies(prior, share[..., 2], generator)
    truth = torch.stack([t1, pd, b], dim=-1)
    sd = 1.0 / draw_log_uniform(prior.snr, generator)
    signal = Rician(sigma=sd).draw(scan.model(truth, scan.protocol, None), generator)
    return Scatter(signal=signal, truth=truth, noise_sd=sd)


def _efficiencies(
    prior: ScatterPrior, share: Float[Tensor, "*space"], generator: torch.Generator
) -> Float[Tensor, "*space"]:
    """Return B of the voxels, each at its share of what is possible."""
    low, high = prior.efficiency
    if prior.scan is not None:
        centre = central_efficiency(prior.scan, generator)
        low, high = centre - prior.spread, centre + prior.spread
        if bernoulli(prior.level, generator):
            return torch.full_like(share, centre)
        return (low + (high - low) * share).clamp(*prior.scan.limits)
    if bernoulli(prior.level, generator):
        return torch.full_like(share, draw_uniform(prior.efficiency, generator))
    return low + (high - low) * share
