"""In which precision the loss of a training is computed: float32, or under autocast to bfloat16.

Hardware that multiplies bfloat16 takes half to all of the time of float32; a CPU without these
instructions emulates them and takes two to ten times as long. So a CPU computes in bfloat16 only where it
has the instructions, or where a trial of both on a batch of the training shows it faster. The weights,
their average and the optimiser are float32 either way, and a training may go on in the other precision.
"""

import copy
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import final

import torch
from torch import nn

from unweight.learn.training.task import Batch, Task

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
        before: What a training that goes on was computed in; a trial must show a gain for it to change.
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
    parts = [f"not noted up to step {one.first_step}" for one in choices[:1] if one.first_step]
    parts += [f"{choice} up to step {after.first_step}" for choice, after in pairwise(choices)]
    return ", then ".join([*parts, *(str(choice) for choice in choices[-1:])])
