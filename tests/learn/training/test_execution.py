"""Which precision a training takes on a machine, and that a trial of it leaves no trace."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch
from jaxtyping import Float
from torch import Tensor, nn

from unweight.learn.training import execution as module
from unweight.learn.training.checkpoint import read_snapshot, training_digest
from unweight.learn.training.execution import (
    FEATURES,
    LIMITS,
    REPEATS,
    DistributedContext,
    Precision,
    PrecisionChoice,
    choose_precision,
    describe_precision,
    has_bfloat16,
    time_ratio,
)
from unweight.learn.training.loop import LOG, SNAPSHOT, Step, train
from unweight.learn.training.recipe import TrainingPlan
from unweight.learn.training.trainable import Batch, Task

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
AUTO, SINGLE, HALF = Precision.AUTO, Precision.FLOAT32, Precision.BFLOAT16
PLAN = TrainingPlan(n_steps=6, batch_size=8, warm_up=1, check_every=2, save_every=2, bfloat16=True)


@dataclass
class Clock:
    """Takes so long for a step, longer at first [s]."""

    single: float = 1.0
    half: float = 1.0
    steps: list[Precision] = field(default_factory=list)

    def __call__(self, precision: Precision) -> float:
        self.steps.append(precision)
        return (self.single if precision is SINGLE else self.half) * (1 + 1 / len(self.steps))


def emulated(monkeypatch: pytest.MonkeyPatch, ratio: float | None = None) -> None:
    """Let the CPU have no instructions; a ratio that is given replaces that of a trial, which is made."""
    monkeypatch.setattr(module, "has_bfloat16", lambda: False)
    if ratio is not None:
        real = time_ratio
        monkeypatch.setattr(module, "time_ratio", lambda seconds: (real(seconds), ratio)[1])


@pytest.mark.parametrize(
    ("wish", "allowed", "device", "expected", "reason"),
    [
        (SINGLE, True, CUDA, SINGLE, "as asked for"),
        (HALF, False, CPU, HALF, "as asked for"),
        (AUTO, False, CPU, SINGLE, "the plan allows no other"),
        (AUTO, False, CUDA, SINGLE, "the plan allows no other"),
        (AUTO, True, CUDA, HALF, "on cuda"),
        (AUTO, True, CPU, HALF, "this CPU has instructions for it"),
    ],
)
def test_a_trial_is_made_only_where_nothing_else_decides(
    monkeypatch: pytest.MonkeyPatch,
    wish: Precision,
    allowed: bool,
    device: torch.device,
    expected: Precision,
    reason: str,
) -> None:
    monkeypatch.setattr(module, "has_bfloat16", lambda: True)
    clock = Clock()
    choice = choose_precision(wish, allowed=allowed, device=device, seconds=clock)
    assert choice == PrecisionChoice(precision=expected, reason=reason)
    assert not clock.steps


@pytest.mark.parametrize(
    ("half", "before", "expected"),
    [
        (6.3, None, SINGLE),
        (1.0, None, SINGLE),
        (0.95, None, SINGLE),
        (0.85, None, HALF),
        # What a training was begun in stays where both take about as long.
        (0.95, HALF, HALF),
        (1.05, HALF, HALF),
        (1.2, HALF, SINGLE),
        (0.95, SINGLE, SINGLE),
        (0.85, SINGLE, HALF),
    ],
)
def test_a_trial_decides(
    monkeypatch: pytest.MonkeyPatch, half: float, before: Precision | None, expected: Precision
) -> None:
    emulated(monkeypatch)
    begun = None if before is None else PrecisionChoice(precision=before, reason="begun so")
    monkeypatch.setattr(module, "time_ratio", lambda _: half)
    choice = choose_precision(AUTO, allowed=True, device=CPU, seconds=Clock(), before=begun)
    assert choice.precision is expected
    assert choice.reason == f"bfloat16 took {half:.2g} times as long in a trial on this CPU"


def test_a_clear_difference_takes_one_step_of_each() -> None:
    clock = Clock(half=8.0)
    assert time_ratio(clock) == pytest.approx(8.0 * 1.5 / 2.0)
    assert clock.steps == [SINGLE, HALF]


def test_a_small_difference_is_that_of_the_fastest_warm_steps() -> None:
    clock = Clock(half=0.8)
    last = 2 + 2 * REPEATS
    assert time_ratio(clock) == pytest.approx(0.8 * (1 + 1 / last) / (1 + 1 / (last - 1)))
    assert clock.steps == [SINGLE, HALF] * (1 + REPEATS)


@pytest.mark.parametrize("feature", FEATURES)
def test_instructions_are_known_unless_the_libraries_are_limited(
    monkeypatch: pytest.MonkeyPatch, feature: str
) -> None:
    for name in LIMITS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {feature: True}, raising=False)
    assert has_bfloat16()
    for name in LIMITS:
        with monkeypatch.context() as patch:
            patch.setenv(name, "AVX2")
            assert not has_bfloat16()
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {feature: False, "avx2": True})
    assert not has_bfloat16()
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert not has_bfloat16()


@dataclass(frozen=True, kw_only=True)
class Images(Task):
    """A convolution with all that a step may leave behind: running statistics and global randomness."""

    layers: nn.Module

    @property
    def network(self) -> nn.Module:
        return self.layers

    def loss(self, network: nn.Module, batch: Batch, generator: torch.Generator) -> Float[Tensor, ""]:
        noise = torch.randn(batch["y"].shape, generator=generator)
        return (network(batch["x"]).float() - batch["y"] - 0.1 * noise).square().mean()


def task() -> Images:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        layers = [nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5)]
        return Images(layers=nn.Sequential(*layers, nn.Conv2d(4, 1, 3, padding=1)))


def draw(generator: torch.Generator) -> Batch:
    x = torch.randn(8, 1, 6, 6, generator=generator)
    return {"x": x, "y": x.flip(-1)}


def learn(
    wish: Precision = AUTO,
    *,
    folder: Path | None = None,
    report: Callable[[Step], None] | None = None,
    heard: list[tuple[PrecisionChoice, ...]] | None = None,
) -> dict[str, Tensor]:
    torch.manual_seed(11)
    return train(
        task(),
        draw,
        PLAN,
        seed=5,
        device=CPU,
        precision=wish,
        folder=folder,
        report=report,
        announce=None if heard is None else heard.append,
    )


@pytest.mark.parametrize(("ratio", "taken"), [(0.5, HALF), (5.0, SINGLE)])
def test_a_trial_leaves_no_trace(monkeypatch: pytest.MonkeyPatch, ratio: float, taken: Precision) -> None:
    """Weights, running statistics and global randomness are those of a training without one."""
    expected = learn(taken)
    after = torch.random.get_rng_state()
    emulated(monkeypatch, ratio)
    found = learn()
    assert torch.equal(torch.random.get_rng_state(), after)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    other = learn(SINGLE if taken is HALF else HALF)
    assert any(not torch.equal(found[name], other[name]) for name in found)


def test_another_machine_goes_on_in_another_precision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(step: Step) -> None:
        if step.step == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(module, "has_bfloat16", lambda: True)
    with pytest.raises(KeyboardInterrupt):
        learn(folder=tmp_path, report=stop)
    emulated(monkeypatch, 6.3)
    heard: list[tuple[PrecisionChoice, ...]] = []
    learn(folder=tmp_path, heard=heard)
    first = PrecisionChoice(precision=HALF, reason="this CPU has instructions for it")
    slower = "bfloat16 took 6.3 times as long in a trial on this CPU"
    second = PrecisionChoice(precision=SINGLE, reason=slower, first_step=4)
    assert heard == [(first, second)]
    snapshot = read_snapshot(tmp_path / SNAPSHOT, training_digest(PLAN, 5, task().network, 1))
    assert snapshot is not None and snapshot.choices == (first, second)
    lines = [json.loads(line) for line in (tmp_path / LOG).read_text().splitlines()]
    assert [line["precision"] for line in lines] == [str(first), str(first), str(second)]
    # A training that is complete makes no trial, and still knows.
    monkeypatch.setattr(module, "time_ratio", None)
    learn(folder=tmp_path, heard=heard)
    assert heard[1] == heard[0]
    assert describe_precision(heard[0]) == f"{first} up to step 4, then {second}"


def test_words() -> None:
    first = PrecisionChoice(precision=HALF, reason="on cuda")
    assert describe_precision([]) == ""
    assert describe_precision([first]) == "bfloat16 (on cuda)"
    late = replace(first, first_step=300)
    assert describe_precision([late]) == "not noted up to step 300, then bfloat16 (on cuda)"


@pytest.mark.parametrize("others", [0.0, 1.0])
def test_processes_compute_alike(monkeypatch: pytest.MonkeyPatch, others: float) -> None:
    monkeypatch.setattr("torch.distributed.all_reduce", lambda numbers: numbers.add_(others))
    processes = DistributedContext(rank=0, n=2, device=CPU, together=True)
    single = PrecisionChoice(precision=SINGLE, reason="slow")
    assert processes.agreed(single) == single
    half = PrecisionChoice(precision=HALF, reason="fast")
    agreed = processes.agreed(half)
    assert agreed == half if others else agreed.precision is SINGLE
    if not others:
        assert agreed.reason == "bfloat16 would be slower in other processes"
