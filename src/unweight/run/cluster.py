"""Many workers: Dask on this machine, on a batch system, or on a scheduler that is there already.

Workers are told and answer in short lines of text; images stay in files. A worker that dies is replaced,
and what it did is begun again elsewhere. If the scheduler goes away, this waits for it to come back.
"""

import asyncio
import importlib
import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, final

import dask
from distributed import Client, KilledWorker, LocalCluster, as_completed
from distributed.comm.core import CommClosedError

from unweight.core.errors import UsageError
from unweight.run.job import Job, outcomes_from_json
from unweight.run.local import ONE_THREAD, Tell, given_up

LOG = logging.getLogger(__name__)

# A visit that ends its process is given up by `carry_out`; Dask only sees to it that this is tried.
DASK: Mapping[str, object] = {
    "distributed.scheduler.allowed-failures": 20,
    "distributed.scheduler.worker-saturation": 1.0,
    "distributed.scheduler.worker-ttl": "60s",
    "distributed.comm.timeouts.tcp": "30s",
    # Results stay in files: a worker has nothing to spill, and memory it keeps must not stop it.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": 0.95,
    "distributed.nanny.pre-spawn-environ": dict(ONE_THREAD),
    "distributed.logging.distributed": "critical",
}
BATCH_SYSTEMS = {
    "slurm": "SLURMCluster",
    "pbs": "PBSCluster",
    "sge": "SGECluster",
    "lsf": "LSFCluster",
    "oar": "OARCluster",
    "htcondor": "HTCondorCluster",
}
PROJECT = {"slurm": "account", "pbs": "account", "sge": "project", "lsf": "project", "oar": "project"}
GPU = "GPU"
PRIVATE = "127.0.0.1:0"  # Dask shows pages of itself: not to others, and at a port that is free
WALLTIME = re.compile(r"(?:(\d+)-)?(\d+):(\d+):(\d+)")
LOST = (CommClosedError, OSError, TimeoutError, asyncio.CancelledError, CancelledError)
PATIENCE_SECONDS, AGAIN_SECONDS = 600.0, 2.0


@final
@dataclass(frozen=True, kw_only=True)
class Workers:
    """Where jobs go.

    Attributes:
        scheduler: Its address, or a cluster; it is called again if it went away.
        gpu: Whether a job takes a whole GPU, which workers must offer as a resource.
    """

    scheduler: Any
    gpu: bool = False


@final
@dataclass(frozen=True, kw_only=True)
class BatchJob:
    """What one job of a batch system asks for.

    Attributes:
        system: One of `BATCH_SYSTEMS`.
        gigabytes: Of memory.
        walltime: `hours:minutes:seconds`.
        queue: Or partition; empty for the default.
        account: Or project; empty for the default.
        gpu: Whether it needs a GPU.
        directives: Further lines of the script, without its prefix.
    """

    system: str
    gigabytes: float
    walltime: str = "04:00:00"
    queue: str = ""
    account: str = ""
    gpu: bool = False
    directives: tuple[str, ...] = ()


@contextmanager
def quiet_dask() -> Iterator[None]:
    """Configure Dask for as long as the block lasts, and keep its own talk off the terminal."""
    logger = logging.getLogger("distributed")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with dask.config.set(dict(DASK)):
            yield
    finally:
        logger.setLevel(before)


def local_workers(count: int, most_bytes: int, *, gpu: bool = False) -> LocalCluster:
    """Start workers on this machine, each a process of one thread, ended above some memory."""
    return LocalCluster(
        n_workers=count,
        threads_per_worker=1,
        processes=True,
        memory_limit=most_bytes,
        dashboard_address=PRIVATE,
        resources={GPU: 1} if gpu else None,
        silence_logs=logging.CRITICAL,
    )


