"""From noise-free volumes to what a scanner stores: draw a record, then apply it.

In the order of events: the head moves, k-space is sampled with a decaying echo train and up to some
resolution, volumes change against each other, the receiver adds noise to both channels, the reconstruction
filters, the magnitude is taken, the vendor scales and rounds. The reference intensity is the 95th
percentile of the brightest volume before noise; it is stored as `scale`, and the noise is `scale/snr` in
one channel, whatever the unit of the signal.
"""

import math
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from unweight.core.acquisition import SignalKind
from unweight.core.errors import InputError, UsageError
from unweight.signals.noise import Gaussian, Rician
from unweight.synth.sampling import Ends, bernoulli, draw_log_uniform, draw_uniform
from unweight.synth.scanner.blur import Blur, EchoTrain, apply_blur
from unweight.synth.scanner.instability import (
    Instability,
    InstabilityPrior,
    destabilise,
    draw_instability,
)
from unweight.synth.scanner.kspace import crop_kspace, crop_padding, pad_periodic
from unweight.synth.scanner.motion import Motion, move
from unweight.synth.scanner.reconstruction import FilterPrior, ReconstructionFilter, draw_filter

REFERENCE_QUANTILE = 0.95


@final
@dataclass(frozen=True, kw_only=True)
class MeasurementPrior:
    """What measurements are drawn from.

    Attributes:
        kind: What is stored.
        snr: Reference intensity over the noise in one channel.
        scale: Stored value of the reference intensity.
        moving: Probability that the head moves between volumes.
        shift: Shift along each axis of the plane [voxel].
        rotation: Rotation in the plane [rad].
        train: Echo train behind the T2 blur; None for no blur.
        blur_t2: Effective T2 of the blur [s].
        phase_axis: Phase-encoding axis.
        shape: Matrix that is sampled; None for that of the volumes.
        rounding: Probability that the vendor stores whole numbers.
        seam: Voxels to continue patches by; 0 for whole slices with air around.
        filters: Reconstruction filters; None for none.
        instability: Errors between volumes; None for none.
    """

    kind: SignalKind = SignalKind.MAGNITUDE
    snr: Ends = (15.0, 300.0)
    scale: Ends = (100.0, 4000.0)
    moving: float = 0.3
    shift: Ends = (-1.0, 1.0)
    rotation: Ends = (math.radians(-1.0), math.radians(1.0))
    train: EchoTrain | None = None
    blur_t2: Ends = (0.05, 0.2)
    phase_axis: int = 1
    shape: tuple[int, ...] | None = None
    rounding: float = 0.5
    seam: int = 0
    filters: FilterPrior | None = None
    instability: InstabilityPrior | None = None

    def __post_init__(self) -> None:
        if not self.snr[0] > 0 or not self.scale[0] > 0:
            raise UsageError("the ranges of snr and scale must be positive")


