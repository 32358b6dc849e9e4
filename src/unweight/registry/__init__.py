"""The one list of names: methods, pipelines, signal models, metrics, data sets and quantities, as data.

Parser, planner, executor, benchmarks, report, model cards and documentation read this list; nothing else
holds one. It is free of heavy imports, so that help stays instant: what a name stands for is a target,
`module:attribute`, which `load` imports when it is needed.

Other packages add records by an entry point of the group `unweight.plugins`, which yields a `Records` (or
an object with attributes of the same names).
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from itertools import product
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from unweight.core.errors import UsageError
from unweight.registry.methods import METHODS
from unweight.registry.metrics import METRICS
from unweight.registry.pipelines import BENCHMARKS, DATASETS, MODELS, PIPELINES, QUANTITIES
from unweight.registry.records import (
    DatasetName,
    FamilyBenchmark,
    Inputs,
    Method,
    Metric,
    Model,
    Pipeline,
    Quantity,
    Records,
)

LOG = logging.getLogger(__name__)
PLUGINS = "unweight.plugins"
KINDS: Mapping[str, type] = MappingProxyType(
    {
        "methods": Method,
        "pipelines": Pipeline,
        "models": Model,
        "metrics": Metric,
        "datasets": DatasetName,
        "quantities": Quantity,
    }
)
Record = TypeVar("Record")
OWN = Records(
    methods=METHODS,
    pipelines=PIPELINES,
    models=MODELS,
    metrics=METRICS,
    datasets=DATASETS,
    quantities=QUANTITIES,
)


@cache
def records() -> Records:
    """Return the records of this package and those of all plug-ins; one that is broken is left out."""
    total = OWN
    for entry in sorted(entry_points(group=PLUGINS), key=lambda entry: entry.name):
        try:
            total = joined(total, entry.load())
        except Exception as error:
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            LOG.warning("the plug-in %s (%s) is excluded: %s", entry.name, entry.value, reason)
    return total


def joined(total: Records, added: object) -> Records:
    """Return the records with those that a plug-in adds.

    Raises:
        TypeError: It holds something else than records.
        ValueError: A name is taken, or it holds no record at all.
    """
    lists: dict[str, tuple[Any, ...]] = {}
    for field in fields(Records):
        more = tuple(getattr(added, field.name, ()))
        wrong = [item for item in more if not isinstance(item, KINDS[field.name])]
        if wrong:
            raise TypeError(f"its {field.name} hold {wrong[0]!r}")
        lists[field.name] = (*getattr(total, field.name), *more)
        keys = [_key(item) for item in lists[field.name]]
        twice = [key for key in keys if keys.count(key) > 1]
        if twice:
            raise ValueError(f"its {field.name} take the name {twice[0][-1]}, which there is already")
    joined = Records(**lists)
    if joined == total:
        raise ValueError("it contains no records")
    return joined


def _key(record: object) -> tuple[str, ...]:
    """Return what tells a record from the others of its kind."""
    match record:
        case Method():
            return record.family, record.stage, record.name
        case DatasetName():
            return record.family, record.name
        case Pipeline():
            return (record.command,)
        case Quantity():
            return (record.suffix,)
        case Metric():
            return record.inputs, record.name
        case Model():
            return (record.name,)
        case _:
            raise TypeError(f"{record!r} is no record")


def load(target: str) -> Any:
    """Return what a target names, `module:attribute`."""
    module, _, attribute = target.partition(":")
    return getattr(import_module(module), attribute)


def build(method: Method, folder: Path | None = None) -> Any:
    """Return what a method is: an estimator, a solver …; a learned one with its weights.

    Args:
        method: With the defaults of its class.
        folder: Of the weights; None for those that come with the package.

    Raises:
        InputError: The weights are absent, damaged, or of another version of the program.
    """
    target = load(method.target)
    return target(method.weights, folder)[0] if method.learned else target()


def methods(family: str, stage: str = "") -> tuple[Method, ...]:
    """Return the methods of a family, in the order of help."""
    return tuple(item for item in records().methods if item.family == family and item.stage == stage)


def method(name: str, family: str, stage: str = "") -> Method:
    """Return a method by name.

    Raises:
        UsageError: There is none of this name.
    """
    there = methods(family, stage)
    for item in there:
        if item.name == name:
            return item
    known = ", ".join(item.name for item in there if item.offered)
    raise UsageError(f"there is no method {name} for {family}", remedy=f"There are {known}.")


def offered(family: str, stage: str = "") -> tuple[str, ...]:
    """Return the names that `--method` takes."""
    return tuple(item.name for item in methods(family, stage) if item.offered)


def compared(family: str) -> tuple[Method, ...]:
    """Return the methods that a benchmark compares, in the order of its tables."""
    return tuple(sorted((item for item in methods(family) if item.compared), key=lambda item: item.rank))


def compared_names(family: str) -> tuple[str, ...]:
    """Return the names that a benchmark takes; of a family with stages, one method of each, `a+b`."""
    members = [item for item in records().methods if item.family == family and item.compared]
    stages = dict.fromkeys(item.stage for item in members)
    ranked = sorted(members, key=lambda item: item.rank)
    names = [[item.name for item in ranked if item.stage == stage] for stage in stages]
    return tuple("+".join(parts) for parts in product(*names)) if members else ()


def benchmarks() -> tuple[Pipeline | FamilyBenchmark, ...]:
    """Return what has a benchmark: pipelines, and families of methods without one."""
    return (*(item for item in pipelines() if item.benchmark), *BENCHMARKS)


def benchmark(name: str) -> Pipeline | FamilyBenchmark:
    """Return what has a benchmark, by the name of its command.

    Raises:
        UsageError: There is none of this name.
    """
    return _called(name, benchmarks(), "command", f"there is no benchmark called {name}")


def trained_methods() -> tuple[Method, ...]:
    """Return the methods with weights."""
    return tuple(item for item in records().methods if item.weights)


def trained_method(weights: str) -> Method:
    """Return the method that has these weights.

    Raises:
        UsageError: Nothing is trained under this name.
    """
    return _called(weights, trained_methods(), "weights", f"nothing is called {weights}")


def usage(method: Method) -> str:
    """Return the command that uses the weights of a method, without its other arguments."""
    if method.usage:
        return f"unweight {method.usage}"
    command = next(item.command for item in pipelines() if item.family == method.family)
    return f"unweight {command} --method {method.name}"


@cache
def pipelines() -> tuple[Pipeline, ...]:
    """Return all pipelines, in the order of help and of a page; those of signal models come last."""
    return (*records().pipelines, *(item.pipeline for item in models() if item.command))


def commands() -> tuple[str, ...]:
    """Return the names of all pipelines."""
    return tuple(item.command for item in pipelines())


def usual_commands() -> tuple[str, ...]:
    """Return the names of the pipelines that a run plans where none is asked for."""
    return tuple(item.command for item in pipelines() if not item.on_request)


def pipeline(command: str) -> Pipeline:
    """Return a pipeline by the name of its command.

    Raises:
        UsageError: There is none of this name.
    """
    return _called(command, pipelines(), "command", f"there is no pipeline {command}")


def models() -> tuple[Model, ...]:
    """Return all signal models."""
    return records().models


def model(name: str) -> Model:
    """Return a signal model by name.

    Raises:
        UsageError: There is none of this name.
    """
    return _called(name, models(), "name", f"there is no signal model {name}")


def model_of_command(command: str) -> Model:
    """Return the signal model that a command fits.

    Raises:
        UsageError: There is none.
    """
    for item in models():
        if item.command == command:
            return item
    raise UsageError(f"{command} fits no signal model")


def metrics(inputs: Inputs) -> tuple[Metric, ...]:
    """Return the metrics that are computed from such inputs."""
    return tuple(item for item in records().metrics if item.inputs is inputs)


def metric(name: str, inputs: Inputs) -> Metric:
    """Return a metric by name.

    Raises:
        UsageError: There is none of this name.
    """
    for item in metrics(inputs):
        if item.name == name:
            return item
    raise UsageError(f"no metric of {inputs} is called {name}")


def datasets(family: str) -> tuple[str, ...]:
    """Return the names of the simulated data sets of a family's benchmark."""
    return tuple(item.name for item in records().datasets if item.family == family)


def dataset(name: str, family: str) -> DatasetName:
    """Return a simulated data set of a family's benchmark by name.

    Raises:
        UsageError: There is none of this name.
    """
    of_family = [item for item in records().datasets if item.family == family]
    return _called(name, of_family, "name", f"no set called {name}")


def quantity(suffix: str) -> Quantity:
    """Return a kind of map by its suffix; one that is not known has the name of the suffix."""
    name = suffix.removesuffix("map") or suffix
    known = (item for item in records().quantities if item.suffix == suffix)
    return next(known, Quantity(suffix=suffix, name=name, symbol=name))


def quantity_named(name: str) -> Quantity:
    """Return a kind of map by the name of its parameter."""
    known = (item for item in records().quantities if item.name == name)
    return next(known, Quantity(suffix=f"{name}map", name=name, symbol=name))


def _called(name: str, items: Sequence[Record], attribute: str, problem: str) -> Record:
    """Return the record whose attribute is this name.

    Raises:
        UsageError: There is none; the names there are stand in the remedy.
    """
    for item in items:
        if getattr(item, attribute) == name:
            return item
    known = ", ".join(getattr(item, attribute) for item in items)
    raise UsageError(problem, remedy=f"There are {known}.")
