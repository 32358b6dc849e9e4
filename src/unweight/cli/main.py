"""Entry point of `unweight`: parse, load the one command that was called, turn errors into one paragraph.

Exit codes: 0 success; 1 some series failed, are incomplete or do not fit into memory, the others are
complete; 2 the command line or the input is invalid; 3 a result could not be written; 70 unexpected
failure, such as insufficient memory; 130 interrupted.
"""

import argparse
import gc
import importlib
import logging
import os
import platform
import shlex
import signal
import sys
from collections.abc import Sequence

from rich_argparse import RawDescriptionRichHelpFormatter

from unweight import __version__
from unweight.cli.arguments import COMMON, Argument, Command, renamed, separated
from unweight.cli.catalogue import COMMANDS
from unweight.cli.log_file import complain, log_traceback, logged_to
from unweight.cli.process import (
    KeptGoing,
    keep_going,
    keep_memory,
    log_lines,
    log_warnings,
    open_closed_streams,
    say_in_any_encoding,
    use_private_caches,
)
from unweight.cli.unexpected import INTERRUPTED, PIPE_CLOSED, UNEXPECTED, explained
from unweight.core.errors import OutputError, UnweightError
from unweight.core.memory import is_free
from unweight.core.text import printable

LOG = logging.getLogger(__name__)
LIBRARIES_BYTES = 2**29
EXIT_CODES = (
    "Exit codes: 0 success; 1 some series failed, are incomplete or do not fit into memory, the others are "
    "complete; 2 the command line or the input is invalid; 3 a result could not be written; 70 unexpected "
    "failure, such as insufficient memory; 130 interrupted."
)


def parser(words: Sequence[str] | None = None) -> argparse.ArgumentParser:
    """Build the parser from the catalogue; loads none of the commands.

    Args:
        words: Of the call that it is for, command and kind first: only the options of these are added,
            which takes a tenth of the time. None adds all.
    """
    RawDescriptionRichHelpFormatter.help_markup = False  # "[s]" is a unit, not markup
    RawDescriptionRichHelpFormatter.text_markup = False
    top = argparse.ArgumentParser(
        prog="unweight",
        description="Quantitative maps of the brain from weighted MR images. Research use only.",
        epilog=EXIT_CODES,
        formatter_class=RawDescriptionRichHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"unweight {__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        sub = commands.add_parser(
            name,
            help=command.summary,
            description=command.summary,
            epilog=command.epilogue or None,
            formatter_class=RawDescriptionRichHelpFormatter,
        )
        if words is not None and name not in words[:1]:
            continue
        if all(entry.old != "--version" for entry in command.arguments):
            sub.add_argument("--version", action="version", version=f"unweight {__version__}")
        if command.kinds:
            _add_kinds(sub, name, command, words)
        else:
            _add_arguments(sub, (*command.arguments, *COMMON))
    return top


def _add_arguments(parser: argparse.ArgumentParser, arguments: Sequence[Argument], kind: str = "") -> None:
    for entry in arguments:
        settings = dict(entry.settings)
        if entry.only and kind not in entry.only:
            settings["help"] = argparse.SUPPRESS  # the command refuses it, and says what takes it
        parser.add_argument(*entry.names, **settings)  # type: ignore[arg-type]


def _add_kinds(
    sub: argparse.ArgumentParser, name: str, command: Command, words: Sequence[str] | None
) -> None:
    """Give each value of the first argument a parser of its own, whose help shows its options alone."""
    first = next(entry for entry in command.arguments if entry.dest == command.kinds)
    rest = [entry for entry in command.arguments if entry is not first]
    kinds = sub.add_subparsers(
        dest=command.kinds,
        metavar=str(first.settings.get("metavar", "WHAT")),
        help=str(first.settings["help"]),
        required=True,
    )
    for kind in _kinds_of(command):
        own = kinds.add_parser(
            kind,
            description=command.summary,
            epilog="\n".join(line for line in command.epilogue.splitlines() if f" {name} {kind} " in line),
            formatter_class=RawDescriptionRichHelpFormatter,
        )
        if words is None or kind in words[1:2]:
            _add_arguments(own, (*rest, *COMMON), kind)


