import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.run.jobs import job_of
from unweight.run.carry_out import MOST_ATTEMPTS
from unweight.run.job import Job, Outcome
from unweight.run.local import Child, given_up, run_locally
from unweight.run.planned import PlannedStep, PlannedTask

AMPLE = 2**40
ANSWER = """
import json, os, sys, time
from pathlib import Path
here = Path(__file__).parent
for line in sys.stdin:
    job = json.loads(line)
    subject = job["task"]["subject"]
    with (here / "asked").open("a") as asked:
        asked.write(f"{{subject}} {{job['wait']}} {{os.getpid()}}\\n")
    state = "done"
    {body}
    print(json.dumps([{{"name": f"sub-{{subject}}_t1", "pipeline": "t1", "state": state}}]), flush=True)
"""
Make = Callable[[str], Child]


def job(subject: str) -> Job:
    step = PlannedStep(pipeline="t1", entities={"sub": subject}, inputs={})
    return job_of(subject, task=PlannedTask(subject=subject, session="", steps=(step,)))


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Return what makes a worker whose program does something before it answers."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)

    def child(body: str) -> Child:
        (tmp_path / "told_worker.py").write_text(ANSWER.format(body=body))
        return Child(module="told_worker", most_bytes=AMPLE)

    return child


def asked(folder: Path) -> list[list[str]]:
    return [line.split() for line in (folder / "asked").read_text().splitlines()]


def carried_out(child: Child, *subjects: str, more: Sequence[Child] = ()) -> list[Outcome]:
    found: list[Outcome] = []
    jobs = [job(one) for one in subjects]
    run_locally(jobs, [child, *more], lambda _, outcomes: found.extend(outcomes))
    assert all(one.process is None for one in (child, *more))
    return found


def told(found: list[Outcome]) -> dict[str, str]:
    return {one.name: one.state for one in found}


def test_one_process_does_all_in_order(make: Make, tmp_path: Path) -> None:
    child = make("")
    assert told(carried_out(child, "02", "01")) == {"sub-02_t1": "done", "sub-01_t1": "done"}
    subjects, _, processes = zip(*asked(tmp_path), strict=True)
    assert subjects == ("02", "01")
    assert len(set(processes)) == 1 and str(os.getpid()) not in processes


def test_two_workers_share_the_jobs_and_work_at_a_time(make: Make, tmp_path: Path) -> None:
    """Each waits in its first job until both have one, which one after the other would never have."""
    child = make(
        "until = time.monotonic() + 20\n"
        "    while len({line.split()[2] for line in open(here / 'asked')}) < 2:\n"
        "        time.sleep(0.01); assert time.monotonic() < until\n"
    )
    subjects = [f"{n:02d}" for n in range(1, 9)]
    found = told(carried_out(child, *subjects, more=[Child(module=child.module, most_bytes=AMPLE)]))
    assert found == {f"sub-{one}_t1": "done" for one in subjects}
    names, _, processes = zip(*asked(tmp_path), strict=True)
    assert sorted(names) == subjects and len(set(processes)) == 2


def test_of_two_workers_one_that_dies_does_not_stop_the_other(make: Make, tmp_path: Path) -> None:
    child = make("if subject == '02': os.kill(os.getpid(), 9)")
    found = told(
        carried_out(child, "01", "02", "03", "04", more=[Child(module=child.module, most_bytes=AMPLE)])
    )
    assert found == {f"sub-0{n}_t1": "failed" if n == 2 else "done" for n in range(1, 5)}
    assert sum(line[0] != "02" for line in asked(tmp_path)) == 3


def test_no_worker_is_left_when_the_run_is_interrupted(make: Make, tmp_path: Path) -> None:
    children = [
        make("time.sleep(60 if subject == '02' else 0)"),
        Child(module="told_worker", most_bytes=AMPLE),
    ]

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_locally([job("01"), job("02")], children, interrupt)
    assert time.monotonic() - began < 20 and [one.process for one in children] == [None, None]
    for _, _, process in asked(tmp_path):
        assert not Path(f"/proc/{process}").exists()


