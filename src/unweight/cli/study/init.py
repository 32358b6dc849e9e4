"""`unweight init`: the settings of a run as a file, each with what it means and its default."""

import argparse
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import final

from unweight.cli.arguments import Argument
from unweight.cli.catalogue import COMMANDS
from unweight.cli.options import Verbosity, options_of
from unweight.cli.study.settings import RUN, settings_of
from unweight.cli.terminal import console
from unweight.core.errors import OutputError
from unweight.files.atomic import write_bytes_atomic
from unweight.registry import commands

WIDTH = 100
HEAD = """\
# Settings of `unweight run`. Take the # off a line to use it; the command line comes first.
# An unknown key is an error. Times are seconds. Relative paths of weights start at the folder of this file.
"""


@final
@dataclass(frozen=True, kw_only=True)
class InitOptions:
    """Options of `unweight init`.

    Attributes:
        path: File that is written.
        verbosity: What is printed.
    """

    path: Path
    verbosity: Verbosity


def run(arguments: argparse.Namespace) -> int:
    """Write the file, unless there is one."""
    options = options_of(InitOptions, arguments)
    if options.path.exists():
        raise OutputError("already exists", remedy="Give another name, or remove it.", path=options.path)
    write_bytes_atomic(options.path, default_settings().encode())
    console(quiet=options.verbosity.quiet).print(str(options.path))
    return 0


def default_settings() -> str:
    """Return the file."""
    lines = [HEAD]
    for section in (RUN, *commands()):
        lines += [f"# {COMMANDS[section].summary}", f"[{section}]"]
        for key, entry in settings_of(section).items():
            lines += _lines(key, entry)
        lines.append("")
    return "\n".join(lines)


def _lines(key: str, argument: Argument) -> Iterator[str]:
    values = str(argument.settings.get("help", "")).replace("%%", "%")
    choices = argument.settings.get("choices")
    if isinstance(choices, tuple | list | dict):
        values += f" ({', '.join(map(str, choices))})"
    yield from (f"# {line}" for line in textwrap.wrap(values, WIDTH))
    yield f"# {key} = {_example(argument)}"


def _example(argument: Argument) -> str:
    """Return the default as TOML, or something of the right kind."""
    default, many = argument.settings.get("default"), argument.settings.get("nargs")
    if argument.settings.get("action") == "store_true":
        return "false"
    values = default if isinstance(default, tuple | list) else [default]
    if default is None:
        choices = argument.settings.get("choices")
        kind = argument.settings.get("type", str)
        first = next(iter(choices)) if isinstance(choices, tuple | list | dict) else None
        sample: object = first if first is not None else 1 if kind is int else 1.0 if kind is float else "…"
        values = [sample] * (many if isinstance(many, int) else 1)
    displayed = [f'"{value}"' if isinstance(value, str) else str(value) for value in values]
    listed = many is not None or argument.settings.get("action") == "append"
    return f"[{', '.join(displayed)}]" if listed else displayed[0]
