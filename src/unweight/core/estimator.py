"""The one contract that every way of making maps keeps, classical or learned."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Generic, TypeVar

from unweight.core.maps import ParameterMaps
from unweight.core.parameter import ParameterSpec

Progress = Callable[[int, int], None]
Measured = TypeVar("Measured", contravariant=True)


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
