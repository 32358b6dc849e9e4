"""Simulated slabs of inversion recovery: fitted, or as images.

Fitted slabs are computed once, then used again and again. Three kinds of slab teach three things: heads
what brains look like, shapes that anything may lie beside anything, and scattered voxels how far a single
voxel can be trusted. Slab i of a seed is always the same.

Slabs for the published networks are weighted images of one protocol, and true maps. As published they are
cut from heads alone, with normal tissue: short T1 never occurs in them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from unweight.core.acquisition import Acquisition, SignalKind
from unweight.core.protocol import Protocol, protocol_from_values
from unweight.core.seeding import seeded_generator
from unweight.fit.inversion_recovery import InversionRecoveryFit
from unweight.learn.t1.features import fit_features, fit_twice
from unweight.signals.inversion_recovery import InversionRecovery
from unweight.synth.anatomy.labels import Anatomy
from unweight.synth.iid_voxels import ScatterPrior, scatter
from unweight.synth.protocols.prior import InversionPrior, draw_inversions
from unweight.synth.protocols.standard import Scan, seven_inversions
from unweight.synth.sampling import Ends, bernoulli, draw_count, draw_uniform
from unweight.synth.scanner.fields import ADIABATIC, MEASURED_EFFICIENCIES, EfficiencyPrior
from unweight.synth.scanner.instability import InstabilityPrior
from unweight.synth.scanner.measure import MeasurementPrior, reference_intensity
from unweight.synth.scanner.reconstruction import FilterPrior
from unweight.synth.stream import SampleStream
from unweight.synth.tissue.inclusions import with_specks
from unweight.synth.tissue.prior import MixedPrior, Prior, RandomTissuePrior, TissuePrior
from unweight.synth.tissue.scenes import random_shapes, sphere_grid

DEFAULT_FIT = InversionRecoveryFit()
FINE = (2, 2, 4)
FINE_MM = (0.5, 0.5, 0.5)
N_SPECKS = 20_000  # in a head, about a tenth of its volume
# Far wider than what is usual: from a second of TR to fifteen, and times that leave out either end.
ANY_INVERSIONS = InversionPrior(shortest=(0.02, 0.5), longest=(0.6, 4.5), repetition_time=(0.9, 15.0))
CONSTANT = InversionRecovery(kind=SignalKind.SIGNED, complete=2.0)
SHORTEST_TR, SHORTEST_REST = 1.0, 0.4  # [s]
PARTIAL_VOLUME_SD = 0.6  # sd of ln T1 in a voxel at which what its T1 is has become a matter of definition
LEAST_WEIGHT = 0.03
EARLIEST = 0.005  # no inversion time is counted shorter than this [s]


@final
@dataclass(frozen=True, kw_only=True)
class SlabRecipe:
    """What slabs are made from, as plain values.

    Attributes:
        inversion_times: TI of every slab [s]; empty for random protocols, of which `published` are the
            seven inversions of Wang et al.
        repetition_time: TR that goes with them [s].
        readout: Excitation to last echo that goes with them [s].
        published: Share of slabs with the seven published inversions among random protocols.
        wide: Share of random protocols that are far from usual.
        size: Voxels along each axis of the plane.
        shapes: Share of slabs with shapes instead of heads.
        specks: Whether heads with specks are used beside the plain ones.
        scattered: Share of slabs with scattered voxels.
        tissue: Share of subjects with normal tissue; the others have any T1 anywhere.
        snr: Brightest volume over noise.
        moving: Probability that a head moves between volumes.
        late: Largest error of the nominal inversion times [s], in two slabs of five; those of scattered
            voxels are exact.
        untold: Share of slabs whose TR is hidden.
        constant: Share of random protocols after whose pulse magnetisation recovers from C = 2, not B.
        measured: Whether inversion efficiencies are those of fits of real scans, not of good pulses only.
        filtered: Share of slabs whose noise was filtered by the reconstruction.
        unstable: Share of slabs with errors that are smooth in space and differ between volumes.
        smooth: Standard deviation of the smoothing of such errors [voxel].
    """

    inversion_times: tuple[float, ...] = ()
    repetition_time: float = 10.0
    readout: float = 0.0
    published: float = 0.25
    wide: float = 0.4
    size: int = 128
    shapes: float = 0.35
    specks: bool = True
    scattered: float = 0.2
    tissue: float = 0.5
    snr: Ends = (15.0, 300.0)
    moving: float = 0.1
    late: float = 0.005
    untold: float = 0.1
    constant: float = 0.5
    measured: bool = False
    filtered: float = 0.0
    unstable: float = 0.0
    smooth: Ends = (0.7, 12.0)

    @property
    def efficiency(self) -> EfficiencyPrior:
        """What inversion efficiencies are drawn from."""
        return MEASURED_EFFICIENCIES if self.measured else ADIABATIC

    @property
    def measurement(self) -> MeasurementPrior:
        """What measurements are drawn from."""
        unstable = InstabilityPrior(probability=self.unstable, length=self.smooth)
        return MeasurementPrior(
            seam=8,
            snr=self.snr,
            moving=self.moving,
            filters=FilterPrior(probability=self.filtered) if self.filtered else None,
            instability=unstable if self.unstable else None,
        )


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class FittedSlabs:
    """Fitted slabs of a recipe, made when they are asked for.

    Attributes:
        recipe: What they are made from.
        anatomies: Heads to cut from.
        seed: Of all slabs.
        length: How many there are.
        fit: What fits them.
    """

    recipe: SlabRecipe
    anatomies: tuple[Anatomy, ...]
    seed: int
    length: int
    fit: InversionRecoveryFit = DEFAULT_FIT

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Make one slab: `channels` and `target` as input and target of the posterior network, and ln T1.

        Raises:
            IndexError: The index lies beyond the length.
        """
        slab = measured_slab(self.recipe, self.anatomies, self.seed, self.length, index)
        acquisition, truth = slab.acquisition, slab.truth
        features = fit_features(fit_twice(self.fit, acquisition))
        free = torch.stack([truth[..., 0].log(), truth[..., 1].log(), truth[..., 2]], dim=-1)
        target = (free - features.base) / features.scale
        target[~features.present] = math.nan
        return {
            "channels": features.channels.movedim(-1, 0).half(),
            "target": target.movedim(-1, 0).clamp(-6e4, 6e4).half(),
            "scale": features.scale.movedim(-1, 0).half(),
            "log_t1": free[..., 0].half(),
            "weight": torch.exp(-((slab.mixing / PARTIAL_VOLUME_SD) ** 2)).clamp(min=LEAST_WEIGHT).half(),
        }


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class MeasuredSlab:
    """One slab as a scanner would store it.

    Attributes:
        acquisition: Magnitudes, with the nominal protocol.
        truth: T1 [s], PD in the stored unit, and B; NaN where there is no water.
        mixing: Standard deviation of ln T1 over the water of each voxel.
        subject: Whose head it is, or what else.
        noise_sd: In one channel.
    """

    acquisition: Acquisition
    truth: Float[Tensor, "x y parameters"]
    mixing: Float[Tensor, "x y"]
    subject: str
    noise_sd: float


