import math

import numpy as np
import pytest

from unweight.core.errors import UsageError
from unweight.core.seeding import seeded_generator
from unweight.metrics.agreement import PairedVolumes
from unweight.metrics.linear_model import Coefficient, Interval
from unweight.metrics.volume_effects import (
    Effect,
    Subjects,
    VolumeEffects,
    adjusted,
    preserved,
    volume_effects,
)

AGE, SEX, HEAD = -0.4, 3.0, 6.0  # [%/year], [%], [%/10 %], as of deep grey matter


def people(rng: np.random.Generator, n: int) -> Subjects:
    """Draw adults; men have larger heads."""
    male = rng.random(n) < 0.5
    return Subjects(
        age=rng.uniform(20, 80, n), male=male, head=(1450 + 170 * male) * (1 + 0.07 * rng.normal(size=n))
    )


def volumes_of(subjects: Subjects, age: float = AGE, sex: float = SEX, head: float = HEAD) -> np.ndarray:
    """Return volumes [mm³] with exactly these effects in percent of their mean."""
    return 50 * subjects.design().columns @ (100.0, age, sex, head)


def noisy(volumes: np.ndarray, rng: np.random.Generator, percent: float) -> np.ndarray:
    return volumes + volumes.mean() * percent / 100 * rng.normal(size=len(volumes))


def measured(
    n: int = 150, *, share: float = 1.0, age: float = AGE, noise: float = 1.0, seed: int = 2
) -> tuple[PairedVolumes, Subjects]:
    """Draw people, and a synthetic image that keeps a share of the effect of age."""
    rng = np.random.default_rng(seed)
    subjects = people(rng, n)
    own = 8.0 * rng.normal(size=n)
    true, synthetic = (volumes_of(subjects, slope) * (1 + own / 100) for slope in (age, share * age))
    return PairedVolumes(true=noisy(true, rng, noise), synthetic=noisy(synthetic, rng, noise)), subjects


def effects_of(volumes: PairedVolumes, subjects: Subjects, n_resamples: int = 500) -> VolumeEffects:
    return volume_effects(volumes, subjects, generator=seeded_generator(1), n_resamples=n_resamples)


def effect(*, true: float, ratio: float, interaction_se: float) -> Effect:
    """Return an effect of 100 subjects with a true standard error of 0.02."""
    errors = {"true": (true, 0.02), "synthetic": (ratio * true, 0.02)}
    errors["interaction"] = ((ratio - 1) * true, interaction_se)
    fitted = {
        name: Coefficient(name="age", estimate=estimate, standard_error=error, degrees_of_freedom=96)
        for name, (estimate, error) in errors.items()
    }
    return Effect(**fitted, ratio=Interval(estimate=ratio, lower=0.0, upper=2.0), equivalence_p=0.01)


def test_noiseless_effects_come_back() -> None:
    subjects = people(np.random.default_rng(2), 40)
    # Twice as large in everyone: that is not an effect.
    found = effects_of(
        PairedVolumes(true=volumes_of(subjects), synthetic=2 * volumes_of(subjects, 0.75 * AGE, 1.2 * SEX)),
        subjects,
    )
    assert (found.age.true.estimate, found.sex.true.estimate, found.head.true.estimate) == pytest.approx(
        (AGE, SEX, HEAD)
    )
    assert (found.age.synthetic.estimate, found.age.interaction.estimate) == pytest.approx(
        (0.75 * AGE, -0.25 * AGE)
    )
    for one, ratio in ((found.age, 0.75), (found.sex, 1.2), (found.head, 1.0)):
        assert one.ratio.estimate == pytest.approx(ratio)
        # Without noise resamples differ by their mean volumes only, which are of other ages in each.
        assert (one.ratio.lower, one.ratio.upper) == pytest.approx((ratio, ratio), rel=0.03)
    assert found.n == 40


def test_head_size_may_have_any_unit() -> None:
    volumes, subjects = measured(40)
    litres = Subjects(age=subjects.age, male=subjects.male, head=1e-6 * subjects.head)
    one, other = effects_of(volumes, subjects), effects_of(volumes, litres)
    assert one.head.true.estimate == pytest.approx(other.head.true.estimate)
    assert one.age.ratio.lower == pytest.approx(other.age.ratio.lower)


