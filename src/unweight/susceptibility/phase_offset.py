"""Phase that does not evolve with echo time: coil offsets, and the even-odd error of bipolar readouts.

What phase there is at TE = 0: that of the coils, taken out after MCPC-3D-S.

The phase that grows between two echoes, θ = arg(S₂·S₁*), is free of any offset and is unwrapped exactly.
The offset follows, and is smooth, because coils are:

    φ₀ = arg smooth( m₁m₂ · exp[i(φ₁ − θ·TE₁/(TE₂ − TE₁))] ).

Reference: Eckstein et al., Magn Reson Med 79:2996, 2018.

Echoes read alternately forwards and backwards: what phase the even ones have too much.

Delays and eddy currents give every echo of one polarity the same phase, nearly linear in space. What the
first and third echo say of the second is free of it, and the phase that this one has beside,

    ψ(r) = arg[ S₂·S₁*·exp(−i·ω₁₃·(TE₂ − TE₁)) ],    ω₁₃ from the unwrapped phase of S₃·S₁*,

is fitted by a plane, c + a·r, on the unit circle, magnitude as weight. Where the plane is flat and 0 the
echoes were read in one direction. The turns of S₃·S₁* are known but for one that all voxels share; it is
the one that leaves c smallest.

Reference: Li et al., Magn Reson Med 71:1454, 2014 (linear phase between polarities).
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from unweight.susceptibility.fourier_grid import smooth_complex
from unweight.susceptibility.geometry import Triple
from unweight.susceptibility.unwrap import TURN, unwrap_in_space, wrapped

SMOOTHING_MM = 8.0


class PhaseOffset(NamedTuple):
    """What the two echoes tell.

    Attributes:
        offset: Phase at TE = 0 [rad], smooth, wrapped.
        rate: Angular frequency from the two echoes [rad/s], without jumps; 0 outside the mask.
    """

    offset: Float[Tensor, "x y z"]
    rate: Float[Tensor, "x y z"]


def phase_offset(
    echoes: Complex[Tensor, "x y z 2"],
    echo_time: tuple[float, float],
    mask: Bool[Tensor, "x y z"],
    voxel_mm: Triple,
    turns: int = 0,
) -> PhaseOffset:
    """Return the phase at TE = 0, and how fast the phase grows.

    Args:
        echoes: Two echoes read with the same polarity, the first ones.
        echo_time: Their TE [s].
        mask: Voxels whose phase means something, one piece.
        voxel_mm: Voxel size along each axis [mm].
        turns: Whole turns that phase grew more between the echoes than unwrapping says, everywhere.
    """
    first, second = echoes[..., 0], echoes[..., 1]
    growth = unwrap_in_space(torch.angle(second * first.conj()), mask)
    growth = growth + turns * TURN * mask
    rate = growth / (echo_time[1] - echo_time[0])
    turned = first * second.abs() * torch.polar(torch.ones_like(rate), -rate * echo_time[0])
    inside = torch.where(mask, turned, torch.zeros_like(turned))
    return PhaseOffset(torch.angle(smooth_complex(inside, SMOOTHING_MM, voxel_mm)), rate)


N_ROUNDS = 8
LEAST_RAD = 0.05


class BipolarFit(NamedTuple):
    """What the even echoes have too much.

    Attributes:
        phase: On the grid [rad].
        largest: Largest size of the plane inside the mask [rad].
        middle: Its size in the middle of the grid [rad].
    """

    phase: Float[Tensor, "x y z"]
    largest: float
    middle: float

    @property
    def has_offset(self) -> bool:
        """Whether the polarities differ."""
        return self.largest > LEAST_RAD


def bipolar_phase(
    signal: Complex[Tensor, "x y z echoes"],
    echo_time: Float[Tensor, " echoes"],
    mask: Bool[Tensor, "x y z"],
) -> BipolarFit | None:
    """Return what even echoes have too much; None where echoes are too few, or have no signal together.

    Args:
        signal: The echoes.
        echo_time: TE [s].
        mask: Voxels whose phase means something, one piece.
    """
    if len(echo_time) < 3:
        return None
    first, second, third = (signal[..., index] for index in range(3))
    if not all(bool((item * first.conj())[mask].abs().sum() > 0) for item in (second, third)):
        return None
    share = float((echo_time[1] - echo_time[0]) / (echo_time[2] - echo_time[0]))
    growth = unwrap_in_space(torch.angle(third * first.conj()), mask)
    fits = []
    for turns in (-1, 0, 1):
        back = torch.polar(torch.ones_like(growth), -share * (growth + turns * TURN))
        fits.append(fit_plane(second * first.conj() * back, mask))
    return min(fits, key=lambda fit: fit.middle)


def even_turned_back(
    signal: Complex[Tensor, "x y z echoes"], phase: Float[Tensor, "x y z"]
) -> Complex[Tensor, "x y z echoes"]:
    """Return the echoes with every second one turned back by a phase [rad]."""
    back = torch.polar(torch.ones_like(phase), -phase)
    turned = [signal[..., k] * back if k % 2 else signal[..., k] for k in range(signal.shape[-1])]
    return torch.stack(turned, dim=-1)


def fit_plane(surplus: Complex[Tensor, "x y z"], mask: Bool[Tensor, "x y z"]) -> BipolarFit:
    """Fit a plane to the phase of a complex image, magnitude as weight.

    Args:
        surplus: An even echo turned back by the phase that odd ones expect.
        mask: Voxels that count.
    """
    axes = [
        torch.linspace(-1, 1, n, dtype=surplus.real.dtype, device=surplus.device) * (n > 1)
        for n in surplus.shape
    ]
    places = torch.stack([torch.ones_like(surplus.real), *torch.meshgrid(*axes, indexing="ij")], dim=-1)
    terms, known = places[mask].double(), surplus[mask].to(torch.complex128)
    weight = known.abs()
    slope = torch.zeros(4, dtype=torch.float64, device=surplus.device)
    slope[0] = torch.angle(known.sum())
    gram = (terms * weight[:, None]).T @ terms
    gram = gram + 1e-9 * gram.diagonal().mean() * torch.eye(4, dtype=gram.dtype, device=gram.device)
    for _ in range(N_ROUNDS):
        left = wrapped(torch.angle(known) - terms @ slope)
        slope = slope + torch.linalg.solve(gram, terms.T @ (weight * left))
    phase = (places @ slope.to(places)).contiguous()
    return BipolarFit(phase, float(phase[mask].abs().max()), abs(float(slope[0])))
