"""From records to scores: what is known of made-up people must come out, and nothing else."""

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from unweight.benchmark.mprage.records import TRUTH, SubjectRecord
from unweight.benchmark.mprage.scores import (
    ALONE,
    BOTH,
    FEWEST,
    N_RESAMPLES,
    NULL,
    SCORED_STRUCTURES,
    WITH_CHI,
    WITH_R2STAR,
    Biology,
    biology,
    biology_scores,
    bootstrap,
    gains,
    image_scores,
    records_of_truth,
)
from unweight.core.errors import UsageError
from unweight.metrics.scores import Score

ABLATIONS = {ALONE: "unet: alone", WITH_R2STAR: "unet: r2s", WITH_CHI: "unet: chi", BOTH: "unet"}
N_PEOPLE = 60
SLOPE = -0.4  # [% a year], of all structures but one
SEX = 10.0  # [%], men less women
STEADY = "pallidum"
LARGER = 1.07


def record(
    name: str,
    way: str = TRUTH,
    *,
    dataset: str = "healthy",
    about: Mapping[str, object] | None = None,
    **measures: Mapping[str, float],
) -> SubjectRecord:
    names = ("image", "volume_ml", "dice", "dice_labels", "hd95_mm", "psnr")
    fields: dict[str, Mapping[str, float]] = {name: {} for name in names}
    return SubjectRecord(
        dataset=dataset, subject=name, method=way, about=about or {}, seconds=2.0, **(fields | measures)
    )


def found(scores: list[Score], way: str, group: str, metric: str, dataset: str = "healthy") -> Score:
    (one,) = [
        one
        for one in scores
        if (one.method, one.group, one.metric, one.dataset) == (way, group, metric, dataset)
    ]
    return one


def test_means_over_people() -> None:
    scores = image_scores(
        [
            record("a", volume_ml={"putamen": 4.0, "thalamus": 0.0}, dice_labels={"putamen": 0.8}),
            record(
                "a",
                "unet",
                image={"psnr": 20.0},
                volume_ml={"putamen": 5.0, "thalamus": 1.0},
                dice={"putamen": 0.7},
                hd95_mm={"putamen": 2.0},
                psnr={"putamen": 25.0},
            ),
            record("b", volume_ml={"putamen": 4.0}, dice_labels={"putamen": 0.9}),
            record("b", "unet", image={"psnr": 30.0}, volume_ml={"putamen": 4.2}, dice={"putamen": 0.9}),
        ]
    )
    psnr = found(scores, "unet", "brain", "psnr")
    assert (psnr.value, psnr.n, psnr.unit, psnr.parameter) == (25.0, 2, "dB", "T1w")
    assert found(scores, "unet", "putamen", "dice").value == pytest.approx(0.8)
    distance = found(scores, "unet", "putamen", "hd95")
    assert (distance.value, distance.n, distance.unit) == (2.0, 1, "mm")
    assert found(scores, "unet", "putamen", "psnr").unit == "dB"
    assert found(scores, "unet", "brain", "seconds").unit == "s"
    # (5/4 − 1 + 4.2/4 − 1)/2
    error = found(scores, "unet", "putamen", "volume error")
    assert (error.value, error.n, error.unit) == (pytest.approx(0.15), 2, "1")
    assert found(scores, TRUTH, "putamen", "dice of labels").value == pytest.approx(0.85)
    # Of what the true image does not hold, no relative error; of the true image, only what it is made of.
    assert {one.group for one in scores if one.metric == "volume error"} == {"putamen"}
    assert {one.metric for one in scores if one.method == TRUTH} == {"dice of labels"}


def test_sets_and_ways_apart_and_only_numbers() -> None:
    scores = image_scores(
        [
            record("a", "unet", image={"psnr": 20.0, "ssim": math.inf}, volume_ml={"putamen": 1.0}),
            record("a", "gan", image={"psnr": 10.0}),
            record("a", "unet", dataset="iron_overload", image={"psnr": 40.0}),
        ]
    )
    assert found(scores, "unet", "brain", "psnr").value == 20
    assert found(scores, "gan", "brain", "psnr").value == 10
    assert found(scores, "unet", "brain", "psnr", "iron_overload").value == 40
    # There is no true image here that volumes could be compared with.
    assert {one.metric for one in scores} == {"psnr", "seconds"}
    assert image_scores([]) == []


