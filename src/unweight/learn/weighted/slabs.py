"""Simulated T1w, T2w and FLAIR made ready for training: slices of heads and of shapes, with their truth.

Tissue is normal in most heads; in the others every tissue but CSF has its own T1, T2 and PD, far from
normal, so that what a place in the brain looks like is no look-up of what it is. Shapes of random materials
beside each other teach the physics alone. No lesion of any kind is in them: neither their places nor their
tissue. No image has a protocol that is held out (`synth.protocols.prior`).
"""

import math
from dataclasses import dataclass, replace
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from unweight.core.errors import UsageError
from unweight.core.examination import WeightedImageSet
from unweight.core.seeding import seeded_generator
from unweight.core.weighting import completed
from unweight.learn.weighted.features import anchors_of, features_of
from unweight.synth.anatomy.crop import draw_bent_slab
from unweight.synth.anatomy.labels import Anatomy
from unweight.synth.anatomy.warp import WarpRange
from unweight.synth.protocols.prior import ContrastPrior, draw_contrasts, is_held_out, with_drawn_design
from unweight.synth.protocols.standard import Scan
from unweight.synth.sampling import Ends, bernoulli, draw_count
from unweight.synth.scanner.measure import MeasurementPrior
from unweight.synth.simulate_weighted import ScannerPrior, SimulatedImages, examine, weighting_of
from unweight.synth.tissue.materials import BRAIN, INDEX, MATERIALS, SILENT
from unweight.synth.tissue.prior import TissueDraw, TissuePrior
from unweight.synth.tissue.scenes import random_shapes

FINE, FINE_MM = 2, 0.5
THICKNESS, THICKEST = (2, 4, 6), 10  # fine layers in a slice: 1, 2 or 3 mm; 5 mm
LESIONS = ("ms_lesion", "tumour", "oedema")
# CSF three times more: without it nothing tells the gains.
SHAPED = (
    *("csf",) * 3,
    *(name for name in MATERIALS if name not in (*LESIONS, *SILENT, "skull")),
)
FAR = (0.3, 0.4, 0.06)  # sd of ln T1, ln T2 and ln PD of tissue that is far from normal
HIGHEST_PD = 1.05
NORMAL = TissuePrior(short=None)
MIXED, LEAST_WEIGHT = 1.0, 0.1
WHOLE = ("rows", "levels", "present", "field")  # of a slab: these have no grid
N_TRIES = 16