def test_interactions_are_those_of_the_mixed_model() -> None:
    statsmodels = pytest.importorskip("statsmodels.api", reason="statsmodels is not installed")
    volumes, subjects = measured(60, share=0.8)
    found = effects_of(volumes, subjects)
    columns = subjects.design().columns
    outcome = np.concatenate([100 * v / v.mean() for v in (volumes.true, volumes.synthetic)])
    source = np.repeat([0.0, 1.0], 60)[:, None]
    both = np.concatenate((columns, columns))
    model = statsmodels.MixedLM(outcome, np.hstack((both, source * both)), groups=np.tile(np.arange(60), 2))
    known = model.fit(reml=True)
    for place, one in enumerate((found.age, found.sex, found.head), start=1):
        assert known.fe_params[place] == pytest.approx(one.true.estimate, rel=1e-6)
        assert known.fe_params[4 + place] == pytest.approx(one.interaction.estimate, rel=1e-6, abs=1e-9)
        # The search for the variances stops at a tolerance.
        assert known.bse_fe[4 + place] == pytest.approx(one.interaction.standard_error, rel=1e-3)
    assert found.age.interaction.degrees_of_freedom == 56


def test_what_is_kept_passes() -> None:
    found = effects_of(*measured())
    assert found.age.true.lower < AGE < found.age.true.upper
    assert found.age.exists and found.age.equivalent
    assert found.age.ratio.lower < 1 < found.age.ratio.upper
    assert preserved([found.age]) == (True,)


def test_equal_volumes_are_preserved_for_certain() -> None:
    volumes, subjects = measured(50)
    # 1.03 is no power of 2, so that percentages differ by rounding.
    found = effects_of(PairedVolumes(true=volumes.true, synthetic=1.03 * volumes.true), subjects)
    assert found.age.interaction.p == 1 and found.age.equivalent
    assert found.age.ratio.lower == pytest.approx(1) and found.age.ratio.upper == pytest.approx(1)
    assert preserved([found.age]) == (True,)


@pytest.mark.parametrize("age", [AGE, -AGE])
def test_what_is_weakened_is_seen(age: float) -> None:
    found = effects_of(*measured(share=0.7, age=age))
    assert found.age.ratio.estimate == pytest.approx(0.7, abs=0.06)
    assert found.age.interaction.p < 1e-3 and not found.age.equivalent
    assert found.sex.interaction.p > 0.05
    assert preserved([found.age]) == (False,)


def test_equivalence_of_slopes_has_the_sign_of_the_effect() -> None:
    for age in (AGE, -AGE):
        assert effects_of(*measured(age=age)).age.equivalence_p < 0.05
        assert effects_of(*measured(age=age, share=1.3)).age.equivalence_p > 0.5
        assert effects_of(*measured(age=age, share=-1.0)).age.equivalence_p > 0.5


def test_without_a_true_effect_there_is_no_verdict() -> None:
    found = effects_of(*measured(age=0.0, seed=3))
    assert found.age.true.lower < 0 < found.age.true.upper
    assert not found.age.exists and not found.age.equivalent and preserved([found.age]) == (None,)


def test_ratio_interval_covers() -> None:
    n, inside, wrong = 300, 0, 0
    for seed in range(n):
        volumes, subjects = measured(80, share=0.9, noise=2.0, seed=seed)
        found = volume_effects(volumes, subjects, generator=seeded_generator(seed), n_resamples=400).age
        # The percent are of each image's own mean, which the effects on it leave unchanged.
        inside += found.ratio.lower <= 0.9 <= found.ratio.upper
        wrong += found.equivalence_p < 0.05
    # Three standard errors of a share, and 0.01 because percentiles of resamples are a bit narrow.
    assert inside / n == pytest.approx(0.95, abs=3 * math.sqrt(0.95 * 0.05 / n) + 0.01)
    # At the border of equivalence 5 % are taken for equivalent.
    assert wrong / n == pytest.approx(0.05, abs=3 * math.sqrt(0.95 * 0.05 / n))


def test_interaction_is_found_by_chance_as_often_as_it_says() -> None:
    n = 400
    drawn = (measured(12, seed=seed) for seed in range(n))
    found = [effects_of(volumes, subjects, n_resamples=100) for volumes, subjects in drawn]
    # Three standard errors of a share. The normal distribution would give 0.086 with 8 degrees of freedom.
    for name in ("age", "sex"):
        chance = sum(getattr(one, name).interaction.p < 0.05 for one in found) / n
        assert chance == pytest.approx(0.05, abs=3 * math.sqrt(0.95 * 0.05 / n))


