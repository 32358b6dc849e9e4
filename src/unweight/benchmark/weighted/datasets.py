"""What methods for T1, T2 and PD are benchmarked on: simulated images of heads no training has seen.

Stacks of axial slices of 192 × 240 voxels, 1 × 1 × 2 mm, from low to high in a head, one behind the other
as if they touched: one anatomy, so that each image of it has one gain and one receive field. T1w, T2w and
FLAIR have an SNR of 40 to 80 each (95th percentile over noise), tissue is from the literature
(`TissuePrior`), gains are drawn for each image. The same draw of the same head has the same tissue, fields
and noise in `internal` and `protocols`, so that these differ by timings alone.

    internal    protocols as in a training: no image is held out (`synth.protocols.prior`)
    protocols   all three images are held out
    field       2.2 T, between the fields of the training; protocols as in `internal`
    lesions     plaques of multiple sclerosis, and tumours with oedema; protocols as in `internal`

Tissue at a field B0 between two at which it is known, from draws of the same person at both fields:

    ln v(B0) = (1 − w)·ln v(B1) + w·ln v(B2),    w = ln(B0/B1) / ln(B2/B1)

for T1, T2 and R2*. A power law in the field is what Bottomley et al., Med Phys 11:425, 1984, found for T1
of tissue.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from unweight.benchmark.core.run import Case, Dataset
from unweight.core.errors import UsageError
from unweight.core.examination import WeightedImageSet
from unweight.core.seeding import seeded_generator
from unweight.core.weighting import Readout
from unweight.heads.source import TEST, BrainwebHeads, ProceduralHeads
from unweight.metrics.scores import Groups
from unweight.registry import dataset, datasets, load
from unweight.synth.anatomy.crop import Crop
from unweight.synth.anatomy.labels import Anatomy
from unweight.synth.anatomy.lesions import PlaqueLoad, with_plaques, with_tumour
from unweight.synth.protocols.prior import ContrastPrior, draw_contrasts, is_held_out
from unweight.synth.protocols.standard import Scan
from unweight.synth.scanner.measure import MeasurementPrior
from unweight.synth.simulate_weighted import SPECS, ScannerPrior, SimulatedImages, examine, weighting_of
from unweight.synth.tissue.materials import BRAIN, DEEP_GREY, INDEX, PROPERTIES
from unweight.synth.tissue.prior import NOMINAL_FIELDS, Prior, TissueDraw, TissuePrior

NAMES = tuple(spec.name for spec in SPECS)
INTERNAL, PROTOCOLS, FIELD, LESIONED = "internal", "protocols", "field", "lesions"
FIELDS = (1.5, 3.0)
READOUTS = (Readout.MPRAGE, Readout.SPIN_ECHO)  # of T1w
UNSEEN_FIELD = 2.2
HEALTHY, PLAQUES, TUMOURS = "healthy", "plaques", "tumours"
KINDS = ("field", "readout", "disease")  # what an examination is
N_TRIES = 10_000
N_PLACES = 50  # tries to place a lesion so that the slices show it
LEAST_LESION = 20  # voxels of pure lesion in a stack
SCANNER = ScannerPrior(measurement=MeasurementPrior(snr=(40.0, 80.0), moving=0.0, rounding=0.0), beside=0.0)
# T1 is that of one exponential, as every method here defines it (docs/decisions/0012).
TISSUE: Prior = TissuePrior(short=None)
MAPS_SETS = datasets("weighted")
N_HEADS, N_SLICES = 2, 8
QUICK_HEADS, QUICK_DRAWS, QUICK_SLICES = 1, 1, 2
FACTOR = (2, 2, 4)  # labels of 0.5 mm in a voxel
FINE_MM = 0.5
SLICE = (192, 240)  # voxels
SHARES = (0.35, 0.85)  # of the brain's height, between which slices lie
HEIGHTS_MM = (-20.0, 60.0)  # the same in procedural heads, which are made no higher and no lower
MIDDLE_MM = (0.0, -16.0)
PURE = 0.999
WHITE, PLAQUE, TUMOUR, OEDEMA, MIXED = "white matter", "MS lesion", "tumour", "oedema", "mixed"
TISSUES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        WHITE: ("white_matter",),
        "grey matter": ("grey_matter",),
        "deep grey": DEEP_GREY,
        "CSF": ("csf",),
        PLAQUE: ("ms_lesion",),
        TUMOUR: ("tumour",),
        OEDEMA: ("oedema",),
    }
)
TISSUE_NAMES = (*TISSUES, MIXED)
LESIONS = (PLAQUE, TUMOUR, OEDEMA)
# Inner edges of the bins of true values [s, s, 1].
EDGES: Mapping[str, tuple[float, ...]] = MappingProxyType(
    {"T1": (0.6, 0.9, 1.3, 2.0, 3.0), "T2": (0.06, 0.09, 0.15, 0.4), "PD": (0.7, 0.8, 0.9)}
)
FOLLOWING = [PROPERTIES.index(name) for name in ("T1", "T2", "R2star")]
Contrasts = tuple[Scan, Scan, Scan]


@final
@dataclass(frozen=True, kw_only=True)
class BetweenFields(Prior):
    """A prior that is known at two fields, and drawn from between them.

    Attributes:
        prior: Drawn from at both.
        ends: The two fields [T].
    """

    prior: Prior
    ends: tuple[float, float] = NOMINAL_FIELDS

    def draw(self, generator: torch.Generator, field_strength: float) -> TissueDraw:
        """Draw one person, whose tissue is interpolated.

        Raises:
            UsageError: The field does not lie between the two.
        """
        low, high = self.ends
        if not low <= field_strength <= high:
            raise UsageError(
                f"no tissue at {field_strength:g} T",
                remedy=f"It can be interpolated from {low:g} to {high:g} T.",
            )
        twin = torch.Generator(device=generator.device)
        twin.set_state(generator.get_state())
        first, second = self.prior.draw(twin, low), self.prior.draw(generator, high)
        share = math.log(field_strength / low) / math.log(high / low)
        values = second.values.clone()
        lower, higher = (draw.values[:, FOLLOWING] for draw in (first, second))
        values[:, FOLLOWING] = lower ** (1 - share) * higher**share
        return replace(second, values=values, field_strength=field_strength)


def bin_names(parameter: str) -> tuple[str, ...]:
    """Return the names of the bins of a map, from low to high: `T1 < 0.6 s`, `T1 0.6-0.9 s`, …."""
    edges = EDGES[parameter]
    unit = "" if parameter == "PD" else " s"
    between = (f"{parameter} {low:g}-{high:g}{unit}" for low, high in pairwise(edges))
    return (f"{parameter} < {edges[0]:g}{unit}", *between, f"{parameter} > {edges[-1]:g}{unit}")


def binned(parameter: str, truth: Float[Tensor, " voxels"]) -> Groups:
    """Return groups by true value; the lower edge is inside."""
    edges = torch.tensor(EDGES[parameter], dtype=truth.dtype, device=truth.device)
    index = torch.bucketize(truth.contiguous(), edges, right=True)
    return Groups(names=bin_names(parameter), index=torch.where(torch.isfinite(truth), index, -1))


def tissue_of(examined: SimulatedImages) -> Int[Tensor, "*space"]:
    """Return the place of each voxel in TISSUE_NAMES: a tissue where it is pure, else mixed; −1 outside."""
    mask = examined.examination.mask
    tissue = torch.where(mask, TISSUE_NAMES.index(MIXED), -1)
    for place, materials in enumerate(TISSUES.values()):
        tissue[mask & (examined.share(*materials) >= PURE)] = place
    return tissue


def tissue_map(case: Case[WeightedImageSet]) -> Int[Tensor, "*space"]:
    """Return the place of each voxel of a case in TISSUE_NAMES; −1 outside the mask."""
    tissue = torch.full(case.scored.shape, -1)
    tissue[case.scored] = case.groups[0].index
    return tissue


def lesion_voxels(case: Case[WeightedImageSet]) -> Bool[Tensor, " scored"]:
    """Return which scored voxels of a case are lesion."""
    return torch.isin(case.groups[0].index, torch.tensor([TISSUE_NAMES.index(name) for name in LESIONS]))


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class SlicedHead:
    """A head, or what of it slices are cut from.

    Attributes:
        anatomy: Labels of 0.5 mm.
        layers: First layer of labels for slices, and the last.
    """

    anatomy: Anatomy
    layers: tuple[int, int]

    def __post_init__(self) -> None:
        low, high = self.layers
        if not 0 <= low < high < self.anatomy.labels.shape[2]:
            raise UsageError(f"slices from layer {low} to {high} of {self.anatomy.labels.shape[2]}")

    def with_anatomy(self, anatomy: Anatomy) -> "SlicedHead":
        """Return the head with other labels, as with lesions."""
        return replace(self, anatomy=anatomy)

    def stack(self, n_slices: int) -> Anatomy:
        """Cut out slices at even distances.

        Raises:
            UsageError: There is no room for so many.
        """
        low, high = self.layers
        thickness = FACTOR[2]
        if not 1 <= n_slices <= (high - low + 1) // thickness:
            raise UsageError(f"{n_slices} slices from {high - low + 1} layers, {thickness} in each")
        size = (SLICE[0] * FACTOR[0], SLICE[1] * FACTOR[1], thickness)
        shape = self.anatomy.labels.shape
        x, y = (shape[0] - size[0]) // 2, (shape[1] - size[1]) // 2
        step = (high - low + 1) / n_slices
        starts = [low + int((number + 0.5) * step) - thickness // 2 for number in range(n_slices)]
        slices = [Crop(start=(x, y, start), size=size).apply(self.anatomy) for start in starts]
        return replace(slices[0], labels=torch.cat([part.labels for part in slices], dim=2))


def brainweb_heads(folder: Path, n_heads: int) -> tuple[SlicedHead, ...]:
    """Return heads in the test part of a folder.

    Args:
        folder: As for `heads.source.BrainwebHeads`.
        n_heads: At most so many.

    Raises:
        InputError: There is no head, or one is unusable.
        UsageError: The test part is empty.
    """
    heads = BrainwebHeads(folder).heads(TEST, n_heads)
    return tuple(SlicedHead(anatomy=head, layers=_layers(head)) for head in heads)


def procedural_heads(n_heads: int) -> tuple[SlicedHead, ...]:
    """Return procedural heads from random numbers of their own."""
    low, high = HEIGHTS_MM
    shape = (SLICE[0] * FACTOR[0], SLICE[1] * FACTOR[1], round((high - low) / FINE_MM))
    source = ProceduralHeads(
        generator=lambda part, index: seeded_generator(0, "evaluation", "maps head", index),
        counts={TEST: n_heads},
        shape=shape,
        voxel_mm=(FINE_MM,) * 3,
        centre_mm=(*MIDDLE_MM, (low + high) / 2),
    )
    return tuple(SlicedHead(anatomy=head, layers=(0, shape[2] - 1)) for head in source.heads(TEST))


def _layers(anatomy: Anatomy) -> tuple[int, int]:
    """Return the layers between the two shares of the brain's height."""
    brain = torch.isin(anatomy.labels, torch.tensor([INDEX[name] for name in BRAIN], dtype=torch.uint8))
    layers = brain.flatten(0, 1).any(0).nonzero()[:, 0]
    low, high = int(layers.min()), int(layers.max())
    first, last = (low + round(share * (high - low)) for share in SHARES)
    return first, last


