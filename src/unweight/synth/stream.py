"""Endless samples for training: sample i of seed s is the same whatever the batch, the worker or the order.

A sample goes the way of the rest of the house: an anatomy is cut, warped and composed into a scene, its
signal is computed by the models of `signals`, and measured. All randomness comes from one generator per
sample, seeded by (seed, index). A stream is a sequence, so a `torch.utils.data.DataLoader` takes it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from unweight.core.errors import UsageError
from unweight.core.parameter import ParameterSpec
from unweight.core.ragged import stack_ragged
from unweight.core.seeding import seeded_generator
from unweight.signals.parameters import PD, T1, B
from unweight.synth.anatomy.crop import draw_bent_slab, draw_crop
from unweight.synth.anatomy.labels import Anatomy
from unweight.synth.anatomy.warp import WarpRange
from unweight.synth.protocols.standard import Scan
from unweight.synth.sampling import bernoulli, draw_count
from unweight.synth.scanner.bipolar import alternate, draw_bipolar_phase
from unweight.synth.scanner.fields import ADIABATIC, EfficiencyPrior
from unweight.synth.scanner.measure import MeasurementPrior, draw_measurement, measure, reference_intensity
from unweight.synth.tissue.compose import Factor, compose
from unweight.synth.tissue.prior import Prior
from unweight.synth.tissue.scene import Scene

ANY_MEASUREMENT, ANY_WARP = MeasurementPrior(seam=8), WarpRange()
CPU = torch.device("cpu")
N_TRIES = 8


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """One simulated slab with its truth.

    Attributes:
        signal: What the scanner stored, the volumes of all scans in their order.
        truth: True maps, in the order of the stream's specs; PD in the unit of the first scan; NaN
            where there is no water.
        purity: Largest share of one material in the water of each voxel.
        mixing: Standard deviation of ln T1 over the water of each voxel.
        noise_sd: Of each volume, in one channel.
        scans: How the volumes were prescribed.
        subject: Whose anatomy it is.
    """

    signal: Float[Tensor, "*space volumes"]
    truth: Float[Tensor, "*space parameters"]
    purity: Float[Tensor, "*space"]
    mixing: Float[Tensor, "*space"]
    noise_sd: Float[Tensor, " volumes"]
    scans: tuple[Scan, ...]
    subject: str

    def tensors(self) -> dict[str, Tensor]:
        """Return what a training step needs, for a collate function or a shard."""
        times = {
            name: torch.cat([_timing(scan, name) for scan in self.scans]).float()
            for name in ("inversion_time", "repetition_time", "echo_time")
        }
        return {
            "signal": self.signal.contiguous(),
            "truth": self.truth.contiguous(),
            "purity": self.purity.contiguous(),
            "mixing": self.mixing.contiguous(),
            "noise_sd": self.noise_sd,
            **times,
        }


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class SampleStream:
    """Samples made when they are asked for.

    Attributes:
        anatomies: Heads to cut from; one is drawn per sample.
        prior: Of tissue.
        draw_scans: What is scanned: `lambda generator: (seven_inversions(),)`, or a random protocol.
        specs: The true maps wanted.
        measurement: What measurements are drawn from.
        seed: Of the stream.
        length: Samples in one pass.
        shape: Of a slab, in the scanner's voxels.
        factor: Fine voxels in one of the scanner's along each axis of the slab.
        warp: How far shapes may change; None for not at all.
        shapes: Draws an anatomy of no particular shape, and how often it is used instead of a head.
        device: Where signals are computed and measured, and where the samples end up. What is drawn is
            drawn on the processor, so a sample is the same to rounding on any device.
        efficiency: What the inversion efficiency is drawn from.
    """

    anatomies: tuple[Anatomy, ...]
    prior: Prior
    draw_scans: Callable[[torch.Generator], tuple[Scan, ...]]
    specs: tuple[ParameterSpec, ...] = (T1, PD, B)
    measurement: MeasurementPrior = ANY_MEASUREMENT
    seed: int = 0
    length: int = 1_000_000
    shape: tuple[int, int, int] = (64, 64, 1)
    factor: Factor = (2, 2, 4)
    warp: WarpRange | None = ANY_WARP
    shapes: tuple[Callable[[tuple[int, int, int], torch.Generator], Anatomy], float] | None = None
    device: torch.device = CPU
    efficiency: EfficiencyPrior = ADIABATIC

    def __post_init__(self) -> None:
        if not self.anatomies and (self.shapes is None or self.shapes[1] < 1):
            raise UsageError("a stream without anatomies", remedy="Give heads, or shapes for all samples.")

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Sample:
        """Make one sample.

        Raises:
            IndexError: The index lies beyond the length.
        """
        if not 0 <= index < self.length:
            raise IndexError(index)
        generator = seeded_generator(self.seed, "sample", index)
        scans = self.draw_scans(generator)
        field = scans[0].protocol.field_strength
        tissue = self.prior.draw(generator, 3.0 if field is None else field)
        for _ in range(N_TRIES):
            slab = self._draw_slab(generator)
            scene = compose(slab, self.factor, tissue, generator, self.efficiency)
            if float(scene.purity.amax()) > 0:
                break
        else:
            raise UsageError(
                f"{N_TRIES} slabs of {slab.subject} contain no water", remedy="Check the anatomies."
            )
        return self._scanned(scene.to(self.device), scans, slab.subject, generator)

    def _draw_slab(self, generator: torch.Generator) -> Anatomy:
        fine = (
            self.shape[0] * self.factor[0],
            self.shape[1] * self.factor[1],
            self.shape[2] * self.factor[2],
        )
        if self.shapes is not None and bernoulli(self.shapes[1], generator):
            return self.shapes[0](fine, generator)
        anatomy = self.anatomies[draw_count(0, len(self.anatomies) - 1, generator)]
        if self.warp is None:
            return draw_crop(anatomy, fine, generator).apply(anatomy)
        return draw_bent_slab(anatomy, fine, generator, self.warp)

    def _scanned(
        self, scene: Scene, scans: tuple[Scan, ...], subject: str, generator: torch.Generator
    ) -> Sample:
        stored, noise, gains = [], [], []
        for scan in scans:
            signal, sd, gain = scanned(scene, scan, self.measurement, generator)
            stored.append(signal)
            noise.append(torch.full((signal.shape[-1],), sd))
            gains.append(gain)
        truth = scene.truth(self.specs, gains[0]).values
        return Sample(
            signal=torch.cat(stored, dim=-1),
            truth=truth,
            purity=scene.purity,
            mixing=scene.mixing,
            noise_sd=torch.cat(noise),
            scans=scans,
            subject=subject,
        )


def collate(samples: Sequence[Sample]) -> dict[str, Tensor]:
    """Stack samples for a `DataLoader`; those of protocols with fewer volumes are padded with NaN."""
    rows = [sample.tensors() for sample in samples]
    return {name: stack_ragged([row[name] for row in rows]) for name in rows[0]}


def scanned(
    scene: Scene, scan: Scan, prior: MeasurementPrior, generator: torch.Generator
) -> tuple[Tensor, float, float]:
    """Return what the scanner stores, its noise, and its gain: stored intensity over that of the scene.

    The echo train of the scan blurs, unless the prior names another; the echoes of one TR do not move
    against each other, and alternate where the readout is bipolar.
    """
    prior = replace(prior, train=prior.train if prior.train is not None else scan.train)
    if scan.name == "MEGRE":
        prior = replace(prior, moving=0.0)
    signal = scene.signal(scan.model, scan.protocol)
    if scan.bipolar:
        signal = alternate(signal, draw_bipolar_phase(generator))
    measurement = draw_measurement(prior, signal.shape[-1], generator)
    reference = reference_intensity(signal)
    if not reference > 0:
        reference = 1.0
    flat = signal.squeeze(2) if signal.ndim == 4 and signal.shape[2] == 1 else signal
    stored = measure(flat, measurement, generator, reference)
    noise_sd = measurement.stored_noise_sd(tuple(flat.shape[:-1]))
    return stored.reshape(signal.shape), noise_sd, measurement.scale / reference


def _timing(scan: Scan, name: str) -> Float[Tensor, " volumes"]:
    value = getattr(scan.protocol, name)
    return value if value is not None else torch.full((scan.protocol.n_volumes,), torch.nan)
