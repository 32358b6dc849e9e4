"""Workers on other machines: Dask on a batch system, or on a scheduler that already exists.

Workers receive and answer short lines of text; images stay in files. A worker that dies is replaced,
and what it did is begun again elsewhere. If the scheduler goes away, this waits for it to come back.

Whoever may talk to a scheduler or a worker of Dask may run code there. Those of a batch system therefore
talk TLS, with a certificate that is made for one run and that both sides must show, and open no pages.
"""

import asyncio
import logging
import re
import shlex
import shutil
import ssl
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, final

import dask
import dask_jobqueue
from distributed import Client, KilledWorker, as_completed
from distributed.comm.core import CommClosedError, FatalCommClosedError
from distributed.security import Security
from distributed.utils import get_ip, get_ip_interface

from unweight.core.errors import OutputError, UsageError
from unweight.run.job import Job, outcomes_from_json
from unweight.run.local import ONE_THREAD, Tell, given_up

LOG = logging.getLogger(__name__)

# Results stay in files: a worker has nothing to spill, and memory it keeps must not stop it.
OF_WORKERS: Mapping[str, object] = {
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": 0.95,
    "distributed.worker.http.routes": [],
}
# A visit that ends its process is given up by `carry_out`; Dask only sees to it that this is tried.
DASK: Mapping[str, object] = {
    "distributed.scheduler.allowed-failures": 20,
    "distributed.scheduler.worker-saturation": 1.0,
    "distributed.scheduler.worker-ttl": "60s",
    "distributed.scheduler.http.routes": [],
    "distributed.comm.timeouts.tcp": "30s",
    "distributed.logging.distributed": "critical",
    **OF_WORKERS,
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
PRIVATE = "127.0.0.1:0"  # where Dask has pages of itself until `NO_PAGES` closes them
NO_PAGES = "unweight.run.no_pages"
WALLTIME = re.compile(r"(?:(\d+)-)?(\d+):(\d+):(\d+)")
LOST = (CommClosedError, OSError, TimeoutError, asyncio.CancelledError, CancelledError)
PATIENCE_SECONDS, AGAIN_SECONDS = 600.0, 2.0


@final
@dataclass(frozen=True, kw_only=True)
class Workers:
    """Where jobs go.

    Attributes:
        scheduler: Its address, or a cluster; it is called again if it went away.
        security: Certificates to show at an address; a cluster has its own.
        gpu: Whether a job takes a whole GPU, which workers must offer as a resource.
    """

    scheduler: Any
    security: Security | None = None
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
        interface: Network interface that scheduler and workers listen on; empty for the one that other
            hosts are reached by, and on the hosts of workers for all.
        gpu: Whether it needs a GPU.
        directives: Further lines of the script, without its prefix.
    """

    system: str
    gigabytes: float
    walltime: str = "04:00:00"
    queue: str = ""
    account: str = ""
    interface: str = ""
    gpu: bool = False
    directives: tuple[str, ...] = ()


@final
class _FilesForShell(Security):  # type: ignore[misc]  # distributed has no types here
    """Certificates in files, whose names a job script takes as words of the shell."""

    def get_tls_config_for_role(self, role: str) -> dict[str, Any]:
        """Return the settings of a role; only those of workers go into a script."""
        tls_config_for_role: dict[str, Any] = super().get_tls_config_for_role(role)
        if role != "worker":
            return tls_config_for_role
        return {
            name: shlex.quote(value) for name, value in tls_config_for_role.items() if value is not None
        }


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


@contextmanager
def certificates(folder: Path) -> Iterator[Security]:
    """Make a certificate for one run, in files that only this account can read and that end with the block.

    Args:
        folder: That all hosts see.

    Raises:
        OutputError: Nothing can be written there.
    """
    try:
        private = Path(tempfile.mkdtemp(prefix=".tls-", dir=folder))
    except OSError as error:
        raise OutputError(f"cannot be written to ({error.strerror})", path=folder) from error
    try:
        yield _written(private)
    finally:
        shutil.rmtree(private, ignore_errors=True)


def _written(private: Path) -> Security:
    """Write a new certificate into a folder, and return it for all who take part."""
    temporary = Security.temporary()
    certificate, key = private / "certificate.pem", private / "key.pem"
    try:
        for path, content in ((certificate, temporary.tls_ca_file), (key, temporary.tls_worker_key)):
            path.touch(mode=0o600, exist_ok=False)
            path.write_text(content, encoding="ascii")
    except OSError as error:
        raise OutputError(f"cannot be written ({error.strerror})", path=path) from error
    roles = ("client", "scheduler", "worker")
    return _FilesForShell(
        require_encryption=True,
        tls_ca_file=str(certificate),
        **{f"tls_{role}_cert": str(certificate) for role in roles},
        **{f"tls_{role}_key": str(key) for role in roles},
    )


def certificates_of_user() -> Security:
    """Return the certificates that the configuration of Dask names.

    Raises:
        UsageError: It names none, or they cannot be used.
    """
    security = Security(require_encryption=True)
    remedy = (
        "Set DASK_DISTRIBUTED__COMM__TLS__CA_FILE, DASK_DISTRIBUTED__COMM__TLS__CLIENT__CERT and "
        "DASK_DISTRIBUTED__COMM__TLS__CLIENT__KEY, or the same in ~/.config/dask."
    )
    try:
        if security.get_connection_args("client")["ssl_context"] is not None:
            return security
    except (OSError, ssl.SSLError) as error:
        raise UsageError(
            f"the certificates of Dask cannot be used ({error.strerror or error})", remedy=remedy
        ) from error
    raise UsageError("a scheduler at tls:// requires a certificate, and none is given", remedy=remedy)


def batch_cluster(batch: BatchJob, security: Security) -> Any:
    """Return a cluster whose workers are jobs of a batch system; none is submitted before it is scaled.

    Raises:
        UsageError: The time of a job is none, or there is no such network interface.
    """
    lifetime, stagger = _lifetime(batch.walltime)
    exported = {**ONE_THREAD, **{_variable(name): value for name, value in OF_WORKERS.items()}}
    settings: dict[str, Any] = {
        "cores": 1,
        "processes": 1,
        "memory": f"{batch.gigabytes:g}GB",
        "python": shlex.quote(sys.executable),
        "security": security,
        "job_extra_directives": list(batch.directives),
        "job_script_prologue": [
            f"export {name}={shlex.quote(str(value))}" for name, value in exported.items()
        ],
        # A worker that leaves before its time is up ends between two visits.
        "worker_extra_args": ["--lifetime", lifetime, "--lifetime-stagger", stagger],
    }
    settings["worker_extra_args"] += [
        "--no-dashboard",
        "--dashboard-address",
        PRIVATE,
        "--preload",
        NO_PAGES,
    ]
    if batch.gpu:
        settings["worker_extra_args"] += ["--resources", f"{GPU}=1"]
        if batch.system == "slurm":
            settings["job_extra_directives"].append("--gres=gpu:1")
    settings |= _place(batch) | _network(batch)
    return getattr(dask_jobqueue, BATCH_SYSTEMS[batch.system])(**settings)


def _variable(name: str) -> str:
    """Return the environment variable that a setting of Dask is read from."""
    return f"DASK_{name.replace('.', '__').replace('-', '_').upper()}"


def _network(batch: BatchJob) -> dict[str, Any]:
    """Return what says where scheduler and workers listen; what the user configured for the site stands."""
    configured = dask.config.get(f"jobqueue.{batch.system}.scheduler-options", None) or {}
    pages = {"dashboard": False, "dashboard_address": PRIVATE, "preload": [NO_PAGES]}
    interface = batch.interface or dask.config.get(f"jobqueue.{batch.system}.interface", None)
    if interface:
        try:
            get_ip_interface(interface)
        except ValueError as error:
            raise UsageError(str(error), remedy="Give another one with --interface.") from error
        return {"interface": interface, "scheduler_options": {**configured, **pages}}
    place = {} if {"host", "interface"} & set(configured) else {"host": get_ip()}
    return {"scheduler_options": {**place, **configured, **pages}}


def _place(batch: BatchJob) -> dict[str, Any]:
    """Return what says where and how long a job runs, in the words of its batch system."""
    if batch.system != "htcondor":
        queue = {"queue": batch.queue} if batch.queue else {}
        account = {PROJECT[batch.system]: batch.account} if batch.account else {}
        # OAR reserves cores; what a core has of memory is a matter of the site.
        own = {"memory_per_core_property_name": "not_applicable"} if batch.system == "oar" else {}
        return {"walltime": batch.walltime, **queue, **account, **own}
    if batch.queue or batch.account:
        raise UsageError("HTCondor supports neither --queue nor --account", remedy="Omit them.")
    return {"disk": "1GB"}


def run_on(workers: Workers, jobs: Sequence[Job], function: Callable[[str], str], tell: Tell) -> None:
    """Carry out jobs on the workers of a scheduler.

    Args:
        workers: Where they go.
        jobs: What is to be done.
        function: Does one, text in and text out.
        tell: Is called when a job has ended.

    Raises:
        UsageError: The scheduler stayed away, or does not take the certificate.
    """
    pending = {job.task.label: job for job in jobs}
    since = time.monotonic()
    while pending:
        before = len(pending)
        try:
            with Client(workers.scheduler, security=workers.security) as client:
                submit = partial(
                    client.submit, function, pure=False, resources={GPU: 1} if workers.gpu else None
                )
                _collect(submit, pending, tell)
        except FatalCommClosedError as error:
            raise UsageError(
                "the TLS connection to the scheduler failed: certificates were rejected",
                remedy="Use certificates signed by the same authority for the scheduler and for unweight.",
            ) from error
        except LOST as error:
            if len(pending) < before:
                since = time.monotonic()
            if time.monotonic() - since > PATIENCE_SECONDS:
                raise UsageError(
                    f"the scheduler became unreachable ({type(error).__name__})",
                    remedy="Start it and repeat the command; complete results are kept.",
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
            outcomes = given_up(job, "its worker terminated repeatedly")
        if any(outcome.state == "busy" for outcome in outcomes):
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
    match = WALLTIME.fullmatch(walltime)
    if match is None:
        raise UsageError(f"{walltime!r} is not a valid job time", remedy="Give hours:minutes:seconds.")
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    total = ((24 * days + hours) * 60 + minutes) * 60 + seconds
    if total <= 0:
        raise UsageError(
            "the time limit of a job is zero",
            remedy="Give --walltime as hours:minutes:seconds, for example 04:00:00.",
        )
    return f"{0.85 * total:.0f}s", f"{0.05 * total:.0f}s"