def _kinds_of(command: Command) -> tuple[str, ...]:
    first = next(entry for entry in command.arguments if entry.dest == command.kinds)
    choices = first.settings["choices"]
    return tuple(choices) if isinstance(choices, tuple) else ()


def _kind_first(words: Sequence[str], command: Command) -> list[str]:
    """Return the words of a call with its kind before its options, where they stood the other way round."""
    kinds = _kinds_of(command) if command.kinds and len(words) > 1 and words[1].startswith("-") else ()
    place = next((place for place, word in enumerate(words) if word in kinds), None)
    if place is None:
        return list(words)
    return [words[0], words[place], *words[1:place], *words[place + 1 :]]


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Parse the words of a call; lists may have commas, and old spellings of options are noted."""
    command = COMMANDS.get(words[0]) if words else None
    if command is None:
        return parser(words).parse_args(words)
    taken = (*command.arguments, *COMMON)
    current, notes = renamed(_kind_first(words, command), taken)
    for note in notes:
        print(printable(f"unweight {words[0]}: {note}"), file=sys.stderr)
    return parser(current).parse_args(separated(current, taken))


def main(words: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        words: Of the call; None for those of the program, whose process is then its own to set up.
    """
    output = None
    if words is None:
        keep_memory()
        open_closed_streams()
        say_in_any_encoding()
        log_warnings()
        _interrupt_on_termination()
        output = keep_going()
    arguments = parse(sys.argv[1:] if words is None else words)
    if words is None:
        use_private_caches()
    log_lines(_level(arguments))
    try:
        with logged_to(arguments.log_file):
            return _carried_out(arguments, sys.argv[1:] if words is None else words, output)
    except OutputError as error:
        if arguments.debug:
            raise
        complain(f"unweight {arguments.command}: {error}")
        return error.exit_code


def _level(arguments: argparse.Namespace) -> int:
    if arguments.debug:
        return logging.DEBUG
    if arguments.quiet:
        return logging.ERROR
    return logging.INFO if arguments.verbose else logging.WARNING


def _carried_out(arguments: argparse.Namespace, words: Sequence[str], output: KeptGoing | None) -> int:
    """Carry the command out, and turn what is raised into a paragraph and an exit code."""
    LOG.info("unweight %s, Python %s: %s", __version__, platform.python_version(), shlex.join(words))
    code = UNEXPECTED
    try:
        code = _run(arguments, output)
    except UnweightError as error:
        code = error.exit_code
        log_traceback()
        if arguments.debug:
            raise
        complain(f"unweight {arguments.command}: {error}")
    except BrokenPipeError:
        # Whoever read the output has closed it (`| head`); what was written to disk is complete.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = PIPE_CLOSED
    except KeyboardInterrupt:
        if output is not None:
            gc.freeze()  # or Python looks through all objects of its libraries before it ends
        complain("unweight: interrupted; files written so far are complete")
        code = INTERRUPTED
    except Exception as error:
        log_traceback()
        paragraph, code = explained(error)
        if arguments.debug:
            raise
        complain(f"unweight {arguments.command}: {paragraph}")
    finally:
        LOG.info("exit code %s", code)
    return code


def _run(arguments: argparse.Namespace, output: KeptGoing | None) -> int:
    """Load the module of the command and run it; output that could not be printed is an error."""
    if not is_free(LIBRARIES_BYTES):
        raise MemoryError  # they would end the process without a word
    command = importlib.import_module(COMMANDS[arguments.command].module)
    code = int(command.run(arguments))
    sys.stdout.flush()
    if output is None or output.lost is None:
        return code
    reason = f"standard output could not be written ({output.lost.strerror}); files on disk are complete"
    complain(f"unweight {arguments.command}: {reason}")
    return OutputError.exit_code


def _interrupt_on_termination() -> None:
    """Take a request to end like an interrupt from the keyboard: what runs is tidied up, workers end."""
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, signal.default_int_handler)


if __name__ == "__main__":
    sys.exit(main())
