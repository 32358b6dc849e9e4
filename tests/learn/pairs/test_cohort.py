"""A cohort of simulated people, on a procedural head of 2 mm in a scanner of 4 mm."""

from dataclasses import replace
from functools import cache

import pytest
import torch

from unweight.core.acquisition import SignalKind
from unweight.core.errors import UsageError
from unweight.core.seeding import seeded_generator
from unweight.learn.pairs.cohort import (
    ECHOES,
    PARTS,
    CohortRecipe,
    ScannedPerson,
    cohort_maps,
    cohort_scan,
    person_pair,
)
from unweight.learn.pairs.echo_channels import CHI, LEVEL, MASK, R2STAR
from unweight.learn.pairs.pair import Pair
from unweight.metrics.structures import LABELS
from unweight.synth.anatomy.labels import Anatomy
from unweight.synth.anatomy.procedural_head import procedural_head
from unweight.synth.cohort import Group
from unweight.synth.protocols.standard import eight_echoes

COARSE = CohortRecipe(n=(6, 1, 2), voxel_mm=4.0, fine_every=0)
TEST = 7  # the first of the tests


@cache
def head() -> Anatomy:
    return procedural_head(
        seeded_generator(1), shape=(91, 112, 91), voxel_mm=(2.0, 2.0, 2.0), centre_mm=(0.0, -16.0, 8.0)
    )


@cache
def person() -> ScannedPerson:
    return cohort_scan(COARSE, [head()], "test", TEST)


@cache
def pair() -> Pair:
    pytest.importorskip("SimpleITK")
    return person_pair(COARSE, [head()], "test", TEST)


@pytest.mark.parametrize("n", [(3, 2, 4), (1, 0, 0), (0, 0, 5), (50, 5, 120)])
def test_the_parts_share_nobody(n: tuple[int, int, int]) -> None:
    recipe = CohortRecipe(n=n)
    parts = [list(recipe.indices(part)) for part in PARTS]
    assert tuple(len(part) for part in parts) == n
    assert [index for part in parts for index in part] == list(range(sum(n)))
    everyone = [recipe.person(index) for index in range(sum(n))]
    assert len({one.seed for one in everyone}) == sum(n)


def test_a_person_is_the_same_however_many_there_are() -> None:
    small, large, other = (
        CohortRecipe(n=(2, 1, 1)),
        CohortRecipe(n=(9, 8, 7)),
        CohortRecipe(n=(2, 1, 1), seed=1),
    )
    assert [small.person(index) for index in range(4)] == [large.person(index) for index in range(4)]
    assert other.person(0) != small.person(0)


def test_only_the_tests_have_another_group() -> None:
    recipe = CohortRecipe(n=(3, 2, 4), group="demyelination")
    groups = [recipe.person(index).group for index in range(9)]
    assert groups == [Group.HEALTHY] * 5 + [Group.DEMYELINATION] * 4
    plain = CohortRecipe(n=(3, 2, 4))
    assert replace(recipe.person(6), group=Group.HEALTHY) == plain.person(6)


def test_what_a_scanner_gives() -> None:
    found = person()
    assert found.echoes.kind is SignalKind.COMPLEX and found.echoes.mask is None
    assert found.echoes.signal.shape == (*found.t1w.shape, 8) and found.labels.shape == found.t1w.shape
    assert found.echoes.affine is not None
    torch.testing.assert_close(found.echoes.affine[:3, :3].norm(dim=0), torch.full((3,), 4.0).double())
    subject = COARSE.person(TEST)
    assert (found.about["age"], found.about["group"], found.about["head"]) == (
        subject.age,
        "healthy",
        head().subject,
    )
    # The volumes that are told are those of the labels, which are the most of each coarse voxel.
    volumes = found.about["true_ml"]
    assert isinstance(volumes, dict) and set(volumes) == set(LABELS) - {"background"}
    for name in ("grey_matter", "white_matter"):
        coarse = float((found.labels == LABELS[name]).sum()) * 0.064
        # Thin cortex and sulci lose or win in a vote; as much as a quarter in voxels of 4 mm.
        assert volumes[name] == pytest.approx(coarse, rel=0.25)
    # The midbrain and the dentate count as white matter: all structures together are the brain.
    assert sum(volumes.values()) == pytest.approx(float(str(found.about["brain_ml"])), rel=1e-4)


