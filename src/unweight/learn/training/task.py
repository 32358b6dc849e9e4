"""The contract of what can be trained: a network, and its loss on a batch."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

Batch = Mapping[str, Tensor]
Batches = Callable[[torch.Generator], Batch]
"""Draws a batch; all its randomness comes from the generator, so that a batch can be drawn again."""


class Task(ABC):
    """What a training step needs. Stateless but for the parameters of its network."""

    @property
    @abstractmethod
    def network(self) -> nn.Module:
        """The network whose parameters are trained."""

    @abstractmethod
    def loss(self, network: nn.Module, batch: Batch, generator: torch.Generator) -> Float[Tensor, ""]:
        """Return the loss of a batch, differentiable.

        Args:
            network: The network, or what wraps it for several devices; call this one.
            batch: What `Batches` gave, on the device of the network.
            generator: For noise that the loss draws; on the CPU.
        """
