"""Simulated people: age, sex, and what these do to tissue and volumes.

Subjects with an age and a sex, and what these do to tissue and to volumes.

Iron in mg per 100 g of wet tissue at t years is that of Hallgren & Sourander, J Neurochem 3:41, 1958:

    pallidum     21.41 (1 − exp(−0.09 t)) + 0.37        caudate       9.66 (1 − exp(−0.05 t)) + 0.33
    putamen      14.62 (1 − exp(−0.04 t)) + 0.46        white matter  3.95 (1 − exp(−0.10 t)) + 0.31

χ+ goes with iron: χ+(t) = χ+ · Fe(t)/Fe(30). R2′ follows by 137 Hz/ppm at 3 T, and R2 by as much: at 3 T
both have nearly the same slope against iron (Gelman et al., Radiology 210:759, 1999). That also holds
for 1.5 T here, in proportion to the field. There is no sex difference in iron (Treit et al., Hum Brain
Mapp 42:4597, 2021). T1 follows a U over age, lowest in the fourth to sixth decade, in white matter
earlier than in grey (Cho et al., 1997):

    T1(t) = T1 · [1 + 0.06 ((t − t₀)/40 y)²],    t₀ = 45 y in white matter, 55 y in grey matter

Assumptions of this project are the 0.06 and the two ages, and what is named so below.

A head as one person has it: head and deep grey nuclei as large as age and sex make them.

labels of a head → nuclei of this person's volumes → a change of shape → the size of this person's head
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from types import MappingProxyType
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from unweight.core.errors import UsageError
from unweight.core.seeding import seeded_generator
from unweight.synth.anatomy.labels import Anatomy, counts_of
from unweight.synth.anatomy.structure_volume import scale_structures
from unweight.synth.anatomy.warp import Warp, WarpRange, draw_warp
from unweight.synth.tissue.materials import DEEP_GREY, INDEX
from unweight.synth.tissue.prior import DECAY_PER_PPM, TissueDraw

REFERENCE_AGE = 30.0
IRON: Mapping[str, tuple[float, float, float]] = MappingProxyType(
    {
        "pallidum": (21.41, 0.09, 0.37),
        "putamen": (14.62, 0.04, 0.46),
        "caudate": (9.66, 0.05, 0.33),
        "white_matter": (3.95, 0.10, 0.31),
    }
)
# Iron rises with age here too (Li et al., 2021, n = 623), but no equation is known: the putamen's is taken.
AS_PUTAMEN = frozenset({"red_nucleus", "substantia_nigra", "dentate"})
# The thalamus turns at 40 y (Treit); the slope is assumed.
THALAMUS_TURN, THALAMUS_SLOPE = 40.0, 0.004
# Spread of iron beside the prior's own, at 20 and at 80 y: it grows (Treit), by how much is assumed.
IRON_SPREAD = (0.02, 0.10)
T1_CURVE = 0.06
T1_LOWEST = MappingProxyType({"white_matter": 45.0, "grey_matter": 55.0, **dict.fromkeys(DEEP_GREY, 55.0)})
# Out of distribution; both ranges are assumed.
OVERLOAD = (1.8, 3.0)
MYELIN_LEFT = (0.4, 0.8)
# What T1, T2 and PD of white matter gain per share of myelin lost; assumed.
MYELIN_WEIGHTS = (0.8, 0.5, 0.2)


class Sex(Enum):
    """Sex of a subject."""

    FEMALE = "female"
    MALE = "male"


class Group(Enum):
    """Healthy, or outside of what a healthy cohort holds."""

    HEALTHY = "healthy"
    IRON_OVERLOAD = "iron_overload"
    DEMYELINATION = "demyelination"


@final
@dataclass(frozen=True, kw_only=True)
class Subject:
    """One person.

    Attributes:
        age: [years]
        sex: Female or male.
        seed: For everything that is drawn for this person.
        group: Healthy or not.
    """

    age: float
    sex: Sex
    seed: int
    group: Group = Group.HEALTHY

    def __post_init__(self) -> None:
        if not 0 < self.age < 120:
            raise UsageError(f"an age of {self.age:g} years")

    def generator(self, purpose: str) -> torch.Generator:
        """Return random numbers of this person for one purpose."""
        return seeded_generator(self.seed, purpose)


@final
@dataclass(frozen=True, kw_only=True)
class Cohort:
    """People, ages spread evenly. Subject i is the same however many there are, in whatever order.

    Attributes:
        n: How many.
        seed: Which cohort.
        age_range: Youngest and oldest [years].
        male_share: From 0 to 1.
        overload_share: Share with too much iron in deep grey matter.
        demyelination_share: Share that has lost myelin.
    """

    n: int
    seed: int
    age_range: tuple[float, float] = (20.0, 80.0)
    male_share: float = 0.5
    overload_share: float = 0.0
    demyelination_share: float = 0.0

    def __post_init__(self) -> None:
        if self.n < 1:
            raise UsageError(f"a cohort of {self.n}")
        low, high = self.age_range
        if not 0 < low <= high < 120:
            raise UsageError(f"ages from {low:g} to {high:g} years")
        shares = (self.male_share, self.overload_share, self.demyelination_share)
        if min(shares) < 0 or self.male_share > 1 or sum(shares[1:]) > 1:
            raise UsageError(
                f"shares of {self.male_share:g} men, {self.overload_share:g} with iron overload and "
                f"{self.demyelination_share:g} with demyelination",
                remedy="Shares lie between 0 and 1, those of the two groups together too.",
            )

    def __len__(self) -> int:
        return self.n

    def __iter__(self) -> Iterator[Subject]:
        return (self.subject(index) for index in range(self.n))

    def subject(self, index: int) -> Subject:
        """Return one subject.

        Raises:
            UsageError: There is none of this index.
        """
        if not 0 <= index < self.n:
            raise UsageError(f"no subject {index} in a cohort of {self.n}")
        age, sex, group, seed = torch.rand(
            4, generator=seeded_generator(self.seed, "subject", index), dtype=torch.float64
        ).tolist()
        low, high = self.age_range
        return Subject(
            age=low + (high - low) * age,
            sex=Sex.MALE if sex < self.male_share else Sex.FEMALE,
            seed=int(seed * 2**48),
            group=self._group(group),
        )

    def _group(self, share: float) -> Group:
        if share < self.overload_share:
            return Group.IRON_OVERLOAD
        if share < self.overload_share + self.demyelination_share:
            return Group.DEMYELINATION
        return Group.HEALTHY


def iron(material: str, age: float) -> float:
    """Return iron [mg per 100 g of wet tissue] after Hallgren & Sourander.

    Args:
        material: Pallidum, putamen, caudate or white matter.
        age: [years]

    Raises:
        UsageError: They give no equation for it.
    """
    if material not in IRON:
        raise UsageError(f"no equation for the iron of {material}", remedy=f"Known are {', '.join(IRON)}.")
    rise, rate, start = IRON[material]
    return rise * (1 - math.exp(-rate * age)) + start


def iron_ratio(material: str, age: float) -> float:
    """Return iron at an age relative to 30 years; 1 for materials of which nothing is known."""
    if material == "thalamus":
        return 1 - THALAMUS_SLOPE * max(0.0, age - THALAMUS_TURN)
    known = "putamen" if material in AS_PUTAMEN else material
    return iron(known, age) / iron(known, REFERENCE_AGE) if known in IRON else 1.0


def adjust(draw: TissueDraw, subject: Subject, generator: torch.Generator) -> TissueDraw:
    """Return the tissue of a 30-year-old as this subject has it.

    Iron overload multiplies χ+ of all deep grey matter by 1.8 to 3. Demyelination leaves 0.4 to 0.8 of
    χ− of white matter and of its short component; T1 and water grow with what is lost, T1 by up to half.

    Args:
        draw: From a prior.
        subject: Age, sex and group.
        generator: For the spread between subjects of an age.
    """
    values = draw.values.clone()
    widening = IRON_SPREAD[0] + (IRON_SPREAD[1] - IRON_SPREAD[0]) * (subject.age - 20) / 60
    plus = values[:, 4].clone()
    for name in (*DEEP_GREY, "white_matter"):
        spread = max(0.0, widening) * _normal(generator)
        plus[INDEX[name]] *= iron_ratio(name, subject.age) * math.exp(spread)
    for name, lowest in T1_LOWEST.items():
        values[INDEX[name], 0] *= 1 + T1_CURVE * ((subject.age - lowest) / 40) ** 2
    share = float(torch.rand((), generator=generator, device=generator.device))
    short_fraction = draw.short_fraction
    if subject.group is Group.IRON_OVERLOAD:
        factor = OVERLOAD[0] + (OVERLOAD[1] - OVERLOAD[0]) * share
        plus[[INDEX[name] for name in DEEP_GREY]] *= factor
    _set_iron(values, plus, draw.field_strength)
    if subject.group is Group.DEMYELINATION:
        left = MYELIN_LEFT[0] + (MYELIN_LEFT[1] - MYELIN_LEFT[0]) * share
        _lose_myelin(values[INDEX["white_matter"]], left, draw.field_strength)
        short_fraction *= left
    return replace(draw, values=values, short_fraction=short_fraction)


def _set_iron(
    values: Float[Tensor, "materials properties"], plus: Float[Tensor, " materials"], field_strength: float
) -> None:
    """Put in a new χ+; R2 and R2′ follow."""
    change = DECAY_PER_PPM * field_strength * (plus - values[:, 4])
    rate = 1 / values[:, 1]
    decay = _shift(values[:, 3] - rate, change)
    rate = _shift(rate, change)
    values[:, 1], values[:, 3], values[:, 4] = 1 / rate, rate + decay, plus


def _lose_myelin(white: Float[Tensor, " properties"], left: float, field_strength: float) -> None:
    """Take myelin out of white matter: χ− and R2′ by what is lost; T1, T2 and PD rise by a part of it."""
    lost = 1 - left
    change = DECAY_PER_PPM * field_strength * lost * white[5]
    decay = _shift(white[3] - 1 / white[1], change)
    white[:3] *= 1 + lost * torch.tensor(MYELIN_WEIGHTS).to(white)
    white[3] = 1 / white[1] + decay
    white[5] *= left


def _shift(rate: Float[Tensor, "*shape"], change: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Add a change to a rate; a loss is the same to first order, but never takes a rate to zero."""
    return torch.where(change >= 0, rate + change, rate.square() / (rate - change).clamp(min=1e-12))


