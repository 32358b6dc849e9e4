"""Settings of a run: a section for each command, named and checked by what the command itself takes.

A relative path of a file of settings starts at the folder of the file, one of the command line at the
current folder; both are absolute here, because workers may have another current folder.

TOML keys are the options of the command without their dashes, `efficiency-range = [1.5, 2]`. What the file
says becomes words of the command line, so that the command judges them as it judges those of a user.
"""

import argparse
import contextlib
import io
import json
import logging
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from unweight.cli.arguments import MASK, Argument, argument
from unweight.cli.catalogue import COMMANDS
from unweight.cli.main import parse
from unweight.core.errors import InputError, UsageError
from unweight.files.text_files import DEEPEST, check_depth, read_content
from unweight.registry import commands

LOG = logging.getLogger(__name__)
RUN = "run"
# What a run says for each series itself, or what belongs to a single one.
NOT_SETTINGS = {
    "series",  # of a folder of DICOM; a run works on a tree
    *("inputs", "out", "subjects", "subject", "mask", "mag", "phase", "r2star", "chi", "rec"),
    *("known", "percent"),
    *("t1w", "t2w", "flair"),
    *("device", "bids-dir", "out-dir", "level", "config", "set", "dry-run", "no-report"),
    *("json", "shared-assets", "bids-filter-file"),
}
LARGEST_BYTES = 2**20
# A mask in a file belongs to one series.
AUTO_MASK = argument(
    "--mask", choices=("auto",), help="mask of the brain, found by a network; default: none"
)


@final
@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """What a file of settings says.

    Attributes:
        run: Values of the options of `unweight run` itself, by key.
        options: Words for each command.
    """

    run: Mapping[str, object]
    options: Mapping[str, tuple[str, ...]]


def settings_of(pipeline: str) -> dict[str, Argument]:
    """Return the options of a command that can be set, by key."""
    result = {}
    for entry in COMMANDS[pipeline].arguments:
        key = next((name[2:] for name in entry.names if name.startswith("--")), entry.names[0])
        if entry is MASK:
            result[key] = AUTO_MASK
        elif key not in NOT_SETTINGS and entry.names[0].startswith("-"):
            result[key] = entry
    return result


def read_settings(path: Path | None, given: Sequence[str] = ()) -> RunSettings:
    """Read a file of settings, and those of the command line over it.

    Args:
        path: A TOML file; None for none.
        given: `section.key=value` each.

    Raises:
        InputError: The file cannot be read, or holds a section, key or value that is not known.
        UsageError: The same of what is given.
    """
    table = {} if path is None else _current(_table(path))
    _check(table, path)
    if path is not None:
        table = {
            section: {key: _absolute(section, key, value, path.parent) for key, value in values.items()}
            for section, values in table.items()
        }
    for item in given:
        section, key, value = _assigned(item)
        key = _current_key(section, key)
        _check({section: {key: value}}, None)
        table.setdefault(section, {})[key] = _absolute(section, key, value, Path())
    options = {name: _words(name, table.get(name, {}), path) for name in commands()}
    return RunSettings(run=table.get(RUN, {}), options=options)


def with_absolute_path(given: str) -> str:
    """Return `section.key=value` for a process with another current folder.

    Raises:
        UsageError: It is not of this form.
    """
    section, key, value = _assigned(given)
    absolute = _absolute(section, _current_key(section, key), value, Path())
    return given if absolute == value else f"{section}.{key}={json.dumps(absolute)}"


def _absolute(section: str, key: str, value: object, folder: Path) -> object:
    """Return the value of a setting of a command; a path is made absolute, starting at the folder."""
    entry = settings_of(section).get(key) if section in commands() else None
    is_path = entry is not None and entry.settings.get("type") is Path
    if not is_path or not isinstance(value, str) or value.startswith("~"):
        return value
    return str((folder / value).absolute())


def _table(path: Path) -> dict[str, dict[str, object]]:
    try:
        content = _toml(read_content(path, LARGEST_BYTES).decode("utf-8"))
    except InputError as error:
        raise InputError(
            error.problem, remedy="`unweight init` writes a settings file.", path=path
        ) from error
    except ValueError as error:
        raise InputError(
            f"is not TOML ({error})",
            remedy="Correct it; `unweight init` writes a settings file.",
            path=path,
        ) from error
    wrong = [name for name, section in content.items() if not isinstance(section, dict)]
    if wrong:
        raise InputError(
            f"{wrong[0]} is outside a section",
            remedy=f"Put it below [{RUN}], [{'], ['.join(commands())}].",
            path=path,
        )
    return content


def _current(table: Mapping[str, Mapping[str, object]]) -> dict[str, dict[str, object]]:
    """Return the settings with keys of releases before in their new spelling."""
    return {
        section: {_current_key(section, key): value for key, value in values.items()}
        for section, values in table.items()
    }