def trained_contrasts(prior: ContrastPrior, generator: torch.Generator) -> Contrasts:
    """Draw a protocol that a training may draw: none of its images is held out."""
    for _ in range(N_TRIES):
        scans = draw_contrasts(prior, generator)
        if not any(is_held_out(weighting_of(scan)) for scan in scans):
            return scans
    raise UsageError("this prior draws no protocol that is not held out")


def held_out_contrasts(prior: ContrastPrior, generator: torch.Generator) -> Contrasts:
    """Draw a protocol of which no training has seen an image.

    Args:
        prior: At one field.
        generator: For the draws, of which for each image the first that is held out is taken.

    Raises:
        UsageError: The prior has several fields, or draws none.
    """
    if len(prior.field_strengths) != 1:
        raise UsageError("images of one examination are of one field", remedy="Give one field strength.")
    chosen: list[Scan | None] = [None, None, None]
    for _ in range(N_TRIES):
        for place, scan in enumerate(draw_contrasts(prior, generator)):
            if chosen[place] is None and is_held_out(weighting_of(scan)):
                chosen[place] = scan
        t1w, t2w, flair = chosen
        if t1w is not None and t2w is not None and flair is not None:
            return t1w, t2w, flair
    raise UsageError("this prior draws no protocol that is held out")