def test_truths_by_set_and_person() -> None:
    one, other = record("a"), record("a", dataset="iron_overload")
    truths = records_of_truth([one, record("b", "unet"), other])
    assert truths == {("healthy", "a"): one, ("iron_overload", "a"): other}


def test_interval_of_a_mean_is_that_of_normal_theory() -> None:
    """1.96 standard errors on either side, but for the few quantiles of 4000 draws: about 5 %."""
    values = np.random.default_rng(0).normal(0.3, 2.0, 200)
    low, high = bootstrap(values)
    reach = 1.96 * values.std() / math.sqrt(len(values))
    assert low < values.mean() < high
    assert values.mean() - low == pytest.approx(reach, rel=0.1)
    assert high - values.mean() == pytest.approx(reach, rel=0.1)
    assert bootstrap(values) == (low, high) and N_RESAMPLES >= 1000


def people_with(change: Mapping[str, float], spread: float, n: int = 20) -> list[SubjectRecord]:
    """People whose Dice goes up by so much with each condition."""
    rng = np.random.default_rng(1)
    records = []
    for index in range(n):
        base = dict(
            zip(SCORED_STRUCTURES, rng.uniform(0.5, 0.9, len(SCORED_STRUCTURES)).tolist(), strict=True)
        )
        records.append(record(f"{index:02d}", ABLATIONS[ALONE], dice=base))
        for condition, gain in change.items():
            told = {name: value + gain + spread * rng.normal() for name, value in base.items()}
            records.append(record(f"{index:02d}", ABLATIONS[condition], dice=told))
    return records


def test_a_constant_gain_excludes_zero_and_noise_does_not() -> None:
    change = {WITH_R2STAR: 0.0, WITH_CHI: 0.05, BOTH: -0.02}
    constant = gains(people_with(change, 0.0), ABLATIONS, "healthy")
    assert [(one.structure, one.condition) for one in constant] == [
        (name, condition) for name in SCORED_STRUCTURES for condition in change
    ]
    for one in constant:
        assert one.n == 20
        assert (one.mean, one.lower, one.upper) == pytest.approx((change[one.condition],) * 3, abs=1e-12)
    noisy = gains(people_with(change, 0.03), ABLATIONS, "healthy")
    assert all(one.lower < one.mean < one.upper for one in noisy)
    nothing = [one for one in noisy if one.condition == WITH_R2STAR]
    # Each of these intervals leaves out 0 by chance once in twenty times.
    assert sum(one.lower < 0 < one.upper for one in nothing) >= len(nothing) - 1
    assert all(one.lower > 0 for one in noisy if one.condition == WITH_CHI)


def test_people_without_a_structure_are_left_out_of_its_gain() -> None:
    records = []
    for number, name in enumerate("abcd"):
        thalamus = {"thalamus": 0.5} if number else {}
        caudate = {"caudate": 0.5} if number == 3 else {}
        records.append(
            record(name, ABLATIONS[ALONE], dice={"putamen": 0.5, "thalamus": 0.5, "caudate": 0.5})
        )
        records.append(record(name, ABLATIONS[BOTH], dice={"putamen": 0.6} | thalamus | caudate))
    # Without the other, and of another set: neither counts.
    records.append(record("e", ABLATIONS[BOTH], dice={"putamen": 0.0}))
    records.append(record("f", ABLATIONS[ALONE], dice={"putamen": 0.0}))
    for way, dice in ((ABLATIONS[ALONE], 1.0), (ABLATIONS[BOTH], 0.0)):
        records.append(record("a", way, dataset="iron_overload", dice={"putamen": dice}))
    by_structure = {one.structure: one for one in gains(records, ABLATIONS, "healthy")}
    # A single person, as for the caudate, has no interval.
    assert {name: one.n for name, one in by_structure.items()} == {"putamen": 4, "thalamus": 3}
    assert by_structure["putamen"].mean == pytest.approx(0.1)
    assert by_structure["thalamus"].mean == pytest.approx(0.0, abs=1e-12)
    assert gains([], ABLATIONS, "healthy") == []


