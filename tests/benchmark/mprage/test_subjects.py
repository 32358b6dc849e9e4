"""People to judge by: which heads and which of the cohort, without simulating anybody."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from unweight.benchmark.mprage import subjects as t1w_people
from unweight.benchmark.mprage.subjects import (
    HEALTHY,
    N_HEALTHY,
    N_OTHERS,
    N_QUICK,
    QUICK_MM,
    T1W_SETS,
    cohort_heads,
    cohort_subjects,
)
from unweight.core.errors import UsageError
from unweight.heads.source import BrainwebHeads, ProceduralHeads, whole_heads
from unweight.learn.pairs.cohort import CohortRecipe
from unweight.learn.pairs.echo_channels import N_CHANNELS
from unweight.learn.pairs.pair import Pair, half, load_pair
from unweight.synth.anatomy.labels import Anatomy

FIRST = sum(CohortRecipe().n[:2])  # the first place of the test part
N_TEST = CohortRecipe().n[2]
Made = list[tuple[CohortRecipe, str, int]]


def head(subject: str = "one") -> Anatomy:
    labels = torch.zeros(4, 4, 4, dtype=torch.uint8)
    return Anatomy(labels=labels, voxel_mm=(1.0, 1.0, 1.0), subject=subject, affine=torch.eye(4))


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Made:
    """Have people made of nothing, and give what was asked for."""
    asked: Made = []

    def nobody(recipe: CohortRecipe, heads: Sequence[Anatomy], part: str, index: int) -> Pair:
        asked.append((recipe, part, index))
        empty = torch.zeros(4, 4, 4)
        return Pair(
            channels=half(torch.zeros(N_CHANNELS, 4, 4, 4)),
            target=half(empty),
            labels=empty.to(torch.uint8),
            voxel_mm=(2.0, 2.0, 2.0),
            name=f"{part}-{index}",
            about={"heads": len(heads)},
        )

    monkeypatch.setattr(t1w_people, "person_pair", nobody)
    return asked


def test_first_people_of_the_test_part(made: Made, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    paths = cohort_subjects(
        HEALTHY, [head()], tmp_path, n=3, progress=lambda done, count: told.append((done, count))
    )
    assert [load_pair(path).name for path in paths] == [f"test-{FIRST + one}" for one in range(3)]
    assert {path.parent for path in paths} == {tmp_path / "test"}
    assert [(part, index) for _, part, index in made] == [("test", FIRST + one) for one in range(3)]
    assert all(recipe == CohortRecipe() for recipe, _, _ in made)
    assert told == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_who_is_there_is_not_made_again(made: Made, tmp_path: Path) -> None:
    few = cohort_subjects(HEALTHY, [head()], tmp_path, n=2)
    more = cohort_subjects(HEALTHY, [head()], tmp_path, n=3)
    assert more[:2] == few and cohort_subjects(HEALTHY, [head()], tmp_path, n=1) == few[:1]
    assert [index for _, _, index in made] == [FIRST, FIRST + 1, FIRST + 2]


def test_each_set_has_a_folder_of_its_own(made: Made, tmp_path: Path) -> None:
    assert HEALTHY in T1W_SETS and len(T1W_SETS) == 3
    for name in T1W_SETS:
        (path,) = cohort_subjects(name, [head()], tmp_path, n=1)
        assert path.parent.name == ("test" if name == HEALTHY else f"test-{name}")
    assert [recipe.group for recipe, _, _ in made] == list(T1W_SETS)


def test_too_many_or_too_few_people(made: Made, tmp_path: Path) -> None:
    for n in (N_TEST + 1, 0, -1):
        with pytest.raises(UsageError, match=f"healthy has no {n} subjects.*1 to {N_TEST}"):
            cohort_subjects(HEALTHY, [head()], tmp_path, n=n)
    assert not made and not list(tmp_path.iterdir())
    # As many as are asked for without a word must be there.
    assert max(N_HEALTHY, N_OTHERS, N_QUICK) <= N_TEST


def test_a_set_that_is_none(made: Made, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no group is called giants"):
        cohort_subjects("giants", [head()], tmp_path, n=1)
    assert not made


def test_a_folder_of_another_cohort_is_refused(made: Made, tmp_path: Path) -> None:
    cohort_subjects(HEALTHY, [head()], tmp_path, n=1)
    for heads, quick in (([head("another")], False), ([head()], True)):
        with pytest.raises(UsageError, match="contains pairs made with other settings"):
            cohort_subjects(HEALTHY, heads, tmp_path, n=2, quick=quick)
    assert len(made) == 1


def test_quick_people_are_coarse(made: Made, tmp_path: Path) -> None:
    cohort_subjects(HEALTHY, [head()], tmp_path, n=1, quick=True)
    ((recipe, _, _),) = made
    assert recipe.voxel_mm == QUICK_MM and recipe.n == CohortRecipe().n


def test_a_quick_head_is_a_single_coarse_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here even coarser, for time; it is the same every time."""
    monkeypatch.setattr(t1w_people, "QUICK_COARSER", 12)
    (one,), (again,) = cohort_heads(None, quick=True), cohort_heads(None, quick=True)
    assert one.subject.startswith("procedural") and one.subject == again.subject
    assert one.labels.shape == (30, 36, 30) and torch.equal(one.labels, again.labels)
    # There is something of a head in it.
    assert len(one.labels.unique()) > 5


def test_two_procedural_heads_of_full_size_with_brains_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def small(seed: int, counts: dict[str, int], *, coarser: int = 1) -> ProceduralHeads:
        asked.append((seed, counts, coarser))
        return whole_heads(seed, counts, coarser=18)

    monkeypatch.setattr(t1w_people, "whole_heads", small)
    first, second = cohort_heads(None)
    assert asked == [(0, {"test": 2}, 1)]
    assert first.subject != second.subject and not torch.equal(first.labels, second.labels)


def test_given_heads_are_those_of_the_test_part(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for number in range(4, 24):
        (tmp_path / f"subject{number:02d}_crisp_v.mnc.gz").touch()
    monkeypatch.setattr("unweight.heads.source.read_brainweb", lambda path: head(path.name))
    monkeypatch.setattr("unweight.heads.source.with_nuclei", lambda anatomy: anatomy)
    expected = list(BrainwebHeads(tmp_path).names("test"))
    assert [one.subject for one in cohort_heads(tmp_path)] == expected and len(expected) > 1
    (one,) = cohort_heads(tmp_path, quick=True)
    assert one.subject == expected[0]
