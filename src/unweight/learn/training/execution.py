"""How a training is computed: in which precision, and by which processes.

In which precision the loss of a training is computed: float32, or under autocast to bfloat16.

Hardware that multiplies bfloat16 takes half to all of the time of float32; a CPU without these
instructions emulates them and takes two to ten times as long. So a CPU computes in bfloat16 only where it
has the instructions, or where a trial of both on a batch of the training shows it faster. The weights,
their average and the optimiser are float32 either way, and a training may go on in the other precision.

The processes that share a training, as torchrun starts them.
"""

import copy
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from itertools import pairwise
from typing import final

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from unweight.core.errors import UsageError
from unweight.learn.training.trainable import Batch, Task

FEATURES = ("avx512_bf16", "amx_bf16")
# With one of these set, the libraries use fewer instructions than the CPU has.
LIMITS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY")
FASTER = 0.9  # of the time of the other precision: what a change must gain in a trial
CLEAR = 2.0  # a first ratio beyond which steps need not be repeated
REPEATS = 3


class Precision(StrEnum):
    """What a loss is computed in; `auto` is what is fastest on the device."""

    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


@final
@dataclass(frozen=True, kw_only=True)
class PrecisionChoice:
    """The precision of a training from one step on.

    Attributes:
        precision: `float32` or `bfloat16`.
        reason: Why, in a few words.
        first_step: Steps that were done before.
    """

    precision: Precision
    reason: str
    first_step: int = 0

    def __str__(self) -> str:
        return f"{self.precision} ({self.reason})"


Seconds = Callable[[Precision], float]
"""Makes a step in a precision, without effect on the training, and returns how long it took [s]."""


def choose_precision(
    wish: Precision,
    *,
    allowed: bool,
    device: torch.device,
    seconds: Seconds,
    before: PrecisionChoice | None = None,
) -> PrecisionChoice:
    """Return the precision to train in on this device, and why.

    Args:
        wish: What the user asks for.
        allowed: Whether the plan allows bfloat16.
        device: Where the training runs.
        seconds: For a trial, which is made only where nothing else decides.
        before: Precision of the training that is resumed; a trial must show a gain for it to change.
    """
    if wish is not Precision.AUTO:
        return PrecisionChoice(precision=wish, reason="as asked for")
    if not allowed:
        return PrecisionChoice(precision=Precision.FLOAT32, reason="the plan allows no other")
    if device.type != "cpu":
        return PrecisionChoice(precision=Precision.BFLOAT16, reason=f"on {device.type}")
    if has_bfloat16():
        return PrecisionChoice(precision=Precision.BFLOAT16, reason="this CPU has instructions for it")
    ratio = time_ratio(seconds)
    held = before is not None and before.precision is Precision.BFLOAT16
    faster = ratio < (1 / FASTER if held else FASTER)
    return PrecisionChoice(
        precision=Precision.BFLOAT16 if faster else Precision.FLOAT32,
        reason=f"bfloat16 took {ratio:.2g} times as long in a trial on this CPU",
    )


def has_bfloat16() -> bool:
    """Whether this CPU is known to multiply bfloat16, and nothing keeps the libraries from it."""
    if any(name in os.environ for name in LIMITS):
        return False
    capabilities: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()  # torch 2.11 on
    return any(bool(capabilities.get(name)) for name in FEATURES)