def measured_slab(
    recipe: SlabRecipe, anatomies: Sequence[Anatomy], seed: int, length: int, index: int
) -> MeasuredSlab:
    """Return one slab.

    Raises:
        IndexError: The index lies beyond the length.
    """
    if not 0 <= index < length:
        raise IndexError(index)
    generator = seeded_generator(seed, "slab", index)
    late = draw_uniform((-recipe.late, recipe.late), generator)
    if bernoulli(0.6, generator):
        late = 0.0
    untold = bernoulli(recipe.untold, generator)
    if bernoulli(recipe.scattered, generator):
        scan = draw_scan(recipe, generator)
        prior = ScatterPrior(snr=recipe.snr, scan=recipe.efficiency if recipe.measured else None)
        item = scatter(prior, scan, (recipe.size, recipe.size), generator)
        return MeasuredSlab(
            acquisition=Acquisition(signal=item.signal, protocol=_told(scan.protocol, 0.0, untold)),
            truth=item.truth,
            mixing=torch.zeros_like(item.truth[..., 0]),
            subject="scattered",
            noise_sd=item.noise_sd,
        )
    stream = slab_stream(recipe, tuple(anatomies), seed, length)
    sample = stream[index]
    protocol = _told(sample.scans[0].protocol, late, untold)
    return MeasuredSlab(
        acquisition=Acquisition(signal=sample.signal[:, :, 0], protocol=protocol),
        truth=sample.truth[:, :, 0],
        mixing=sample.mixing[:, :, 0],
        subject=sample.subject,
        noise_sd=float(sample.noise_sd[0]),
    )


def slab_stream(recipe: SlabRecipe, anatomies: tuple[Anatomy, ...], seed: int, length: int) -> SampleStream:
    """Return the heads and shapes of a recipe."""
    normal = TissuePrior(short=None)
    prior: Prior = MixedPrior(first=normal, second=RandomTissuePrior(), share=recipe.tissue)
    return SampleStream(
        anatomies=anatomies,
        prior=prior,
        draw_scans=lambda generator: (draw_scan(recipe, generator),),
        measurement=recipe.measurement,
        seed=seed,
        length=length,
        shape=(recipe.size, recipe.size, 1),
        factor=FINE,
        shapes=(draw_shapes, recipe.shapes if anatomies else 1.0),
        efficiency=recipe.efficiency,
    )


