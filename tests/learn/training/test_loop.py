import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from unweight.core.errors import InputError, UsageError
from unweight.core.seeding import seeded_generator
from unweight.learn.training.execution import Precision
from unweight.learn.training.loop import LOG, SNAPSHOT, Step, train
from unweight.learn.training.recipe import TrainingPlan
from unweight.learn.training.trainable import Batch, Task

ROOT = Path(__file__).parents[3]
CPU = torch.device("cpu")
SLOPES = torch.tensor([[1.0, -2.0, 0.5]])
OFFSET = 0.3
PLAN = TrainingPlan(
    n_steps=20, batch_size=16, learning_rate=0.05, warm_up=3, check_every=4, save_every=6, ema_decay=0.9
)

LONG = replace(PLAN, n_steps=400, weight_decay=0.0, check_every=400, save_every=400)


def network() -> nn.Linear:
    line = nn.Linear(3, 1)
    with torch.no_grad():
        line.weight.copy_(torch.tensor([[0.1, 0.2, 0.3]]))
        line.bias.zero_()
    return line


@dataclass(frozen=True, kw_only=True)
class Line(Task):
    """Linear regression, with a little noise drawn by the loss."""

    line: nn.Module = field(default_factory=network)
    noise: float = 0.0

    @property
    def network(self) -> nn.Module:
        return self.line

    def loss(self, network: nn.Module, batch: Batch, generator: torch.Generator) -> Float[Tensor, ""]:
        y = batch["y"] + self.noise * torch.randn(batch["y"].shape, generator=generator)
        return (network(batch["x"]) - y).square().mean()


def draw(generator: torch.Generator) -> Batch:
    x = torch.randn(16, 3, generator=generator)
    return {"x": x, "y": x @ SLOPES.T + OFFSET}


class InterruptionError(Exception):
    pass


def interrupt(at: int) -> Callable[[Step], None]:
    def report(step: Step) -> None:
        if step.step == at:
            raise InterruptionError

    return report


def run(
    plan: TrainingPlan = PLAN, *, folder: Path | None = None, report: Callable[[Step], None] | None = None
) -> dict[str, Tensor]:
    return train(Line(noise=0.1), draw, plan, seed=5, device=CPU, folder=folder, report=report)


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_known_solution_is_found() -> None:
    plan = replace(LONG, check_every=100)
    steps: list[Step] = []
    weights = train(Line(), draw, plan, seed=1, device=CPU, report=steps.append)
    torch.testing.assert_close(weights["weight"], SLOPES, atol=2e-3, rtol=0)
    assert float(weights["bias"]) == pytest.approx(OFFSET, abs=2e-3)
    assert [one.step for one in steps] == [100, 200, 300, 400]
    losses = [one.loss for one in steps]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 1e-4 * losses[0]


def test_autocast_comes_close() -> None:
    plan = replace(LONG, n_steps=200)
    weights = train(Line(), draw, plan, seed=1, device=CPU, precision=Precision.BFLOAT16)
    assert weights["weight"].dtype == torch.float32
    # bfloat16 keeps eight bits.
    torch.testing.assert_close(weights["weight"], SLOPES, atol=0.03, rtol=0)


def test_average_is_that_of_the_closed_form() -> None:
    """θ̄_n = Σ_k (1 - d_k) Π_{j>k} d_j θ_k, with the start weighted by the product of all decays."""
    visited: list[Tensor] = []
    task = Line()

    def watch(step: Step) -> None:
        visited.append(task.line.weight.detach().clone())  # type: ignore[union-attr, operator]

    start = task.network.weight.detach().clone()  # type: ignore[union-attr, operator]
    plan = replace(PLAN, check_every=1)
    weights = train(task, draw, plan, seed=5, device=CPU, report=watch)
    decays = [min(0.9, (1 + k) / (10 + k)) for k in range(plan.n_steps)]
    share = 1.0
    expected = torch.zeros(1, 3)
    for decay, theta in zip(reversed(decays), reversed(visited), strict=True):
        expected += share * (1 - decay) * theta
        share *= decay
    torch.testing.assert_close(weights["weight"], expected + share * start)


def test_first_step_is_that_of_adamw() -> None:
    """The first update of Adam is the sign of the gradient times the rate, whatever was clipped."""
    task = Line()
    plan = TrainingPlan(n_steps=1, batch_size=16, learning_rate=0.01, warm_up=0, weight_decay=0.5, clip=0.1)
    start = network()
    Line(line=start).loss(start, draw(seeded_generator(5, "batch", 0, 0)), torch.Generator()).backward()
    train(task, draw, plan, seed=5, device=CPU)
    assert start.weight.grad is not None and start.bias.grad is not None
    weight = start.weight * (1 - 0.01 * 0.5) - 0.01 * start.weight.grad.sign()
    torch.testing.assert_close(task.network.weight, weight)  # type: ignore[arg-type]
    torch.testing.assert_close(task.network.bias, start.bias - 0.01 * start.bias.grad.sign())  # type: ignore[arg-type]


