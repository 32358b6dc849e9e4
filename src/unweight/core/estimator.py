"""The one contract that every way of making maps keeps, classical or learned."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from typing import Generic, TypeVar

import torch
from torch import nn

from unweight.core.maps import ParameterMaps
from unweight.core.parameter import ParameterSpec

Progress = Callable[[int, int], None]
Measured = TypeVar("Measured", contravariant=True)
Own = TypeVar("Own")  # `typing.Self`, which the check of types at run time does not take


class Estimator(ABC, Generic[Measured]):
    """Turns what was measured into maps. Frozen: its fields are its configuration.

    What was measured is an `Acquisition`, volumes of one series, or an `Examination`, weighted images of
    one head.
    """

    @property
    @abstractmethod
    def parameters(self) -> tuple[ParameterSpec, ...]:
        """The maps it makes, in order."""

    @abstractmethod
    def accept(self, measured: Measured, /) -> None:
        """Return if this can be worked on.

        Raises:
            ProtocolError: It cannot; the message says why.
        """

    @abstractmethod
    def __call__(self, measured: Measured, /, progress: Progress | None = None) -> ParameterMaps:
        """Make the maps, on the device and in the dtype of the signal.

        Args:
            measured: What to map.
            progress: Called with the voxels done and the voxels in all.

        Raises:
            ProtocolError: It is not accepted.
        """

    def to(self: Own, device: torch.device) -> Own:
        """Move its networks to a device, as `nn.Module.to` does; a fit has none and follows the signal."""
        for network in _networks(self):
            network.to(device)
        return self


def _networks(value: object) -> Iterator[nn.Module]:
    """Give the networks that an object holds in its fields, and in theirs."""
    if isinstance(value, nn.Module):
        yield value
    elif is_dataclass(value) and not isinstance(value, type):
        for item in fields(value):
            yield from _networks(getattr(value, item.name))