def _normal(generator: torch.Generator) -> float:
    return float(torch.randn((), generator=generator, device=generator.device).clamp(-3, 3))


@final
@dataclass(frozen=True, kw_only=True)
class VolumeCurve:
    """How one structure changes with age.

    Attributes:
        early: Change per year from 30 years on, relative to the volume then.
        turn: Age of the turn [years].
        late: Change per year after it.
        spread: Relative standard deviation between subjects of an age.
    """

    early: float
    turn: float
    late: float
    spread: float

    def at(self, age: float) -> float:
        """Return the mean volume relative to 30 years, exponential in age."""
        before = min(age, self.turn) - min(REFERENCE_AGE, self.turn)
        after = max(0.0, age - self.turn) - max(0.0, REFERENCE_AGE - self.turn)
        return math.exp(self.early * before + self.late * after)


VOLUMES: Mapping[str, VolumeCurve] = MappingProxyType(
    {
        "caudate": VolumeCurve(early=-0.0033, turn=80.0, late=-0.0033, spread=0.12),
        "putamen": VolumeCurve(early=-0.0029, turn=80.0, late=-0.0029, spread=0.09),
        "pallidum": VolumeCurve(early=0.0, turn=80.0, late=0.0, spread=0.12),
        "thalamus": VolumeCurve(early=0.0, turn=33.0, late=-0.003, spread=0.10),
        "grey_matter": VolumeCurve(early=-0.002, turn=65.0, late=-0.0083, spread=0.06),
        "white_matter": VolumeCurve(early=0.0, turn=65.0, late=-0.004, spread=0.07),
        "csf": VolumeCurve(early=math.log(1.2) / 10, turn=50.0, late=0.035, spread=0.35),
    }
)
HEAD_SPREAD = 0.08
MALE_HEAD = 1.12