def test_check_sees_the_average_and_cannot_disturb() -> None:
    seen: list[Tensor] = []

    def check(network: nn.Module) -> dict[str, float]:
        assert not network.training and not torch.is_grad_enabled()
        seen.append(network.weight.clone())  # type: ignore[operator, arg-type]
        nn.init.zeros_(network.weight)  # type: ignore[arg-type]
        return {"score": 1.0}

    steps: list[Step] = []
    weights = train(Line(noise=0.1), draw, PLAN, seed=5, device=CPU, check=check, report=steps.append)
    assert same(weights, run())
    assert torch.equal(seen[-1], weights["weight"])
    assert [one.step for one in steps] == [4, 6, 8, 12, 16, 18, 20]
    assert [one.checks for one in steps] == [
        None if n in (6, 18) else {"score": 1.0} for n in (4, 6, 8, 12, 16, 18, 20)
    ]
    assert steps[-1].rate == pytest.approx(PLAN.rate(19))


@pytest.mark.parametrize("at", [4, 6, 16, 18, 20])
def test_interrupted_training_goes_on_exactly(tmp_path: Path, at: int) -> None:
    whole = run(folder=tmp_path / "whole")
    with pytest.raises(InterruptionError):
        run(folder=tmp_path / "cut", report=interrupt(at))
    steps: list[int] = []
    assert same(run(folder=tmp_path / "cut", report=lambda step: steps.append(step.step)), whole)
    assert steps == [n for n in (4, 6, 8, 12, 16, 18, 20) if n > {4: 0, 6: 6, 16: 12, 18: 18, 20: 20}[at]]
    one, other = (load_file(tmp_path / name / SNAPSHOT) for name in ("whole", "cut"))
    assert same(one, other)
    logs = [(tmp_path / name / LOG).read_text().splitlines() for name in ("whole", "cut")]
    kept = [[{k: v for k, v in json.loads(one).items() if k != "seconds"} for one in log] for log in logs]
    assert kept[0] == kept[1]
    assert [one["step"] for one in kept[0]] == [4, 6, 8, 12, 16, 18, 20]
    seconds = [json.loads(one)["seconds"] for one in logs[1]]
    assert seconds == sorted(seconds)
    assert {one["precision"] for one in kept[1]} == {"float32 (the plan allows no other)"}


def test_finished_training_is_not_repeated(tmp_path: Path) -> None:
    weights = run(folder=tmp_path)
    assert same(run(folder=tmp_path, report=interrupt(20)), weights)


def test_killed_process_goes_on_exactly(tmp_path: Path) -> None:
    code = f"from {__name__} import *; be_killed(Path({str(tmp_path)!r}))"
    assert python(code).wait(60) == -signal.SIGKILL
    assert same(run(folder=tmp_path), run())


def be_killed(folder: Path) -> None:
    """Train, and be killed while the batch after step 14 is drawn: the last snapshot is of step 12."""
    torch.set_num_threads(1)
    drawn = 0

    def fatal(generator: torch.Generator) -> Batch:
        nonlocal drawn
        drawn += 1
        if drawn == 15:
            os.kill(os.getpid(), signal.SIGKILL)
        return draw(generator)

    train(Line(noise=0.1), fatal, PLAN, seed=5, device=CPU, folder=folder)


def python(code: str, **environment: str) -> subprocess.Popen[bytes]:
    paths = {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")]), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", code], env={**os.environ, **paths, **environment}, cwd=ROOT
    )


@pytest.mark.slow  # on a busy machine one of two processes over gloo now and then waits forever
def test_two_processes_average_their_gradients(tmp_path: Path) -> None:
    """What two processes find is what one finds whose batch is that of both."""
    start_two(tmp_path)
    first, second = (load_file(tmp_path / f"rank-{rank}.safetensors") for rank in range(2))
    assert same(first, second)
    assert (tmp_path / "reports.txt").read_text() == "0" * 7

    def together(generator: torch.Generator) -> Batch:
        step = next(steps)
        parts = [draw(seeded_generator(5, "batch", step, rank)) for rank in range(2)]
        return {name: torch.cat([one[name] for one in parts]) for name in ("x", "y")}

    steps = iter(range(PLAN.n_steps))
    alone = train(Line(), together, PLAN, seed=5, device=CPU)
    for name, tensor in alone.items():
        # The mean of two means, not of all: rounding, which Adam divides by small gradients.
        torch.testing.assert_close(first[name], tensor, atol=1e-5, rtol=1e-5)


