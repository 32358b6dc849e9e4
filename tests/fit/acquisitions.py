"""Simulated inversion recovery for the tests of the fit: known parameters, known noise."""

import torch
from jaxtyping import Float
from torch import Tensor

from unweight.core.acquisition import Acquisition, SignalKind
from unweight.core.protocol import Protocol, protocol_from_values
from unweight.core.seeding import seeded_generator
from unweight.signals.inversion_recovery import InversionRecovery
from unweight.signals.noise import Gaussian, Rician

TIMES = (0.05, 0.10, 0.25, 0.50, 0.85, 1.50, 2.50)
SEVEN = protocol_from_values(inversion_time=TIMES, repetition_time=[10.0] * 7)


def parameters(
    count: int, t1: tuple[float, float], *, b: tuple[float, float] = (1.8, 2.0), seed: int = 0
) -> Float[Tensor, "voxels parameters"]:
    """Draw (T1, PD, B): ln T1, PD in 0.5 … 1.5 and B evenly."""
    generator = seeded_generator(seed, "parameters")
    uniform = torch.rand(count, 3, generator=generator, dtype=torch.float64)
    low, high = (torch.tensor(value, dtype=torch.float64).log() for value in t1)
    log_t1 = low + (high - low) * uniform[:, 0]
    return torch.stack((log_t1.exp(), 0.5 + uniform[:, 1], b[0] + (b[1] - b[0]) * uniform[:, 2]), dim=-1)


def acquire(
    theta: Float[Tensor, "voxels parameters"],
    sigma: float | None,
    *,
    protocol: Protocol = SEVEN,
    kind: SignalKind = SignalKind.MAGNITUDE,
    complete: float | None = None,
    seed: int = 1,
) -> Acquisition:
    """Simulate; the noise is not told to the fit."""
    signal = InversionRecovery(kind=SignalKind.SIGNED, complete=complete)(theta, protocol)
    generator = seeded_generator(seed, "noise")
    if kind is SignalKind.SIGNED:
        noisy = signal if sigma is None else Gaussian(sigma=sigma).draw(signal, generator)
    else:
        noisy = signal.abs() if sigma is None else Rician(sigma=sigma).draw(signal, generator)
    return Acquisition(signal=noisy, protocol=protocol, kind=kind)
