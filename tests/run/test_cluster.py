"""Workers of Dask, the doors of their scheduler, and the scripts of those on batch systems."""

import json
import os
import shlex
import socket
import ssl
import stat
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("dask_jobqueue")
pytest.importorskip("cryptography")
import dask
from distributed import Client, LocalCluster
from distributed.security import Security

from tests.cli.processes import Listener, listeners, need_proc
from tests.run.jobs import job_of
from unweight.core.errors import OutputError, UsageError
from unweight.run import cluster as module
from unweight.run.cluster import (
    BatchJob,
    Workers,
    batch_cluster,
    certificates,
    certificates_of_user,
    quiet_dask,
    run_on,
)
from unweight.run.job import Job, Outcome
from unweight.run.planned import PlannedStep, PlannedTask

GIGA = 10**9
TEMPORARY = Security.temporary()
SHORT = {"distributed.comm.timeouts.connect": "2s"}


@contextmanager
def local_workers(count: int) -> Iterator[LocalCluster]:
    """Give workers like those of a batch system, on this machine."""
    with LocalCluster(
        n_workers=count,
        threads_per_worker=1,
        memory_limit=GIGA,
        dashboard_address="127.0.0.1:0",
        security=TEMPORARY,
    ) as cluster:
        yield cluster


@contextmanager
def batch_system(folder: Path, **asked_for: object) -> Iterator[Any]:
    """Give the cluster of a batch system to which no job is submitted."""
    batch = BatchJob(**{"system": "slurm", "gigabytes": 4, **asked_for})  # type: ignore[arg-type]
    with quiet_dask(), certificates(folder) as security, batch_cluster(batch, security) as cluster:
        yield cluster


def job(subject: str, folder: Path) -> Job:
    step = PlannedStep(pipeline="t1", entities={"sub": subject}, inputs={})
    return job_of(subject, out=folder, task=PlannedTask(subject=subject, session="", steps=(step,)))


def trivial(text: str) -> str:
    """Note who was asked, and answer; the subject says what happens before."""
    asked = json.loads(text)
    subject, folder = asked["task"]["subject"], Path(asked["settings"]["out"])
    with (folder / f"asked-{subject}").open("a") as file:
        file.write(f"{os.getpid()} {asked['wait']}\n")
    again = len((folder / f"asked-{subject}").read_text().splitlines()) > 1
    if subject == "poison" or (subject == "once" and not again):
        os.kill(os.getpid(), 9)
    state = "busy" if subject == "shared" and not asked["wait"] else "done"
    return json.dumps([{"name": f"sub-{subject}_t1", "pipeline": "t1", "state": state}])


@pytest.fixture(scope="module")
def workers() -> Iterator[LocalCluster]:
    with quiet_dask(), local_workers(2) as cluster:
        yield cluster


def carried_out(cluster: LocalCluster, folder: Path, subjects: Sequence[str]) -> dict[str, Outcome]:
    found: dict[str, Outcome] = {}

    def tell(_: Job, outcomes: tuple[Outcome, ...]) -> None:
        assert all(one.name not in found for one in outcomes)
        found.update({one.name: one for one in outcomes})

    with quiet_dask():
        run_on(Workers(scheduler=cluster), [job(one, folder) for one in subjects], trivial, tell)
    return found


def asked(folder: Path, subject: str) -> list[list[str]]:
    return [line.split() for line in (folder / f"asked-{subject}").read_text().splitlines()]


def test_all_is_done_in_other_processes(workers: LocalCluster, tmp_path: Path) -> None:
    subjects = [f"{n:02d}" for n in range(12)]
    found = carried_out(workers, tmp_path, subjects)
    assert {name: one.state for name, one in found.items()} == {f"sub-{one}_t1": "done" for one in subjects}
    processes = {line[0] for one in subjects for line in asked(tmp_path, one)}
    assert str(os.getpid()) not in processes
    assert all(len(asked(tmp_path, one)) == 1 for one in subjects)


