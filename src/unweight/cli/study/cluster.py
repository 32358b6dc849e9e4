"""`unweight run` on other machines. Only `--cluster` and `--scheduler` load this, and with it Dask."""

from collections.abc import Sequence

from unweight.cli.study.options import RunOptions
from unweight.cli.study.worker import work
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
    jobs: Sequence[Job], tell: Tell, means: tuple[int, float], options: RunOptions
) -> None:
    """Carry out jobs by the workers of a scheduler that runs, or of a batch system.

    Args:
        jobs: What is to be done.
        tell: Is called when a job has ended.
        means: Number of workers, and memory of each [byte].
        options: Of `unweight run`.
    """
    workers, memory = means
    gpu = bool(options.gpu)
    if options.scheduler:
        with quiet_dask():
            security = certificates_of_user() if options.scheduler.startswith(ENCRYPTED) else None
            run_on(Workers(scheduler=options.scheduler, security=security, gpu=gpu), jobs, work, tell)
        return
    batch = batch_job(options, memory / GIGA)
    logs = options.out_dir.absolute() / LOGS
    with quiet_dask(), certificates(logs) as security, batch_cluster(batch, security) as cluster:
        cluster.scale(workers)
        run_on(Workers(scheduler=cluster, gpu=gpu), jobs, work, tell)


def check_certificates() -> None:
    """Refuse to go to a scheduler at `tls://` without certificates.

    Raises:
        UsageError: The configuration of Dask names none that can be used.
    """
    certificates_of_user()


def batch_job(options: RunOptions, gigabytes: float) -> BatchJob:
    """Return what a job of a batch system asks for, as the command line says."""
    return BatchJob(
        system=options.cluster or "",
        gigabytes=gigabytes,
        walltime=options.walltime or "04:00:00",
        queue=options.queue or "",
        account=options.account or "",
        interface=options.interface or "",
        gpu=bool(options.gpu),
        directives=tuple(options.directives or ()),
    )