def test_the_same_person_is_scanned_alike() -> None:
    """Also in another cohort, which has as many before."""
    again = cohort_scan(replace(COARSE, n=(1, 1, 9)), [head()], "test", TEST)
    assert torch.equal(again.echoes.signal, person().echoes.signal)
    assert torch.equal(again.t1w, person().t1w) and again.about == person().about
    other = cohort_scan(COARSE, [head()], "test", TEST + 1)
    assert not torch.equal(other.labels, person().labels)


def test_protocols_of_the_training_are_drawn_and_those_of_the_tests_are_published() -> None:
    published = eight_echoes().protocol.echo_time
    assert published is not None

    def times(part: str, index: int, share: float) -> list[float]:
        found = cohort_scan(replace(COARSE, published=share), [head()], part, index)
        te = found.echoes.protocol.echo_time
        assert te is not None
        return te.tolist()

    assert times("train", 1, 1.0) == times("test", TEST, 0.0) == published.tolist()
    drawn = times("train", 1, 0.0)
    assert drawn != published.tolist()
    assert ECHOES.first_echo[0] <= drawn[0] <= ECHOES.first_echo[1]


def test_one_in_so_many_is_scanned_finely(monkeypatch: pytest.MonkeyPatch) -> None:
    """Heads of 1 mm take too long here: see what is asked for."""
    asked: list[float] = []
    scanned = person()

    def scan(*arguments: object, phase: bool) -> ScannedPerson:
        asked.append(float(str(arguments[3])))
        return scanned

    monkeypatch.setattr("unweight.learn.pairs.cohort.scan_person", scan)
    recipe = CohortRecipe(n=(6, 1, 2), voxel_mm=1.5, fine_every=3)
    for part in PARTS:
        for index in recipe.indices(part):
            cohort_scan(recipe, [head()], part, index)
    assert asked == [1.0, 1.5, 1.5, 1.0, 1.5, 1.5, 1.5, 1.5, 1.5]


def test_brain_and_maps_are_found() -> None:
    maps = cohort_maps(person())
    assert maps.chi is not None
    brain = person().labels > 0
    both = 2 * float((maps.mask & brain).sum()) / float(maps.mask.sum() + brain.sum())
    # As in `prepare`: 0.9 in voxels of 3 mm, for the layer that is taken off is a voxel thick.
    assert both > 0.85
    assert maps.voxel_mm == pytest.approx((4.0, 4.0, 4.0))


def test_a_pair_shows_what_is_known_of_tissue() -> None:
    made = pair()
    assert made.name == "test-007" and made.about["age"] == COARSE.person(TEST).age
    assert made.target.shape == person().t1w.shape  # 64 voxels are more than there are
    mask = made.channels[MASK] > 0
    assert bool((made.labels[~mask] == 0).all()) and float(made.target[~mask].abs().max()) == 0.0

    def mean(values: torch.Tensor, name: str) -> float:
        return float(values[made.labels == LABELS[name]].float().mean())

    order = [mean(made.target, name) for name in ("csf", "grey_matter", "white_matter")]
    assert order == sorted(order) and order[2] == pytest.approx(1.0, abs=0.1)
    decay, chi = (made.channels[place] for place in (R2STAR, CHI))
    # Iron of the pallidum: more than in any other tissue in R2*, and in χ, which myelin lowers.
    for values in (decay, chi):
        assert mean(values, "pallidum") > max(mean(values, name) for name in ("putamen", "white_matter"))
    assert mean(chi, "white_matter") < mean(chi, "grey_matter") < mean(chi, "putamen")
    assert mean(made.channels[LEVEL], "csf") < mean(made.channels[LEVEL], "grey_matter")


def test_what_makes_no_sense_is_refused() -> None:
    for settings in ({"n": (0, 0, 0)}, {"n": (3, -1, 2)}, {"voxel_mm": 0.0}):
        with pytest.raises(UsageError, match="no cohort"):
            CohortRecipe(**settings)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="nobody is at place 7 of the train part"):
        person_pair(COARSE, [head()], "train", 7)
    with pytest.raises(UsageError, match="there is no head for it"):
        person_pair(COARSE, [], "test", 7)