def test_what_another_run_is_busy_with_is_asked_again_and_waits(
    workers: LocalCluster, tmp_path: Path
) -> None:
    found = carried_out(workers, tmp_path, ["01", "shared", "02"])
    assert [one.state for one in found.values()] == ["done"] * 3
    assert [line[1] for line in asked(tmp_path, "shared")] == ["False", "True"]


def test_a_worker_killed_over_a_visit_is_replaced(workers: LocalCluster, tmp_path: Path) -> None:
    found = carried_out(workers, tmp_path, ["01", "once", "02", "03"])
    assert [one.state for one in found.values()] == ["done"] * 4
    assert len(asked(tmp_path, "once")) == 2


def test_a_visit_that_always_kills_its_worker_does_not_stop_the_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "DASK", {**module.DASK, "distributed.scheduler.allowed-failures": 1})
    with quiet_dask(), local_workers(1) as cluster:
        found = carried_out(cluster, tmp_path, ["01", "poison", "02", "03"])
    states = {name: one.state for name, one in found.items()}
    assert states.pop("sub-poison_t1") == "failed"
    assert states == dict.fromkeys(("sub-01_t1", "sub-02_t1", "sub-03_t1"), "done")
    assert found["sub-poison_t1"].reason == "its worker terminated repeatedly"
    assert len(asked(tmp_path, "poison")) == 2


def test_more_deaths_are_allowed_than_steps_of_a_visit_may_cause() -> None:
    """`carry_out` gives a step up after three; a visit has six commands at most, most of one series."""
    assert module.DASK["distributed.scheduler.allowed-failures"] >= 3 * 6


def test_a_scheduler_that_stays_away_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(module, "DASK", {**module.DASK, "distributed.comm.timeouts.connect": "200ms"})
    with quiet_dask(), pytest.raises(UsageError, match="the scheduler became unreachable") as caught:
        run_on(Workers(scheduler="tcp://127.0.0.1:9"), [job("01", tmp_path)], trivial, lambda *_: None)
    assert "complete results are kept" in caught.value.remedy


def test_no_jobs_need_no_scheduler(tmp_path: Path) -> None:
    run_on(Workers(scheduler="tcp://127.0.0.1:9"), [], trivial, lambda *_: None)


def test_settings_of_dask_are_as_before_after_the_block() -> None:
    with dask.config.set({"distributed.worker.memory.pause": 0.8}):
        with quiet_dask():
            assert dask.config.get("distributed.worker.memory.pause") is False
        assert dask.config.get("distributed.worker.memory.pause") == 0.8


# Who may talk to a scheduler.


