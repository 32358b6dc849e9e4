"""Slices of heads that no training has seen, under the seven inversions and under other protocols.

Whole axial slices of 240 × 240 voxels, 1 × 1 × 2 mm, tissue from the literature (`TissuePrior`), SNR 50
(95th percentile of the brightest volume over noise). In `brains` and `brains-other` all of k-space has the
same contrast, so that what is left are errors of the methods; `brains-blurred` has the decay of the echo
train, which moves signal between voxels, and in CSF far more of it than any noise. Truth in mixed voxels is
that of `synth.tissue.scene`; groups tell them from pure ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unweight.benchmark.t1.sets import FIELD_OF_VIEW, SNR, STORED, Trial, TrialSet, binned, everything
from unweight.core.acquisition import Acquisition
from unweight.core.errors import UsageError
from unweight.core.maps import ParameterMaps
from unweight.core.seeding import seeded_generator
from unweight.heads.brainweb import find_brainweb, read_brainweb, subject_of
from unweight.metrics.accuracy import TERCILE_NAMES, terciles
from unweight.metrics.scores import Groups
from unweight.signals.parameters import PD, T1, B
from unweight.synth.anatomy.crop import Crop
from unweight.synth.anatomy.labels import Anatomy
from unweight.synth.anatomy.nuclei import with_nuclei
from unweight.synth.anatomy.procedural_head import procedural_head
from unweight.synth.anatomy.split import split_subjects
from unweight.synth.protocols.prior import InversionPrior, draw_inversions
from unweight.synth.protocols.standard import Scan, four_inversions, seven_inversions
from unweight.synth.scanner.measure import MeasurementPrior
from unweight.synth.stream import scanned
from unweight.synth.tissue.compose import compose
from unweight.synth.tissue.materials import BRAIN, DEEP_GREY, INDEX
from unweight.synth.tissue.prior import TissuePrior
from unweight.synth.tissue.scene import Scene

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
        return self.share(BRAIN) >= 0.5

    def share(self, materials: Sequence[str]) -> Float[Tensor, "x y z"]:
        """Return the share of some materials together."""
        return self.scene.fractions[..., [INDEX[name] for name in materials]].sum(-1)


def heads_for_test(folder: Path) -> dict[str, Path]:
    """Return the heads in the test part of a folder, by subject.

    Args:
        folder: BrainWeb crisp heads; all of them, since the split depends on the list.

    Raises:
        InputError: There is no head.
        UsageError: The test part is empty.
    """
    # By the same names as for training: the split depends on them.
    paths = {subject_of(path): path for path in find_brainweb(folder)}
    names = split_subjects(paths)["test"]
    if not names:
        raise UsageError(
            f"the test part of {len(paths)} heads is empty",
            remedy="Give the folder with all heads that were trained with.",
        )
    return {f"brainweb{name}": paths[name] for name in names}


def brainweb_slices(
    folder: Path, n_heads: int | None = None, n_slices: int = N_SLICES
) -> tuple[Anatomy, ...]:
    """Return slices of the heads in the test part of a folder, one after the other.

    Args:
        folder: As for `heads_for_test`.
        n_heads: At most so many heads; None for the whole test part.
        n_slices: Of each head.

    Raises:
        InputError: There is no head, or one is unusable.
        UsageError: The test part is empty.
    """
    chosen = list(heads_for_test(folder).values())[:n_heads]
    heads = (with_nuclei(read_brainweb(path)) for path in chosen)
    return tuple(one for head in heads for one in _cut(head, n_slices))


def procedural_slices(n_heads: int = N_HEADS, n_slices: int = N_SLICES) -> tuple[Anatomy, ...]:
    """Return slices of procedural heads from random numbers of their own, one head after the other."""
    return tuple(
        procedural_head(
            seeded_generator(0, "evaluation", "head", head),
            shape=SLAB,
            voxel_mm=FINE_MM,
            centre_mm=(*MIDDLE_MM, height),
        )
        for head in range(n_heads)
        for height in HEIGHTS_MM[:n_slices]
    )


def brains_set(slices: Sequence[Anatomy]) -> TrialSet:
    """Return the slices under the seven inversions."""
    scan = replace(seven_inversions(), train=None)
    return _grouped(BRAINS, [_scan(one, (scan, 0), (BRAINS, place)) for place, one in enumerate(slices)])


def brains_blurred_set(slices: Sequence[Anatomy]) -> TrialSet:
    """Return the slices of `brains`, same tissue, with the blur of the 64 echoes."""
    made = [_scan(one, (seven_inversions(), 0), (BRAINS, place)) for place, one in enumerate(slices)]
    return _grouped(BRAINS_BLURRED, made)


def brains_other_set(slices: Sequence[Anatomy]) -> TrialSet:
    """Return each slice under a random protocol, and under four inversions with a TR of 2.55 s."""
    made = []
    for place, one in enumerate(slices):
        random = draw_inversions(InversionPrior(), seeded_generator(0, "evaluation", "protocol", place))
        for kind, scan in enumerate((random, four_inversions())):
            made.append(_scan(one, (replace(scan, train=None), kind), (BRAINS_OTHER, place)))
    return _grouped(BRAINS_OTHER, made, protocols=True)


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


def _scan(slab: Anatomy, scan: tuple[Scan, int], purpose: tuple[str, int]) -> ScannedSlice:
    """Fill a slab with tissue and scan it."""
    prescribed, kind = scan
    generator = seeded_generator(0, "evaluation", *purpose, prescribed.name, kind)
    field = prescribed.protocol.field_strength
    tissue = TISSUE.draw(generator, 3.0 if field is None else field)
    scene = compose(slab, FACTOR, tissue, generator)
    signal, noise_sd, gain = scanned(scene, prescribed, MEASUREMENT, generator)
    acquisition = Acquisition(signal=signal, protocol=prescribed.protocol, affine=scene.affine)
    truth = scene.truth((T1, PD, B), gain)
    return ScannedSlice(scene=scene, acquisition=acquisition, truth=truth, noise_sd=noise_sd, protocol=kind)


def _grouped(name: str, slices: Sequence[ScannedSlice], *, protocols: bool = False) -> TrialSet:
    """Divide the voxels; the thirds of SNR are those of all brain voxels together."""
    strengths = [torch.where(one.brain, one.snr, torch.nan)[one.scored] for one in slices]
    thirds = torch.split(terciles(torch.cat(strengths)), [len(part) for part in strengths])
    trials = []
    for one, third in zip(slices, thirds, strict=True):
        groups = [*_groups(one), Groups(names=SNR_NAMES, index=third)]
        if protocols:
            index = torch.where(one.brain[one.scored], one.protocol, -1)
            groups.append(Groups(names=PROTOCOL_NAMES, index=index))
        trials.append(
            Trial(
                acquisition=one.acquisition,
                truth=one.truth,
                scored=one.scored,
                groups=tuple(groups),
            )
        )
    return TrialSet(name=name, trials=tuple(trials))


def _groups(one: ScannedSlice) -> tuple[Groups, ...]:
    """Divide by nothing, by brain or not, by tissue and by T1."""
    scored = one.scored
    brain = one.brain[scored]
    tissue = torch.where(brain, len(TISSUES), -1)
    for place, materials in enumerate(TISSUES.values()):
        tissue[brain & (one.share(materials)[scored] > PURE)] = place
    return (
        everything(len(brain)),
        Groups(names=(BRAIN_NAME, OUTSIDE_NAME), index=(~brain).long()),
        Groups(names=(*TISSUES, MIXED_NAME), index=tissue),
        binned(one.truth.value("T1")[scored]),
    )