@pytest.mark.parametrize("measure", ["dice", "dice_labels", "psnr"])
def test_gains_of_the_measure_that_is_asked_for(measure: str) -> None:
    change = {"dice": 0.1, "dice_labels": 0.2, "psnr": 3.0}
    records = [
        record(name, way, **{one: {"putamen": 0.5 + more * value} for one, value in change.items()})
        for name in "ab"
        for more, way in enumerate((ABLATIONS[ALONE], ABLATIONS[WITH_CHI]))
    ]
    (one,) = gains(records, ABLATIONS, "healthy", measure)
    assert (one.condition, one.mean) == (WITH_CHI, pytest.approx(change[measure]))


def subjects(n: int = N_PEOPLE) -> list[tuple[str, dict[str, object], dict[str, float]]]:
    """People with true volumes that go with age, but for one structure, and with sex and size of brain."""
    rng = np.random.default_rng(2)
    people = []
    for index in range(n):
        age, male = float(rng.uniform(20, 80)), bool(index % 2)
        brain = 1150.0 + 120.0 * male + 60.0 * rng.normal()
        volumes = {}
        for structure in SCORED_STRUCTURES:
            ageing = 0.0 if structure == STEADY else SLOPE / 100 * (age - 50)
            share = 1 + ageing + 0.08 * (brain / 1210 - 1) + SEX / 100 * (male - 0.5) + 0.02 * rng.normal()
            volumes[structure] = 5.0 * share
        people.append((f"{index:03d}", {"age": age, "male": male, "brain_ml": brain}, volumes))
    return people


@cache
def cohort() -> tuple[SubjectRecord, ...]:
    """True images, images whose volumes follow, and images of one brain for all ages."""
    rng = np.random.default_rng(3)
    records = []
    for name, about, volumes in subjects():
        follows = {one: LARGER * value * (1 + 0.002 * rng.normal()) for one, value in volumes.items()}
        blind = {one: 5.0 * (1 + 0.01 * rng.normal()) for one in volumes}
        records += [
            record(name, about=about, volume_ml=volumes),
            record(name, "follows", about=about, volume_ml=follows),
            record(name, "blind", about=about, volume_ml=blind),
        ]
    return tuple(records)


@cache
def judged() -> dict[tuple[str, str], Biology]:
    return {(one.method, one.structure): one for one in biology(cohort(), "healthy")}


def test_each_way_and_the_null_model_in_each_structure() -> None:
    assert list(judged()) == [
        (way, name) for way in ("follows", "blind", NULL) for name in SCORED_STRUCTURES
    ]


def test_volumes_that_follow_keep_age_and_sex() -> None:
    for structure in SCORED_STRUCTURES:
        one = judged()["follows", structure]
        assert one.sex_preserved is True
        assert one.age_preserved is (None if structure == STEADY else True)
        assert one.agreement.n == N_PEOPLE
        # 100·0.07/1.035
        assert one.agreement.relative.bias == pytest.approx(200 * (LARGER - 1) / (LARGER + 1), abs=0.2)


def test_effects_are_those_put_in() -> None:
    """To within four standard errors; 2 % of noise in 60 people make it 0.02 % a year and 1 % for sex."""
    for structure in set(SCORED_STRUCTURES) - {STEADY}:
        effects = judged()["follows", structure].effects
        for effect in (effects.age.true, effects.age.synthetic):
            assert effect.estimate == pytest.approx(SLOPE, abs=4 * effect.standard_error)
            assert effect.standard_error < 0.02
        for effect in (effects.sex.true, effects.sex.synthetic):
            assert effect.estimate == pytest.approx(SEX, abs=4 * effect.standard_error)
            assert effect.standard_error < 1.0
        assert effects.age.ratio.estimate == pytest.approx(1.0, abs=0.05)


