"""Training: AdamW, clipped gradients, a moving average of the weights, and snapshots to go on from.

    θ ← AdamW(θ, clip(∇L)),   θ̄ ← d θ̄ + (1 - d) θ,   d = min(decay, (1 + k) / (10 + k))

(Loshchilov and Hutter, Decoupled weight decay regularization, ICLR 2019). All that is random at step k
comes from generators seeded for this step and process, so that no state of a generator needs to be
kept: an interrupted training resumes as if it had not been interrupted.
"""

import copy
import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import isfinite, nan
from pathlib import Path
from typing import final

import torch
from torch import Tensor, nn

from unweight.core.errors import InputError, UsageError
from unweight.core.estimator import Progress
from unweight.core.seeding import seeded_generator
from unweight.files.atomic import write_bytes_atomic
from unweight.files.text_files import parse_json, read_text
from unweight.learn.training.checkpoint import Snapshot, read_snapshot, training_digest, write_snapshot
from unweight.learn.training.execution import (
    DistributedContext,
    Precision,
    PrecisionChoice,
    StepTrial,
    autocast,
    choose_precision,
    joined_processes,
)
from unweight.learn.training.recipe import TrainingPlan
from unweight.learn.training.trainable import Batch, Batches, Task

SNAPSHOT = "snapshot.safetensors"
LOG = "log.jsonl"
LARGEST_LOG = 256 * 2**20
MAX_SKIPPED = 100

Check = Callable[[nn.Module], Mapping[str, float]]


@final
@dataclass(frozen=True, kw_only=True)
class Step:
    """How a training goes.

    Attributes:
        step: Steps done.
        n_steps: Steps in all.
        loss: Mean over the steps since the last report that had a finite loss; NaN if none had.
        rate: Learning rate of the last step.
        checks: What the check found, if it was made at this step.
        seconds: Time spent, with that before an interruption [s].
        skipped: Steps so far without an update, because loss or gradient were not finite.
    """

    step: int
    n_steps: int
    loss: float
    rate: float
    checks: Mapping[str, float] | None
    seconds: float
    skipped: int


class TrainingCallback(ABC):
    """Called as a training proceeds."""

    @abstractmethod
    def samples(self, part: str) -> Progress | None:
        """Return what is called with the samples computed and all of them; `part` is `train` …."""

    @abstractmethod
    def precision(self, choices: tuple[PrecisionChoice, ...]) -> None:
        """Called before the first step with what losses are computed in, first to last."""

    @abstractmethod
    def step(self, step: Step) -> None:
        """Called at each check and each snapshot."""


@final
@dataclass(frozen=True)
class NullCallback(TrainingCallback):
    """Does nothing."""

    def samples(self, part: str) -> Progress | None:
        """Return None."""
        return None

    def precision(self, choices: tuple[PrecisionChoice, ...]) -> None:
        """Do nothing."""

    def step(self, step: Step) -> None:
        """Do nothing."""


NULL_CALLBACK = NullCallback()
Report = Callable[[Step], None]
Announce = Callable[[tuple[PrecisionChoice, ...]], None]


def train(
    task: Task,
    batches: Batches,
    plan: TrainingPlan,
    *,
    seed: int,
    device: torch.device,
    precision: Precision = Precision.AUTO,
    folder: Path | None = None,
    check: Check | None = None,
    report: Report | None = None,
    announce: Announce | None = None,
) -> dict[str, Tensor]:
    """Train the network of a task in place and return the moving average of its weights.

    Started by torchrun, the processes share the work: each draws its own batches, gradients are
    averaged, and the first process alone checks, reports and writes.

    Args:
        task: The network and its loss.
        batches: Draws a batch on the CPU; step k is always given the same generator.
        plan: Steps, rates and batch size.
        seed: Of batches and losses; the weights the network has when this is called are the start.
        device: Where to train; under torchrun `cuda` becomes the device of the process.
        precision: Of the loss; the weights are float32 in any case.
        folder: Where a snapshot and the log are kept; a training there is resumed.
        check: Given a copy of the network with the averaged weights, in `eval` mode.
        report: Called at each check and each snapshot with the state of the training.
        announce: Called before the first step with the precisions of the losses, first to last.

    Returns:
        The averaged weights by the names of the state dict, float32, on the CPU.

    Raises:
        UsageError: The folder holds another training, or the loss stays without a finite value.
        InputError: The snapshot or the log is damaged.
        OutputError: The folder cannot be written to.
    """
    with joined_processes(device) as processes:
        network = task.network.to(processes.device)
        wrapped = processes.wrap(network)
        state = _State.start(network, plan)
        digest = training_digest(plan, seed, state.network, processes.n)
        log = _CheckpointLog(folder=folder, digest=digest)
        log.resume(state)
        processes.agree(state.step)
        loop = _TrainingLoop(task=task, batches=batches, plan=plan, seed=seed, processes=processes)
        if state.step < plan.n_steps:
            state.compute_in(processes.agreed(loop.choice(precision, state)))
        if processes.rank == 0 and announce is not None:
            announce(state.choices)
        if processes.rank == 0 and state.step == 0:
            log.keep(state)
        for step in loop.steps(state, wrapped):
            if processes.rank == 0:
                done = _evaluate(state, step, check)
                log.enter(done, state.choices[-1])
                if step.step % plan.save_every == 0 or step.step == plan.n_steps:
                    log.keep(state)
                if report is not None:
                    report(done)
        processes.agree(state.step)  # nobody leaves before the last snapshot is written
        return state.averaged()


