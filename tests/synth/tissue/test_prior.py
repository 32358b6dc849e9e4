import math
from dataclasses import replace

import pytest
import torch

from unweight.core.errors import UsageError
from unweight.core.seeding import seeded_generator
from unweight.signals.parameters import PD, R2STAR, T1, T2
from unweight.synth.tissue.materials import BRAIN, INDEX, MATERIALS, PROPERTIES, SILENT, TISSUES
from unweight.synth.tissue.prior import (
    COLUMNS,
    MixedPrior,
    RandomTissuePrior,
    TissueDraw,
    TissuePrior,
    table,
)

N_DRAWS = 2000
AUDIBLE = [INDEX[name] for name in MATERIALS if name not in SILENT]


def stack(prior, field_strength, n_draws=N_DRAWS):
    generator = seeded_generator(11, "tissue")
    return torch.stack([prior.draw(generator, field_strength).values for _ in range(n_draws)])


@pytest.fixture(scope="module")
def at_three():
    return stack(TissuePrior(), 3.0)


@pytest.fixture(scope="module")
def at_low():
    return stack(TissuePrior(), 1.5)


def column(draws, material, name):
    return draws[:, INDEX[material], PROPERTIES.index(name)]


# Published means; 3 T unless stated. Sources: the table's own, and RRSG (Boudreau 2024) for genu, grey
# and mixed deep grey matter, Gelman 1999 for R2*, which the table does not use.
PUBLISHED = [
    ("white_matter", "T1", 0.838),
    ("white_matter", "T1", 0.828),
    ("grey_matter", "T1", 1.607),
    ("grey_matter", "T1", 1.548),
    ("putamen", "T1", 1.332),
    ("caudate", "T1", 1.395),
    ("csf", "T1", 4.309),
    ("csf", "T2", 1.886),
    ("vessel", "T1", 1.852),
    ("vessel", "T2", 0.0624),
    ("fat", "T1", 0.382),
    ("fat", "T2", 0.068),
    ("muscle", "T2", 0.0341),
    ("white_matter", "PD", 0.691),
    ("grey_matter", "PD", 0.837),
    ("white_matter", "R2star", 20.1),
    ("grey_matter", "R2star", 17.8),
    ("pallidum", "R2star", 37.8),
    ("white_matter", "R2star", 21.9),
    ("white_matter", "T2", 0.0796),
]


@pytest.mark.parametrize(("material", "name", "published"), PUBLISHED)
def test_published_values_lie_within_a_standard_deviation(at_three, material, name, published):
    values = column(at_three, material, name)
    assert abs(values.mean().item() - published) <= values.std().item() + 1e-6


@pytest.mark.parametrize(
    ("material", "published"),
    [("white_matter", 0.646), ("grey_matter", 1.197), ("putamen", 1.084), ("caudate", 1.109)],
)
def test_published_values_at_low_field(at_low, material, published):
    # Wright 2008, MPRAGE at 1.5 T.
    values = column(at_low, material, "T1")
    assert abs(values.mean().item() - published) <= values.std().item()


def test_tumour_lies_in_the_range_where_dense_cells_were_found(at_three):
    assert 1.85 <= column(at_three, "tumour", "T1").mean().item() <= 3.2
    assert 0.115 <= column(at_three, "tumour", "T2").mean().item() <= 0.225


def test_relaxation_grows_with_the_field_as_it_should(at_three, at_low):
    brain = [INDEX[name] for name in BRAIN if name != "csf"]
    ratio = (at_three[:, brain].mean(0) / at_low[:, brain].mean(0))[:, [0, 1, 3]]
    assert (ratio[:, 0] > 1.1).all()  # T1
    assert (ratio[:, 1] < 1.01).all()  # T2
    assert (ratio[:, 2] > 1.0).all()  # R2*


def test_r2star_is_what_t2_and_susceptibility_explain():
    values = stack(TissuePrior(decay_spread=0.0), 3.0, 50)
    brain = values[:, [INDEX[name] for name in BRAIN]]
    expected = 1 / brain[..., 1] + 137.0 * (brain[..., 4] + brain[..., 5].abs())
    torch.testing.assert_close(brain[..., 3], expected)


def test_susceptibility_keeps_its_sign_and_its_ratio(at_three):
    assert (at_three[..., 4] >= 0).all() and (at_three[..., 5] <= 0).all()
    # The QSM challenge orders total susceptibility pallidum > putamen > white matter, about 3.4 to 1.
    total = (at_three[..., 4] + at_three[..., 5]).mean(0)
    assert total[INDEX["pallidum"]] / total[INDEX["putamen"]] == pytest.approx(0.1244 / 0.0356, rel=0.1)
    assert total[INDEX["white_matter"]].item() == pytest.approx(-0.030, abs=0.002)
    assert total[INDEX["skull"]].item() == pytest.approx(-2.1, rel=0.02)


def test_properties_go_together_but_not_all_the_way(at_three):
    white = at_three[:, INDEX["white_matter"]]
    with_myelin = torch.corrcoef(torch.stack((-1 / white[:, 0], white[:, 5])))[0, 1].item()
    assert 0.3 < with_myelin < 0.8


def test_iron_and_myelin_are_partly_those_of_the_subject(at_three):
    white, grey = INDEX["white_matter"], INDEX["grey_matter"]
    for place in (4, 5):
        pair = at_three[:, [white, grey], place].abs().log().T
        # The common part has a weight of 0.7 in each, so the correlation is 0.49; it is known to 0.02.
        assert torch.corrcoef(pair)[0, 1].item() == pytest.approx(0.49, abs=0.06)


