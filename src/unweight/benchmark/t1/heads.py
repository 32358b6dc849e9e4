"""Slices of heads that no training has seen, and structures at the limit of the resolution.

Whole axial slices of 240 × 240 voxels, 1 × 1 × 2 mm, tissue from the literature (`TissuePrior`), SNR 50
(95th percentile of the brightest volume over noise). In `brains` and `brains-other` all of k-space has the
same contrast, so that what is left are errors of the methods; `brains-blurred` has the decay of the echo
train, which moves signal between voxels, and in CSF far more of it than any noise. Truth in mixed voxels is
that of `synth.tissue.scene`; groups tell them from pure ones.

The set `detail` shows what a method smooths away. In one disc of white matter: lesions of 1, 3 and 5 voxels
in diameter, and sulci, one voxel of CSF between three voxels of grey matter on either side. Copies lie at
quarters of a voxel against the grid, so their edges are mixed voxels; whatever holds any of the structure
belongs to it. The tissue has the published means and no texture, the readout does not blur: contrast is
lost by the method, by noise, or because no single T1 describes a mixed voxel, which costs the sulcus some
of it even for the fit.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from unweight.benchmark.core.run import Case, Dataset, Structure, dataset_of, everything
from unweight.benchmark.t1.datasets import FIELD_OF_VIEW, SNR, STORED, binned, maps_by_name
from unweight.core.acquisition import Acquisition
from unweight.core.errors import UsageError
from unweight.core.maps import ParameterMaps
from unweight.core.seeding import seeded_generator
from unweight.heads.source import TEST, BrainwebHeads, ProceduralHeads
from unweight.metrics.accuracy import TERCILE_NAMES, terciles
from unweight.metrics.scores import Groups
from unweight.signals.parameters import PD, T1, B
from unweight.synth.anatomy.crop import Crop
from unweight.synth.anatomy.labels import Anatomy, fractions
from unweight.synth.protocols.prior import InversionPrior, draw_inversions
from unweight.synth.protocols.standard import Scan, four_inversions, seven_inversions
from unweight.synth.scanner.measure import MeasurementPrior
from unweight.synth.stream import scanned
from unweight.synth.tissue.compose import compose
from unweight.synth.tissue.materials import BRAIN, DEEP_GREY, INDEX
from unweight.synth.tissue.prior import TissuePrior, table
from unweight.synth.tissue.scene import TEXTURED, Scene

BRAINS, BRAINS_OTHER, BRAINS_BLURRED = "brains", "brains-other", "brains-blurred"
N_HEADS, N_SLICES = 2, 2
FACTOR = (2, 2, 4)  # labels of 0.5 mm in a voxel
FINE_MM = (0.5, 0.5, 0.5)
SLAB = (FIELD_OF_VIEW * FACTOR[0], FIELD_OF_VIEW * FACTOR[1], FACTOR[2])
HEIGHTS = (0.55, 0.7)  # of the slices, as a share of the brain from its lowest to its highest layer
HEIGHTS_MM, MIDDLE_MM = (12.0, 36.0), (0.0, -16.0)  # the same in procedural heads
PURE = 0.999
LEAST_SNR = 5.0
# T1 is that of one exponential, as every method here defines it (docs/decisions/0012).
TISSUE = TissuePrior(short=None)
MEASUREMENT = MeasurementPrior(snr=(SNR, SNR), scale=(STORED, STORED), moving=0.0, rounding=0.0)
BRAIN_NAME, OUTSIDE_NAME = "brain", "outside the brain"
TISSUES = {
    "white matter": ("white_matter",),
    "grey matter": ("grey_matter", *DEEP_GREY),
    "CSF": ("csf",),
}
MIXED_NAME = "mixed"
PROTOCOL_NAMES = ("random protocols", "four inversions")
SNR_NAMES = tuple(f"SNR, {third}" for third in TERCILE_NAMES)
DETAIL = "detail"
SIZE, RADIUS, PARTS = 144, 66.0, 4  # voxels along each axis, of the disc, and labels in one voxel
DIAMETERS = (1, 3, 5)
COLUMNS, ROWS = (-40, -24, -8, 8, 24, 40), (-44, -30, -16)  # of lesions, from the middle [voxel]
SULCI, SULCUS_ENDS, GREY_WIDTH = (-36, -18, 0, 18, 36), (12, 36), 3
REACH = 3.0  # how far the surround of a lesion goes from its edge [voxel]
EFFICIENCY, FIELD = 1.96, 3.0
SULCUS = "sulcus of 1 voxel"
LESIONS = tuple(f"lesion of {diameter} voxel{'s'[: diameter > 1]}" for diameter in DIAMETERS)
STRUCTURES = (SULCUS, *LESIONS)
PLACE_NAMES = (*STRUCTURES, "edges", "plain white matter")


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class ScannedSlice:
    """One slice as a scanner gives it, before it is divided into groups.

    Attributes:
        scene: What fills the voxels.
        acquisition: Magnitudes, the noise untold.
        truth: T1 [s], PD in the stored unit, and B; NaN where there is no water.
        noise_sd: In one channel.
        protocol: Place of its kind in PROTOCOL_NAMES.
    """

    scene: Scene
    acquisition: Acquisition
    truth: ParameterMaps
    noise_sd: float
    protocol: int = 0

    @property
    def snr(self) -> Float[Tensor, "x y z"]:
        """True PD over the noise; NaN where there is no water."""
        return self.truth.value("PD") / self.noise_sd

    @property
    def scored(self) -> Bool[Tensor, "x y z"]:
        """Voxels with a signal to speak of."""
        return self.snr >= LEAST_SNR

    @property
    def brain(self) -> Bool[Tensor, "x y z"]:
        """Voxels that are brain or CSF by half at least."""
        return self.scene.share(*BRAIN) >= 0.5


def brainweb_slices(
    folder: Path, n_heads: int | None = None, n_slices: int = N_SLICES
) -> tuple[Anatomy, ...]:
    """Return slices of the heads in the test part of a folder, one after the other.

    Args:
        folder: As for `heads.source.BrainwebHeads`.
        n_heads: At most so many heads; None for the whole test part.
        n_slices: Of each head.

    Raises:
        InputError: There is no head, or one is unusable.
        UsageError: The test part is empty.
    """
    heads = BrainwebHeads(folder).heads(TEST, n_heads)
    return tuple(slab for head in heads for slab in _cut(head, n_slices))


def procedural_slices(n_heads: int = N_HEADS, n_slices: int = N_SLICES) -> tuple[Anatomy, ...]:
    """Return slices of procedural heads from random numbers of their own, one head after the other."""
    sources = [
        ProceduralHeads(
            generator=lambda part, index: seeded_generator(0, "evaluation", "head", index),
            counts={TEST: n_heads},
            shape=SLAB,
            voxel_mm=FINE_MM,
            centre_mm=(*MIDDLE_MM, height),
        )
        for height in HEIGHTS_MM[:n_slices]
    ]
    return tuple(source.read(TEST, index) for index in range(n_heads) for source in sources)


def brains_set(slices: Sequence[Anatomy]) -> Dataset[Acquisition]:
    """Return the slices under the seven inversions."""
    scan = replace(seven_inversions(), train=None)
    return _grouped(BRAINS, [_scan(slab, scan, 0, (BRAINS, place)) for place, slab in enumerate(slices)])


def brains_blurred_set(slices: Sequence[Anatomy]) -> Dataset[Acquisition]:
    """Return the slices of `brains`, same tissue, with the blur of the 64 echoes."""
    scan = seven_inversions()
    return _grouped(
        BRAINS_BLURRED, [_scan(slab, scan, 0, (BRAINS, place)) for place, slab in enumerate(slices)]
    )


def brains_other_set(slices: Sequence[Anatomy]) -> Dataset[Acquisition]:
    """Return each slice under a random protocol, and under four inversions with a TR of 2.55 s."""
    scanned_slices = []
    for place, slab in enumerate(slices):
        random = draw_inversions(InversionPrior(), seeded_generator(0, "evaluation", "protocol", place))
        for kind, scan in enumerate((random, four_inversions())):
            scanned_slices.append(_scan(slab, replace(scan, train=None), kind, (BRAINS_OTHER, place)))
    return _grouped(BRAINS_OTHER, scanned_slices, protocols=True)


def _cut(head: Anatomy, n_slices: int) -> list[Anatomy]:
    """Cut slabs of one slice out of a head."""
    brain = torch.isin(head.labels, torch.tensor([INDEX[name] for name in BRAIN], dtype=torch.uint8))
    layers = brain.flatten(0, 1).any(0).nonzero()[:, 0]
    low, high = int(layers.min()), int(layers.max())
    x, y = ((n_voxels - wanted) // 2 for n_voxels, wanted in zip(head.labels.shape, SLAB[:2], strict=False))
    return [
        Crop(start=(x, y, low + round(share * (high - low))), size=SLAB).apply(head)
        for share in HEIGHTS[:n_slices]
    ]


def _scan(slab: Anatomy, scan: Scan, kind: int, purpose: tuple[str, int]) -> ScannedSlice:
    """Fill a slab with tissue and scan it."""
    generator = seeded_generator(0, "evaluation", *purpose, scan.name, kind)
    field = scan.protocol.field_strength
    tissue = TISSUE.draw(generator, 3.0 if field is None else field)
    scene = compose(slab, FACTOR, tissue, generator)
    signal, noise_sd, gain = scanned(scene, scan, MEASUREMENT, generator)
    acquisition = Acquisition(signal=signal, protocol=scan.protocol, affine=scene.affine)
    truth = scene.truth((T1, PD, B), gain)
    return ScannedSlice(scene=scene, acquisition=acquisition, truth=truth, noise_sd=noise_sd, protocol=kind)


def _grouped(name: str, slices: Sequence[ScannedSlice], *, protocols: bool = False) -> Dataset[Acquisition]:
    """Divide the voxels; the thirds of SNR are those of all brain voxels together."""
    strengths = [torch.where(scan.brain, scan.snr, torch.nan)[scan.scored] for scan in slices]
    thirds = torch.split(terciles(torch.cat(strengths)), [len(part) for part in strengths])
    cases = []
    for scan, third in zip(slices, thirds, strict=True):
        groups = [*_groups(scan), Groups(names=SNR_NAMES, index=third)]
        if protocols:
            index = torch.where(scan.brain[scan.scored], scan.protocol, -1)
            groups.append(Groups(names=PROTOCOL_NAMES, index=index))
        cases.append(
            Case(
                input=scan.acquisition,
                truth=maps_by_name(scan.truth),
                scored=scan.scored,
                groups=tuple(groups),
            )
        )
    return dataset_of(name, cases)


def _groups(scan: ScannedSlice) -> tuple[Groups, ...]:
    """Divide by nothing, by brain or not, by tissue and by T1."""
    scored = scan.scored
    brain = scan.brain[scored]
    tissue = torch.where(brain, len(TISSUES), -1)
    for place, materials in enumerate(TISSUES.values()):
        tissue[brain & (scan.scene.share(*materials)[scored] > PURE)] = place
    return (
        everything(len(brain)),
        Groups(names=(BRAIN_NAME, OUTSIDE_NAME), index=(~brain).long()),
        Groups(names=(*TISSUES, MIXED_NAME), index=tissue),
        binned(scan.truth.value("T1")[scored]),
    )


def detail_set(n_seeds: int) -> Dataset[Acquisition]:
    """Return the structures with different noise, six copies of each lesion and five of the sulcus in each.

    Raises:
        UsageError: No seed is asked for.
    """
    if n_seeds < 1:
        raise UsageError(f"--seeds {n_seeds} is not possible", remedy="Give at least 1.")
    scene = _detail_scene()
    structures = _structures(scene)
    scan = replace(seven_inversions(), train=None)
    cases = []
    for seed in range(n_seeds):
        signal, _, gain = scanned(scene, scan, MEASUREMENT, seeded_generator(seed, "evaluation", DETAIL))
        truth = scene.truth((T1, PD, B), gain)
        scored = ~truth.failed
        place = _place(scene, structures)[scored]
        cases.append(
            Case(
                input=Acquisition(signal=signal, protocol=scan.protocol, affine=scene.affine),
                truth=maps_by_name(truth),
                scored=scored,
                groups=(everything(len(place)), Groups(names=PLACE_NAMES, index=place)),
                structures=structures,
            )
        )
    return dataset_of(DETAIL, cases)


def _detail_scene() -> Scene:
    """Return the disc with everything in it."""
    shares = fractions(_labels(), (PARTS, PARTS, 1))
    shape = tuple(shares.shape[:-1])
    properties = torch.tensor([row[1:7] for row in table(FIELD)])
    return Scene(
        fractions=shares,
        properties=properties,
        texture=torch.zeros(*shape, len(TEXTURED)),
        fields={"B": torch.full(shape, EFFICIENCY)},
        affine=torch.diag(torch.tensor([1.0, 1.0, 2.0, 1.0], dtype=torch.float64)),
    )


def _labels() -> UInt8[Tensor, "x y 1"]:
    """Label the disc, PARTS labels to a voxel."""
    axis = (torch.arange(SIZE * PARTS) + 0.5) / PARTS - SIZE / 2
    labels = torch.full((SIZE * PARTS, SIZE * PARTS), INDEX["background"], dtype=torch.uint8)
    labels[axis[:, None] ** 2 + axis**2 < RADIUS**2] = INDEX["white_matter"]
    for x, y, diameter in _lesions():
        labels[_away(axis, x, y) < diameter / 2] = INDEX["ms_lesion"]
    along = (axis > SULCUS_ENDS[0]) & (axis < SULCUS_ENDS[1])
    for x in _sulci():
        beside = (axis - x).abs()[:, None]
        labels[(beside < 0.5 + GREY_WIDTH) & along] = INDEX["grey_matter"]
        labels[(beside < 0.5) & along] = INDEX["csf"]
    return labels[:, :, None]


def _lesions() -> list[tuple[float, float, int]]:
    """Return centre and diameter of each lesion, from the middle [voxel]."""
    lesions = []
    for row, y in enumerate(ROWS):
        for column, x in enumerate(COLUMNS):
            shift = ((column + row) % PARTS / PARTS, (column // 2 + row) % PARTS / PARTS)
            lesions.append((x + 0.5 + shift[0], y + 0.5 + shift[1], DIAMETERS[(column + row) % 3]))
    return lesions


def _sulci() -> list[float]:
    """Return where the sulci lie, from the middle [voxel]."""
    return [x + 0.5 + (place % PARTS) / PARTS for place, x in enumerate(SULCI)]


def _away(axis: Float[Tensor, " n"], x: float, y: float) -> Float[Tensor, "n n"]:
    return ((axis[:, None] - x) ** 2 + (axis - y) ** 2).sqrt()


def _structures(scene: Scene) -> tuple[Structure, ...]:
    """Return each kind of structure, all copies together."""
    axis = torch.arange(SIZE) + 0.5 - SIZE / 2
    lesion, white, grey, csf = (
        scene.fractions[..., INDEX[name]] for name in ("ms_lesion", "white_matter", "grey_matter", "csf")
    )
    # Rows that the ends of the sulci share with white matter say nothing of the sulcus.
    whole = (axis - 0.5 >= SULCUS_ENDS[0]) & (axis + 0.5 <= SULCUS_ENDS[1])
    structures = [
        Structure(
            name=SULCUS,
            inside=(csf > 0) & whole[:, None],
            around=(grey > PURE) & whole[:, None],
        )
    ]
    for name, wanted in zip(LESIONS, DIAMETERS, strict=True):
        inside, around = (
            torch.zeros_like(lesion, dtype=torch.bool),
            torch.zeros_like(lesion, dtype=torch.bool),
        )
        for x, y, diameter in _lesions():
            if diameter == wanted:
                near = (_away(axis, x, y) < diameter / 2 + REACH + 0.5)[..., None]
                inside |= near & (lesion > 0)
                around |= near & (white > PURE)
        structures.append(Structure(name=name, inside=inside, around=around))
    return tuple(structures)


def _place(scene: Scene, structures: Sequence[Structure]) -> Tensor:
    """Return the place of each voxel in PLACE_NAMES."""
    place = torch.full(scene.shape, -1)
    place[scene.fractions[..., INDEX["white_matter"]] > PURE] = PLACE_NAMES.index("plain white matter")
    place[scene.purity < PURE] = PLACE_NAMES.index("edges")
    for structure in structures:
        place[structure.inside] = PLACE_NAMES.index(structure.name)
    return place