@final
@dataclass(frozen=True, kw_only=True)
class WeightedSlabRecipe:
    """What slabs are made from, as plain values.

    Attributes:
        size: Voxels along each axis of the plane.
        shapes: Share of slabs with shapes instead of heads.
        far: Share of heads whose tissue is far from normal.
        missing: Probability that one of the images is missing.
        snr: Brightest intensity over noise, of each image.
        masked: Share of slabs whose mask is a voxel too large or too small.
        low_angles: Share of T2w and of FLAIR with a train of low refocusing angles, whose design is drawn
            while the network gets the one that is assumed.
        mprage_inversion_time: Shortest TI of an MPRAGE [s].
        thick: Share of slices of 5 mm; the others have 1, 2 or 3 mm.
    """

    size: int = 128
    shapes: float = 0.15
    far: float = 0.3
    missing: float = 0.1
    snr: Ends = (20.0, 150.0)
    masked: float = 0.4
    low_angles: float = 0.0
    mprage_inversion_time: float = 0.7
    thick: float = 0.0

    @property
    def contrasts(self) -> ContrastPrior:
        """Protocols."""
        return ContrastPrior(low_angles=self.low_angles, mprage_inversion_time=self.mprage_inversion_time)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class WeightedSlabs:
    """Slabs of a recipe, made when they are asked for.

    Attributes:
        recipe: What they are made from.
        anatomies: Heads to cut from.
        seed: Of all slabs.
        length: How many there are.
    """

    recipe: WeightedSlabRecipe
    anatomies: tuple[Anatomy, ...]
    seed: int
    length: int

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Make one slab as input of the network, with its truth.

        Raises:
            IndexError: The index lies beyond the length.
        """
        if not 0 <= index < self.length:
            raise IndexError(index)
        generator = seeded_generator(self.seed, "weighted slab", index)
        for _ in range(N_TRIES):
            examined = draw_examined(self.recipe, self.anatomies, generator)
            if examined is not None:
                return prepared(self.recipe, examined, generator)
        raise UsageError(
            f"none of {N_TRIES} simulated slabs contains brain",
            remedy="Check that the heads (--brainweb-dir) contain brain labels.",
        )


def as_examined(recipe: WeightedSlabRecipe) -> WeightedSlabRecipe:
    """Return the recipe with normal heads alone: what networks are scored and error bars are found on."""
    return replace(recipe, shapes=0.0, far=0.0)


def draw_training_scans(generator: torch.Generator, prior: ContrastPrior | None = None) -> tuple[Scan, ...]:
    """Draw T1w, T2w and FLAIR none of which is held out."""
    prior = ContrastPrior() if prior is None else prior
    while True:
        scans = draw_contrasts(prior, generator)
        if not any(is_held_out(weighting_of(scan)) for scan in scans):
            return scans


def draw_examined(
    recipe: WeightedSlabRecipe, anatomies: tuple[Anatomy, ...], generator: torch.Generator
) -> SimulatedImages | None:
    """Draw one examination of a slice; None if there is too little brain in it to speak of."""
    scans = draw_training_scans(generator, recipe.contrasts)
    field = scans[0].protocol.field_strength
    tissue = NORMAL.draw(generator, 3.0 if field is None else field)
    shaped = not anatomies or bernoulli(recipe.shapes, generator)
    if shaped or bernoulli(recipe.far, generator):
        tissue = far_from_normal(tissue, generator)
    thick = _draw_thickness(recipe.thick, generator)
    fine = (recipe.size * FINE, recipe.size * FINE, thick)
    if shaped:
        n_shapes = draw_count(12, 40, generator)
        slab = random_shapes(fine, (FINE_MM,) * 3, generator, n_shapes=n_shapes, materials=SHAPED)
    else:
        anatomy = anatomies[draw_count(0, len(anatomies) - 1, generator)]
        slab = draw_bent_slab(anatomy, fine, generator, WarpRange())
    scanner = ScannerPrior(measurement=MeasurementPrior(snr=recipe.snr, moving=0.0, seam=8))
    inside = tuple(name for name in MATERIALS if name not in SILENT) if shaped else BRAIN
    if not bool(torch.isin(slab.labels, torch.tensor([INDEX[name] for name in inside])).any()):
        return None
    try:
        acquired = tuple(with_drawn_design(scan, generator) for scan in scans)
        examined = examine(slab, (FINE, FINE, thick), tissue, acquired, generator, scanner, inside=inside)
        examined = _as_in_headers(examined, scans)
    except UsageError:
        return None
    enough = int(examined.examination.mask.sum()) > recipe.size**2 // 20
    medians = [image.signal[examined.examination.mask].median() for image in examined.examination.images]
    return examined if enough and min(medians) > 0 else None


def _draw_thickness(thickest: float, generator: torch.Generator) -> int:
    if thickest > 0 and bernoulli(thickest, generator):
        return THICKEST
    return THICKNESS[draw_count(0, len(THICKNESS) - 1, generator)]


def _as_in_headers(examined: SimulatedImages, scans: tuple[Scan, ...]) -> SimulatedImages:
    """Return the examination with the timings that are read from headers, without drawn designs."""
    images = tuple(
        replace(image, weighting=weighting_of(scan))
        for image, scan in zip(examined.examination.images, scans, strict=True)
    )
    return replace(examined, examination=replace(examined.examination, images=images))


def far_from_normal(tissue: TissueDraw, generator: torch.Generator) -> TissueDraw:
    """Return the tissue with T1, T2 and PD of everything but CSF changed at random; T2 stays below T1."""
    values = tissue.values.clone()
    change = torch.randn(len(MATERIALS), 3, generator=generator).clamp(-2.5, 2.5) * torch.tensor(FAR)
    change[INDEX["csf"]] = 0.0
    values[:, :3] *= change.exp()
    values[:, 1] = torch.minimum(values[:, 1], 0.8 * values[:, 0])
    values[:, 2] = torch.minimum(values[:, 2], torch.tensor(HIGHEST_PD))
    values[:, 3] = torch.maximum(values[:, 3], 1 / values[:, 1])
    return replace(tissue, values=values)


def prepared(
    recipe: WeightedSlabRecipe, examined: SimulatedImages, generator: torch.Generator
) -> dict[str, Tensor]:
    """Return the input of the network, and the truth where there is brain."""
    examination = examined.examination
    true_mask = examination.mask[:, :, 0]
    known = _mask_as_found(true_mask, recipe.masked, generator)
    signals = torch.stack([image.signal[:, :, 0] for image in examination.images])
    present = torch.ones(len(signals), dtype=torch.bool)
    if bernoulli(recipe.missing, generator):
        present[draw_count(0, len(signals) - 1, generator)] = False
    rows = rows_of(examination).float()
    rows[~present] = math.nan
    anchors = anchors_of(signals, known)
    features = features_of(signals[None], known[None], anchors, rows, examination.field_strength, present)
    truth = examined.truth[:, :, 0].log()
    target = torch.where((true_mask & known)[..., None], truth, math.nan)
    mixing = examined.scene.mixing[:, :, 0]
    return {
        "images": features.images[0].half(),
        "physics": features.physics[0].half(),
        "target": target.movedim(-1, 0).half(),
        "weight": torch.exp(-((mixing / MIXED) ** 2)).clamp(min=LEAST_WEIGHT).half(),
        "rows": rows,
        "levels": anchors.levels,
        "present": present.float(),
        "field": torch.tensor([examination.field_strength]),
    }


def rows_of(examination: WeightedImageSet) -> Float[Tensor, "images timings"]:
    """Return the timings of the images, completed."""
    return torch.stack([completed(image.weighting)[0].row() for image in examination.images])


def _mask_as_found(
    mask: Bool[Tensor, "height width"], share: float, generator: torch.Generator
) -> Bool[Tensor, "height width"]:
    """Return the mask, sometimes a voxel larger or smaller, as masks are that a program finds."""
    if not bernoulli(share, generator):
        return mask
    grow = bernoulli(0.5, generator)
    image = mask.float()[None, None]
    changed = F.max_pool2d(image, 3, 1, 1) if grow else 1 - F.max_pool2d(1 - image, 3, 1, 1)
    result = changed[0, 0] > 0.5
    return result if bool(result.any()) else mask
