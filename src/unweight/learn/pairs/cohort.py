"""A simulated cohort to learn from and to be judged by: people, each with a gradient echo and an MPRAGE.

    head → person (age, sex, sizes) → change of shape → tissue of that age, with texture of iron and myelin
         → field of the whole head → complex echoes, MPRAGE → brain, R2*, χ as from anybody's files

Person i is the same whatever the number of people and processes, but for the group of those in tests. The
first of the cohort are for training, the next for validation, the rest for tests; heads of one part are in
no other.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from jaxtyping import Bool, Float, UInt8
from scipy import ndimage
from torch import Tensor

from unweight.core.acquisition import Acquisition, SignalKind
from unweight.core.errors import InputError, UsageError
from unweight.learn.pairs.pair import EchoMaps, Pair, make_pair, maps_of_echoes
from unweight.learn.pairs.scan_range import (
    FIELD_STRENGTH,
    FIRST_ECHO,
    FLIP_ANGLE,
    LAST_ECHO,
    N_ECHOES,
    REPETITION_TIME,
    SNR,
    Ends,
    ends_of_scans,
    plain_scan,
)
from unweight.metrics.structures import STRUCTURES, from_materials
from unweight.susceptibility.morphology import fill_holes, largest_component
from unweight.synth.anatomy.labels import Anatomy, on_grid
from unweight.synth.anatomy.warp import WarpRange
from unweight.synth.cohort import Cohort, Group, Sex, Subject, adjust, subject_anatomy
from unweight.synth.protocols.prior import GradientEchoPrior, draw_echoes
from unweight.synth.protocols.standard import Scan, eight_echoes, mprage
from unweight.synth.scanner.measure import MeasurementPrior
from unweight.synth.stream import scanned
from unweight.synth.tissue.compose import compose, divisible, with_phase
from unweight.synth.tissue.materials import BRAIN, INDEX
from unweight.synth.tissue.prior import TissuePrior
from unweight.synth.tissue.texture import with_magnetic_texture

FIELD = 3.0
GATHERED = 2  # fine voxels in one of the scanner's, along each axis
PARTS = ("train", "validation", "test")
ECHOES = GradientEchoPrior(
    n_echoes=(4, 8),
    first_echo=(0.003, 0.007),
    spacing=(0.0035, 0.0065),
    flip_angle=(math.radians(10.0), math.radians(20.0)),
    bipolar=0.0,
    field_strengths=(FIELD,),
)
SHAPE = WarpRange(rotation=math.radians(6), scale=0.05, shear=0.03)


@final
@dataclass(frozen=True, kw_only=True)
class CohortRecipe:
    """A cohort, as plain values.

    Attributes:
        n: People in each part: training, validation, test.
        seed: Which cohort.
        fine_every: One in so many people of the training is scanned with voxels of 1 mm; 0 for none.
        voxel_mm: Of all others [mm].
        published: Share of training scans with the eight echoes of the tests; the others are drawn.
        snr: Of brightest tissue in the gradient echo.
        t1w_snr: In the MPRAGE.
        group: Of the people in the test part.
    """

    n: tuple[int, int, int] = (40, 5, 130)
    seed: int = 0
    fine_every: int = 4
    voxel_mm: float = 1.5
    published: float = 0.5
    snr: tuple[float, float] = (60.0, 150.0)
    t1w_snr: tuple[float, float] = (60.0, 120.0)
    group: str = Group.HEALTHY.value

    def __post_init__(self) -> None:
        noise = (*self.snr, *self.t1w_snr)
        if min(self.n) < 0 or sum(self.n) < 1 or not self.voxel_mm > 0 or not min(noise) > 0:
            raise UsageError(f"no cohort: {self}")
        if self.fine_every < 0 or not 0 <= self.published <= 1:
            raise UsageError(f"no cohort: {self}", remedy="`published` is a share, `fine_every` a count.")
        if self.group not in {item.value for item in Group}:
            raise UsageError(f"no group is called {self.group}")

    @property
    def scans(self) -> dict[str, Ends]:
        """Return the ends of flip angle [rad], TR, echo times [s], field [T] and SNR of the training."""
        first, last = _echo_ends(ECHOES)
        fixed = plain_scan(eight_echoes().protocol)
        drawn = {
            FLIP_ANGLE: ECHOES.flip_angle,
            REPETITION_TIME: (last[0] + ECHOES.dead_time[0], last[1] + ECHOES.dead_time[1]),
            FIRST_ECHO: first,
            LAST_ECHO: last,
            N_ECHOES: (float(ECHOES.n_echoes[0]), float(ECHOES.n_echoes[1])),
            FIELD_STRENGTH: (FIELD, FIELD),
        }
        ends = [dict(zip(drawn, column, strict=True)) for column in zip(*drawn.values(), strict=True)]
        scans = ([fixed] if self.published > 0 else []) + (ends if self.published < 1 else [])
        return {**ends_of_scans(scans), SNR: self.snr}

    def indices(self, part: str) -> range:
        """Return the places of the people of one part.

        Raises:
            UsageError: There is no such part.
        """
        if part not in PARTS:
            raise UsageError(f"no part is called {part}", remedy=f"There are {', '.join(PARTS)}.")
        first = sum(self.n[: PARTS.index(part)])
        return range(first, first + self.n[PARTS.index(part)])

    def person(self, index: int) -> Subject:
        """Return one of the people."""
        person = Cohort(n=sum(self.n), seed=self.seed).subject(index)
        return replace(person, group=Group(self.group)) if index in self.indices("test") else person


def _echo_ends(prior: GradientEchoPrior) -> tuple[Ends, Ends]:
    """Return the ends of the first and of the last echo [s]."""
    fewest, most = prior.n_echoes
    first = prior.first_echo
    last = (
        first[0] + (fewest - 1) * prior.spacing[0],
        min(first[1] + (most - 1) * prior.spacing[1], prior.last_echo),
    )
    return first, last


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class ScannedPerson:
    """What a scanner gives of one person, with the truth.

    Attributes:
        echoes: Complex, without a mask.
        t1w: The MPRAGE.
        labels: Structure of most of each voxel.
        about: Age, sex, group, size of the brain, volumes of structures [ml].
    """

    echoes: Acquisition
    t1w: Float[Tensor, "x y z"]
    labels: UInt8[Tensor, "x y z"]
    about: Mapping[str, object]


def scan_person(
    head: Anatomy, person: Subject, scan: Scan, voxel_mm: float, recipe: CohortRecipe
) -> ScannedPerson:
    """Simulate one person.

    Args:
        head: Labels with nuclei; axes to the right, front and top.
        person: Who.
        scan: The gradient echo.
        voxel_mm: Of the scanner [mm].
        recipe: Noise.
    """
    factor = (GATHERED, GATHERED, GATHERED)
    anatomy = subject_anatomy(on_grid(head, voxel_mm / GATHERED), person, SHAPE)
    anatomy = replace(anatomy, labels=divisible(anatomy.labels, factor).contiguous())
    tissue = TissuePrior().draw(person.generator("tissue"), FIELD)
    tissue = adjust(tissue, person, person.generator("age"))
    scene = compose(anatomy, factor, tissue, person.generator("scene"))
    scene = with_magnetic_texture(scene, person.generator("iron"))
    scene = with_phase(scene, FIELD, person.generator("phase"))
    complex_prior = MeasurementPrior(kind=SignalKind.COMPLEX, snr=recipe.snr, moving=0.0, rounding=0.0)
    echoes, noise, _ = scanned(scene, scan, complex_prior, person.generator("echoes"))
    prior = MeasurementPrior(snr=recipe.t1w_snr, moving=0.0)
    t1w, _, _ = scanned(scene, mprage(), prior, person.generator("t1w"))
    acquisition = Acquisition(
        signal=echoes, protocol=scan.protocol, kind=SignalKind.COMPLEX, affine=scene.affine, noise_sd=noise
    )
    brain = scene.fractions[..., [INDEX[name] for name in BRAIN]].sum()
    fine_ml = math.prod(anatomy.voxel_mm) / 1000
    structures = torch.bincount(from_materials(anatomy.labels).reshape(-1), minlength=len(STRUCTURES))
    about = {
        "age": person.age,
        "male": person.sex is Sex.MALE,
        "group": person.group.value,
        "head": head.subject,
        "brain_ml": float(brain) * fine_ml * GATHERED**3,
        "true_ml": {
            name: float(count) * fine_ml
            for name, count in zip(STRUCTURES[1:], structures[1:].tolist(), strict=True)
        },
    }
    labels = from_materials(scene.fractions.argmax(-1))
    return ScannedPerson(echoes=acquisition, t1w=t1w[..., 0].float(), labels=labels, about=about)


def person_pair(recipe: CohortRecipe, heads: Sequence[Anatomy], part: str, index: int) -> Pair:
    """Simulate the person at one place of the cohort and make a pair of the images.

    Raises:
        UsageError: There is no head, or no such place in this part.
    """
    scanned_person = cohort_scan(recipe, heads, part, index)
    maps = cohort_maps(scanned_person)
    affine = scanned_person.echoes.affine
    return make_pair(
        maps,
        scanned_person.t1w,
        torch.eye(4) if affine is None else affine,
        scanned_person.labels,
        {"name": f"{part}-{index:03d}", **scanned_person.about},
    )


def cohort_scan(recipe: CohortRecipe, heads: Sequence[Anatomy], part: str, index: int) -> ScannedPerson:
    """Simulate the person at one place of the cohort."""
    if not heads or index not in recipe.indices(part):
        raise UsageError(f"nobody is at place {index} of the {part} part, or there is no head for it")
    person = recipe.person(index)
    scan, voxel_mm = eight_echoes(), recipe.voxel_mm
    if part == "train":
        generator = person.generator("protocol")
        if float(torch.rand((), generator=generator)) >= recipe.published:
            scan = draw_echoes(ECHOES, generator)
        if recipe.fine_every and index % recipe.fine_every == 0:
            voxel_mm = 1.0
    return scan_person(heads[index % len(heads)], person, scan, voxel_mm, recipe)


def cohort_maps(person: ScannedPerson) -> EchoMaps:
    """Return brain, R2* and χ as they are found in anybody's files.

    Where no brain is found in the echoes, a mask is given, as a user would give one.
    """
    try:
        return maps_of_echoes(person.echoes)
    except InputError:
        return maps_of_echoes(replace(person.echoes, mask=_drawn_mask(person)))


def _drawn_mask(person: ScannedPerson) -> Bool[Tensor, "x y z"]:
    """Return the brain without its outermost layer."""
    brain = fill_holes(largest_component(person.labels > 0))
    return torch.from_numpy(ndimage.binary_erosion(brain.numpy()))