@pytest.fixture(scope="module")
def waiting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The scheduler of a batch system, which waits for its workers."""
    with batch_system(tmp_path_factory.mktemp("waiting")) as cluster:
        yield cluster


@pytest.mark.parametrize("shown", ["another certificate", "no encryption"])
def test_a_client_without_the_certificate_is_refused(waiting: Any, tmp_path: Path, shown: str) -> None:
    """What a client may do is to have a function called on the scheduler: this one would leave a file."""
    address = waiting.scheduler_address
    security: Security | None = Security.temporary()
    if shown == "no encryption":
        address, security = address.replace("tls://", "tcp://"), None
    with pytest.raises(OSError), dask.config.set(SHORT), ExitStack() as stack:
        client = stack.enter_context(Client(address, security=security, timeout=2))
        client.run_on_scheduler((tmp_path / "code-ran").touch)
    assert not (tmp_path / "code-ran").exists()


def test_the_certificate_of_the_run_is_taken(waiting: Any, tmp_path: Path) -> None:
    """So that the refusals above are due to the certificate."""
    with Client(waiting.scheduler_address, security=waiting.security) as client:
        client.run_on_scheduler((tmp_path / "code-ran").touch)
    assert (tmp_path / "code-ran").exists()


@pytest.mark.parametrize("shown", [False, True])
def test_a_connection_gets_a_word_for_its_certificate_alone(waiting: Any, shown: bool) -> None:
    """The same with the socket library alone: a server of Dask greets whom it takes."""
    host, port = waiting.scheduler_address.removeprefix("tls://").rsplit(":", 1)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if shown:
        context.load_cert_chain(waiting.security.tls_client_cert, waiting.security.tls_client_key)
    heard = b""
    with (
        suppress(OSError),
        socket.create_connection((host, int(port)), timeout=10) as plain,
        context.wrap_socket(plain) as stream,
    ):
        heard = stream.recv(100)
    assert bool(heard) is shown


def test_a_batch_system_listens_at_one_address_and_has_no_pages(tmp_path: Path) -> None:
    need_proc()
    before = listeners([os.getpid()])
    with batch_system(tmp_path) as cluster:
        assert cluster.scheduler_address.startswith("tls://")
        host, port = cluster.scheduler_address.removeprefix("tls://").rsplit(":", 1)
        assert listeners([os.getpid()]) - before == {Listener("tcp", host, int(port))}


def test_the_interface_can_be_chosen(tmp_path: Path) -> None:
    with batch_system(tmp_path, interface="lo") as cluster:
        assert cluster.scheduler_address.startswith("tls://127.0.0.1:")
        assert "--interface lo" in cluster.job_script()


def test_an_interface_that_is_none_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(UsageError, match="'nonet' is not a valid network interface") as caught,
        batch_system(tmp_path, interface="nonet"),
    ):
        pass
    assert "--interface" in caught.value.remedy


def test_the_certificate_is_private_and_goes_with_the_run(tmp_path: Path) -> None:
    with certificates(tmp_path):
        (private,) = tmp_path.iterdir()
        assert stat.S_IMODE(private.stat().st_mode) == 0o700
        names = sorted(path.name for path in private.iterdir())
        assert names == ["certificate.pem", "key.pem"]
        assert {stat.S_IMODE(path.stat().st_mode) for path in private.iterdir()} == {0o600}
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OutputError, match="cannot be written to"), certificates(tmp_path / "none"):
        pass


# Certificates of the user, for a scheduler that runs.


def test_a_scheduler_at_tls_needs_a_certificate_of_the_user(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="none is given") as caught:
        certificates_of_user()
    assert "DASK_DISTRIBUTED__COMM__TLS__CLIENT__CERT" in caught.value.remedy
    named = {
        f"distributed.comm.tls.{name}": str(tmp_path / "none.pem")
        for name in ("ca-file", "client.cert", "client.key")
    }
    with dask.config.set(named), pytest.raises(UsageError, match=r"cannot be used \(No such file"):
        certificates_of_user()


def test_certificates_of_the_user_are_shown(tmp_path: Path) -> None:
    with batch_system(tmp_path) as cluster, certificates(tmp_path) as other:
        for security, taken in ((cluster.security, True), (other, False)):
            named = {
                "distributed.comm.tls.ca-file": security.tls_ca_file,
                "distributed.comm.tls.client.cert": security.tls_client_cert,
                "distributed.comm.tls.client.key": security.tls_client_key,
            }
            with dask.config.set(named):
                workers = Workers(scheduler=cluster.scheduler_address, security=certificates_of_user())
            if taken:
                with Client(workers.scheduler, security=workers.security) as client:
                    assert client.scheduler_info()["workers"] == {}
            else:
                with pytest.raises(UsageError, match="certificates were rejected"):
                    run_on(workers, [job("01", tmp_path)], trivial, lambda *_: None)


# Batch systems.


@pytest.fixture(scope="module")
def full_script(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The script of a job that asks for everything; its certificates lie in a folder with a hard name."""
    folder = tmp_path_factory.mktemp("it's a $HOME; folder")
    asked_for: dict[str, object] = {
        "walltime": "02:00:00",
        "queue": "long",
        "account": "brain",
        "gpu": True,
    }
    with batch_system(folder, directives=("--constraint=intel",), **asked_for) as cluster:
        text = cluster.job_script()
    assert isinstance(text, str)
    return text


