"""Typed options: the namespace of argparse becomes a frozen dataclass at the door of each command."""

import argparse
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar, final, get_type_hints

Options = TypeVar("Options")


@final
@dataclass(frozen=True, kw_only=True)
class Verbosity:
    """What every command takes.

    Attributes:
        quiet: Whether only errors are printed.
        debug: Whether errors are raised with their traceback.
        verbose: Whether the steps of the work are printed.
        log_file: File of all log records; None for none.
    """

    quiet: bool = False
    debug: bool = False
    verbose: bool = False
    log_file: Path | None = None


@final
@dataclass(frozen=True, kw_only=True)
class MappingOutput:
    """Where a mapping command writes, and what.

    Attributes:
        out: Root of the derivatives.
        no_figures: Whether pictures are left out.
        no_report: Whether the pages of subjects are left out.
        shared_assets: Whether the viewer of the pages is a file beside them.
        json: Whether a summary in JSON is printed, and nothing else.
        verbosity: What is printed.
    """

    out: Path
    no_figures: bool = False
    no_report: bool = False
    shared_assets: bool = False
    json: bool = False
    verbosity: Verbosity = field(default_factory=Verbosity)


def options_of(kind: type[Options], arguments: argparse.Namespace, prefix: str = "") -> Options:
    """Return the options of a command.

    Args:
        kind: A frozen dataclass, whose fields are named as the arguments are; a field that is a dataclass
            itself takes its part of them, under the `prefix` of its metadata.
        arguments: As argparse has parsed them.
        prefix: Of the names of the arguments.

    Raises:
        UsageError: Options cannot be combined, or are impossible.
    """
    hints = get_type_hints(kind)
    values: dict[str, Any] = {}
    for item in _fields(kind):
        name, hint = f"{prefix}{item.name}", hints[item.name]
        if is_dataclass(hint) and isinstance(hint, type):
            values[item.name] = options_of(hint, arguments, f"{prefix}{item.metadata.get('prefix', '')}")
        elif hasattr(arguments, name):
            values[item.name] = _frozen(getattr(arguments, name))
        elif item.default is MISSING and item.default_factory is MISSING:
            raise TypeError(f"{kind.__name__} needs {name}, which its command does not take")
    return kind(**values)


def names_of(kind: type[object], prefix: str = "") -> frozenset[str]:
    """Return the names of the arguments that options are built from."""
    hints = get_type_hints(kind)
    names: set[str] = set()
    for item in _fields(kind):
        hint = hints[item.name]
        if is_dataclass(hint) and isinstance(hint, type):
            names |= names_of(hint, f"{prefix}{item.metadata.get('prefix', '')}")
        else:
            names.add(f"{prefix}{item.name}")
    return frozenset(names)


def _fields(kind: Any) -> tuple[Field[Any], ...]:
    return fields(kind)


def _frozen(value: object) -> object:
    """Return lists as tuples, and lists of ranges of numbers as one tuple."""
    if not isinstance(value, list):
        return value
    ranges = [part for part in value if isinstance(part, tuple)]
    if ranges and all(isinstance(number, int) for number in chain.from_iterable(ranges)):
        return tuple(chain.from_iterable(ranges))
    return tuple(value)
