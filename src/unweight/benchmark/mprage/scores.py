"""From records of people to scores: likeness, structures, what conditions gain, age and sex.

Likeness and overlap are means over people of whom every way was measured. What R2* and χ gain is the mean
over people of the difference in Dice or PSNR, with the interval of 95 % of a bootstrap over people. Age and
sex: `metrics.volume_effects` on volumes that the same segmenter finds in the true and the made image; the
size of the brain is that of the simulation or, of real people, all that is found in the true image.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from jaxtyping import Float64

from unweight.benchmark.mprage.records import TRUTH, Record
from unweight.core.errors import UsageError
from unweight.core.seeding import seeded_generator
from unweight.metrics.agreement import Agreement, PairedVolumes, agreement
from unweight.metrics.null_volumes import head_scaled_volumes
from unweight.metrics.scores import Score
from unweight.metrics.structures import STRUCTURES
from unweight.metrics.volume_effects import Subjects, VolumeEffects, preserved, volume_effects

NULL = "null model"
NULL_NOISE = 0.01
N_RESAMPLES = 4000
FEWEST = 12  # people whose ages say anything
FOUND = STRUCTURES[1:]
ALONE, WITH_R2STAR, WITH_CHI, BOTH = "magnitudes", "+ R2*", "+ QSM", "+ both"
UNITS = {"psnr": "dB", "hd95": "mm", "seconds": "s"}


@final
@dataclass(frozen=True, kw_only=True)
class Gain:
    """What a condition adds to a measure of one structure.

    Attributes:
        structure: Name.
        condition: Which.
        mean: Over people.
        lower: End of the interval of 95 %.
        upper: Likewise.
        n: People.
    """

    structure: str
    condition: str
    mean: float
    lower: float
    upper: float
    n: int


@final
@dataclass(frozen=True, kw_only=True)
class Biology:
    """One structure, one way.

    Attributes:
        way: How images were made.
        structure: Name.
        effects: Of age, sex and head size.
        agreement: Of volumes.
        age_preserved: None where there is no effect of age.
        sex_preserved: Likewise of sex.
    """

    way: str
    structure: str
    effects: VolumeEffects
    agreement: Agreement
    age_preserved: bool | None
    sex_preserved: bool | None


def image_scores(records: Sequence[Record]) -> list[Score]:
    """Return means of every measure, by set and way, over the people of whom there is every way.

    So that ways are compared on the same people; where there are none such, over all of each way.
    """
    truths = records_of_truth(records)
    records = _compared(records)
    collected: dict[tuple[str, str, str, str], list[float]] = {}
    for one in records:
        at = (one.dataset, one.way)
        rows: list[tuple[str, str, float]] = [("brain", name, value) for name, value in one.image.items()]
        if one.way != TRUTH:
            rows.append(("brain", "seconds", one.seconds))
            rows += [(name, "dice", value) for name, value in one.dice.items()]
            rows += [(name, "hd95", value) for name, value in one.hd95_mm.items()]
            rows += [(name, "psnr", value) for name, value in one.psnr.items()]
            rows += [
                (name, "volume error", value / one_true - 1)
                for name, value, one_true in _volumes(one, truths)
            ]
        rows += [(name, "dice of labels", value) for name, value in one.dice_labels.items()]
        for group, metric, value in rows:
            if math.isfinite(value):
                collected.setdefault((*at, group, metric), []).append(value)
    return [
        Score(
            method=way,
            dataset=dataset,
            group=group,
            metric=metric,
            value=float(np.mean(values)),
            n=len(values),
            unit=UNITS.get(metric, "1"),
            parameter="T1w",
        )
        for (dataset, way, group, metric), values in collected.items()
    ]


def _compared(records: Sequence[Record]) -> list[Record]:
    ways: dict[str, set[str]] = {}
    people: dict[tuple[str, str], set[str]] = {}
    for one in records:
        ways.setdefault(one.dataset, set()).add(one.way)
        people.setdefault((one.dataset, one.person), set()).add(one.way)
    whole = {key for key, found in people.items() if found == ways[key[0]]}
    sets = {dataset for dataset, _ in whole}
    return [one for one in records if one.dataset not in sets or (one.dataset, one.person) in whole]


def records_of_truth(records: Iterable[Record]) -> dict[tuple[str, str], Record]:
    """Return the records of true images by set and person."""
    return {(one.dataset, one.person): one for one in records if one.way == TRUTH}


def _volumes(one: Record, truths: Mapping[tuple[str, str], Record]) -> list[tuple[str, float, float]]:
    truth = truths.get((one.dataset, one.person))
    if truth is None:
        return []
    return [
        (name, value, truth.volume_ml[name])
        for name, value in one.volume_ml.items()
        if truth.volume_ml.get(name, 0.0) > 0
    ]


def gains(
    records: Sequence[Record], told: Mapping[str, str], dataset: str, measure: str = "dice"
) -> list[Gain]:
    """Return what each condition adds, by structure.

    Args:
        records: Of people.
        told: The way of each of the four sets of conditions.
        dataset: Of which people.
        measure: Field of a record: `dice`, `dice_labels` or `psnr`.
    """
    dice = {(one.person, one.way): getattr(one, measure) for one in records if one.dataset == dataset}
    people = sorted({person for person, way in dice if way == told[ALONE]})
    found = []
    for structure in FOUND:
        for condition in (WITH_R2STAR, WITH_CHI, BOTH):
            pairs = [
                (_of(dice[person, told[condition]], structure), _of(dice[person, told[ALONE]], structure))
                for person in people
                if (person, told[condition]) in dice
            ]
            change = np.array([one - other for one, other in pairs if math.isfinite(one + other)])
            if len(change) < 2:
                continue
            low, high = bootstrap(change)
            found.append(
                Gain(
                    structure=structure,
                    condition=condition,
                    mean=float(change.mean()),
                    lower=low,
                    upper=high,
                    n=len(change),
                )
            )
    return found


def _of(numbers: Mapping[str, float], structure: str) -> float:
    return numbers.get(structure, math.nan)


def bootstrap(values: Float64[np.ndarray, " people"]) -> tuple[float, float]:
    """Return the interval of 95 % of a mean, by drawing people anew."""
    generator = seeded_generator(0, "bootstrap", len(values))
    drawn = torch.randint(len(values), (N_RESAMPLES, len(values)), generator=generator).numpy()
    low, high = np.quantile(values[drawn].mean(1), (0.025, 0.975))
    return float(low), float(high)


def biology(records: Sequence[Record], dataset: str) -> list[Biology]:
    """Return age, sex and agreement of each way, and of a model that knows head sizes alone.

    Raises:
        UsageError: There are too few people with age and sex.
    """
    truths = {
        one.person: one
        for one in records
        if one.dataset == dataset and one.way == TRUTH and {"age", "male"} <= one.about.keys()
    }
    if len(truths) < FEWEST:
        raise UsageError(
            f"{len(truths)} people with age and sex are too few", remedy=f"Give {FEWEST} or more."
        )
    found: list[Biology] = []
    ways = dict.fromkeys(one.way for one in records if one.dataset == dataset and one.way != TRUTH)
    for way in (*ways, NULL):
        made = {one.person: one for one in records if one.dataset == dataset and one.way == way}
        people = sorted(truths) if way == NULL else sorted(truths.keys() & made.keys())
        if len(people) < FEWEST:
            continue
        subjects = _subjects([truths[person] for person in people])
        found += _of_way(way, subjects, [truths[one] for one in people], [made.get(one) for one in people])
    return found


def _of_way(
    way: str, subjects: Subjects, truths: Sequence[Record], made: Sequence[Record | None]
) -> list[Biology]:
    rows: list[tuple[str, VolumeEffects, Agreement]] = []
    for structure in FOUND:
        true = np.array([one.volume_ml[structure] for one in truths])
        if way == NULL:
            generator = seeded_generator(0, NULL, structure)
            other = head_scaled_volumes(true, subjects.head, noise=NULL_NOISE, generator=generator)
        else:
            other = np.array([math.nan if one is None else one.volume_ml[structure] for one in made])
        if not (np.all(true > 0) and np.all(other > 0)):
            continue
        volumes = PairedVolumes(true=true, synthetic=other)
        generator = seeded_generator(0, "effects", structure)
        rows.append((structure, volume_effects(volumes, subjects, generator=generator), agreement(volumes)))
    ages = preserved([effects.age for _, effects, _ in rows])
    sexes = preserved([effects.sex for _, effects, _ in rows])
    return [
        Biology(
            way=way,
            structure=structure,
            effects=effects,
            agreement=agreed,
            age_preserved=age,
            sex_preserved=sex,
        )
        for (structure, effects, agreed), age, sex in zip(rows, ages, sexes, strict=True)
    ]


def _subjects(records: Sequence[Record]) -> Subjects:
    def numbers(name: str) -> Float64[np.ndarray, " subjects"]:
        return np.array([float(str(one.about[name])) for one in records])

    return Subjects(
        age=numbers("age"),
        male=np.array([bool(one.about["male"]) for one in records]),
        head=np.array([_brain_ml(one) for one in records]),
    )


def _brain_ml(record: Record) -> float:
    known = record.about.get("brain_ml")
    return sum(record.volume_ml.values()) if known is None else float(str(known))


def biology_scores(found: Sequence[Biology], dataset: str) -> list[Score]:
    """Return the scores of age, sex and agreement."""
    scores = []
    for one in found:
        n = one.agreement.n
        numbers = {"concordance": one.agreement.concordance.estimate}
        for name, effect in (("age", one.effects.age), ("sex", one.effects.sex)):
            numbers |= {
                f"{name}: true effect": effect.true.estimate,
                f"{name}: effect": effect.synthetic.estimate,
                f"{name}: ratio": effect.ratio.estimate,
                f"{name}: interaction p": effect.interaction.p,
            }
        numbers["volume difference"] = one.agreement.relative.bias / 100
        scores += [
            Score(
                method=one.way,
                dataset=dataset,
                group=one.structure,
                metric=metric,
                value=value,
                n=n,
                unit="1",
                parameter="T1w",
            )
            for metric, value in numbers.items()
        ]
    return scores