def test_what_another_run_is_busy_with_comes_last_and_waits(make: Make, tmp_path: Path) -> None:
    child = make("state = 'busy' if subject == '01' and not job['wait'] else 'done'")
    assert [one.name for one in carried_out(child, "01", "02")] == ["sub-02_t1", "sub-01_t1"]
    assert [line[:2] for line in asked(tmp_path)] == [["01", "False"], ["02", "False"], ["01", "True"]]


def test_a_worker_that_is_killed_is_replaced(make: Make, tmp_path: Path) -> None:
    child = make(
        "if subject == '02' and not (here / 'once').exists():\n"
        "        (here / 'once').touch(); os.kill(os.getpid(), 9)"
    )
    assert set(told(carried_out(child, "01", "02", "03")).values()) == {"done"}
    processes = [line[2] for line in asked(tmp_path)]
    assert processes[0] == processes[1] != processes[2] == processes[3]


def test_a_visit_that_always_kills_its_worker_is_given_up(make: Make, tmp_path: Path) -> None:
    found = carried_out(make("if subject == '02': os.kill(os.getpid(), 9)"), "01", "02", "03")
    assert told(found) == {"sub-01_t1": "done", "sub-02_t1": "failed", "sub-03_t1": "done"}
    assert found[1].reason == "its worker terminated repeatedly (it was ended by signal 9)"
    assert MOST_ATTEMPTS < sum(line[0] == "02" for line in asked(tmp_path)) < 10


def test_a_worker_killed_from_outside_between_two_visits_is_replaced(make: Make) -> None:
    child = make("")
    child.ask(job("01"))
    assert child.answer() is not None
    assert child.process is not None
    child.process.send_signal(signal.SIGKILL)
    time.sleep(0.2)
    assert told(carried_out(child, "02")) == {"sub-02_t1": "done"}


def test_a_worker_that_takes_too_much_memory_is_ended(make: Make, tmp_path: Path) -> None:
    if not Path("/proc/self/statm").exists():
        pytest.skip("this system does not tell how much memory a process has")
    child = make(
        "ballast = bytearray(200 * 2**20) if subject == '02' else b''; time.sleep(2 * len(ballast[:1]))"
    )
    child.most_bytes = 100 * 2**20
    found = carried_out(child, "01", "02")
    assert told(found) == {"sub-01_t1": "done", "sub-02_t1": "failed"}
    assert "it took more than 0.1 GiB of memory" in found[1].reason


def test_a_worker_that_cannot_start_is_said(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (found,) = carried_out(Child(module="unweight.no_such_worker", most_bytes=AMPLE), "01")
    assert found.state == "failed"
    assert found.reason.startswith("its worker terminated repeatedly (it ended ")
    assert "No module named" in capfd.readouterr().err


@pytest.mark.parametrize("rubbish", ["print('Hello')", "print('5')", "print('[{}]')", "print('[5]')"])
def test_a_worker_that_answers_rubbish_is_replaced(make: Make, tmp_path: Path, rubbish: str) -> None:
    """What it says after that belongs to no question and must not be taken for the next answer."""
    child = make(f"if subject == '01' and not (here / 'once').exists(): (here / 'once').touch(); {rubbish}")
    assert told(carried_out(child, "01", "02")) == {"sub-01_t1": "done", "sub-02_t1": "done"}


def test_a_worker_that_answers_nothing_else_is_given_up(make: Make) -> None:
    found = carried_out(make("print('Hello') if subject == '01' else None"), "01", "02")
    assert told(found) == {"sub-01_t1": "failed", "sub-02_t1": "done"}
    assert "it returned an invalid answer" in found[0].reason


def test_workers_have_one_thread_unless_told_otherwise(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("MKL_NUM_THREADS", "2")
    child = make(
        "(here / 'said').write_text(os.environ['OMP_NUM_THREADS'] + os.environ['MKL_NUM_THREADS'])"
    )
    carried_out(child, "01")
    assert (tmp_path / "said").read_text() == "12"


def test_all_steps_of_a_visit_are_given_up() -> None:
    steps = tuple(PlannedStep(pipeline=one, entities={"sub": "01"}, inputs={}) for one in ("t1", "maps"))
    found = given_up(job_of("01", task=PlannedTask(subject="01", session="", steps=steps)), "why")
    assert [(one.name, one.state, one.reason) for one in found] == [
        ("sub-01_t1", "failed", "why"),
        ("sub-01_maps", "failed", "why"),
    ]
