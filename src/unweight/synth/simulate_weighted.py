"""A head under T1w, T2w and FLAIR: the images of one examination with their true T1, T2 and PD.

All images share the head, its tissue and the receive sensitivity; each has its own gain, noise and blur,
and may lie a little beside the others, as after a registration. True PD is relative to CSF and free of the
receive sensitivity, which the images are not.
"""

from dataclasses import dataclass, replace
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unweight.core.errors import UsageError
from unweight.core.examination import WeightedImage, WeightedImageSet
from unweight.core.weighting import Readout, Weighting
from unweight.signals.mprage import Mprage
from unweight.signals.parameters import PD, T1, T2
from unweight.synth.anatomy.labels import Anatomy
from unweight.synth.protocols.standard import Scan
from unweight.synth.sampling import bernoulli, draw_uniform
from unweight.synth.scanner.measure import MeasurementPrior, draw_measurement, measure, reference_intensity
from unweight.synth.scanner.motion import Motion
from unweight.synth.tissue.compose import Factor, compose
from unweight.synth.tissue.materials import BRAIN
from unweight.synth.tissue.prior import TissueDraw
from unweight.synth.tissue.scene import Scene

SPECS = (T1, T2, PD)
STILL = MeasurementPrior(snr=(20.0, 150.0), moving=0.0, seam=8)
HALF = 0.5


@final
@dataclass(frozen=True, kw_only=True)
class ScannerPrior:
    """How images are measured.

    Attributes:
        measurement: Noise, scale and rounding of each image.
        beside: Probability that an image lies beside the first.
        shift: By at most so much along each axis [voxel].
        rotation: By at most so much [rad].
    """

    measurement: MeasurementPrior = STILL
    beside: float = 0.4
    shift: float = 0.5
    rotation: float = 0.01


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class SimulatedImages:
    """An examination with its truth.

    Attributes:
        examination: What the scanner gave; the mask is what is brain or CSF by half at least.
        truth: T1 [s], T2 [s] and PD relative to CSF; NaN where there is no water.
        scene: What fills the voxels.
    """

    examination: WeightedImageSet
    truth: Float[Tensor, "*space 3"]
    scene: Scene

    def share(self, *materials: str) -> Float[Tensor, "*space"]:
        """Return the share of some materials together in each voxel."""
        return self.scene.share(*materials)


def weighting_of(scan: Scan) -> Weighting:
    """Return how a scan of one volume is weighted.

    Raises:
        UsageError: The scan has several volumes.
    """
    if scan.protocol.n_volumes != 1:
        raise UsageError(f"{scan.name} has {scan.protocol.n_volumes} volumes", remedy="Give one image.")
    if isinstance(scan.model, Mprage):
        return Weighting(readout=Readout.MPRAGE, protocol=scan.protocol)
    single = scan.train is None and scan.protocol.readout_time is None
    readout = Readout.SPIN_ECHO if single else Readout.TURBO_SPIN_ECHO
    return Weighting(readout=readout, protocol=scan.protocol)


def examine(
    anatomy: Anatomy,
    factor: Factor,
    tissue: TissueDraw,
    scans: tuple[Scan, ...],
    generator: torch.Generator,
    scanner: ScannerPrior | None = None,
    *,
    inside: tuple[str, ...] = BRAIN,
) -> SimulatedImages:
    """Fill an anatomy with tissue and scan it.

    Args:
        anatomy: Labels on the fine grid.
        factor: Fine voxels in one of the scanner's along each axis.
        tissue: Properties of the materials.
        scans: One for each image.
        generator: For all that is drawn.
        scanner: How images are measured.
        inside: Materials that the mask holds.

    Raises:
        UsageError: There is no water inside.
    """
    scanner = ScannerPrior() if scanner is None else scanner
    scene = compose(anatomy, factor, tissue, generator)
    share = scene.share(*inside)
    truth = _truth(scene, tissue)
    mask: Bool[Tensor, "*space"] = (share >= HALF) & torch.isfinite(truth).all(-1)
    if not bool(mask.any()):
        raise UsageError(f"no water in this slab of {anatomy.subject}", remedy="Cut it elsewhere.")
    images = []
    for place, scan in enumerate(scans):
        signal = _stored(scene, scan, scanner, generator, first=place == 0)
        images.append(WeightedImage(name=scan.name, weighting=weighting_of(scan), signal=signal))
    examination = WeightedImageSet(
        images=tuple(images), mask=mask, field_strength=tissue.field_strength, affine=scene.affine
    )
    return SimulatedImages(examination=examination, truth=truth, scene=scene)


def _truth(scene: Scene, tissue: TissueDraw) -> Float[Tensor, "*space 3"]:
    """Return the maps without the receive sensitivity, PD relative to that of CSF."""
    blind = replace(
        scene, fields={name: field for name, field in scene.fields.items() if name != "receive"}
    )
    values = blind.truth(SPECS).values
    fluid = tissue.value("csf", "PD")
    return values / torch.tensor([1.0, 1.0, fluid if fluid > 0 else 1.0])


def _stored(
    scene: Scene, scan: Scan, scanner: ScannerPrior, generator: torch.Generator, *, first: bool
) -> Float[Tensor, "*space"]:
    signal = scene.signal(scan.model, scan.protocol)
    prior = replace(scanner.measurement, train=scanner.measurement.train or scan.train)
    drawn = draw_measurement(prior, 1, generator)
    if not first and bernoulli(scanner.beside, generator):
        ends = (-scanner.shift, scanner.shift)
        shift = (draw_uniform(ends, generator), draw_uniform(ends, generator))
        turn = draw_uniform((-scanner.rotation, scanner.rotation), generator)
        drawn = replace(drawn, motions=(Motion(shift=shift, rotation=turn),))
    reference = reference_intensity(signal)
    flat = signal.squeeze(2) if signal.ndim == 4 and signal.shape[2] == 1 else signal
    stored = measure(flat, drawn, generator, reference if reference > 0 else 1.0)
    return stored.reshape(signal.shape)[..., 0].float()
