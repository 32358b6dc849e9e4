"""`unweight init`: the settings of a run as a file, each with what it means and its default."""

import argparse
import textwrap
from collections.abc import Iterator

from unweight.cli.arguments import Argument
from unweight.cli.catalogue import COMMANDS
from unweight.cli.run_settings import RUN, settings_of
from unweight.cli.terminal import console
from unweight.core.errors import OutputError
from unweight.files.atomic import write_bytes_atomic
from unweight.registry import commands

WIDTH = 100
HEAD = """\
# Settings of `unweight run`. Take the # off a line to use it; the command line comes first.
# An unknown key is an error. Times are seconds.
"""


def run(arguments: argparse.Namespace) -> int:
    """Write the file, unless there is one."""
    if arguments.path.exists():
        raise OutputError(
            "is there already", remedy="Give another name, or remove it.", path=arguments.path
        )
    write_bytes_atomic(arguments.path, default_settings().encode())
    console(quiet=arguments.quiet).print(str(arguments.path))
    return 0


def default_settings() -> str:
    """Return the file."""
    lines = [HEAD]
    for section in (RUN, *commands()):
        lines += [f"# {COMMANDS[section].summary}", f"[{section}]"]
        for key, one in settings_of(section).items():
            lines += _lines(key, one)
        lines.append("")
    return "\n".join(lines)


def _lines(key: str, one: Argument) -> Iterator[str]:
    said = str(one.settings.get("help", "")).replace("%%", "%")
    choices = one.settings.get("choices")
    if isinstance(choices, tuple | list | dict):
        said += f" ({', '.join(map(str, choices))})"
    yield from (f"# {line}" for line in textwrap.wrap(said, WIDTH))
    yield f"# {key} = {_example(one)}"


def _example(one: Argument) -> str:
    """Return the default as TOML, or something of the right kind."""
    default, many = one.settings.get("default"), one.settings.get("nargs")
    if one.settings.get("action") == "store_true":
        return "false"
    values = default if isinstance(default, tuple | list) else [default]
    if default is None:
        choices = one.settings.get("choices")
        kind = one.settings.get("type", str)
        first = next(iter(choices)) if isinstance(choices, tuple | list | dict) else None
        sample: object = first if first is not None else 1 if kind is int else 1.0 if kind is float else "…"
        values = [sample] * (many if isinstance(many, int) else 1)
    shown = [f'"{value}"' if isinstance(value, str) else str(value) for value in values]
    listed = many is not None or one.settings.get("action") == "append"
    return f"[{', '.join(shown)}]" if listed else shown[0]
