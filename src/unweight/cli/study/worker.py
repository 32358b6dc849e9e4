"""What carries out a visit in a process of its own: a line of JSON in, a line of JSON out.

`python -m unweight.cli.study.worker` does so for each line of its input until that ends; other schedulers
call `work`.
"""

import contextlib
import io
import logging
import os
import sys
from collections.abc import Sequence

from unweight.cli.main import main
from unweight.cli.process import keep_memory, log_warnings, use_private_caches
from unweight.cli.unexpected import UNEXPECTED
from unweight.run.carry_out import CommandResult, carry_out
from unweight.run.job import job_from_json, outcomes_to_json


def work(text: str) -> str:
    """Carry out one visit.

    Args:
        text: A `Job` as JSON.

    Returns:
        Its outcomes as JSON.
    """
    keep_memory()
    log_warnings()
    use_private_caches()
    return outcomes_to_json(carry_out(job_from_json(text), call))


def call(words: Sequence[str]) -> CommandResult:
    """Carry out a command in this process, and return what it said on standard error.

    A fault of the program is reported like any other: one visit must not stop the others.
    """
    logging.basicConfig(handlers=[logging.NullHandler()], level=logging.ERROR)  # notes are in the sidecars
    string_io = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(string_io):
        try:
            code = main(words)
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 2
        except MemoryError:
            code = UNEXPECTED
            string_io.write("insufficient memory")
        except Exception as error:
            code = UNEXPECTED
            string_io.write(f"unexpected {type(error).__name__}: {error}. Run the command with --debug.")
    return CommandResult(code=code, text=string_io.getvalue())


def answer() -> None:
    """Carry out the visits that standard input names."""
    lines = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever prints must not disturb the answers
    for line in sys.stdin:
        lines.write(work(line) + "\n")
        lines.flush()


if __name__ == "__main__":
    answer()