def internal_set(heads: Sequence[SlicedHead], n_draws: int, n_slices: int) -> Dataset[WeightedImageSet]:
    """Return heads nobody has seen under protocols as in a training."""
    return _healthy_set(INTERNAL, heads, n_draws, n_slices, trained_contrasts)


def protocols_set(heads: Sequence[SlicedHead], n_draws: int, n_slices: int) -> Dataset[WeightedImageSet]:
    """Return the same heads and tissue under protocols that no training has seen."""
    return _healthy_set(PROTOCOLS, heads, n_draws, n_slices, held_out_contrasts)


def field_set(heads: Sequence[SlicedHead], n_draws: int, n_slices: int) -> Dataset[WeightedImageSet]:
    """Return heads at a field that no training has seen."""

    def make(number: int) -> Case[WeightedImageSet]:
        place, draw = divmod(number, n_draws)
        prior = _prior_at(UNSEEN_FIELD, READOUTS[draw % 2])
        scans = trained_contrasts(prior, _generator(FIELD, place, draw, "protocol"))
        tissue = BetweenFields(prior=TISSUE)
        return _case(heads[place].stack(n_slices), scans, tissue, (FIELD, place, draw), HEALTHY)

    return Dataset(name=FIELD, n_cases=len(heads) * n_draws, make=make)


