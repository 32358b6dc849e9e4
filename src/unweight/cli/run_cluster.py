"""`unweight run` on other machines. Only `--cluster` and `--scheduler` load this, and with it Dask."""

import argparse
from collections.abc import Sequence

from unweight.cli.worker import work
from unweight.run.cluster import (
    BatchJob,
    Workers,
    batch_cluster,
    certificates,
    certificates_of_user,
    quiet_dask,
    run_on,
)
from unweight.run.job import Job
from unweight.run.local import Tell
from unweight.run.record import LOGS

GIGA = 1e9
ENCRYPTED = "tls://"


def carry_out_elsewhere(
    jobs: Sequence[Job], tell: Tell, means: tuple[int, float], arguments: argparse.Namespace
) -> None:
    """Carry out jobs by the workers of a scheduler that runs, or of a batch system.

    Args:
        jobs: What is to be done.
        tell: Is called when a job has ended.
        means: Number of workers, and memory of each [byte].
        arguments: Of `unweight run`.
    """
    workers, memory = means
    gpu = bool(arguments.gpu)
    if arguments.scheduler:
        with quiet_dask():
            security = certificates_of_user() if arguments.scheduler.startswith(ENCRYPTED) else None
            run_on(Workers(scheduler=arguments.scheduler, security=security, gpu=gpu), jobs, work, tell)
        return
    batch = batch_job(arguments, arguments.cluster, memory / GIGA)
    logs = arguments.out_dir.absolute() / LOGS
    with quiet_dask(), certificates(logs) as security, batch_cluster(batch, security) as cluster:
        cluster.scale(workers)
        run_on(Workers(scheduler=cluster, gpu=gpu), jobs, work, tell)


def check_certificates() -> None:
    """Refuse to go to a scheduler at `tls://` without certificates.

    Raises:
        UsageError: The configuration of Dask names none that can be used.
    """
    certificates_of_user()


def batch_job(arguments: argparse.Namespace, system: str, gigabytes: float) -> BatchJob:
    """Return what a job of a batch system asks for, as the command line says."""
    return BatchJob(
        system=system,
        gigabytes=gigabytes,
        walltime=arguments.walltime or "04:00:00",
        queue=arguments.queue or "",
        account=arguments.account or "",
        interface=arguments.interface or "",
        gpu=bool(arguments.gpu),
        directives=tuple(arguments.directives or ()),
    )
