"""Structures at the limit of the resolution, to see what a method smooths away.

In one disc of white matter: lesions of 1, 3 and 5 voxels in diameter, and sulci, one voxel of CSF between
three voxels of grey matter on either side. Copies lie at quarters of a voxel against the grid, so their
edges are mixed voxels; whatever holds any of the structure belongs to it. The tissue has the published
means and no texture, the readout does not blur: what is lost of the contrast is lost by the method, by
noise, or because no single T1 describes a mixed voxel, which costs the sulcus some of it even for the fit.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from unweight.benchmark.t1.sets import SNR, STORED, Structure, Trial, TrialSet, everything
from unweight.core.acquisition import Acquisition
from unweight.core.errors import UsageError
from unweight.core.seeding import seeded_generator
from unweight.metrics.scores import Groups
from unweight.signals.parameters import PD, T1, B
from unweight.synth.anatomy.labels import fractions
from unweight.synth.protocols.standard import seven_inversions
from unweight.synth.scanner.measure import MeasurementPrior
from unweight.synth.stream import scanned
from unweight.synth.tissue.materials import INDEX
from unweight.synth.tissue.prior import table
from unweight.synth.tissue.scene import TEXTURED, Scene

DETAIL = "detail"
SIZE, RADIUS, PARTS = 144, 66.0, 4  # voxels along each axis, of the disc, and labels in one voxel
DIAMETERS = (1, 3, 5)
COLUMNS, ROWS = (-40, -24, -8, 8, 24, 40), (-44, -30, -16)  # of lesions, from the middle [voxel]
SULCI, SULCUS_ENDS, GREY_WIDTH = (-36, -18, 0, 18, 36), (12, 36), 3
REACH = 3.0  # how far the surround of a lesion goes from its edge [voxel]
EFFICIENCY, FIELD = 1.96, 3.0
MIXED = 0.999
MEASUREMENT = MeasurementPrior(snr=(SNR, SNR), scale=(STORED, STORED), moving=0.0, rounding=0.0)
SULCUS = "sulcus of 1 voxel"
LESIONS = tuple(f"lesion of {diameter} voxel{'s'[: diameter > 1]}" for diameter in DIAMETERS)
STRUCTURES = (SULCUS, *LESIONS)
PLACE_NAMES = (*STRUCTURES, "edges", "plain white matter")

Mask = Bool[Tensor, "x y z"]


def detail_set(n_seeds: int) -> TrialSet:
    """Return the structures with different noise, six copies of each lesion and five of the sulcus in each.

    Raises:
        UsageError: No seed is asked for.
    """
    if n_seeds < 1:
        raise UsageError(f"{n_seeds} noise seeds", remedy="Give at least one.")
    scene = _scene()
    structures = _structures(scene)
    scan = replace(seven_inversions(), train=None)
    trials = []
    for seed in range(n_seeds):
        signal, _, gain = scanned(scene, scan, MEASUREMENT, seeded_generator(seed, "evaluation", DETAIL))
        truth = scene.truth((T1, PD, B), gain)
        scored = ~truth.failed
        place = _place(scene, structures)[scored]
        trials.append(
            Trial(
                acquisition=Acquisition(signal=signal, protocol=scan.protocol, affine=scene.affine),
                truth=truth,
                scored=scored,
                groups=(everything(len(place)), Groups(names=PLACE_NAMES, index=place)),
                structures=structures,
            )
        )
    return TrialSet(name=DETAIL, trials=tuple(trials))


def _scene() -> Scene:
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
    found = [
        Structure(
            name=SULCUS,
            inside=(csf > 0) & whole[:, None],
            around=(grey > MIXED) & whole[:, None],
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
                around |= near & (white > MIXED)
        found.append(Structure(name=name, inside=inside, around=around))
    return tuple(found)


def _place(scene: Scene, structures: Sequence[Structure]) -> Tensor:
    """Return the place of each voxel in PLACE_NAMES."""
    place = torch.full(scene.shape, -1)
    place[scene.fractions[..., INDEX["white_matter"]] > MIXED] = PLACE_NAMES.index("plain white matter")
    place[scene.purity < MIXED] = PLACE_NAMES.index("edges")
    for structure in structures:
        place[structure.inside] = PLACE_NAMES.index(structure.name)
    return place
