"""Whether the phase of an image is more than noise: neighbours agree.

    C = max over axes of |Σ s(r + e)·s*(r)| / Σ |s(r + e)·s(r)|

over the voxels of a mask, s the first echo, or the growth S₂·S₁* of two, free of the phase of coils. It is
1 for a phase that is flat or a ramp, and of the order of 1/√N for N voxels of noise.
"""

import torch
from jaxtyping import Bool, Complex
from torch import Tensor


def phase_coherence(signal: Complex[Tensor, "x y z echoes"], mask: Bool[Tensor, "x y z"]) -> float:
    """Return how far neighbours agree in phase, 0 to 1; 1 where no voxel has a neighbour.

    Args:
        signal: The echoes, in the order of their echo times.
        mask: Voxels that count.
    """
    growth = signal[..., 1] * signal[..., 0].conj() if signal.shape[-1] > 1 else signal[..., 0]
    growth = torch.where(mask, growth, torch.zeros_like(growth))
    # Products of four magnitudes leave the range of single precision.
    growth = growth / growth.abs().max().clamp(min=torch.finfo(growth.real.dtype).tiny)
    found: list[float] = []
    for axis, size in enumerate(mask.shape):
        product = growth.narrow(axis, 1, size - 1) * growth.narrow(axis, 0, size - 1).conj()
        total = float(product.abs().sum())
        if total > 0:
            found.append(float(product.sum().abs()) / total)
    return max(found, default=1.0)