def _current_key(section: str, key: str) -> str:
    if COMMANDS.get(section) is None:
        return key
    new_names = {entry.old: entry.names[-1] for entry in COMMANDS[section].arguments if entry.old}
    new = new_names.get(f"--{key}")
    if new is None:
        return key
    LOG.warning("[%s] %s is now called %s", section, key, new.removeprefix("--"))
    return new.removeprefix("--")


def _check(table: Mapping[str, Mapping[str, object]], path: Path | None) -> None:
    """Refuse sections and keys that nothing knows."""
    for section, values in table.items():
        if section not in (RUN, *commands()):
            known = ", ".join((RUN, *commands()))
            raise _wrong(f"there is no section {section!r}", f"Sections are {known}.", path)
        allowed = settings_of(section)
        for key, value in values.items():
            if key not in allowed:
                raise _wrong(f"unknown key {key!r} in [{section}]", f"Keys are {', '.join(allowed)}.", path)
            if allowed[key] is AUTO_MASK and value != "auto":
                remedy = "The file of a mask belongs to one series."
                raise _wrong(f"[{section}] {key} can only be auto", remedy, path)


def _words(pipeline: str, values: Mapping[str, object], path: Path | None) -> tuple[str, ...]:
    """Return the words that settings stand for, judged by the parser of the command."""
    words: list[str] = []
    known = settings_of(pipeline)
    for key, value in values.items():
        words += _option(known[key], key, value, (pipeline, path))
    _parsed([pipeline, "image.nii", "-o", "maps", *words], path)
    return tuple(words)


def _parsed(words: Sequence[str], path: Path | None) -> argparse.Namespace:
    """Return what the parser makes of a command line that settings gave, or its objection as our error."""
    string_io = io.StringIO()
    try:
        with contextlib.redirect_stderr(string_io):
            return parse(words)
    except SystemExit as ended:
        problem = string_io.getvalue().strip().splitlines()[-1].partition("error: ")[2]
        raise _wrong(f"[{words[0]}] {problem}", f"See `unweight {words[0]} --help`.", path) from ended


def _option(argument: Argument, key: str, value: object, where: tuple[str, Path | None]) -> list[str]:
    """Return the words of one option."""
    pipeline, path = where
    is_flag = argument.settings.get("action") == "store_true"
    if is_flag != isinstance(value, bool):
        wish = "true or false" if is_flag else "a value, not true or false"
        raise _wrong(f"[{pipeline}] {key} must be {wish}", "Correct it.", path)
    if is_flag:
        return [f"--{key}"] if value else []
    values = value if isinstance(value, list) else [value]
    if not values and argument.settings.get("default") == ():
        return []  # as where the key is absent
    if not values or not all(isinstance(part, str | int | float) for part in values):
        raise _wrong(f"[{pipeline}] {key} must be a number, a word, or a list of them", "Correct it.", path)
    if argument.settings.get("action") == "append":
        return [f"--{key}={part}" for part in values]
    return [f"--{key}", *(str(part) for part in values)]


def _assigned(text: str) -> tuple[str, str, object]:
    """Take `section.key=value` apart; a value that is not TOML is a word."""
    name, equals, value = text.partition("=")
    section, dot, key = name.strip().partition(".")
    if not (equals and dot and section and key):
        raise UsageError(f"{text!r} is not SECTION.KEY=VALUE", remedy="--set t1.method=ml")
    try:
        return section, key, _toml(f"value = {value}")["value"]
    except ValueError:
        return section, key, value.strip()


# Names joined by more dots than any table has levels: the time that tomllib takes grows with their square.
PART = r"""(?:[\w-]+|"[^"\n]*"|'[^'\n]*')"""
LONG_KEY = re.compile(rf"(?<![\w.-])(?:{PART}[ \t]*\.[ \t]*){{{DEEPEST}}}")


def _toml(text: str) -> dict[str, Any]:
    """Return what TOML says; whatever is wrong with it is a ValueError."""
    if LONG_KEY.search(text):
        raise ValueError("nested too deeply")
    try:
        content = tomllib.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    check_depth(content)
    return content


def _wrong(problem: str, remedy: str, path: Path | None) -> InputError | UsageError:
    if path is None:
        return UsageError(problem, remedy=remedy)
    return InputError(problem, remedy=remedy, path=path)


def filled(arguments: argparse.Namespace, settings: RunSettings) -> argparse.Namespace:
    """Return the arguments of `unweight run`, with those of the file where the call gave none.

    Raises:
        UsageError: A value is not of the kind its option takes.
    """
    words: list[str] = []
    for key, value in settings.run.items():
        words += _option(settings_of(RUN)[key], key, value, (RUN, None))
    of_file = _parsed([RUN, "raw", "out", "participant", *words], None)
    called, info = vars(arguments), vars(of_file)
    given = {name: value for name, value in called.items() if value is not None and value is not False}
    return argparse.Namespace(**{**called, **info, **given})