def volumes(subject: Subject, generator: torch.Generator) -> Mapping[str, float]:
    """Draw volumes relative to the mean at 30 years, for a head of one size; `head` is that size.

    Caudate and putamen shrink by 0.33 and 0.29 % a year, the pallidum not significantly, with spreads of
    12, 9 and 12 % (Raz et al., AJNR 24:1849, 2003, adjusted for head size). Ventricles, `csf`, grow by
    20 % per decade up to the fifth decade in men and the sixth in women, then faster (CT, J Am Geriatr
    Soc 40:225, 1992). Grey matter loses 0.83 % a year after 65 y, as a study of 1172 people found; white
    matter is stable up to 70 y in 73 men (its turn here is 65 y). Assumed are: the loss of grey matter
    before 65 y, all slopes of the thalamus (whose peak at 28 to 38 y is known), of white matter and of
    the ventricles after the turn, the spreads but the first three, and a head 12 % larger in men, of
    which Ruigrok et al., Neurosci Biobehav Rev 39:34, 2014, confirm the direction.

    Args:
        subject: Age and sex.
        generator: For the spread between subjects of an age.
    """
    drawn: dict[str, float] = {}
    for name, curve in VOLUMES.items():
        sooner = 10.0 if name == "csf" and subject.sex is Sex.MALE else 0.0
        mean = replace(curve, turn=curve.turn - sooner).at(subject.age)
        drawn[name] = mean * math.exp(curve.spread * _normal(generator))
    sign = 1 if subject.sex is Sex.MALE else -1
    drawn["head"] = MALE_HEAD ** (sign / 2) * math.exp(HEAD_SPREAD * _normal(generator))
    return MappingProxyType(drawn)