def lesions_set(heads: Sequence[SlicedHead], n_draws: int, n_slices: int) -> Dataset[WeightedImageSet]:
    """Return heads with plaques, and as many with a tumour; the slices show some of it.

    Raises:
        UsageError: No lesion lies in the slices, however often it is placed.
    """

    def make(number: int) -> Case[WeightedImageSet]:
        place, rest = divmod(number, 2 * n_draws)
        ill, draw = divmod(rest, n_draws)
        disease = (PLAQUES, TUMOURS)[ill]
        scans = trained_contrasts(_prior_of(draw), _generator(LESIONED, place, rest, "protocol"))
        generator = _generator(LESIONED, place, rest, "lesions")
        for _ in range(N_PLACES):
            anatomy = _with_lesions(heads[place], disease, generator).stack(n_slices)
            case = _case(anatomy, scans, TISSUE, (LESIONED, place, rest), disease)
            if int(lesion_voxels(case).sum()) >= LEAST_LESION:
                return case
        raise UsageError(f"no {disease} in {n_slices} slices", remedy="Ask for more slices.")

    return Dataset(name=LESIONED, n_cases=2 * len(heads) * n_draws, make=make)


def _healthy_set(
    name: str,
    heads: Sequence[SlicedHead],
    n_draws: int,
    n_slices: int,
    contrasts: Callable[[ContrastPrior, torch.Generator], Contrasts],
) -> Dataset[WeightedImageSet]:
    def make(number: int) -> Case[WeightedImageSet]:
        place, draw = divmod(number, n_draws)
        scans = contrasts(_prior_of(draw), _generator(name, place, draw, "protocol"))
        return _case(heads[place].stack(n_slices), scans, TISSUE, (INTERNAL, place, draw), HEALTHY)

    return Dataset(name=name, n_cases=len(heads) * n_draws, make=make)


