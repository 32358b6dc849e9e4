from dataclasses import replace

import pytest

from unweight.core.errors import UsageError
from unweight.registry import commands, pipeline
from unweight.run.cost import bytes_of, seconds_of, seconds_of_run
from unweight.run.planned import PlannedStep, PlannedTask


def step(command: str = "t1", voxels: int = 10**7, volumes: int = 7) -> PlannedStep:
    return PlannedStep(pipeline=command, entities={"sub": "01"}, inputs={}, voxels=voxels, volumes=volumes)


def task(*steps: PlannedStep) -> PlannedTask:
    return PlannedTask(subject="01", session="", steps=steps)


@pytest.mark.parametrize("command", commands())
def test_cost_grows_with_voxels_times_images(command: str) -> None:
    """Beyond what a command costs with nothing to do, twice the work is twice the cost."""
    for cost in (seconds_of, bytes_of):
        nothing = cost(step(command, voxels=0))
        once = cost(step(command)) - nothing
        assert once > 0
        assert cost(step(command, voxels=2 * 10**7)) - nothing == pytest.approx(2 * once)
        assert cost(step(command, volumes=14)) - nothing == pytest.approx(2 * once)


def test_cost_is_base_and_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    cheap = replace(pipeline("t1"), nanoseconds=1000.0, bytes=100.0)
    monkeypatch.setattr("unweight.run.cost.pipeline", {"t1": cheap}.__getitem__)
    assert seconds_of(step(voxels=10**6, volumes=5)) == pytest.approx(0.3 + 5.0)
    assert bytes_of(step(voxels=10**6, volumes=5)) == pytest.approx(2**29 + 5e8)


def test_workers_share_the_visits_but_not_one_of_them() -> None:
    tasks = [task(step()) for _ in range(8)]
    one = seconds_of(step())
    start = seconds_of_run([], 1)
    assert seconds_of_run(tasks, 1) == pytest.approx(start + 8 * one)
    assert seconds_of_run(tasks, 4) == pytest.approx(start + 2 * one)
    assert seconds_of_run(tasks, 100) == pytest.approx(start + one)
    assert seconds_of_run([task(step(), step())], 2) == pytest.approx(start + 2 * one)


def test_an_unknown_command_is_no_step() -> None:
    with pytest.raises(UsageError):
        seconds_of(step("t3"))