AGEING = ("caudate", "putamen", "pallidum", "thalamus")
LEAST_VOXELS = 50  # of a nucleus that is worth resizing


def subject_anatomy(anatomy: Anatomy, person: Subject, within: WarpRange | None = None) -> Anatomy:
    """Return the anatomy as this person has it.

    Args:
        anatomy: A head with nuclei.
        person: Age, sex and seed.
        within: How far the shape may change beside the sizes; None for not at all.
    """
    drawn = volumes(person, person.generator("volumes"))
    counts = counts_of(anatomy.labels)
    scales = {name: drawn[name] for name in AGEING if counts[INDEX[name]] > LEAST_VOXELS}
    labels = scale_structures(anatomy.labels, scales, anatomy.voxel_mm) if scales else anatomy.labels
    smaller = drawn["head"] ** (-1 / 3)
    resize = torch.diag(torch.tensor([smaller, smaller, smaller, 1.0]))
    shape = (labels.shape[0], labels.shape[1], labels.shape[2])
    if within is None:
        x, y, z = ((count - 1) * size for count, size in zip(shape, anatomy.voxel_mm, strict=True))
        warp = Warp(affine=resize, displacement=torch.zeros(3, 2, 2, 2), extent_mm=(x, y, z))
    else:
        warp = draw_warp(shape, anatomy.voxel_mm, person.generator("shape"), within=within)
        warp = replace(warp, affine=resize.to(warp.affine) @ warp.affine)
    return replace(anatomy, labels=warp.apply(labels, anatomy.voxel_mm))