def time_ratio(seconds: Seconds) -> float:
    """Return how many times as long as float32 a step in bfloat16 takes.

    The first step of each also prepares kernels; it decides where the difference is clear, otherwise the
    fastest of a few more, which take turns so that what else the machine does slows both down.
    """
    single, half = seconds(Precision.FLOAT32), seconds(Precision.BFLOAT16)
    if half < CLEAR * single:
        pairs = [(seconds(Precision.FLOAT32), seconds(Precision.BFLOAT16)) for _ in range(REPEATS)]
        single, half = (min(times) for times in zip(*pairs, strict=True))
    return half / single


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[None]:
    """Return the context in which a loss of this precision is computed."""
    context: AbstractContextManager[None] = torch.autocast(
        device.type, dtype=torch.bfloat16, enabled=precision is Precision.BFLOAT16
    )
    return context


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class StepTrial:
    """Times steps of a training on a copy of its network; draws from no generator of the training.

    Attributes:
        task: What is trained.
        network: Its network, which is left as it is.
        device: Of the network.
        draw: Draws the batch, always the same.
        generator: Gives the generator of the loss, always the same.
    """

    task: Task
    network: nn.Module
    device: torch.device
    draw: Callable[[], Batch]
    generator: Callable[[], torch.Generator]

    def __call__(self, precision: Precision) -> float:
        """Return the time of a loss and its gradients [s]."""
        batch = {name: tensor.to(self.device) for name, tensor in self.draw().items()}
        network = copy.deepcopy(self.network)
        with torch.random.fork_rng(devices=[]):
            start = time.perf_counter()
            with autocast(self.device, precision):
                loss = self.task.loss(network, batch, self.generator())
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it without types
            return time.perf_counter() - start


def describe_precision(choices: Sequence[PrecisionChoice]) -> str:
    """Return in words what a training was computed in."""
    parts = [f"not noted up to step {choice.first_step}" for choice in choices[:1] if choice.first_step]
    parts += [f"{choice} up to step {after.first_step}" for choice, after in pairwise(choices)]
    return ", then ".join([*parts, *(str(choice) for choice in choices[-1:])])


TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
# The others wait while the first process checks.
PATIENCE = timedelta(hours=2)


@final
@dataclass(frozen=True, kw_only=True)
class ProcessRank:
    """Which of the processes that torchrun started this is; the first and only one without it."""

    rank: int = 0
    n: int = 1


def current_rank() -> ProcessRank:
    """Return which process this is."""
    if not all(name in os.environ for name in TORCHRUN):
        return ProcessRank()
    return ProcessRank(rank=int(os.environ["RANK"]), n=int(os.environ["WORLD_SIZE"]))


@final
@dataclass(frozen=True, kw_only=True)
class DistributedContext:
    """This process among those that train together.

    Attributes:
        rank: Of this process.
        n: How many there are.
        device: Of this process.
        together: Whether torchrun started them.
    """

    rank: int
    n: int
    device: torch.device
    together: bool

    def wrap(self, network: nn.Module) -> nn.Module:
        """Return what averages gradients over the processes; all start from the weights of the first."""
        if not self.together:
            return network
        return DistributedDataParallel(network, [self.device] if self.device.type == "cuda" else None)

    def agree(self, step: int) -> None:
        """Refuse to go on where some processes found a snapshot that others did not."""
        mean = float(self.mean(torch.tensor(float(step), device=self.device)))
        if mean != step:
            raise UsageError(
                "the processes found different snapshots", remedy="Give a folder that all of them see."
            )

    def agreed(self, choice: PrecisionChoice) -> PrecisionChoice:
        """Return a precision that is right for all: bfloat16 only where it is for each of them."""
        half = choice.precision is Precision.BFLOAT16
        share = float(self.mean(torch.tensor(float(half), device=self.device)))
        if half and share < 1:
            return PrecisionChoice(
                precision=Precision.FLOAT32, reason="bfloat16 would be slower in other processes"
            )
        return choice

    def mean(self, numbers: Tensor) -> Tensor:
        """Return the mean over the processes."""
        if self.together:
            distributed.all_reduce(numbers)
        return numbers / self.n


@contextmanager
def joined_processes(device: torch.device) -> Iterator[DistributedContext]:
    """Join the processes that torchrun started, and leave them in the end; without it there is one.

    Args:
        device: Where to train; `cuda` becomes the device of the process.
    """
    if not all(name in os.environ for name in TORCHRUN):
        yield DistributedContext(rank=0, n=1, device=device, together=False)
        return
    cuda = device.type == "cuda"
    if cuda:
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    ours = not distributed.is_initialized()
    if ours:
        backend = "nccl" if cuda else "gloo"
        distributed.init_process_group(backend, timeout=PATIENCE, device_id=device if cuda else None)
    try:
        rank, n = distributed.get_rank(), distributed.get_world_size()
        yield DistributedContext(rank=rank, n=n, device=device, together=True)
    finally:
        if ours:
            distributed.destroy_process_group()