@final
@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One measurement of a series, without the noise itself: that comes from the generator.

    Attributes:
        kind: What is stored.
        snr: Reference intensity over the noise in one channel; infinite for no noise.
        scale: Stored value of the reference intensity.
        motions: Where the head was in each volume; empty if it lay still.
        blur: T2 blur along the phase-encoding axis; None where there is none or the signal has it.
        shape: Matrix that is sampled; None for that of the volumes.
        rounded: Whether whole numbers are stored.
        seam: Voxels by which a patch is continued while it is in k-space; 0 for whole slices.
        filter: Filter of the reconstruction; None for none.
        instability: Errors between volumes; None for none.
    """

    kind: SignalKind = SignalKind.MAGNITUDE
    snr: float = math.inf
    scale: float = 1.0
    motions: tuple[Motion, ...] = ()
    blur: Blur | None = None
    shape: tuple[int, ...] | None = None
    rounded: bool = False
    seam: int = 0
    filter: ReconstructionFilter | None = None
    instability: Instability | None = None

    def __post_init__(self) -> None:
        if not self.snr > 0 or not 0 < self.scale < math.inf:
            raise UsageError(f"snr {self.snr:g} and scale {self.scale:g} must be positive, scale finite")
        if self.seam and self.shape is not None:
            raise UsageError(
                "a patch cannot be sampled on another matrix",
                remedy="Crop whole slices in k-space, and cut patches after.",
            )

    @property
    def noise_sd(self) -> float:
        """Standard deviation of the noise in one channel before any filter, in stored units."""
        return self.scale / self.snr

    def stored_noise_sd(self, shape: tuple[int, ...]) -> float:
        """Return the standard deviation of the noise in one channel of stored volumes, in stored units.

        Args:
            shape: Spatial shape of the volumes.
        """
        if self.filter is None:
            return self.noise_sd
        return self.noise_sd * self.filter.noise_factor(tuple(size + 2 * self.seam for size in shape))


def draw_measurement(prior: MeasurementPrior, n_volumes: int, generator: torch.Generator) -> Measurement:
    """Draw one measurement. The head lies where the truth says in the first volume.

    Args:
        prior: What to draw from.
        n_volumes: Volumes of the series.
        generator: For the draw.
    """
    motions: tuple[Motion, ...] = ()
    if bernoulli(prior.moving, generator):
        rest = (_draw_motion(prior, generator) for _ in range(n_volumes - 1))
        motions = (Motion(), *rest)
    blur = None
    if prior.train is not None:
        blur = Blur(train=prior.train, t2=draw_log_uniform(prior.blur_t2, generator), axis=prior.phase_axis)
    return Measurement(
        kind=prior.kind,
        snr=draw_log_uniform(prior.snr, generator),
        scale=draw_log_uniform(prior.scale, generator),
        motions=motions,
        blur=blur,
        shape=prior.shape,
        rounded=bernoulli(prior.rounding, generator),
        seam=prior.seam,
        filter=None if prior.filters is None else draw_filter(prior.filters, generator),
        instability=None if prior.instability is None else draw_instability(prior.instability, generator),
    )


def measure(
    signal: Float[Tensor, "*space volumes"] | Complex[Tensor, "*space volumes"],
    measurement: Measurement,
    generator: torch.Generator,
    reference: float | None = None,
) -> Float[Tensor, "*coarse volumes"] | Complex[Tensor, "*coarse volumes"]:
    """Return what the scanner stores: the same precision, real unless the kind is complex.

    Signed volumes are the real part: the phase is taken as removed.

    Args:
        signal: Noise-free volumes with their signs, or complex.
        measurement: What happens to them.
        generator: For the noise.
        reference: Reference intensity [unit of the signal]; None to find it in these volumes. Give it
            where they are a patch of a larger image.

    Raises:
        InputError: There is no signal to refer to.
        UsageError: A real signal is to be stored as complex.
    """
    if measurement.kind is SignalKind.COMPLEX and not signal.is_complex():
        raise UsageError("complex data need a complex signal", remedy="Give it its phase first.")
    level = reference_intensity(signal) if reference is None else reference
    if not 0 < level < math.inf:
        raise InputError(
            f"the reference intensity is {level:g}: there is no signal to scale the noise to",
            remedy="Leave out empty slices, or give the reference of the whole image.",
        )
    image = _encoded(signal, measurement) * (measurement.scale / level)
    if measurement.instability is not None:
        image = destabilise(image, measurement.instability, generator)
    stored = _received(image, measurement, generator)
    if not measurement.rounded:
        return stored
    if stored.is_complex():
        return torch.complex(stored.real.round(), stored.imag.round())
    return stored.round()


def reference_intensity(
    signal: Float[Tensor, "*space volumes"] | Complex[Tensor, "*space volumes"],
) -> float:
    """Return the 95th percentile of the volume with the largest mean magnitude."""
    magnitude = signal.abs().reshape(-1, signal.shape[-1])
    brightest = magnitude[:, int(magnitude.mean(0).argmax())]
    rank = max(1, math.ceil(REFERENCE_QUANTILE * len(brightest)))
    return float(brightest.kthvalue(rank).values)


def _encoded(
    signal: Float[Tensor, "*space volumes"] | Complex[Tensor, "*space volumes"],
    measurement: Measurement,
) -> Float[Tensor, "*coarse volumes"] | Complex[Tensor, "*coarse volumes"]:
    """Move the head, fill k-space, and make the image, without noise."""
    encoded = bool(measurement.motions) or measurement.blur is not None
    axes = tuple(sorted({0, 1} if measurement.blur is None else {0, 1, measurement.blur.axis}))
    if encoded and measurement.seam:
        signal = pad_periodic(signal, axes, measurement.seam)
    if measurement.motions:
        signal = move(signal, measurement.motions)
    if measurement.blur is not None:
        signal = apply_blur(signal, measurement.blur)
    if encoded and measurement.seam:
        signal = crop_padding(signal, axes, measurement.seam)
    if measurement.shape is not None:
        signal = crop_kspace(signal, measurement.shape)
    return signal


def _received(
    image: Float[Tensor, "*coarse volumes"] | Complex[Tensor, "*coarse volumes"],
    measurement: Measurement,
    generator: torch.Generator,
) -> Float[Tensor, "*coarse volumes"] | Complex[Tensor, "*coarse volumes"]:
    """Add noise, filter, and keep what the kind keeps."""
    if measurement.filter is not None:
        return _filtered(image, measurement, measurement.filter, generator)
    if measurement.kind is SignalKind.MAGNITUDE:
        if math.isinf(measurement.snr):
            return image.abs()
        return Rician(sigma=measurement.noise_sd).draw(image, generator)
    kept = image.real if measurement.kind is SignalKind.SIGNED else image
    if math.isinf(measurement.snr):
        return kept
    return Gaussian(sigma=measurement.noise_sd).draw(kept, generator)


def _filtered(
    image: Float[Tensor, "*coarse volumes"] | Complex[Tensor, "*coarse volumes"],
    measurement: Measurement,
    reconstruct: ReconstructionFilter,
    generator: torch.Generator,
) -> Float[Tensor, "*coarse volumes"] | Complex[Tensor, "*coarse volumes"]:
    """Add complex noise, filter both, and keep what the kind keeps."""
    complex_image = image if image.is_complex() else torch.complex(image, torch.zeros_like(image))
    axes = tuple(axis for axis in (0, 1) if image.shape[axis] > 1)
    if measurement.seam:
        complex_image = pad_periodic(complex_image, axes, measurement.seam)
    if not math.isinf(measurement.snr):
        complex_image = Gaussian(sigma=measurement.noise_sd).draw(complex_image, generator)
    filtered = reconstruct(complex_image)
    if measurement.seam:
        filtered = crop_padding(filtered, axes, measurement.seam)
    if measurement.kind is SignalKind.MAGNITUDE:
        return filtered.abs()
    return filtered.real if measurement.kind is SignalKind.SIGNED else filtered


def _draw_motion(prior: MeasurementPrior, generator: torch.Generator) -> Motion:
    return Motion(
        shift=(draw_uniform(prior.shift, generator), draw_uniform(prior.shift, generator)),
        rotation=draw_uniform(prior.rotation, generator),
    )
