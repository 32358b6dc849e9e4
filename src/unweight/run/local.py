"""Workers of this machine: processes that are each asked for one visit after the other.

Each is a process of its own, so that whatever a visit does to it (a crash, too much memory) the run goes on
with a new one. Questions and answers are lines of text in pipes between parent and worker: nothing listens,
and no other account can ask. A worker does not outlive its parent.
"""

import contextlib
import os
import select
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

from unweight.run.carry_out import MOST_ATTEMPTS
from unweight.run.job import Job, Outcome, outcomes_from_json

Tell = Callable[[Job, tuple[Outcome, ...]], None]
LOOK_SECONDS = 0.25
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
STARTER = "unweight.run.child_process"


@final
@dataclass(kw_only=True, eq=False)
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
    last_words: str = ""

    def ask(self, job: Job) -> None:
        """Give it a job; if it cannot take it, there will be no answer."""
        process = self._running()
        if process.stdin is None:
            return
        try:
            process.stdin.write(job.to_json().encode() + b"\n")
            process.stdin.flush()
        except OSError:
            self._bury("it terminated before the first request")

    def answer(self) -> tuple[Outcome, ...] | None:
        """Return the outcomes of the job, once they are there, or None if it died over it."""
        if self.process is None or self.process.stdout is None:
            return None
        line = self.process.stdout.readline()
        if not line.endswith(b"\n"):
            self._bury("")
            return None
        try:
            return outcomes_from_json(line.decode(errors="replace"))
        except (ValueError, TypeError):  # what it says next would be taken for another answer
            self.end("it returned an invalid answer")
            return None

    def check_memory(self) -> None:
        """End the process if it has more memory than it may."""
        if self.process is not None and _resident_bytes(self.process.pid) > self.most_bytes:
            self.end(f"it took more than {self.most_bytes / 2**30:.1f} GiB of memory")

    def end(self, why: str = "") -> None:
        """End the process at once, if it runs: what is complete is on the disk already."""
        if self.process is not None:
            self.process.kill()
            self._bury(why)

    def _running(self) -> "subprocess.Popen[bytes]":
        if self.process is None:
            self.process = subprocess.Popen(
                [sys.executable, "-m", STARTER, str(os.getpid()), self.module],
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


def run_locally(jobs: Sequence[Job], children: Sequence[Child], tell: Tell) -> None:
    """Carry out jobs, one at a time by each worker; those that another run is busy with come last.

    Args:
        jobs: What is to be done.
        children: Who does it; all have ended when this returns.
        tell: Is called when a job has ended.
    """
    pending = deque(jobs)
    at_work: dict[Child, Job] = {}
    deaths: Counter[str] = Counter()
    try:
        while pending or at_work:
            for child in children:
                if pending and child not in at_work:
                    at_work[child] = pending.popleft()
                    child.ask(at_work[child])
            for child in _ready(at_work):
                job = at_work.pop(child)
                outcomes = _outcomes(child, job, deaths)
                if outcomes is None:
                    pending.appendleft(job)
                elif any(outcome.state == "busy" for outcome in outcomes):
                    pending.append(replace(job, wait=True))
                else:
                    tell(job, outcomes)
    finally:
        for child in children:
            child.end()


def _ready(children: Collection[Child]) -> list[Child]:
    """Return those that have answered or died, after a moment at the most; end those that take too much."""
    processes = {child: child.process for child in children if child.process is not None}
    streams = {child: process.stdout for child, process in processes.items() if process.stdout is not None}
    lost = [child for child in children if child not in streams]
    if lost:
        return lost
    answered, _, _ = select.select(list(streams.values()), [], [], LOOK_SECONDS)
    for child, stream in streams.items():
        if stream not in answered:
            child.check_memory()
    return [child for child, stream in streams.items() if stream in answered]


def _outcomes(child: Child, job: Job, deaths: Counter[str]) -> tuple[Outcome, ...] | None:
    """Return the outcome of a job, or None if its worker died and another is to try."""
    outcomes = child.answer()
    if outcomes is not None:
        return outcomes
    deaths[job.task.label] += 1
    # Each step may take some workers before `carry_out` gives it up, and so may the start.
    if deaths[job.task.label] < MOST_ATTEMPTS * len(job.task.steps) + 2:
        time.sleep(LOOK_SECONDS)
        return None
    return given_up(job, f"its worker terminated repeatedly ({child.last_words})")


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
