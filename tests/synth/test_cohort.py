import math

import pytest
import torch

from unweight.core.errors import UsageError
from unweight.core.seeding import seeded_generator
from unweight.synth.cohort import Cohort, Group, Sex, Subject, adjust, iron, iron_ratio, volumes
from unweight.synth.tissue.materials import DEEP_GREY, INDEX
from unweight.synth.tissue.prior import RandomTissuePrior, TissuePrior

N_DRAWS = 300


def person(age, sex=Sex.FEMALE, group=Group.HEALTHY, seed=1):
    return Subject(age=age, sex=sex, seed=seed, group=group)


def adjusted(age, group=Group.HEALTHY, n_draws=N_DRAWS, prior=None):
    """Pairs of a draw and what a subject of this age makes of it, means over many."""
    prior = prior or TissuePrior()
    before, after = [], []
    for index in range(n_draws):
        draw = prior.draw(seeded_generator(21, index), 3.0)
        before.append(draw.values)
        after.append(adjust(draw, person(age, group=group), seeded_generator(22, index)).values)
    return torch.stack(before).mean(0), torch.stack(after).mean(0)


@pytest.mark.parametrize(
    ("material", "published"), [("pallidum", 20.341), ("putamen", 10.677), ("caudate", 7.835)]
)
def test_iron_at_thirty_years_is_that_of_hallgren_and_sourander(material, published):
    assert iron(material, 30.0) == pytest.approx(published, abs=5e-4)
    assert iron_ratio(material, 30.0) == 1.0


def test_iron_levels_off_in_the_pallidum_and_goes_on_in_the_putamen():
    assert iron("pallidum", 80.0) / iron("pallidum", 45.0) == pytest.approx(218 / 214, abs=0.01)
    assert iron("putamen", 80.0) / iron("putamen", 20.0) == pytest.approx(145 / 85, abs=0.01)


def test_the_thalamus_falls_after_forty():
    assert iron_ratio("thalamus", 38.0) == 1.0
    assert iron_ratio("thalamus", 70.0) < 0.95
    assert iron_ratio("grey_matter", 70.0) == 1.0


def test_susceptibility_and_r2star_follow_iron():
    before, after = adjusted(75.0)
    putamen = INDEX["putamen"]
    # Spread of 0.09 over 300 draws: the ratio of means is known to 0.5 %.
    assert (after / before)[putamen, 4].item() == pytest.approx(iron_ratio("putamen", 75.0), rel=0.03)
    gain = (after - before)[putamen]
    assert gain[3].item() == pytest.approx(2 * 137.0 * gain[4].item(), rel=0.02)
    assert gain[1].item() < 0  # T2
    assert (after - before)[INDEX["caudate"], 4].item() > 0


def test_the_young_have_less_iron():
    before, after = adjusted(20.0)
    assert after[INDEX["putamen"], 4] < before[INDEX["putamen"], 4]
    assert after[INDEX["putamen"], 3] < before[INDEX["putamen"], 3]


def test_t1_is_a_u_with_white_matter_first():
    means = {age: adjusted(age, n_draws=40)[1] for age in (20.0, 45.0, 55.0, 80.0)}
    for material, lowest in (("white_matter", 45.0), ("grey_matter", 55.0)):
        course = {age: values[INDEX[material], 0].item() for age, values in means.items()}
        assert min(course, key=course.__getitem__) == lowest
        assert course[80.0] > course[lowest]
    # Other tissue has no age.
    assert means[20.0][INDEX["csf"], 0] == means[80.0][INDEX["csf"], 0]


def test_iron_overload_leaves_what_a_healthy_cohort_holds():
    _, healthy = adjusted(60.0, n_draws=80)
    _, overloaded = adjusted(60.0, Group.IRON_OVERLOAD, n_draws=80)
    ratio = overloaded / healthy
    for name in DEEP_GREY:
        assert 1.8 <= ratio[INDEX[name], 4].item() <= 3.0
        assert ratio[INDEX[name], 3].item() > 1.1
    assert ratio[INDEX["white_matter"], 4].item() == pytest.approx(1.0, abs=1e-4)


def test_demyelination_leaves_deep_grey_matter_alone():
    _, healthy = adjusted(60.0, n_draws=80)
    _, bare = adjusted(60.0, Group.DEMYELINATION, n_draws=80)
    ratio = (bare / healthy)[INDEX["white_matter"]]
    assert 0.4 <= ratio[5].item() <= 0.8
    assert ratio[0].item() > 1.1 and ratio[2].item() > 1.0 and ratio[3].item() < 1.0
    torch.testing.assert_close(bare[INDEX["pallidum"]], healthy[INDEX["pallidum"]])
    draw = TissuePrior().draw(seeded_generator(1), 3.0)
    patient = adjust(draw, person(60.0, group=Group.DEMYELINATION), seeded_generator(2))
    assert patient.short_fraction < 0.8 * draw.short_fraction


