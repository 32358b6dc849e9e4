"""The processes that share a training, as torchrun starts them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import final

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from unweight.core.errors import UsageError
from unweight.learn.training.precision import Precision, PrecisionChoice

TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
# The others wait while the first process checks.
PATIENCE = timedelta(hours=2)


@final
@dataclass(frozen=True, kw_only=True)
class Processes:
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
def joined_processes(device: torch.device) -> Iterator[Processes]:
    """Join the processes that torchrun started, and leave them in the end; without it there is one.

    Args:
        device: Where to train; `cuda` becomes the device of the process.
    """
    if not all(name in os.environ for name in TORCHRUN):
        yield Processes(rank=0, n=1, device=device, together=False)
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
        yield Processes(rank=rank, n=n, device=device, together=True)
    finally:
        if ours:
            distributed.destroy_process_group()