def free_ports(count: int) -> list[int]:
    """Find ports below those that outgoing connections take, or one of these could take it in between."""
    found: list[int] = []
    first = 15_000 + os.getpid() * 16 % 15_000
    for port in range(first, first + 200):
        with socket.socket() as one, contextlib.suppress(OSError):
            one.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            return found
    raise RuntimeError("no free port")


def start_two(folder: Path) -> None:
    """Do what torchrun does: start two processes, and wait for both."""
    port, next_port = (str(one) for one in free_ports(2))
    code = f"from tests.learn.training.test_loop import *; share(Path({str(folder)!r}))"
    about = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "NEXT_PORT": next_port}
    both = [python(code, RANK=str(rank), LOCAL_RANK=str(rank), **about) for rank in range(2)]
    try:
        assert [process.wait(60) for process in both] == [0, 0]
    finally:
        for process in both:
            process.kill()
            process.wait()


def share(folder: Path) -> None:
    """Train as one of two processes, and find the training finished when asked again."""
    rank = int(os.environ["RANK"])
    task = Line()
    if rank == 1:  # the start is that of the first process
        nn.init.zeros_(task.network.weight)  # type: ignore[arg-type]

    def report(step: Step) -> None:
        with (folder / "reports.txt").open("a") as file:
            file.write(str(rank))

    weights = train(task, draw, PLAN, seed=5, device=CPU, folder=folder, report=report)
    os.environ["MASTER_PORT"] = os.environ["NEXT_PORT"]
    assert same(train(Line(), draw, PLAN, seed=5, device=CPU, folder=folder, report=report), weights)
    save_file(weights, folder / f"rank-{rank}.safetensors")


@pytest.mark.parametrize("change", ["plan", "seed", "network"])
def test_folder_of_another_training_is_refused(tmp_path: Path, change: str) -> None:
    run(folder=tmp_path)
    plan = replace(PLAN, learning_rate=0.1) if change == "plan" else PLAN
    task = Line(line=nn.Linear(4, 1)) if change == "network" else Line(noise=0.1)
    with pytest.raises(UsageError, match="different plan, seed, network or number of processes"):
        train(task, draw, plan, seed=6 if change == "seed" else 5, device=CPU, folder=tmp_path)


def test_damaged_log_is_refused(tmp_path: Path) -> None:
    run(folder=tmp_path)
    (tmp_path / LOG).write_text('{"step": 4}\nnonsense\n')
    with pytest.raises(InputError, match="is not the log of a training"):
        run(folder=tmp_path)


def test_step_without_a_finite_loss_changes_nothing() -> None:
    drawn = 0

    def now_and_then(generator: torch.Generator) -> Batch:
        nonlocal drawn
        drawn += 1
        batch = draw(generator)
        return {"x": batch["x"], "y": batch["y"] * (torch.nan if drawn % 2 else 1.0)}

    steps: list[Step] = []
    weights = train(Line(), now_and_then, LONG, seed=1, device=CPU, report=steps.append)
    torch.testing.assert_close(weights["weight"], SLOPES, atol=2e-3, rtol=0)
    assert steps[-1].skipped == 200
    assert steps[-1].loss < 10


def test_infinite_loss_with_a_finite_gradient_is_skipped() -> None:
    class Shifted(Line):
        def loss(self, network: nn.Module, batch: Batch, generator: torch.Generator) -> Float[Tensor, ""]:
            return super().loss(network, batch, generator) + torch.inf

    steps: list[Step] = []
    weights = train(Shifted(), draw, PLAN, seed=1, device=CPU, report=steps.append)
    assert torch.equal(weights["weight"], network().weight)
    assert steps[-1].loss != steps[-1].loss


def test_lasting_failure_is_told_with_its_step(tmp_path: Path) -> None:
    plan = replace(PLAN, n_steps=300)

    def broken(generator: torch.Generator) -> Batch:
        return {"x": torch.full((16, 3), torch.nan), "y": torch.zeros(16, 1)}

    with pytest.raises(UsageError, match="101 times in a row, up to step 101"):
        train(Line(), broken, plan, seed=1, device=CPU, folder=tmp_path)
    assert json.loads((tmp_path / LOG).read_text().splitlines()[-1])["loss"] is None


def test_network_without_parameters_is_refused() -> None:
    with pytest.raises(UsageError, match="no parameters to train"):
        train(Line(line=nn.ReLU()), draw, PLAN, seed=1, device=CPU)