@pytest.mark.parametrize("group", list(Group))
@pytest.mark.parametrize("age", [5.0, 20.0, 90.0])
def test_any_tissue_stays_physical(age, group):
    for index in range(40):
        draw = RandomTissuePrior().draw(seeded_generator(31, index), 3.0)
        values = adjust(draw, person(age, group=group), seeded_generator(32, index)).values
        assert torch.isfinite(values).all()
        assert (values[:, [0, 1, 3]] > 0).all()
        assert (values[:, 3] * values[:, 1] > 0.999).all()


def test_a_draw_is_left_as_it_was():
    draw = TissuePrior().draw(seeded_generator(1), 1.5)
    kept = draw.values.clone()
    adjust(draw, person(70.0), seeded_generator(2))
    assert torch.equal(draw.values, kept)


def test_a_subject_does_not_depend_on_the_order_or_the_size():
    small, large = Cohort(n=5, seed=4), Cohort(n=50, seed=4)
    assert [large.subject(index) for index in reversed(range(5))][::-1] == list(small)
    assert Cohort(n=5, seed=5).subject(0) != small.subject(0)
    assert len(small) == 5
    assert len({subject.seed for subject in large}) == 50


def test_ages_sexes_and_groups_have_their_shares():
    cohort = Cohort(n=1500, seed=6, overload_share=0.1, demyelination_share=0.2)
    people = list(cohort)
    ages = torch.tensor([one.age for one in people])
    assert ages.min().item() >= 20 and ages.max().item() <= 80
    assert ages.mean().item() == pytest.approx(50.0, abs=1.5)
    assert sum(one.sex is Sex.MALE for one in people) / 1500 == pytest.approx(0.5, abs=0.04)
    assert sum(one.group is Group.IRON_OVERLOAD for one in people) / 1500 == pytest.approx(0.1, abs=0.03)
    assert sum(one.group is Group.DEMYELINATION for one in people) / 1500 == pytest.approx(0.2, abs=0.03)


def mean_log_volumes(age, sex):
    drawn = [volumes(person(age, sex), seeded_generator(41, index)) for index in range(N_DRAWS)]
    return {name: sum(math.log(one[name]) for one in drawn) / N_DRAWS for name in drawn[0]}


def test_volumes_change_as_published():
    young, old = (mean_log_volumes(age, Sex.FEMALE) for age in (30.0, 75.0))
    change = {name: math.exp(old[name] - young[name]) for name in young}
    # Raz 2003: −0.031, −0.030 and +0.004 (not significant) cc a year of 9.42, 10.41 and 2.16 cc.
    assert change["caudate"] == pytest.approx(1 - 45 * 0.031 / 9.42, abs=0.02)
    assert change["putamen"] == pytest.approx(1 - 45 * 0.030 / 10.41, abs=0.02)
    assert change["pallidum"] == pytest.approx(1.0, abs=1e-6)
    assert change["csf"] > 2.0
    assert change["grey_matter"] < change["white_matter"] < 1.0
    # Ventricles: 20 % per decade before the fifth, and men have more growth later.
    middle = mean_log_volumes(40.0, Sex.FEMALE)
    assert math.exp(middle["csf"] - young["csf"]) == pytest.approx(1.2, abs=1e-3)
    men_young, men_old = (mean_log_volumes(age, Sex.MALE) for age in (30.0, 75.0))
    assert men_old["csf"] - men_young["csf"] > old["csf"] - young["csf"]
    assert math.exp(men_young["head"] - young["head"]) == pytest.approx(1.12, abs=1e-3)


def test_volumes_spread_as_published():
    drawn = [volumes(person(30.0), seeded_generator(42, index)) for index in range(N_DRAWS)]
    for name, published in (("caudate", 0.12), ("putamen", 0.09), ("pallidum", 0.12)):
        values = torch.tensor([one[name] for one in drawn])
        # The spread of 300 draws is known to 4 %.
        assert (values.std() / values.mean()).item() == pytest.approx(published, rel=0.15)


def test_a_subject_carries_its_own_randomness():
    one, same, other = person(40.0, seed=7), person(40.0, seed=7), person(40.0, seed=8)
    assert volumes(one, one.generator("volumes")) == volumes(same, same.generator("volumes"))
    assert volumes(one, one.generator("volumes")) != volumes(other, other.generator("volumes"))


def test_what_makes_no_sense_is_refused():
    with pytest.raises(UsageError, match="no equation for the iron of thalamus"):
        iron("thalamus", 30.0)
    with pytest.raises(UsageError, match="an age of -1 years"):
        person(-1.0)
    with pytest.raises(UsageError, match="a cohort of 0"):
        Cohort(n=0, seed=1)
    with pytest.raises(UsageError, match="ages from 80 to 20 years"):
        Cohort(n=3, seed=1, age_range=(80.0, 20.0))
    with pytest.raises(UsageError, match="Shares lie between 0 and 1"):
        Cohort(n=3, seed=1, overload_share=0.7, demyelination_share=0.7)
    with pytest.raises(UsageError, match="no subject 3 in a cohort of 3"):
        Cohort(n=3, seed=1).subject(3)
