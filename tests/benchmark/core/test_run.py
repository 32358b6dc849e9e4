"""Running methods over a dataset of numbers: what is kept, who is left out, what time is counted."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from unweight.benchmark.core.run import (
    ALL,
    AcceptsAll,
    Case,
    Dataset,
    by_metadata,
    dataset_of,
    everything,
    joined,
    no_progress,
    run_methods,
    whole_case,
)
from unweight.core.errors import ProtocolError, UsageError
from unweight.core.estimator import Progress
from unweight.metrics.scores import Groups

SCORED = torch.tensor([True, True, False])


def case(value: float, **metadata: str) -> Case[float]:
    truth = {"T1": torch.full((3,), value)}
    return Case(input=value, truth=truth, scored=SCORED, groups=(everything(2),), metadata=metadata)


class Picky:
    """Doubles a number, unless it is above a limit."""

    def __init__(self, limit: float) -> None:
        self.limit = limit

    def accept(self, measured: float, /) -> None:
        if measured > self.limit:
            raise ProtocolError(f"{measured:g} is too much", remedy="Give less.")

    def __call__(self, measured: float, /, progress: Progress | None = None) -> float:
        if progress is not None:
            progress(1, 1)
        return 2 * measured


def test_what_is_kept_of_every_case_and_method() -> None:
    labels: list[str] = []

    @contextmanager
    def watch(label: str) -> Iterator[Progress]:
        labels.append(label)
        yield lambda done, total: None

    result = run_methods(
        dataset_of("numbers", [case(1.0), case(2.0)]),
        {"double": Picky(9.0), "half": AcceptsAll(function=lambda value: value / 2)},
        watch,
        keep=lambda case, method, output: (case.input, method, output),
        keep_case=lambda case: case.input,
    )
    assert labels == [
        "numbers 1/2: double",
        "numbers 1/2: half",
        "numbers 2/2: double",
        "numbers 2/2: half",
    ]
    assert result.cases == (1.0, 2.0) and result.dataset == "numbers" and result.reference == "truth"
    assert [each.output for each in result.predictions["double"]] == [
        (1.0, "double", 2.0),
        (2.0, "double", 4.0),
    ]
    assert [each.output[2] for each in result.predictions["half"]] == [0.5, 1.0]
    assert all(each.seconds >= 0 for each in result.predictions["half"])


def test_a_method_that_refuses_a_later_case_is_left_out_of_all() -> None:
    made: list[int] = []

    def make(number: int) -> Case[float]:
        made.append(number)
        return case(float(number))

    result = run_methods(
        Dataset(name="numbers", n_cases=3, make=make),
        {"picky": Picky(1.0), "double": Picky(9.0), "never": Picky(-1.0)},
        no_progress,
        keep=lambda case, method, output: output,
        keep_case=whole_case,
    )
    assert made == [0, 1, 2]  # each case once
    assert list(result.predictions) == ["double"]
    assert [(each.method, each.dataset) for each in result.refusals] == [
        ("picky", "numbers"),
        ("never", "numbers"),
    ]
    assert result.refusals[0].reason == "2 is too much. Give less."


def test_truth_of_the_scored_voxels() -> None:
    single = case(3.0)
    assert single.scored_truth("T1").tolist() == [3.0, 3.0]
    assert torch.isnan(single.scored_truth("T2")).all() and len(single.scored_truth("T2")) == 2


def test_groups_of_several_cases() -> None:
    first, second = case(1.0, field="1.5 T", disease="none"), case(2.0, field="3 T", disease="none")
    (whole,) = joined([first.groups, second.groups])
    assert whole.names == (ALL,) and len(whole.index) == 4
    (fields,) = by_metadata([first.metadata, second.metadata], [1, 2])
    assert fields.names == ("1.5 T", "3 T") and fields.index.tolist() == [0, 1, 1]
    assert by_metadata([], []) == ()


def test_messages() -> None:
    with pytest.raises(UsageError, match="a set called x with nothing in it"):
        dataset_of("x", [])
    other = Case(
        input=1.0, truth={}, scored=SCORED, groups=(Groups(names=("a",), index=torch.zeros(2).long()),)
    )
    with pytest.raises(UsageError, match="the cases of x are divided in different ways"):
        dataset_of("x", [case(1.0), other])
    with pytest.raises(UsageError, match="3 voxels in groups, but 2 are scored"):
        Case(input=1.0, truth={}, scored=SCORED, groups=(everything(3),))
