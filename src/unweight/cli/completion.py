"""`unweight completion`: a script with which a shell completes commands, options, values and paths."""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import final

import shtab

from unweight.cli.main import parser
from unweight.cli.options import Verbosity, options_of


@final
@dataclass(frozen=True, kw_only=True)
class CompletionOptions:
    """Options of `unweight completion`.

    Attributes:
        shell: `bash`, `zsh` or `fish`.
        verbosity: What is printed.
    """

    shell: str
    verbosity: Verbosity


def run(arguments: argparse.Namespace) -> int:
    """Print the script; the user's shell reads it, so nothing else is printed."""
    print(script(options_of(CompletionOptions, arguments).shell))
    return 0


def script(shell: str) -> str:
    """Return the completion script of a shell, from the parser of the program.

    Args:
        shell: `bash`, `zsh` or `fish`.
    """
    top = parser()
    for action in _actions(top):
        if action.type is Path and action.choices is None:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
    return str(shtab.complete(top, shell))


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Give the arguments of a parser and of the parsers of its commands."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _actions(command)
        else:
            yield action
