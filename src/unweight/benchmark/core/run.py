"""Runs methods over the cases of a dataset: progress, refusals, time.

A case is made when its turn comes, given to every method, and kept as what the benchmark makes of it: the
maps of all methods over all cases of a large dataset would not fit into memory. A method that refuses one
case is left out of the dataset, so that all are scored on the same voxels.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Generic, Protocol, TypeVar, final, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unweight.core.errors import ProtocolError, UsageError
from unweight.core.estimator import Progress
from unweight.metrics.scores import Groups, Score

Watch = Callable[[str], AbstractContextManager[Progress]]
ALL = "all"
TRUTH = "truth"
INTERVAL_LEVEL = 0.9
Input = TypeVar("Input")
Output = TypeVar("Output")
Accepted = TypeVar("Accepted", contravariant=True)
Returned = TypeVar("Returned", covariant=True)
Kept = TypeVar("Kept")
KeptCase = TypeVar("KeptCase")


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Structure:
    """Something small, and what it is compared with.

    Attributes:
        name: What it is.
        inside: Its voxels, edges included.
        around: Its surround, edges included.
    """

    name: str
    inside: Bool[Tensor, "*voxels"]
    around: Bool[Tensor, "*voxels"]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Case(Generic[Input]):
    """One input with its truth.

    Attributes:
        input: What a method gets.
        truth: True maps by name, or those of a reference method; NaN where they are not known.
        scored: Voxels that are scored.
        groups: Ways to divide the scored voxels, in their order; the same names in all cases of a dataset.
        structures: Whose contrast is measured.
        metadata: What the case as a whole is: its field strength, its disease.
    """

    input: Input
    truth: Mapping[str, Float[Tensor, "*voxels"]]
    scored: Bool[Tensor, "*voxels"]
    groups: tuple[Groups, ...] = ()
    structures: tuple[Structure, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        count = int(self.scored.sum())
        for groups in self.groups:
            if len(groups.index) != count:
                raise UsageError(f"{len(groups.index)} voxels in groups, but {count} are scored")

    def scored_truth(self, parameter: str) -> Float[Tensor, " scored"]:
        """Return a true map in the scored voxels; NaN where it is not known."""
        if parameter not in self.truth:
            return torch.full((int(self.scored.sum()),), torch.nan)
        return self.truth[parameter][self.scored]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Dataset(Generic[Input]):
    """Cases that are scored together, each made when it is asked for.

    Attributes:
        name: In the table of scores.
        n_cases: How many.
        make: Makes the case of a number, the same one each time.
        reference: Whose maps the truth is: `truth`, or a method.
        homogeneous: Whether each group is of one tissue, so that its mean and spread are of interest.
    """

    name: str
    n_cases: int
    make: Callable[[int], Case[Input]]
    reference: str = TRUTH
    homogeneous: bool = False

    def __post_init__(self) -> None:
        if self.n_cases < 1:
            raise UsageError(f"a set called {self.name} with nothing in it")

    def cases(self) -> Iterator[Case[Input]]:
        """Make one case after the other."""
        return (self.make(number) for number in range(self.n_cases))


def dataset_of(
    name: str, cases: Sequence[Case[Input]], *, reference: str = TRUTH, homogeneous: bool = False
) -> Dataset[Input]:
    """Return a dataset of cases that fit into memory.

    Raises:
        UsageError: There is none, or they are divided in different ways.
    """
    if len({tuple(groups.names for groups in case.groups) for case in cases}) > 1:
        raise UsageError(f"the cases of {name} are divided in different ways")
    return Dataset(
        name=name,
        n_cases=len(cases),
        make=cases.__getitem__,
        reference=reference,
        homogeneous=homogeneous,
    )


@runtime_checkable
class Runnable(Protocol[Accepted, Returned]):
    """What can be benchmarked: an estimator, or a function as `AcceptsAll`."""

    def accept(self, measured: Accepted, /) -> None:
        """Raise a ProtocolError for an input that it cannot work on."""

    def __call__(self, measured: Accepted, /, progress: Progress | None = None) -> Returned:
        """Return the result."""


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class AcceptsAll(Generic[Input, Output]):
    """A function that works on every input of a benchmark.

    Attributes:
        function: From an input to a result.
    """

    function: Callable[[Input], Output]

    def accept(self, measured: Input, /) -> None:
        """Refuse nothing."""

    def __call__(self, measured: Input, /, progress: Progress | None = None) -> Output:
        """Return the result."""
        return self.function(measured)


@final
@dataclass(frozen=True, kw_only=True)
class MethodRefusal:
    """A method that cannot work on a dataset.

    Attributes:
        method: Its name.
        dataset: Name of the dataset.
        reason: Why not.
    """

    method: str
    dataset: str
    reason: str


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class TimedOutput(Generic[Kept]):
    """What is kept of the result of one method for one case.

    Attributes:
        output: As the benchmark keeps it.
        seconds: It took [s].
    """

    output: Kept
    seconds: float


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class BenchmarkResult(Generic[KeptCase, Kept]):
    """One dataset with what every method made of it.

    Attributes:
        dataset: Its name.
        cases: As the benchmark keeps them.
        predictions: Of each method, in the order of the cases.
        refusals: Methods that are not among them.
        scores: Of all methods.
        reference: Whose maps the truth is: `truth`, or a method.
    """

    dataset: str
    cases: tuple[KeptCase, ...]
    predictions: Mapping[str, tuple[TimedOutput[Kept], ...]]
    refusals: tuple[MethodRefusal, ...] = ()
    scores: tuple[Score, ...] = ()
    reference: str = TRUTH


def run_methods(
    dataset: Dataset[Input],
    methods: Mapping[str, Runnable[Input, Output]],
    watch: Watch,
    *,
    keep: Callable[[Case[Input], str, Output], Kept],
    keep_case: Callable[[Case[Input]], KeptCase],
) -> BenchmarkResult[KeptCase, Kept]:
    """Run every method that accepts all cases of a dataset.

    Args:
        dataset: What to run them on.
        methods: By name.
        watch: Gives a progress report for a label, `internal 1/16: unet`.
        keep: Makes of a case, the name of a method and its result what is kept of it.
        keep_case: Makes of a case what is kept of it.
    """
    running = dict(methods)
    predictions: dict[str, list[TimedOutput[Kept]]] = {name: [] for name in methods}
    refusals: dict[str, MethodRefusal] = {}
    cases = []
    for number, case in enumerate(dataset.cases()):
        place = f"{dataset.name} {number + 1}/{dataset.n_cases}" if dataset.n_cases > 1 else dataset.name
        for name, method in tuple(running.items()):
            try:
                method.accept(case.input)
            except ProtocolError as error:
                refusals[name] = MethodRefusal(method=name, dataset=dataset.name, reason=str(error))
                del running[name], predictions[name]
                continue
            with watch(f"{place}: {name}") as report:
                began = time.perf_counter()
                output = method(case.input, report)
                seconds = time.perf_counter() - began
            predictions[name].append(TimedOutput(output=keep(case, name, output), seconds=seconds))
        cases.append(keep_case(case))
    return BenchmarkResult(
        dataset=dataset.name,
        cases=tuple(cases),
        predictions={name: tuple(each) for name, each in predictions.items()},
        refusals=tuple(refusals[name] for name in methods if name in refusals),
        reference=dataset.reference,
    )


@contextmanager
def no_progress(label: str) -> Iterator[Progress]:
    """Watch without showing anything."""
    yield lambda done, total: None


def whole_case(case: Case[Input]) -> Case[Input]:
    """Keep a case as it is."""
    return case


def everything(count: int) -> Groups:
    """Return all voxels as one group."""
    return Groups(names=(ALL,), index=torch.zeros(count, dtype=torch.int64))


def joined(parts: Sequence[tuple[Groups, ...]]) -> tuple[Groups, ...]:
    """Return the ways to divide the scored voxels of several cases, one after the other."""
    return tuple(
        Groups(names=same[0].names, index=torch.cat([groups.index for groups in same]))
        for same in zip(*parts, strict=True)
    )


def by_metadata(metadata: Sequence[Mapping[str, str]], counts: Sequence[int]) -> tuple[Groups, ...]:
    """Return groups of whole cases: a way to divide them for each key, `1.5 T` from `3 T`.

    Keys in which all cases are alike divide nothing, and are left out.

    Args:
        metadata: Of each case; the keys are those of the first.
        counts: Voxels of each case.
    """
    divided = []
    for key in metadata[0] if metadata else ():
        column = [case[key] for case in metadata]
        names = tuple(dict.fromkeys(column))
        if len(names) > 1:
            parts = [torch.full((n,), names.index(name)) for name, n in zip(column, counts, strict=True)]
            divided.append(Groups(names=names, index=torch.cat(parts)))
    return tuple(divided)