def _prior_of(draw: int) -> ContrastPrior:
    """Return the prior of a draw: of four in a row there are two at each field, one of them an MPRAGE."""
    return _prior_at(FIELDS[draw % 2], READOUTS[draw // 2 % 2])


def _prior_at(field_strength: float, readout: Readout) -> ContrastPrior:
    return ContrastPrior(field_strengths=(field_strength,), mprage=float(readout is Readout.MPRAGE))


def _with_lesions(head: SlicedHead, disease: str, generator: torch.Generator) -> SlicedHead:
    if disease == PLAQUES:
        return head.with_anatomy(with_plaques(head.anatomy, generator, PlaqueLoad()))
    return head.with_anatomy(with_tumour(head.anatomy, generator))


def _generator(name: str, head: int, draw: int, purpose: str) -> torch.Generator:
    return seeded_generator(0, "evaluation", "maps", name, head, draw, purpose)


def _case(
    anatomy: Anatomy, scans: Contrasts, prior: Prior, seed: tuple[str, int, int], disease: str
) -> Case[WeightedImageSet]:
    """Draw tissue and scan."""
    field = scans[0].protocol.field_strength
    tissue = prior.draw(_generator(*seed, "tissue"), 3.0 if field is None else field)
    examined = examine(anatomy, FACTOR, tissue, scans, _generator(*seed, "scan"), SCANNER)
    mask = examined.examination.mask
    return Case(
        input=examined.examination,
        truth=dict(zip(NAMES, examined.truth.unbind(-1), strict=True)),
        scored=mask,
        groups=(Groups(names=TISSUE_NAMES, index=tissue_of(examined)[mask]),),
        metadata=dict(zip(KINDS, (*_scanned(examined), disease), strict=True)),
    )


def _scanned(examined: SimulatedImages) -> tuple[str, str]:
    """Return the field and the readout of T1w, as groups are called."""
    first = examined.examination.images[0].weighting.readout
    name = "MPRAGE" if first is Readout.MPRAGE else "spin echo"
    return f"{examined.examination.field_strength:g} T", f"T1w {name}"


@final
@dataclass(frozen=True, kw_only=True)
class WeightedPlan:
    """The extent of an evaluation.

    Attributes:
        sets: Some of MAPS_SETS.
        heads: Folder of BrainWeb heads, of which the test part is used; None for procedural heads.
        quick: One head, two slices, one draw.
    """

    sets: tuple[str, ...] = MAPS_SETS
    heads: Path | None = None
    quick: bool = False

    def __post_init__(self) -> None:
        unknown = [name for name in self.sets if name not in MAPS_SETS]
        if unknown or not self.sets:
            raise UsageError(
                f"no set called {', '.join(unknown)}" if unknown else "no data to evaluate",
                remedy=f"There are {', '.join(MAPS_SETS)}.",
            )

    def datasets(self) -> Iterator[Dataset[WeightedImageSet]]:
        """Make the sets, each when it is asked for."""
        heads = self._heads()
        for name in self.sets:
            record = dataset(name, "weighted")
            n_draws = QUICK_DRAWS if self.quick else record.n_draws
            cases: Dataset[WeightedImageSet] = load(record.target)(
                heads, n_draws, QUICK_SLICES if self.quick else N_SLICES
            )
            yield cases

    def _heads(self) -> tuple[SlicedHead, ...]:
        n_heads = QUICK_HEADS if self.quick else N_HEADS
        return procedural_heads(n_heads) if self.heads is None else brainweb_heads(self.heads, n_heads)