def test_the_script_names_the_certificates(full_script: str) -> None:
    (line,) = (line for line in full_script.splitlines() if "dask_worker" in line)
    words = shlex.split(line)
    assert words[words.index("--protocol") + 1] == "tls://"
    for option, name in (("ca-file", "certificate"), ("cert", "certificate"), ("key", "key")):
        path = Path(words[words.index(f"--tls-{option}") + 1])
        assert path.name == f"{name}.pem" and path.parent.parent.name.startswith("it's a $HOME; folder")


def test_workers_show_no_pages_and_never_pause(full_script: str) -> None:
    assert "--no-dashboard" in full_script and "--preload unweight.run.no_pages" in full_script
    for name, value in (("PAUSE", "False"), ("SPILL", "False"), ("TERMINATE", "0.95")):
        assert f"export DASK_DISTRIBUTED__WORKER__MEMORY__{name}={value}" in full_script


def test_slurm_script_asks_for_what_was_said(full_script: str) -> None:
    lines = full_script.splitlines()
    for line in ("-p long", "-A brain", "-t 02:00:00", "--gres=gpu:1", "--constraint=intel"):
        assert f"#SBATCH {line}" in lines
    assert "#SBATCH -n 1" in lines and "#SBATCH --cpus-per-task=1" in lines
    assert any(line.startswith("#SBATCH --mem=4G") for line in lines)
    assert "export OMP_NUM_THREADS=1" in lines
    assert "--nthreads 1" in full_script and "--resources GPU=1" in full_script
    checked = subprocess.run(["bash", "-n"], input=full_script, text=True, capture_output=True, check=False)
    assert checked.returncode == 0, checked.stderr


def lifetime_of(text: str) -> tuple[int, int]:
    words = text.split()
    return tuple(  # type: ignore[return-value]
        int(words[words.index(option) + 1].removesuffix("s"))
        for option in ("--lifetime", "--lifetime-stagger")
    )


def test_a_worker_ends_before_its_job_does(full_script: str) -> None:
    """Dask draws the lifetime from lifetime ± stagger; the batch system ends the job at its walltime."""
    lifetime, stagger = lifetime_of(full_script)
    assert lifetime - stagger >= 0.75 * 7200 and lifetime + stagger < 7200


@pytest.mark.parametrize(
    ("walltime", "seconds"), [("00:10:00", 600), ("100:00:00", 360_000), ("1-12:00:00", 129_600)]
)
def test_lifetime_follows_the_walltime(walltime: str, seconds: int) -> None:
    lifetime, stagger = (int(one.removesuffix("s")) for one in module._lifetime(walltime))
    assert 0.75 * seconds <= lifetime - stagger and lifetime + stagger < seconds


@pytest.mark.parametrize("walltime", ["4h", "30", "", "-1:00:00", "00:00:00", "1:2:3:4"])
def test_a_walltime_that_is_none_is_refused(walltime: str) -> None:
    with pytest.raises(UsageError, match="time") as caught:
        batch_cluster(BatchJob(system="slurm", gigabytes=4, walltime=walltime), TEMPORARY)
    assert "hours:minutes:seconds" in caught.value.remedy


@pytest.mark.parametrize("system", list(module.BATCH_SYSTEMS))
def test_every_batch_system_has_a_script(system: str, tmp_path: Path) -> None:
    with batch_system(tmp_path, system=system) as cluster:
        script = cluster.job_script()
    assert "dask_worker" in script and "--tls-key" in script


@pytest.mark.parametrize(
    ("system", "word"), [("pbs", "-A brain"), ("sge", "-P brain"), ("lsf", "-P brain")]
)
def test_every_batch_system_has_its_own_words(system: str, word: str, tmp_path: Path) -> None:
    with batch_system(tmp_path, system=system, queue="long", account="brain") as cluster:
        text = cluster.job_script()
    assert word in text.replace('"', "") and "-q long" in text


def test_htcondor_has_no_queue() -> None:
    with pytest.raises(UsageError, match="HTCondor supports neither --queue"):
        batch_cluster(BatchJob(system="htcondor", gigabytes=2, queue="long"), TEMPORARY)