def test_resamples_are_those_of_the_generator() -> None:
    volumes, subjects = measured(30)
    ratios = [
        volume_effects(volumes, subjects, generator=seeded_generator(seed), n_resamples=200).age.ratio
        for seed in (1, 1, 2)
    ]
    assert ratios[0] == ratios[1] != ratios[2]


def test_resamples_of_one_sex_are_left_out() -> None:
    volumes, subjects = measured(12)
    male = np.zeros(12, dtype=bool)
    male[0] = True
    found = effects_of(volumes, Subjects(age=subjects.age, male=male, head=subjects.head), n_resamples=200)
    ends = [end for one in (found.age, found.sex, found.head) for end in (one.ratio.lower, one.ratio.upper)]
    assert np.isfinite(ends).all() and np.abs(ends).max() < 1e6


def test_verdict_needs_both_the_ratio_and_the_interaction() -> None:
    effects = [
        effect(true=-0.4, ratio=0.95, interaction_se=0.02),
        effect(true=-0.4, ratio=0.85, interaction_se=0.10),  # too weak to be significant, but far
        effect(true=-0.4, ratio=0.95, interaction_se=0.002),  # near, but different for certain
        effect(true=0.03, ratio=1.0, interaction_se=0.02),
    ]
    assert [one.interaction.p < 0.05 for one in effects] == [False, False, True, False]
    assert preserved(effects) == (True, False, False, None)
    assert preserved([]) == ()


def test_verdict_is_adjusted_over_structures() -> None:
    border = effect(true=-0.4, ratio=0.95, interaction_se=0.0095)
    assert 0.025 < border.interaction.p < 0.05
    none = effect(true=-0.4, ratio=1.0, interaction_se=0.02)
    assert preserved([border]) == (False,)
    assert preserved([border, none]) == (True, True)


def test_adjusted_p() -> None:
    # The example of Benjamini & Hochberg 1995: four of fifteen are discoveries at 0.05.
    p = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459]
    p += [0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0]
    found = adjusted(np.array(p))
    assert (found <= 0.05).sum() == 4
    assert found[:2] == pytest.approx([15 * 0.0001, 15 * 0.0004 / 2])
    # By hand: 0.04·3/3, and 0.03·3/2 would be more than what the next one has.
    assert adjusted(np.array([0.03, 0.04, 0.01])) == pytest.approx([0.04, 0.04, 0.03])


def test_messages() -> None:
    volumes, subjects = measured(20)
    age, male, head = subjects.age, subjects.male, subjects.head
    with pytest.raises(UsageError, match="found 19 ages, 20 sexes and 20 head sizes"):
        Subjects(age=age[1:], male=male, head=head)
    with pytest.raises(UsageError, match=r"1 of 20 ages are not finite\. Leave out"):
        Subjects(age=np.where(np.arange(20) == 3, math.nan, age), male=male, head=head)
    with pytest.raises(UsageError, match="1 of 20 head sizes are not positive"):
        Subjects(age=age, male=male, head=np.where(np.arange(20) == 3, 0.0, head))
    with pytest.raises(UsageError, match="volumes of 20 subjects, but 19 subjects"):
        effects_of(volumes, Subjects(age=age[1:], male=male[1:], head=head[1:]))
    with pytest.raises(UsageError, match="column sex is not independent"):
        effects_of(volumes, Subjects(age=age, male=np.ones(20, dtype=bool), head=head))
    with pytest.raises(UsageError, match=r"100 resamples or more, found 10\. Take 2000"):
        effects_of(volumes, subjects, n_resamples=10)
    four = PairedVolumes(true=volumes.true[:4], synthetic=volumes.synthetic[:4])
    with pytest.raises(UsageError, match="4 coefficients needs at least 5 subjects, found 4"):
        effects_of(four, Subjects(age=age[:4], male=male[:4], head=head[:4]))
    with pytest.raises(UsageError, match="1 of 2 p values do not lie between 0 and 1"):
        adjusted(np.array([0.5, math.nan]))