def test_one_protocol_scales_all_tissue_but_fluid_and_fat():
    certain = {name: replace(fact, t1=(fact.t1[0], 0.0)) for name, fact in TISSUES.items()}
    t1 = stack(TissuePrior(facts=certain, short=None), 3.0, 200)[..., 0]
    scale = t1[:, INDEX["white_matter"]] / 0.838
    assert 0.90 <= scale.min().item() < 0.92 and 1.08 < scale.max().item() <= 1.106
    torch.testing.assert_close(t1[:, INDEX["grey_matter"]] / 1.607, scale)
    for name in ("csf", "fat", "vessel", "marrow"):
        assert t1[:, INDEX[name]].std().item() < 1e-6


def test_every_draw_is_physical_and_believed(at_three, at_low):
    broad = stack(RandomTissuePrior(), 3.0, 300)
    for draws in (at_three, at_low, broad):
        for place, spec in enumerate((T1, T2, PD, R2STAR)):
            heard = draws[:, AUDIBLE, place]
            assert (heard >= spec.lower).all() and (heard <= spec.upper).all()
        assert (draws[..., 1] <= draws[..., 0] * 1.0001).all()
        assert (draws[:, [INDEX[name] for name in SILENT], 2] == 0).all()
        assert torch.isfinite(draws).all()
        assert (draws[..., 3] * draws[..., 1] >= 0.999).all()


def test_the_short_component_of_white_matter():
    draws = [TissuePrior().draw(seeded_generator(3, index), 3.0) for index in range(300)]
    fractions = torch.tensor([draw.short_fraction for draw in draws])
    times = torch.tensor([draw.short_t1 for draw in draws])
    # Rioux 2016: 9 % with 48 ms.
    assert abs(fractions.mean().item() - 0.09) <= fractions.std().item()
    assert abs(times.mean().item() - 0.048) <= times.std().item()
    assert TissuePrior(short=None).draw(seeded_generator(3), 3.0).short_fraction == 0.0


def test_random_tissue_covers_every_decade_for_every_label():
    draws = stack(RandomTissuePrior(), 3.0, 600)
    logs = draws[..., 0].log()
    low, high = math.log(0.010), math.log(6.0)
    assert logs.min().item() >= low and logs.max().item() <= high + 1e-5
    # A uniform distribution of ln T1 for each material: its mean is known to 0.075 (1 sd).
    assert (logs.mean(0) - (low + high) / 2).abs().max().item() < 0.3
    assert (logs.std(0) - (high - low) / math.sqrt(12)).abs().max().item() < 0.15
    # One stratum each: every draw spans the whole range.
    assert (logs.amax(1) - logs.amin(1)).min().item() > 0.9 * (high - low)


def test_mixed_prior_takes_its_share():
    mixed = MixedPrior(first=TissuePrior(), second=RandomTissuePrior(), share=0.3)
    generator = seeded_generator(5)
    is_first = [mixed.draw(generator, 3.0).short_fraction > 0 for _ in range(800)]
    assert sum(is_first) / 800 == pytest.approx(0.3, abs=0.05)


@pytest.mark.parametrize(
    "prior",
    [TissuePrior(), RandomTissuePrior(), MixedPrior(first=TissuePrior(), second=RandomTissuePrior())],
)
def test_the_same_generator_gives_the_same_draw(prior):
    before = torch.random.get_rng_state()
    first, second = (prior.draw(seeded_generator(8, "same"), 3.0) for _ in range(2))
    other = prior.draw(seeded_generator(9, "same"), 3.0)
    assert torch.equal(first.values, second.values) and first.texture_sd == second.texture_sd
    assert (first.texture_mm, first.short_t1) == (second.texture_mm, second.short_t1)
    assert not torch.equal(first.values, other.values)
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_scanner_of_nearly_the_nominal_field_is_served():
    draw = TissuePrior().draw(seeded_generator(1), 2.89)
    assert draw.field_strength == 2.89
    assert draw.value("white_matter", "T1") == pytest.approx(0.838, rel=0.4)


def test_the_table_names_a_source_for_every_material():
    rows = table(3.0)
    assert [row[0] for row in rows] == list(MATERIALS)
    assert all(len(row) == len(COLUMNS) and row[-1] for row in rows)
    assert set(TISSUES) == set(MATERIALS)


@pytest.mark.parametrize("field_strength", [0.5, 7.0, math.nan])
def test_an_unknown_field_is_refused(field_strength):
    with pytest.raises(UsageError, match=r"no tissue values for .* T\. They are known at 1\.5 and 3 T"):
        TissuePrior().draw(seeded_generator(1), field_strength)
    with pytest.raises(UsageError, match="no tissue values"):
        table(field_strength)


def test_what_makes_no_sense_is_refused():
    with pytest.raises(UsageError, match="must be positive, not -3 T"):
        RandomTissuePrior().draw(seeded_generator(1), -3.0)
    with pytest.raises(UsageError, match="the shortest T2"):
        RandomTissuePrior(t2=(0.02, 1.0))
    with pytest.raises(UsageError, match="a share lies between 0 and 1"):
        MixedPrior(first=TissuePrior(), second=RandomTissuePrior(), share=1.5)
    with pytest.raises(UsageError, match="no tissue facts for background, csf"):
        TissuePrior(facts={})
    with pytest.raises(UsageError, match="Give 24 materials with 6 properties"):
        TissueDraw(
            values=torch.zeros(3, 6),
            short_fraction=0.0,
            short_t1=0.05,
            texture_sd=(0.0, 0.0, 0.0),
            texture_mm=1.0,
            field_strength=3.0,
        )
