"""A worker like that of the package, but for one subject that kills its process: as a crash in C would."""

import os
import signal
from collections.abc import Sequence

from unweight.cli.study import worker
from unweight.run.carry_out import CommandResult, carry_out
from unweight.run.job import job_from_json, outcomes_to_json

POISON = "sub-02"


def work(text: str) -> str:
    """Carry out one visit."""
    return outcomes_to_json(carry_out(job_from_json(text), call))


def call(words: Sequence[str]) -> CommandResult:
    if any(POISON in word for word in words):
        os.kill(os.getpid(), signal.SIGKILL)
    return worker.call(words)


if __name__ == "__main__":
    worker.work = work
    worker.answer()