def draw_scan(recipe: SlabRecipe, generator: torch.Generator) -> Scan:
    """Draw the protocol of a slab."""
    if recipe.inversion_times:
        scan = seven_inversions()
        protocol = protocol_from_values(
            inversion_time=list(recipe.inversion_times),
            repetition_time=[recipe.repetition_time] * len(recipe.inversion_times),
            readout_time=[recipe.readout] * len(recipe.inversion_times),
            field_strength=3.0,
        )
        return replace(scan, protocol=protocol, train=None)
    if bernoulli(recipe.published, generator):
        return replace(
            seven_inversions(), train=None if bernoulli(0.5, generator) else seven_inversions().train
        )
    far = bernoulli(recipe.wide, generator)
    scan = draw_inversions(ANY_INVERSIONS if far else InversionPrior(), generator)
    model = CONSTANT if bernoulli(recipe.constant, generator) else scan.model
    if bernoulli(0.8, generator):
        return replace(scan, model=model)
    return replace(scan, model=model, protocol=_following(scan.protocol))


def draw_shapes(shape: tuple[int, int, int], generator: torch.Generator) -> Anatomy:
    """Draw shapes of any material, or spheres in water."""
    if bernoulli(0.4, generator):
        radius = draw_uniform((4.0, 12.0), generator)
        return sphere_grid(shape, FINE_MM, generator, radius_mm=radius)
    anatomy = random_shapes(shape, FINE_MM, generator, n_shapes=32)
    return with_specks(anatomy, draw_count(0, 60, generator), generator)


def with_inclusions(anatomies: Sequence[Anatomy], seed: int) -> tuple[Anatomy, ...]:
    """Return heads, each without and with specks."""
    pairs = (
        (anatomy, with_specks(anatomy, N_SPECKS, seeded_generator(seed, "specks", anatomy.subject)))
        for anatomy in anatomies
    )
    return tuple(anatomy for pair in pairs for anatomy in pair)


def _following(protocol: Protocol) -> Protocol:
    """Return the protocol as some scanners run it: the shortest TR that each inversion time allows."""
    times = protocol.require("inversion_time", "a slab")
    readout = protocol.readout_time
    needed = times + SHORTEST_REST + (0.0 if readout is None else readout)
    return replace(protocol, repetition_time=needed.clamp(min=SHORTEST_TR))


def _told(protocol: Protocol, late: float, untold: bool) -> Protocol:
    """Return the protocol with every nominal TI too long by so much, and perhaps without its TR."""
    times = (protocol.require("inversion_time", "a slab") + late).clamp(min=EARLIEST)
    if untold:
        return replace(protocol, inversion_time=times, repetition_time=None, readout_time=None)
    return replace(protocol, inversion_time=times)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class ImageSlabs:
    """Slabs of a recipe with fixed inversion times, made when they are asked for.

    Attributes:
        recipe: What they are made from.
        anatomies: Heads to cut from.
        seed: Of all slabs.
        length: How many there are.
    """

    recipe: SlabRecipe
    anatomies: tuple[Anatomy, ...]
    seed: int
    length: int

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Make one slab: `signal` over the reference intensity, and `truth`, T1 [s], relative PD and B.

        Raises:
            IndexError: The index lies beyond the length.
        """
        slab = measured_slab(self.recipe, self.anatomies, self.seed, self.length, index)
        acquisition, truth = slab.acquisition, slab.truth
        scale = reference_intensity(acquisition.signal)
        relative = truth / torch.tensor([1.0, scale if scale > 0 else math.nan, 1.0])
        return {
            "signal": (acquisition.signal / max(scale, 1e-12)).movedim(-1, 0).half(),
            "truth": relative.movedim(-1, 0).clamp(max=6e4).half(),
        }


def slabs_of(
    recipe: SlabRecipe, anatomies: tuple[Anatomy, ...], *, seed: int, length: int, fitted: bool
) -> FittedSlabs | ImageSlabs:
    """Return the slabs of a recipe, of heads with and without inclusions where it asks for them.

    Args:
        recipe: What they are made from.
        anatomies: Heads to cut from.
        seed: Of all slabs.
        length: How many there are.
        fitted: Whether they are fitted, or images.
    """
    heads = with_inclusions(anatomies, seed) if recipe.specks else anatomies
    if fitted:
        return FittedSlabs(recipe=recipe, anatomies=heads, seed=seed, length=length)
    return ImageSlabs(recipe=recipe, anatomies=heads, seed=seed, length=length)
