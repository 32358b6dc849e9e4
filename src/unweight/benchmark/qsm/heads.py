"""Simulated heads with known susceptibility: what a scanner would store, and the truth of each stage.

3 T, eight echoes of 4 to 32 ms, brightest tissue 100 times the noise, voxels of 1.5 mm made from labels of
0.5 mm. χ is that of each material, mixed by volume, without texture; the field is that of the whole head
with air and bone, less a shim. Scores are taken in `clean`, brain voxels that share nothing with bone or
air, for no method can know what lies in the others. In the set `calcified` a sphere of -3 ppm and 4 mm
radius lies in white matter.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from scipy import ndimage
from torch import Tensor

from unweight.core.acquisition import Acquisition, SignalKind
from unweight.core.seeding import seeded_generator
from unweight.heads.source import TEST, ProceduralHeads, head_source
from unweight.signals.parameters import R2STAR
from unweight.susceptibility.dipole import field_from_susceptibility
from unweight.susceptibility.geometry import GYROMAGNETIC_RATIO, FieldGeometry, geometry_of
from unweight.susceptibility.morphology import fill_holes, largest_component
from unweight.synth.anatomy.labels import Anatomy
from unweight.synth.protocols.standard import eight_echoes
from unweight.synth.scanner.measure import MeasurementPrior
from unweight.synth.stream import scanned
from unweight.synth.tissue.compose import compose, divisible, with_phase
from unweight.synth.tissue.materials import BRAIN, INDEX, PROPERTIES
from unweight.synth.tissue.prior import TissueDraw, TissuePrior
from unweight.synth.tissue.scene import Scene

QSM_SETS = ("plain", "calcified")
FIELD, SNR = 3.0, 100.0
VOXEL_MM, QUICK_MM = 1.5, 3.0
HARD = ("skull", "marrow", "air", "background")
CLEAN_SHARE = 0.02  # of those, at most, in a voxel that is scored
STONE_PPM, STONE_MM = -3.0, 4.0
N_HEADS = 2
CHI = [PROPERTIES.index("chi_plus"), PROPERTIES.index("chi_minus")]
HEAD_MM, HEAD_MIDDLE_MM = (180.0, 216.0, 180.0), (0.0, -16.0, 12.0)
FINE_MM, COARSE_MM = 0.5, 1.5  # of the labels of a procedural head, and of a quick one


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class QsmHead:
    """One simulated head.

    Attributes:
        dataset: The set it belongs to.
        name: Of the head.
        acquisition: What the scanner stored, without a mask.
        geometry: Voxel sizes and the direction of the field.
        chi: True susceptibility [ppm].
        total: True field after the shim [ppm].
        clean: Brain voxels that share nothing with bone or air, one piece.
        materials: The material most of each voxel is.
        purity: Largest share of one material in the water of each voxel.
        r2star: True R2* [1/s].
        noise_sd: Of one channel, in the unit of the images.
    """

    dataset: str
    name: str
    acquisition: Acquisition
    geometry: FieldGeometry
    chi: Float[Tensor, "x y z"]
    total: Float[Tensor, "x y z"]
    clean: Bool[Tensor, "x y z"]
    materials: Int64[Tensor, "x y z"]
    purity: Float[Tensor, "x y z"]
    r2star: Float[Tensor, "x y z"]
    noise_sd: float

    def local_in(self, mask: Bool[Tensor, "x y z"]) -> Float[Tensor, "x y z"]:
        """Return the field of what lies in a mask [ppm]."""
        inside = torch.where(mask, self.chi, torch.zeros_like(self.chi))
        return field_from_susceptibility(
            inside, self.geometry.voxel_mm, self.geometry.direction, background=0.0
        )


def qsm_heads(heads: Path | None, sets: tuple[str, ...], *, quick: bool = False) -> Iterator[QsmHead]:
    """Give the heads of each set, one after the other.

    Args:
        heads: Folder of BrainWeb heads, of which the test part is used; None for a procedural head.
        sets: Of `QSM_SETS`.
        quick: One head with large voxels, to see that it runs.
    """
    source = head_source(heads, _source(quick=quick))
    for anatomy in source.heads(TEST, 1 if quick else N_HEADS):
        step = round((QUICK_MM if quick else VOXEL_MM) / anatomy.voxel_mm[0])
        for dataset in sets:
            yield _head(anatomy, dataset, step)


def _source(*, quick: bool) -> ProceduralHeads:
    size = COARSE_MM if quick else FINE_MM
    x, y, z = (round(extent / size) for extent in HEAD_MM)
    return ProceduralHeads(
        generator=lambda part, index: seeded_generator(0, "evaluation", "qsm head"),
        counts={TEST: 1},
        shape=(x, y, z),
        voxel_mm=(size, size, size),
        centre_mm=HEAD_MIDDLE_MM,
    )


def _head(anatomy: Anatomy, dataset: str, step: int) -> QsmHead:
    factor = (step, step, step)
    labels = divisible(anatomy.labels, factor).contiguous()
    tissue = TissuePrior().draw(seeded_generator(0, "evaluation", "qsm tissue"), FIELD)
    if dataset == "calcified":
        labels, tissue = _with_stone(labels, anatomy.voxel_mm[0]), _heavy(tissue)
    whole = replace(anatomy, labels=labels)
    scene = compose(whole, factor, tissue, seeded_generator(0, "evaluation", "qsm scene"))
    scene = with_phase(scene, FIELD, seeded_generator(0, "evaluation", "qsm phase"))
    scan = eight_echoes()
    prior = MeasurementPrior(kind=SignalKind.COMPLEX, snr=(SNR, SNR), moving=0.0, rounding=0.0)
    stored, noise, _ = scanned(scene, scan, prior, seeded_generator(0, "evaluation", "qsm noise"))
    affine = scene.affine
    acquisition = Acquisition(signal=stored, protocol=scan.protocol, kind=SignalKind.COMPLEX, affine=affine)
    return QsmHead(
        dataset=dataset,
        name=anatomy.subject,
        acquisition=acquisition,
        geometry=geometry_of(torch.eye(4) if affine is None else affine),
        chi=scene.susceptibility,
        total=scene.fields["frequency"] / (GYROMAGNETIC_RATIO * FIELD),
        clean=_clean(scene),
        materials=scene.fractions.argmax(-1),
        purity=scene.purity,
        r2star=scene.truth((R2STAR,)).values[..., 0],
        noise_sd=noise,
    )


def _clean(scene: Scene) -> Bool[Tensor, "x y z"]:
    brain = scene.share(*BRAIN, "calcification") > 0.5
    opened = torch.from_numpy(ndimage.binary_opening(brain.numpy()))
    hard = scene.share(*HARD)
    return fill_holes(largest_component(opened & (hard < CLEAN_SHARE)))


def _with_stone(labels: UInt8[Tensor, "x y z"], size_mm: float) -> UInt8[Tensor, "x2 y2 z2"]:
    """Return the labels with a calcification where white matter is deepest in the upper half."""
    white = (labels == INDEX["white_matter"]).numpy()
    white[:, :, : white.shape[2] // 2] = False
    depth = torch.from_numpy(ndimage.distance_transform_edt(white))
    x, y, z = (int(item) for item in torch.unravel_index(depth.argmax(), depth.shape))
    places = [(torch.arange(n) - at) * size_mm for n, at in zip(labels.shape, (x, y, z), strict=True)]
    square = places[0][:, None, None] ** 2 + places[1][None, :, None] ** 2 + places[2][None, None, :] ** 2
    stone = torch.full_like(labels, INDEX["calcification"])
    return torch.where(square < STONE_MM**2, stone, labels)


def _heavy(tissue: TissueDraw) -> TissueDraw:
    values = tissue.values.clone()
    values[INDEX["calcification"], CHI] = torch.tensor([0.0, STONE_PPM])
    return replace(tissue, values=values)
