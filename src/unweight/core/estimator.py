"""The one contract that every way of making maps keeps, classical or learned."""

from abc import ABC, abstractmethod
from collections.abc import Callable

from unweight.core.acquisition import Acquisition
from unweight.core.maps import ParameterMaps
from unweight.core.parameter import ParameterSpec

Progress = Callable[[int, int], None]


class Estimator(ABC):
    """Turns an acquisition into maps. Frozen: its fields are its configuration."""

    @property
    @abstractmethod
    def parameters(self) -> tuple[ParameterSpec, ...]:
        """The maps it makes, in order."""

    @abstractmethod
    def accept(self, acquisition: Acquisition) -> None:
        """Return if this acquisition can be worked on.

        Raises:
            ProtocolError: It cannot; the message says why.
        """

    @abstractmethod
    def __call__(self, acquisition: Acquisition, progress: Progress | None = None) -> ParameterMaps:
        """Make the maps, on the device and in the dtype of the signal.

        Args:
            acquisition: What to map.
            progress: Called with the voxels done and the voxels in all.

        Raises:
            ProtocolError: The acquisition is not accepted.
        """
