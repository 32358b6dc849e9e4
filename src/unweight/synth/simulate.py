"""From parameters to the acquisition a scanner would give: a signal model, a protocol, noise."""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from unweight.core.acquisition import Acquisition, SignalKind
from unweight.core.errors import UsageError
from unweight.core.protocol import Protocol
from unweight.phantom.digital import VOID, DigitalPhantom
from unweight.signals.inversion_recovery import InversionRecovery
from unweight.signals.model import Signal, SignalModel
from unweight.signals.noise import NoiseModel, Rician


def simulate(
    model: SignalModel,
    theta: Float[Tensor, "*voxels parameters"],
    protocol: Protocol,
    noise: NoiseModel | None,
    generator: torch.Generator,
) -> Acquisition:
    """Return what a scanner would give for known parameters.

    Rician noise makes magnitude data. Any other noise, and none, leaves the kind of the signal:
    complex if it is complex, magnitude if the model says so, else signed.

    Args:
        model: Signal of a voxel.
        theta: Parameters, in the order of the model; NaN gives no signal.
        protocol: Timings.
        noise: How the measurement departs from the signal; None for not at all.
        generator: For the noise.

    Raises:
        UsageError: Noise of both signs on a magnitude.
    """
    signal = model(theta, protocol)
    silent = torch.isnan(theta).any(-1, keepdim=True)
    return _measure(signal.masked_fill(silent, 0.0), protocol, _kind(model, signal), noise, generator)


def simulate_phantom(
    phantom: DigitalPhantom,
    model: InversionRecovery,
    protocol: Protocol,
    noise: NoiseModel | None,
    generator: torch.Generator,
) -> Acquisition:
    """Return inversion-recovery volumes of a digital phantom.

    A voxel of several materials gives the sum of their signed signals, each times its fraction; the
    magnitude is taken after that, as a scanner does.

    Args:
        phantom: What the voxels hold.
        model: Signed or magnitude.
        protocol: Timings.
        noise: Rician for magnitude, Gaussian for signed volumes; None for none.
        generator: For the noise.
    """
    signed = replace(model, kind=SignalKind.SIGNED)
    total = torch.zeros(*phantom.labels.shape, protocol.n_volumes, dtype=phantom.fractions.dtype)
    for material in range(phantom.fractions.shape[-1]):
        fraction = phantom.fractions[..., material]
        present = fraction > 0
        if material != VOID and bool(present.any()):
            signal = signed(phantom.theta(material)[present], protocol)
            total[present] += fraction[present][:, None] * signal
    displayed = total.abs() if model.kind is SignalKind.MAGNITUDE else total
    return replace(_measure(displayed, protocol, model.kind, noise, generator), affine=phantom.affine)


def _measure(
    signal: Signal,
    protocol: Protocol,
    kind: SignalKind,
    noise: NoiseModel | None,
    generator: torch.Generator,
) -> Acquisition:
    """Add noise and say what kind of data came out."""
    if noise is None:
        return Acquisition(signal=signal, protocol=protocol, kind=kind)
    if isinstance(noise, Rician):
        kind = SignalKind.MAGNITUDE
    elif kind is SignalKind.MAGNITUDE:
        raise UsageError(
            f"{type(noise).__name__} noise on a magnitude would make it negative",
            remedy="Use Rician noise, or the signed or complex signal.",
        )
    return Acquisition(signal=noise.draw(signal, generator), protocol=protocol, kind=kind)


def _kind(model: SignalModel, signal: Signal) -> SignalKind:
    if signal.is_complex():
        return SignalKind.COMPLEX
    kind = getattr(model, "kind", SignalKind.SIGNED)
    return kind if isinstance(kind, SignalKind) else SignalKind.SIGNED
