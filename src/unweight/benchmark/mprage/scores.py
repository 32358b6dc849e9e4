"""From records of subjects to scores: likeness, structures, what conditions gain, age and sex.

Likeness and overlap are means over subjects of whom every method was measured. What R2* and χ gain is the
mean over subjects of the difference in Dice or PSNR, with the 95 % interval of a bootstrap over them. Age
and sex: `metrics.volume_effects` on volumes that the same segmenter finds in the true and the synthetic
image; the size of the brain is that of the simulation or, of real people, all that is found in the true
image.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from jaxtyping import Float64

from unweight import registry
from unweight.benchmark.core.scoring import DEFAULT_METRICS, MetricChoice, units_of
from unweight.benchmark.mprage.records import TRUTH, SubjectRecord
from unweight.core.errors import UsageError
from unweight.core.seeding import seeded_generator
from unweight.metrics.agreement import Agreement, PairedVolumes, agreement
from unweight.metrics.null_volumes import head_scaled_volumes
from unweight.metrics.scores import Score, ScoreContext
from unweight.metrics.structures import STRUCTURES
from unweight.metrics.volume_effects import Subjects, VolumeEffects, preserved, volume_effects

NULL = "null model"
NULL_NOISE = 0.01
N_RESAMPLES = 4000
FEWEST = 12  # people whose ages say anything
SCORED_STRUCTURES = STRUCTURES[1:]
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
    """One structure, one method.

    Attributes:
        method: How images were synthesised.
        structure: Name.
        effects: Of age, sex and head size.
        agreement: Of volumes.
        age_preserved: None where there is no effect of age.
        sex_preserved: Likewise of sex.
    """

    method: str
    structure: str
    effects: VolumeEffects
    agreement: Agreement
    age_preserved: bool | None
    sex_preserved: bool | None


def image_scores(records: Sequence[SubjectRecord], metrics: MetricChoice = DEFAULT_METRICS) -> list[Score]:
    """Return means of every measure, by set and method, over the subjects of whom there is every method.

    So that methods are compared on the same subjects; where there are none such, over all of each method.
    """
    truths = records_of_truth(records)
    units = units_of(registry.records().metrics, "1") | UNITS
    collected: dict[tuple[str, str, str, str], list[float]] = {}
    for record in _compared(records):
        rows = [("brain", name, value) for name, value in record.image.items()]
        if record.method != TRUTH:
            rows.append(("brain", "seconds", record.seconds))
            rows += [(name, "dice", value) for name, value in record.dice.items()]
            rows += [(name, "hd95", value) for name, value in record.hd95_mm.items()]
            rows += [(name, "psnr", value) for name, value in record.psnr.items()]
            rows += [
                (name, "volume error", value / true - 1) for name, value, true in _volumes(record, truths)
            ]
            rows += [
                (name, metric, value)
                for name, values in record.structures.items()
                for metric, value in values.items()
            ]
        rows += [(name, "dice of labels", value) for name, value in record.dice_labels.items()]
        for group, metric, value in rows:
            if math.isfinite(value):
                key = (record.dataset, record.method, group, metric)
                collected.setdefault(key, []).append(value)
    scores = [
        ScoreContext(method=method, dataset=dataset, parameter="T1w").score(
            group, metric, float(np.mean(values)), len(values), units.get(metric, "1")
        )
        for (dataset, method, group, metric), values in collected.items()
    ]
    return list(metrics.scores(scores))


def _compared(records: Sequence[SubjectRecord]) -> list[SubjectRecord]:
    methods: dict[str, set[str]] = {}
    subjects: dict[tuple[str, str], set[str]] = {}
    for record in records:
        methods.setdefault(record.dataset, set()).add(record.method)
        subjects.setdefault((record.dataset, record.subject), set()).add(record.method)
    whole = {key for key, measured in subjects.items() if measured == methods[key[0]]}
    sets = {dataset for dataset, _ in whole}
    return [
        record
        for record in records
        if record.dataset not in sets or (record.dataset, record.subject) in whole
    ]


def records_of_truth(records: Iterable[SubjectRecord]) -> dict[tuple[str, str], SubjectRecord]:
    """Return the records of true images by set and subject."""
    return {(record.dataset, record.subject): record for record in records if record.method == TRUTH}


def _volumes(
    record: SubjectRecord, truths: Mapping[tuple[str, str], SubjectRecord]
) -> list[tuple[str, float, float]]:
    truth = truths.get((record.dataset, record.subject))
    if truth is None:
        return []
    return [
        (name, value, truth.volume_ml[name])
        for name, value in record.volume_ml.items()
        if truth.volume_ml.get(name, 0.0) > 0
    ]


def gains(
    records: Sequence[SubjectRecord], ablations: Mapping[str, str], dataset: str, measure: str = "dice"
) -> list[Gain]:
    """Return what each condition adds, by structure.

    Args:
        records: Of subjects.
        ablations: The method of each of the four sets of conditions.
        dataset: Of which subjects.
        measure: Field of a record: `dice`, `dice_labels` or `psnr`.
    """
    values = {
        (record.subject, record.method): getattr(record, measure)
        for record in records
        if record.dataset == dataset
    }
    alone = ablations[ALONE]
    subjects = sorted({subject for subject, method in values if method == alone})
    listed = []
    for structure in SCORED_STRUCTURES:
        for condition in (WITH_R2STAR, WITH_CHI, BOTH):
            method = ablations[condition]
            differences = [
                _of(values[subject, method], structure) - _of(values[subject, alone], structure)
                for subject in subjects
                if (subject, method) in values
            ]
            change = np.array([each for each in differences if math.isfinite(each)])
            if len(change) < 2:
                continue
            low, high = bootstrap(change)
            listed.append(
                Gain(
                    structure=structure,
                    condition=condition,
                    mean=float(change.mean()),
                    lower=low,
                    upper=high,
                    n=len(change),
                )
            )
    return listed


def _of(numbers: Mapping[str, float], structure: str) -> float:
    return numbers.get(structure, math.nan)


def bootstrap(values: Float64[np.ndarray, " people"]) -> tuple[float, float]:
    """Return the interval of 95 % of a mean, by drawing people anew."""
    generator = seeded_generator(0, "bootstrap", len(values))
    drawn = torch.randint(len(values), (N_RESAMPLES, len(values)), generator=generator).numpy()
    low, high = np.quantile(values[drawn].mean(1), (0.025, 0.975))
    return float(low), float(high)


def biology(records: Sequence[SubjectRecord], dataset: str) -> list[Biology]:
    """Return age, sex and agreement of each method, and of a model that knows head sizes alone.

    Raises:
        UsageError: There are too few people with age and sex.
    """
    records = [record for record in records if record.dataset == dataset]
    truths = {
        record.subject: record
        for record in records
        if record.method == TRUTH and {"age", "male"} <= record.about.keys()
    }
    if len(truths) < FEWEST:
        raise UsageError(
            f"{len(truths)} subjects with age and sex are too few", remedy=f"Give {FEWEST} or more."
        )
    listed: list[Biology] = []
    methods = dict.fromkeys(record.method for record in records if record.method != TRUTH)
    for method in (*methods, NULL):
        measured = {record.subject: record for record in records if record.method == method}
        subjects = sorted(truths) if method == NULL else sorted(truths.keys() & measured.keys())
        if len(subjects) < FEWEST:
            continue
        known = [truths[subject] for subject in subjects]
        listed += _of_method(method, _subjects(known), known, [measured.get(name) for name in subjects])
    return listed


def _of_method(
    method: str,
    subjects: Subjects,
    truths: Sequence[SubjectRecord],
    measured: Sequence[SubjectRecord | None],
) -> list[Biology]:
    rows: list[tuple[str, VolumeEffects, Agreement]] = []
    for structure in SCORED_STRUCTURES:
        true = np.array([record.volume_ml[structure] for record in truths])
        if method == NULL:
            generator = seeded_generator(0, NULL, structure)
            other = head_scaled_volumes(true, subjects.head, noise=NULL_NOISE, generator=generator)
        else:
            other = np.array(
                [math.nan if record is None else record.volume_ml[structure] for record in measured]
            )
        if not (np.all(true > 0) and np.all(other > 0)):
            continue
        volumes = PairedVolumes(true=true, synthetic=other)
        generator = seeded_generator(0, "effects", structure)
        rows.append((structure, volume_effects(volumes, subjects, generator=generator), agreement(volumes)))
    ages = preserved([effects.age for _, effects, _ in rows])
    sexes = preserved([effects.sex for _, effects, _ in rows])
    return [
        Biology(
            method=method,
            structure=structure,
            effects=effects,
            agreement=agreed,
            age_preserved=age,
            sex_preserved=sex,
        )
        for (structure, effects, agreed), age, sex in zip(rows, ages, sexes, strict=True)
    ]


def _subjects(records: Sequence[SubjectRecord]) -> Subjects:
    def numbers(name: str) -> Float64[np.ndarray, " subjects"]:
        return np.array([float(str(record.about[name])) for record in records])

    return Subjects(
        age=numbers("age"),
        male=np.array([bool(record.about["male"]) for record in records]),
        head=np.array([_brain_ml(record) for record in records]),
    )


def _brain_ml(record: SubjectRecord) -> float:
    known = record.about.get("brain_ml")
    return sum(record.volume_ml.values()) if known is None else float(str(known))


def biology_scores(listed: Sequence[Biology], dataset: str) -> list[Score]:
    """Return the scores of age, sex and agreement."""
    scores = []
    for each in listed:
        n = each.agreement.n
        numbers = {"concordance": each.agreement.concordance.estimate}
        for name, effect in (("age", each.effects.age), ("sex", each.effects.sex)):
            numbers |= {
                f"{name}: true effect": effect.true.estimate,
                f"{name}: effect": effect.synthetic.estimate,
                f"{name}: ratio": effect.ratio.estimate,
                f"{name}: interaction p": effect.interaction.p,
            }
        numbers["volume difference"] = each.agreement.relative.bias / 100
        subject = ScoreContext(method=each.method, dataset=dataset, parameter="T1w")
        scores += [subject.score(each.structure, metric, value, n) for metric, value in numbers.items()]
    return scores