@final
@dataclass(kw_only=True, eq=False)
class _State:
    """What a step changes."""

    network: nn.Module
    average: nn.Module
    optimizer: torch.optim.AdamW
    step: int = 0
    skipped: int = 0
    in_row: int = 0
    seconds: float = 0.0
    choices: tuple[PrecisionChoice, ...] = ()

    @classmethod
    def start(cls, network: nn.Module, plan: TrainingPlan) -> "_State":
        free = [parameter_spec for parameter_spec in network.parameters() if parameter_spec.requires_grad]
        if not free:
            raise UsageError("the network has no parameters to train")
        groups = [
            {"params": [item for item in free if item.ndim > 1], "weight_decay": plan.weight_decay},
            {"params": [item for item in free if item.ndim <= 1], "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW([group for group in groups if group["params"]], lr=plan.learning_rate)
        average = copy.deepcopy(network).requires_grad_(False).eval()
        return cls(network=network.train(), average=average, optimizer=optimizer)

    def compute_in(self, choice: PrecisionChoice) -> None:
        """Keep the precision of the steps to come, if it is another than before."""
        if not self.choices or self.choices[-1].precision is not choice.precision:
            self.choices = (*self.choices, replace(choice, first_step=self.step))

    def update(self, plan: TrainingPlan) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = plan.rate(self.step)
        self.optimizer.step()
        decay = plan.decay(self.step)
        with torch.no_grad():
            for mean, now in zip(self.average.parameters(), self.network.parameters(), strict=True):
                mean.lerp_(now, 1 - decay)
            for kept, current in zip(self.average.buffers(), self.network.buffers(), strict=True):
                kept.copy_(current)

    def averaged(self) -> dict[str, Tensor]:
        return {
            name: tensor.detach().to(
                "cpu", torch.float32 if tensor.is_floating_point() else None, copy=True
            )
            for name, tensor in self.average.state_dict().items()
        }

    def snapshot(self, digest: str) -> Snapshot:
        moments = {
            name: self.optimizer.state[named_parameter]
            for name, named_parameter in self.network.named_parameters()
            if named_parameter in self.optimizer.state
        }
        return Snapshot(
            digest=digest,
            step=self.step,
            skipped=self.skipped,
            in_row=self.in_row,
            seconds=self.seconds,
            choices=self.choices,
            network=self.network.state_dict(),
            average=self.average.state_dict(),
            first={name: moment["exp_avg"] for name, moment in moments.items()},
            second={name: moment["exp_avg_sq"] for name, moment in moments.items()},
            updates={name: moment["step"] for name, moment in moments.items()},
        )

    def restore(self, snapshot: Snapshot) -> None:
        self.step, self.seconds = snapshot.step, snapshot.seconds
        self.skipped, self.in_row = snapshot.skipped, snapshot.in_row
        self.choices = snapshot.choices
        self.network.load_state_dict(dict(snapshot.network))
        self.average.load_state_dict(dict(snapshot.average))
        for name, named_parameter in self.network.named_parameters():
            if name in snapshot.updates:
                self.optimizer.state[named_parameter] = {
                    "step": snapshot.updates[name].clone(),
                    "exp_avg": snapshot.first[name].to(named_parameter.device, copy=True),
                    "exp_avg_sq": snapshot.second[name].to(named_parameter.device, copy=True),
                }


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class _TrainingLoop:
    """The steps of a training."""

    task: Task
    batches: Batches
    plan: TrainingPlan
    seed: int
    processes: DistributedContext

    def steps(self, state: _State, wrapped: nn.Module) -> Iterator[Step]:
        """Make the steps that are left, and give those to be reported."""
        if state.step == self.plan.n_steps:
            return
        losses: list[float] = []
        start = time.perf_counter() - state.seconds
        batch = self._draw(state.step)
        while state.step < self.plan.n_steps:
            rate = self.plan.rate(state.step)
            numbers = self._gradients(state, wrapped, batch)
            if state.step + 1 < self.plan.n_steps:
                batch = self._draw(state.step + 1)  # while an accelerator is still at work
            loss, norm = numbers.tolist()
            if isfinite(loss) and isfinite(norm):
                state.update(self.plan)
                state.in_row = 0
                losses.append(loss)
            else:
                self._skip(state)
            state.step += 1
            state.seconds = time.perf_counter() - start
            if self._is_reported(state.step):
                yield Step(
                    step=state.step,
                    n_steps=self.plan.n_steps,
                    loss=sum(losses) / len(losses) if losses else nan,
                    rate=rate,
                    checks={} if self._is_checked(state.step) else None,
                    seconds=state.seconds,
                    skipped=state.skipped,
                )
                losses = []

    def choice(self, wish: Precision, state: _State) -> PrecisionChoice:
        """Return what the next losses are to be computed in."""
        trial = StepTrial(
            task=self.task,
            network=state.network,
            device=self.processes.device,
            draw=lambda: self._draw(state.step),
            generator=lambda: self._noise(state.step),
        )
        return choose_precision(
            wish,
            allowed=self.plan.bfloat16,
            device=self.processes.device,
            seconds=trial,
            before=state.choices[-1] if state.choices else None,
        )

    def _noise(self, step: int) -> torch.Generator:
        return seeded_generator(self.seed, "loss", step, self.processes.rank)

    def _draw(self, step: int) -> Batch:
        return self.batches(seeded_generator(self.seed, "batch", step, self.processes.rank))

    def _gradients(self, state: _State, wrapped: nn.Module, batch: Batch) -> Tensor:
        """Compute clipped gradients; return the loss and their norm, the same in all processes."""
        device = self.processes.device
        moved = {name: tensor.to(device) for name, tensor in batch.items()}
        state.optimizer.zero_grad()
        with autocast(device, state.choices[-1].precision):
            loss = self.task.loss(wrapped, moved, self._noise(state.step))
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it without types
        norm = nn.utils.clip_grad_norm_(state.network.parameters(), self.plan.clip)
        return self.processes.mean(torch.stack([loss.detach().float(), norm.float()]))

    def _skip(self, state: _State) -> None:
        state.skipped += 1
        state.in_row += 1
        if state.in_row > MAX_SKIPPED:
            raise UsageError(
                f"loss or gradient were not finite {state.in_row} times in a row, up to step "
                f"{state.step + 1}",
                remedy="Lower the learning rate, or look for what is not finite in the batches.",
            )

    def _is_checked(self, step: int) -> bool:
        return step % self.plan.check_every == 0 or step == self.plan.n_steps

    def _is_reported(self, step: int) -> bool:
        return self._is_checked(step) or step % self.plan.save_every == 0


def _evaluate(state: _State, step: Step, check: Check | None) -> Step:
    """Return the step with what the check finds, where one is due."""
    if check is None or step.checks is None:
        return replace(step, checks=None)
    with torch.no_grad():
        return replace(step, checks=dict(check(copy.deepcopy(state.average))))


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class _CheckpointLog:
    """What is kept on the disk: the snapshot, and a line for each report."""

    folder: Path | None
    digest: str
    lines: list[str] = field(default_factory=list)

    def resume(self, state: _State) -> None:
        """Bring a training to where its snapshot stands; lines of the log beyond it are dropped."""
        if self.folder is None:
            return
        snapshot = read_snapshot(self.folder / SNAPSHOT, self.digest)
        if snapshot is None:
            return
        state.restore(snapshot)
        path = self.folder / LOG
        try:
            lines = read_text(path, LARGEST_LOG).splitlines() if path.exists() else []
            self.lines.extend(line for line in lines if int(parse_json(line)["step"]) <= state.step)
        except (InputError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                "is not the log of a training", remedy="Move it away; it is only a record.", path=path
            ) from error

    def keep(self, state: _State) -> None:
        if self.folder is not None:
            write_snapshot(self.folder / SNAPSHOT, state.snapshot(self.digest))

    def enter(self, step: Step, choice: PrecisionChoice) -> None:
        if self.folder is None:
            return
        line = {
            "step": step.step,
            "loss": _plain(step.loss),
            "rate": step.rate,
            "checks": None if step.checks is None else {k: _plain(v) for k, v in step.checks.items()},
            "seconds": round(step.seconds, 3),
            "skipped": step.skipped,
            "precision": str(choice),
        }
        self.lines.append(json.dumps(line, allow_nan=False))
        write_bytes_atomic(self.folder / LOG, "".join(f"{item}\n" for item in self.lines).encode())


def _plain(number: float) -> float | None:
    """Return the number, or None where JSON has no word for it."""
    return float(number) if isfinite(number) else None