def test_volumes_of_one_brain_for_all_do_not() -> None:
    for way in ("blind", NULL):
        for structure in set(SCORED_STRUCTURES) - {STEADY}:
            one = judged()[way, structure]
            assert one.age_preserved is False and one.sex_preserved is False
            assert abs(one.effects.age.synthetic.estimate) < 0.1
            assert abs(one.effects.age.ratio.estimate) < 0.25


def test_null_model_knows_the_mean_and_the_head() -> None:
    """It passes what looks at mean volumes alone, and grows with the head as no true structure does."""
    one = judged()[NULL, "putamen"]
    assert abs(one.agreement.relative.bias) < 2
    assert one.effects.head.synthetic.estimate == pytest.approx(10.0, abs=1.0)
    assert one.effects.head.true.estimate < 5


def test_too_few_people_with_age_and_sex() -> None:
    few = [one for one in cohort() if one.subject < f"{FEWEST - 1:03d}"]
    nameless = [record(f"x{n}", volume_ml=few[0].volume_ml) for n in range(FEWEST)]
    only_age = [record(f"y{n}", about={"age": 3.0}, volume_ml=few[0].volume_ml) for n in range(FEWEST)]
    with pytest.raises(UsageError, match=f"{FEWEST - 1} subjects with age and sex are too few"):
        biology([*few, *nameless, *only_age], "healthy")
    with pytest.raises(UsageError, match="0 people with age and sex"):
        biology(cohort(), "iron_overload")


def test_a_way_made_for_too_few_is_left_out_and_the_null_model_is_not() -> None:
    last = f"{FEWEST - 1:03d}"
    some = [one for one in cohort() if one.method != "follows" or one.subject < last]
    assert {one.method for one in biology(some, "healthy")} == {"blind", NULL}
    fewest = [one for one in cohort() if one.method != "follows" or one.subject <= last]
    some_follow = [one for one in biology(fewest, "healthy") if one.method == "follows"]
    assert {one.agreement.n for one in some_follow} == {FEWEST}


def test_a_structure_not_found_in_someone_has_no_row() -> None:
    people = [one for one in cohort() if one.method in (TRUTH, "follows") and one.subject < "020"]
    first = next(one for one in people if one.method == "follows")
    people[people.index(first)] = record(
        first.subject, "follows", about=first.about, volume_ml={**first.volume_ml, "caudate": 0.0}
    )
    rows = {(one.method, one.structure) for one in biology(people, "healthy")}
    assert rows == {(way, name) for way in ("follows", NULL) for name in SCORED_STRUCTURES} - {
        ("follows", "caudate")
    }


def test_brain_of_real_people_is_all_that_is_found_in_the_true_image() -> None:
    """Nobody has told its size."""
    some = [one for one in cohort() if one.method in (TRUTH, "follows") and one.subject < "016"]
    size = {one.subject: sum(one.volume_ml.values()) for one in some if one.method == TRUTH}
    untold, told, otherwise = [], [], []
    for one in some:
        about = {name: value for name, value in one.about.items() if name != "brain_ml"}
        untold.append(replace(one, about=about))
        told.append(replace(one, about=about | {"brain_ml": size[one.subject]}))
        otherwise.append(replace(one, about=about | {"brain_ml": 1000.0 + size[one.subject] ** 2}))
    assert biology(untold, "healthy") == biology(told, "healthy") != biology(otherwise, "healthy")


def test_scores_of_age_and_sex() -> None:
    one = judged()["follows", "putamen"]
    scores = biology_scores([one], "healthy")
    value = {score.metric: score.value for score in scores}
    for name, effect in (("age", one.effects.age), ("sex", one.effects.sex)):
        assert value[f"{name}: true effect"] == effect.true.estimate
        assert value[f"{name}: effect"] == effect.synthetic.estimate
        assert value[f"{name}: ratio"] == effect.ratio.estimate
        assert value[f"{name}: interaction p"] == effect.interaction.p
    assert value["concordance"] == one.agreement.concordance.estimate
    assert value["volume difference"] == pytest.approx(0.0676, abs=0.002)
    assert len(scores) == len(value) == 10
    assert {(s.method, s.dataset, s.group, s.n) for s in scores} == {
        ("follows", "healthy", "putamen", N_PEOPLE)
    }
