"""How well parameters can be measured at all: Fisher information and the Cramér–Rao bound.

    F_jk = Σ_v J(s_v) · Re(∂s_v*/∂θ_j · ∂s_v/∂θ_k),    std(θ_j) ≥ √[(F⁻¹)_jj]

for unbiased estimates; J is the information of one sample about its noise-free value (1/σ² for
Gaussian noise), and the real part adds both channels of a complex signal. Whatever the precision of
theta, the derivatives and the inverse are taken in double precision.

Reference: Kay, Fundamentals of Statistical Signal Processing: Estimation Theory (1993), chapter 3.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from unweight.core.protocol import Protocol
from unweight.signals.model import SignalModel, derivative
from unweight.signals.noise import NoiseModel

# Of the information scaled to a unit diagonal: smaller eigenvalues are rounding, not information.
SINGULAR = 1e-12


def fisher_information(
    model: SignalModel,
    theta: Float[Tensor, "*voxels parameters"],
    protocol: Protocol,
    noise: NoiseModel,
    known: Mapping[str, Tensor] | None = None,
) -> Float[Tensor, "*voxels parameters parameters"]:
    """Return F about all parameters of the model, in the dtype of theta.

    Args:
        model: Any signal model.
        theta: Where the information is wanted.
        protocol: Timings.
        noise: Its level is in the unit of PD.
        known: Maps that are given. One named like a parameter takes its place in theta.
    """
    return _information(model, theta, protocol, noise, known).to(theta.dtype)


def cramer_rao_bound(
    model: SignalModel,
    theta: Float[Tensor, "*voxels parameters"],
    protocol: Protocol,
    noise: NoiseModel,
    known: Mapping[str, Tensor] | None = None,
) -> Float[Tensor, "*voxels parameters"]:
    """Return the smallest standard deviation an unbiased estimate of each parameter can have.

    A parameter named in `known` is held at that map: its own bound is 0, and the others gain. A
    parameter that these volumes cannot tell from others is infinite; those that can be determined keep
    their finite bound. Where the information is not a number the bound is NaN. Never an exception.

    Args:
        model: Any signal model.
        theta: Where the bound is wanted.
        protocol: Timings.
        noise: Its level is in the unit of PD.
        known: Maps that are given, shaped like the voxels.
    """
    names = [spec.name for spec in model.parameters]
    free = [index for index, name in enumerate(names) if known is None or name not in known]
    information = _information(model, theta, protocol, noise, known)
    bound = torch.zeros(theta.shape, dtype=torch.float64, device=theta.device)
    bound[..., free] = inverse_diagonal(information[..., free, :][..., :, free]).sqrt()
    return bound.to(theta.dtype)


def _information(
    model: SignalModel,
    theta: Float[Tensor, "*voxels parameters"],
    protocol: Protocol,
    noise: NoiseModel,
    known: Mapping[str, Tensor] | None,
) -> Float[Tensor, "*voxels parameters parameters"]:
    exact = theta.double()
    columns = [
        known[spec.name].to(exact) if known is not None and spec.name in known else exact[..., index]
        for index, spec in enumerate(model.parameters)
    ]
    exact = torch.stack(columns, dim=-1)
    weight = noise.information(model(exact, protocol, known))
    slope = derivative(model, exact, protocol, known) * weight.sqrt().unsqueeze(-1)
    return (slope.mH @ slope).real


def inverse_diagonal(
    information: Float[Tensor, "*voxels free free"],
) -> Float[Tensor, "*voxels free"]:
    """Return the diagonal of the inverse: infinite along what is singular, NaN where input is NaN."""
    diagonal = information.diagonal(dim1=-2, dim2=-1)
    usable = torch.isfinite(information).all(-1).all(-1)[..., None]
    scale = torch.where(usable & (diagonal > 0), diagonal, 1.0).rsqrt()
    scaled = information * scale.unsqueeze(-1) * scale.unsqueeze(-2)
    identity = torch.eye(information.shape[-1]).to(information)
    values, vectors = torch.linalg.eigh(torch.where(usable.unsqueeze(-1), scaled, identity))
    empty = (values <= SINGULAR).unsqueeze(-2)
    shares = vectors.square()
    variance = torch.where(empty, 0.0, shares / values.unsqueeze(-2)).sum(-1) * scale.square()
    lost = torch.where(empty, shares, 0.0).sum(-1) > SINGULAR
    variance = torch.where(lost, torch.inf, variance)
    return torch.where(usable, variance, torch.nan)