def batch_cluster(batch: BatchJob) -> Any:
    """Return a cluster whose workers are jobs of a batch system; none is submitted before it is scaled.

    Raises:
        UsageError: dask-jobqueue is not installed, or the time of a job is none.
    """
    try:
        jobqueue = importlib.import_module("dask_jobqueue")
    except ImportError as error:
        raise UsageError(
            "batch systems need dask-jobqueue, which is not installed here",
            remedy="pip install 'unweight[cluster]'; or let `unweight slurm` write a job array.",
        ) from error
    lifetime, stagger = _lifetime(batch.walltime)
    settings: dict[str, Any] = {
        "cores": 1,
        "processes": 1,
        "memory": f"{batch.gigabytes:g}GB",
        "job_extra_directives": list(batch.directives),
        "job_script_prologue": [f"export {name}={value}" for name, value in ONE_THREAD.items()],
        # A worker that leaves before its time is up ends between two visits.
        "worker_extra_args": ["--lifetime", lifetime, "--lifetime-stagger", stagger],
        "scheduler_options": {"dashboard_address": PRIVATE},
    }
    if batch.gpu:
        settings["worker_extra_args"] += ["--resources", f"{GPU}=1"]
        if batch.system == "slurm":
            settings["job_extra_directives"].append("--gres=gpu:1")
    settings |= _place(batch)
    return getattr(jobqueue, BATCH_SYSTEMS[batch.system])(**settings)


def _place(batch: BatchJob) -> dict[str, Any]:
    """Return what says where and how long a job runs, in the words of its batch system."""
    if batch.system != "htcondor":
        queue = {"queue": batch.queue} if batch.queue else {}
        account = {PROJECT[batch.system]: batch.account} if batch.account else {}
        # OAR reserves cores; what a core has of memory is a matter of the site.
        own = {"memory_per_core_property_name": "not_applicable"} if batch.system == "oar" else {}
        return {"walltime": batch.walltime, **queue, **account, **own}
    if batch.queue or batch.account:
        raise UsageError("HTCondor knows no queue and no account", remedy="Leave them out.")
    return {"disk": "1GB"}


def run_on(workers: Workers, jobs: Sequence[Job], function: Callable[[str], str], tell: Tell) -> None:
    """Carry out jobs on the workers of a scheduler.

    Args:
        workers: Where they go.
        jobs: What is to be done.
        function: Does one, text in and text out.
        tell: Is called when a job has ended.

    Raises:
        UsageError: The scheduler stayed away.
    """
    pending = {job.task.label: job for job in jobs}
    since = time.monotonic()
    while pending:
        before = len(pending)
        try:
            with Client(workers.scheduler) as client:
                submit = partial(
                    client.submit, function, pure=False, resources={GPU: 1} if workers.gpu else None
                )
                _collect(submit, pending, tell)
        except LOST as error:
            if len(pending) < before:
                since = time.monotonic()
            if time.monotonic() - since > PATIENCE_SECONDS:
                raise UsageError(
                    f"the scheduler went away and did not come back ({type(error).__name__})",
                    remedy="Start it and call this again: what is complete is kept.",
                ) from error
            time.sleep(AGAIN_SECONDS)


def _collect(submit: Callable[[str], Any], pending: dict[str, Job], tell: Tell) -> None:
    """Submit what is pending and take off what has ended; what another run is busy with is asked again."""
    futures = {submit(job.to_json()): job for job in pending.values()}
    ended = as_completed(list(futures))
    for future in ended:
        job = futures.pop(future)
        try:
            outcomes = outcomes_from_json(future.result())
        except KilledWorker:
            outcomes = given_up(job, "its worker ended again and again")
        if any(one.state == "busy" for one in outcomes):
            waiting = replace(job, wait=True)
            again = submit(waiting.to_json())
            futures[again] = waiting
            ended.add(again)
            continue
        del pending[job.task.label]
        tell(job, outcomes)


def _lifetime(walltime: str) -> tuple[str, str]:
    """Return how long a worker takes on visits, and by how much workers differ, so that all ends in time.

    Raises:
        UsageError: This is no time.
    """
    found = WALLTIME.fullmatch(walltime)
    if found is None:
        raise UsageError(f"{walltime!r} is no time of a job", remedy="Give hours:minutes:seconds.")
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    total = ((24 * days + hours) * 60 + minutes) * 60 + seconds
    if total <= 0:
        raise UsageError("a job needs some time", remedy="Give hours:minutes:seconds.")
    return f"{0.85 * total:.0f}s", f"{0.05 * total:.0f}s"
