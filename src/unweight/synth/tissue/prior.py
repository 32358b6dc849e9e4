"""What tissue is made of: a prior over T1, T2, PD, R2* and susceptibility, at 1.5 and 3 T.

    R2* = 1/T2 + R2′,   R2′ = 137 Hz/ppm · (B0/3 T) · (χ+ + |χ−|) in the brain, as stated elsewhere

(Shin et al., NeuroImage 240:118371, 2021, as public simulations use it.) Each value of a subject is its
mean in `tissue_table` times exp(spread · z). The z of χ+ is the iron of the material, that of χ− its
myelin, both partly shared by all materials of a subject; T1, T2 and PD follow them only in part, so that
no property is a look-up of another. Myelin leads R1 and iron adds little, as Callaghan et al., Magn
Reson Med 73:1309, 2015, found; the weights themselves are ours.

At 1.5 T: T1 is Wright's where it was measured; other brain tissue and blood take 0.80 of 3 T, the mean
of Wright's putamen and caudate; tissue outside the brain takes 1/1.21, the mean change of de Bazelaire
et al., Radiology 230:652, 2004; CSF is taken as the same. T2 is the same (Stanisz et al., ISMRM 2006,
2494), but for what iron and deoxygenated blood add to R2 above 12.7 1/s (Gelman et al., Radiology
210:759, 1999), which is taken to grow with the field, as R2′ is.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from unweight.core.errors import UsageError
from unweight.synth.tissue.materials import (
    BRAIN,
    DEEP_GREY,
    INDEX,
    MATERIALS,
    PROPERTIES,
    SILENT,
    TISSUES,
    TissueFacts,
)

DECAY_PER_PPM = 137.0 / 3.0
IRON_FREE_R2 = 12.7
NOMINAL_FIELDS = (1.5, 3.0)
FIELD_TOLERANCE = 0.15
BRAIN_T1_RATIO = 0.80
BODY_T1_RATIO = 1 / 1.21
# The part of T1 that depends on the sequence is magnetisation transfer; these have little or none.
WITHOUT_TRANSFER = frozenset({"csf", "vessel", "fat", "marrow"})
SHARED = 0.7
LIMIT = 3.0

COLUMNS = ("material", "T1 [s]", "T2 [s]", "PD", "R2* [1/s]", "χ+ [ppm]", "χ− [ppm]", "source")
TissueRow = tuple[str, float, float, float, float, float, float, str]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class TissueDraw:
    """The tissue of one subject in one protocol.

    Attributes:
        values: One row per material, one column per property [s, s, relative to CSF, 1/s, ppm, ppm].
        short_fraction: Share of the white matter signal with a short T1; `values` has the T1 of the rest.
        short_t1: T1 of that share [s].
        texture_sd: Standard deviation of ln T1, ln T2 and ln PD within a tissue.
        texture_mm: Smoothing length of the texture [mm].
        field_strength: [T]
    """

    values: Float[Tensor, "materials properties"]
    short_fraction: float
    short_t1: float
    texture_sd: tuple[float, float, float]
    texture_mm: float
    field_strength: float

    def __post_init__(self) -> None:
        if self.values.shape != (len(MATERIALS), len(PROPERTIES)):
            raise UsageError(
                f"tissue values of shape {tuple(self.values.shape)}",
                remedy=f"Give {len(MATERIALS)} materials with {len(PROPERTIES)} properties.",
            )

    def value(self, material: str, name: str) -> float:
        """Return one property of one material."""
        return float(self.values[INDEX[material], PROPERTIES.index(name)])


# The table's T1 of white matter is that of one exponential. Where a short component is added, the long
# one is longer: 939 ms beside 9 % of 48 ms fits one exponential of 884 ms with the seven-TI protocol.
LONG_BEYOND_SINGLE = (939 / 884 - 1) / 0.09


class Prior(ABC):
    """Something that tissue can be drawn from."""

    @abstractmethod
    def draw(self, generator: torch.Generator, field_strength: float) -> TissueDraw:
        """Draw the tissue of one subject, on the device of the generator.

        Args:
            generator: For all that is drawn.
            field_strength: [T]

        Raises:
            UsageError: Nothing is known at this field.
        """


@final
@dataclass(frozen=True, kw_only=True)
class ShortComponent:
    """White matter that relaxes fast: 9 % with T1 48 ms at 3 T; the ranges are ours.

    Rioux et al., 2016, inversion recovery with 13 inversion times, PMC4837078.

    Attributes:
        fraction: Lowest and highest share of the signal.
        t1: Lowest and highest T1 [s], at any field.
    """

    fraction: tuple[float, float] = (0.04, 0.14)
    t1: tuple[float, float] = (0.030, 0.070)


@final
@dataclass(frozen=True, kw_only=True)
class TextureRange:
    """How coarse tissue is. Assumed: a few per cent, patches of millimetres.

    Attributes:
        sd: Lowest and highest standard deviation of ln T1 and of ln T2; ln PD has a third of it.
        length_mm: Lowest and highest smoothing length [mm].
    """

    sd: tuple[float, float] = (0.02, 0.07)
    length_mm: tuple[float, float] = (1.5, 6.0)

    def draw(self, generator: torch.Generator) -> tuple[tuple[float, float, float], float]:
        """Draw the texture of one subject: standard deviations, length."""
        first, second = (_uniform(*self.sd, generator) for _ in range(2))
        return (first, second, _uniform(*self.sd, generator) / 3), _uniform(*self.length_mm, generator)


@final
@dataclass(frozen=True, kw_only=True)
class TissuePrior(Prior):
    """Living tissue around published values.

    Attributes:
        facts: Means and spreads, for every material.
        protocol_scale: T1 of all tissue with magnetisation transfer is scaled by up to this share, up or
            down, together: what one protocol reads differs from another (Assländer, arXiv 2409.05318).
        decay_spread: Relative scatter of R2′ about what χ explains; ours.
        short: Second compartment of white matter; None for none.
        texture: Within-tissue texture.
    """

    facts: Mapping[str, TissueFacts] = field(default_factory=lambda: TISSUES)
    protocol_scale: float = 0.10
    decay_spread: float = 0.05
    short: ShortComponent | None = ShortComponent()
    texture: TextureRange = TextureRange()

    def __post_init__(self) -> None:
        missing = [name for name in MATERIALS if name not in self.facts]
        if missing:
            raise UsageError(f"no tissue facts for {', '.join(missing)}")

    def draw(self, generator: torch.Generator, field_strength: float) -> TissueDraw:
        """Draw a subject near the published means."""
        means = _means(self.facts, field_strength).to(generator.device)
        spread = _spreads(self.facts).to(means)
        iron, myelin = (_latent(generator) for _ in range(2))
        own = _normal((len(MATERIALS), 4), generator)
        movement = torch.stack(
            (
                -0.6 * myelin - 0.1 * iron + math.sqrt(1 - 0.37) * own[:, 0],
                -0.3 * myelin - 0.5 * iron + math.sqrt(1 - 0.34) * own[:, 1],
                -0.5 * myelin + math.sqrt(1 - 0.25) * own[:, 2],
                torch.zeros_like(iron),
                iron,
                myelin,
            ),
            -1,
        )
        values = means * torch.exp(spread * movement)
        scale = math.exp(_uniform(-self.protocol_scale, self.protocol_scale, generator))
        values[:, 0] *= torch.tensor([1.0 if m in WITHOUT_TRANSFER else scale for m in MATERIALS]).to(
            values
        )
        values[:, 3] = _decay(values, self.facts, field_strength) * torch.exp(self.decay_spread * own[:, 3])
        values[:, 3] += 1 / values[:, 1]
        short = self.short or ShortComponent(fraction=(0.0, 0.0))
        fraction, short_t1 = _uniform(*short.fraction, generator), _uniform(*short.t1, generator)
        values[INDEX["white_matter"], 0] *= 1 + LONG_BEYOND_SINGLE * fraction
        texture_sd, texture_mm = self.texture.draw(generator)
        return TissueDraw(
            values=values,
            short_fraction=fraction,
            short_t1=short_t1,
            texture_sd=texture_sd,
            texture_mm=texture_mm,
            field_strength=field_strength,
        )


@final
@dataclass(frozen=True, kw_only=True)
class RandomTissuePrior(Prior):
    """Anything that could relax: each label any value, so that a network cannot learn labels.

    T1 is spread evenly in ln T1, one stratum per material, and the strata are dealt to the materials at
    random. Silent materials keep PD 0 and their susceptibility.

    Attributes:
        t1: Shortest and longest [s].
        t2: Likewise [s]; never above T1.
        pd: Lowest and highest, relative to CSF.
        chi: Smallest and largest size of χ+ and of χ− [ppm].
        decay: Lowest and highest R2′ [1/s].
        texture: Within-tissue texture.
    """

    t1: tuple[float, float] = (0.010, 6.0)
    t2: tuple[float, float] = (0.005, 2.0)
    pd: tuple[float, float] = (0.3, 1.1)
    chi: tuple[float, float] = (0.002, 0.3)
    decay: tuple[float, float] = (0.5, 100.0)
    texture: TextureRange = TextureRange()

    def __post_init__(self) -> None:
        if not 0 < self.t2[0] < self.t1[0]:
            raise UsageError("the shortest T2 must be above 0 and below the shortest T1")

    def draw(self, generator: torch.Generator, field_strength: float) -> TissueDraw:
        """Draw a subject that nobody has seen."""
        if not field_strength > 0:
            raise UsageError(f"a field strength must be positive, not {field_strength:g} T")
        n = len(MATERIALS)
        device = generator.device
        uniform = torch.rand(n, 6, generator=generator, device=device)
        strata = (torch.randperm(n, generator=generator, device=device) + uniform[:, 0]) / n
        t1 = _between(self.t1, strata)
        longest = t1.clamp(max=self.t2[1])
        t2 = self.t2[0] * (longest / self.t2[0]) ** uniform[:, 1]
        pd = self.pd[0] + (self.pd[1] - self.pd[0]) * uniform[:, 2]
        decay = _between(self.decay, uniform[:, 3])
        chi_plus, chi_minus = (_between(self.chi, uniform[:, column]) for column in (4, 5))
        values = torch.stack((t1, t2, pd, 1 / t2 + decay, chi_plus, -chi_minus), -1)
        known = _means(TISSUES, 3.0).to(values)
        for name in SILENT:
            values[INDEX[name], [2, 4, 5]] = known[INDEX[name], [2, 4, 5]]
        texture_sd, texture_mm = self.texture.draw(generator)
        return TissueDraw(
            values=values,
            short_fraction=0.0,
            short_t1=self.t1[0],
            texture_sd=texture_sd,
            texture_mm=texture_mm,
            field_strength=field_strength,
        )


@final
@dataclass(frozen=True, kw_only=True)
class MixedPrior(Prior):
    """One prior or the other.

    Attributes:
        first: Drawn from with probability `share`.
        second: Drawn from otherwise.
        share: From 0 to 1.
    """

    first: Prior
    second: Prior
    share: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise UsageError(f"a share lies between 0 and 1, not at {self.share:g}")

    def draw(self, generator: torch.Generator, field_strength: float) -> TissueDraw:
        """Draw which, then from it."""
        chosen = self.first if _uniform(0.0, 1.0, generator) < self.share else self.second
        return chosen.draw(generator, field_strength)


def table(field_strength: float) -> list[TissueRow]:
    """Return the means at a field, one row per material, in the order of `COLUMNS`.

    Raises:
        UsageError: Nothing is known at this field.
    """
    means = _means(TISSUES, field_strength)
    rows: list[TissueRow] = []
    for name, row in zip(MATERIALS, means.tolist(), strict=True):
        t1, t2, pd, decay, plus, minus = row
        rows.append((name, t1, t2, pd, decay, plus, minus, TISSUES[name].source))
    return rows


def _means(
    facts: Mapping[str, TissueFacts], field_strength: float
) -> Float[Tensor, "materials properties"]:
    nearest = min(NOMINAL_FIELDS, key=lambda nominal: abs(nominal - field_strength))
    if not abs(nearest - field_strength) <= FIELD_TOLERANCE:
        raise UsageError(
            f"no tissue values for {field_strength:g} T",
            remedy="They are known at 1.5 and 3 T; RandomTissuePrior draws at any field.",
        )
    rows = []
    for name in MATERIALS:
        fact = facts[name]
        t1, t2 = fact.t1[0], fact.t2[0]
        if nearest == 1.5:
            t1, t2 = _t1_at_low_field(name, fact), _t2_at_low_field(name, t2)
        rows.append((t1, t2, fact.pd[0], 0.0, fact.chi[0], fact.chi[1]))
    means = torch.tensor(rows)
    means[:, 3] = 1 / means[:, 1] + _decay(means, facts, field_strength)
    return means


def _t1_at_low_field(name: str, fact: TissueFacts) -> float:
    if fact.t1_low is not None:
        return fact.t1_low
    if name == "csf":
        return fact.t1[0]
    return fact.t1[0] * (BRAIN_T1_RATIO if name in (*BRAIN, "vessel") else BODY_T1_RATIO)


def _t2_at_low_field(name: str, t2: float) -> float:
    iron = 1 / t2 - IRON_FREE_R2
    return 1 / (IRON_FREE_R2 + iron / 2) if name in (*DEEP_GREY, "vessel") and iron > 0 else t2


def _spreads(facts: Mapping[str, TissueFacts]) -> Float[Tensor, "materials properties"]:
    rows = [(f.t1[1], f.t2[1], f.pd[1], 0.0, f.chi[2], f.chi[2]) for f in (facts[m] for m in MATERIALS)]
    return torch.tensor(rows)


def _decay(
    values: Float[Tensor, "materials properties"], facts: Mapping[str, TissueFacts], field_strength: float
) -> Float[Tensor, " materials"]:
    """Return R2′ [1/s]: from χ in the brain, as stated elsewhere; both in proportion to the field."""
    from_chi = DECAY_PER_PPM * (values[:, 4] - values[:, 5])
    stated = [facts[name].decay for name in MATERIALS]
    given = torch.tensor([math.nan if rate is None else rate / 3.0 for rate in stated]).to(values)
    return field_strength * torch.where(given.isnan(), from_chi, given)


def _latent(generator: torch.Generator) -> Float[Tensor, " materials"]:
    """Draw a standard normal per material, SHARED of it common to the subject."""
    common = _normal((1,), generator)
    return SHARED * common + math.sqrt(1 - SHARED**2) * _normal((len(MATERIALS),), generator)


def _normal(shape: tuple[int, ...], generator: torch.Generator) -> Float[Tensor, "..."]:
    """Draw standard normals, held within three standard deviations: a prior has no freaks."""
    return torch.randn(shape, generator=generator, device=generator.device).clamp(-LIMIT, LIMIT)


def _uniform(low: float, high: float, generator: torch.Generator) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator, device=generator.device))


def _between(ends: tuple[float, float], share: Float[Tensor, " materials"]) -> Float[Tensor, " materials"]:
    """Return values a share of the way from end to end, in the logarithm."""
    return ends[0] * (ends[1] / ends[0]) ** share
