import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.run.jobs import planned_job
from unweight.cli.study import worker
from unweight.cli.study.worker import UNEXPECTED, call, work
from unweight.run.job import outcomes_from_json


def test_what_a_command_says_is_caught(capsys: pytest.CaptureFixture[str]) -> None:
    said = call(["t1", "none.nii", "-o", "maps"])
    assert said.code == 2 and "none.nii" in said.text
    said = call(["t1", "--no-such-option"])
    assert said.code == 2 and "are required: INPUT" in said.text
    assert call(["--version"]).code == 0
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err == ""


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MemoryError(), "insufficient memory"),
        (
            ZeroDivisionError("by zero"),
            "unexpected ZeroDivisionError: by zero. Run the command with --debug.",
        ),
    ],
)
def test_a_fault_of_the_program_is_told_like_any_other(
    monkeypatch: pytest.MonkeyPatch, error: Exception, message: str
) -> None:
    def fail(_: object) -> int:
        raise error

    monkeypatch.setattr(worker, "main", fail)
    said = call(["t1"])
    assert (said.code, said.text) == (UNEXPECTED, message)


def test_a_job_is_answered_with_its_outcomes(tmp_path: Path) -> None:
    job = planned_job(tmp_path)  # three equal images without times: nothing to be mapped
    (outcome,) = outcomes_from_json(work(job.to_json()))
    assert (outcome.name, outcome.pipeline, outcome.state) == ("sub-01_t1", "t1", "failed")
    assert "InversionTime" in outcome.reason and str(tmp_path) not in outcome.reason


def test_a_process_answers_line_by_line_and_nothing_else_comes_between(tmp_path: Path) -> None:
    jobs = [planned_job(tmp_path, subject) for subject in ("01", "02")]
    jobs[1] = replace(jobs[1], settings=replace(jobs[1].settings, options={"t1": ("--no-such",)}))
    done = subprocess.run(
        [sys.executable, "-m", "unweight.cli.study.worker"],
        input="".join(f"{one.to_json()}\n" for one in jobs),
        capture_output=True,
        text=True,
        check=True,
    )
    first, second = (json.loads(line) for line in done.stdout.splitlines())
    assert first[0]["name"] == "sub-01_t1" and second[0]["name"] == "sub-02_t1"
    assert "--no-such" in second[0]["reason"]
