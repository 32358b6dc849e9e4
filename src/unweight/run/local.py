"""One worker without a scheduler: a process that is asked for one visit after the other.

It is a process of its own, so that whatever a visit does to it (a crash, too much memory) the run goes on
with a new one.
"""

import contextlib
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import final

from unweight.run.carry_out import MOST_ATTEMPTS
from unweight.run.job import Job, Outcome, outcomes_from_json

Tell = Callable[[Job, tuple[Outcome, ...]], None]
LOOK_SECONDS = 0.25
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@final
@dataclass(kw_only=True)
class Child:
    """A worker process; it is started when it is first asked, and again after it died.

    Attributes:
        module: That reads jobs and answers with outcomes, a line each.
        most_bytes: Of memory it may have; it is ended above that.
        process: While it runs.
        last_words: Why it was ended, if it was.
    """

    module: str
    most_bytes: int
    process: "subprocess.Popen[bytes] | None" = None
    last_words: str = field(default="")

    def ask(self, line: str) -> str | None:
        """Return its answer to a line, or None if it died over it."""
        process = self._running()
        if process.stdin is None or process.stdout is None:
            return None
        try:
            process.stdin.write(line.encode() + b"\n")
            process.stdin.flush()
        except OSError:
            self._bury("it ended before it was asked")
            return None
        while not select.select([process.stdout], [], [], LOOK_SECONDS)[0]:
            if _resident_bytes(process.pid) > self.most_bytes:
                process.kill()
                self._bury(f"it took more than {self.most_bytes / 2**30:.1f} GiB of memory")
                return None
        answer = process.stdout.readline()
        if not answer.endswith(b"\n"):
            self._bury("")
            return None
        return answer.decode(errors="replace")

    def dismiss(self, why: str) -> None:
        """End the process at once, since what it says cannot be trusted."""
        if self.process is not None:
            self.process.kill()
            self._bury(why)

    def end(self) -> None:
        """End the process, if it runs."""
        if self.process is None:
            return
        if self.process.stdin is not None:
            self.process.stdin.close()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        self.process = None

    def _running(self) -> "subprocess.Popen[bytes]":
        if self.process is None:
            self.process = subprocess.Popen(
                [sys.executable, "-m", self.module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**ONE_THREAD, **os.environ},
            )
        return self.process

    def _bury(self, why: str) -> None:
        """Forget a process that died."""
        process, self.process = self.process, None
        if process is None:
            return
        code = process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):  # what could not be sent to it is lost with it
                    stream.close()
        self.last_words = why or (
            f"it was ended by signal {-code}" if code < 0 else f"it ended with {code}"
        )


def run_locally(jobs: Sequence[Job], child: Child, tell: Tell) -> None:
    """Carry out jobs one after the other; those that another run is busy with come last.

    Args:
        jobs: What is to be done.
        child: Who does it.
        tell: Is called when a job has ended.
    """
    later: list[Job] = []
    try:
        for job in jobs:
            outcomes = _asked(job, child)
            if any(one.state == "busy" for one in outcomes):
                later.append(replace(job, wait=True))
            else:
                tell(job, outcomes)
        for job in later:
            tell(job, _asked(job, child))
    finally:
        child.end()


def _asked(job: Job, child: Child) -> tuple[Outcome, ...]:
    """Ask until there is an answer; a step that kills its worker is given up by the worker itself."""
    deaths = MOST_ATTEMPTS * len(job.task.steps) + 2  # each step may take some, and so may the start
    for _ in range(deaths):
        answer = child.ask(job.to_json())
        if answer is not None:
            try:
                return outcomes_from_json(answer)
            except (ValueError, TypeError):
                child.dismiss("it answered what cannot be understood")
        time.sleep(LOOK_SECONDS)
    return given_up(job, f"its worker ended again and again ({child.last_words})")


def given_up(job: Job, reason: str) -> tuple[Outcome, ...]:
    """Return that all steps of a job failed."""
    return tuple(
        Outcome(name=step.name, pipeline=step.pipeline, state="failed", reason=reason)
        for step in job.task.steps
    )


def _resident_bytes(process: int) -> int:
    """Return the memory a process has; 0 where the system does not tell."""
    try:
        pages = Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1]
    except (OSError, IndexError):
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
