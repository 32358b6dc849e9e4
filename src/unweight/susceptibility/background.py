"""What every removal of background fields gives, and how it is called.

B = B_local + B_background;    inside the mask the background is harmonic, for its sources lie outside
"""

from typing import NamedTuple, Protocol, runtime_checkable

from jaxtyping import Bool, Float
from torch import Tensor

from unweight.susceptibility.geometry import FieldGeometry


class LocalField(NamedTuple):
    """The field of what lies inside.

    Attributes:
        field: Local field, in the unit of the total field; 0 outside the mask.
        mask: Where it is known; smaller than the mask given, where spheres are used.
    """

    field: Float[Tensor, "x y z"]
    mask: Bool[Tensor, "x y z"]


@runtime_checkable
class BackgroundRemoval(Protocol):
    """A function from the total field to the local one."""

    def __call__(
        self,
        field: Float[Tensor, "x y z"],
        mask: Bool[Tensor, "x y z"],
        geometry: FieldGeometry,
        weight: Float[Tensor, "x y z"] | None = None,
    ) -> LocalField:
        """Return the local field.

        Args:
            field: Total field; outside the mask it does not count.
            mask: Where it is known.
            geometry: Voxel sizes and the direction of the static field.
            weight: How far each voxel is trusted, 0 to 1; None for all alike.
        """
