import pytest

from unweight.core.errors import UsageError
from unweight.synth.anatomy.split import split_subjects

NAMES = [f"brainweb{number:02d}" for number in (4, 5, 6, 18, 20, 38, 41, 42, 43, 44, 46, 47, 48, 51)]


def test_every_head_is_in_one_part() -> None:
    parts = split_subjects(NAMES)
    assert sorted(sum(parts.values(), ())) == NAMES
    assert [len(parts[part]) for part in ("train", "validation", "test")] == [10, 2, 2]


def test_order_and_repetition_do_not_matter() -> None:
    assert split_subjects(NAMES) == split_subjects([*reversed(NAMES), *NAMES])


def test_the_split_is_the_same_for_ever() -> None:
    # By hand: the SHA-256 of "a", "b", "c" begin with ca, 3e, 2e.
    assert split_subjects(["a", "b", "c"], (1 / 3, 1 / 3, 1 / 3)) == {
        "train": ("c",),
        "validation": ("b",),
        "test": ("a",),
    }


def test_shares_must_add_up() -> None:
    with pytest.raises(UsageError, match="do not add up to 1"):
        split_subjects(NAMES, (0.7, 0.2, 0.2))
