"""How every inversion from local field to susceptibility is called.

    B_local = d ∗ χ,    d̂(k) = 1/3 − (k·b)²/|k|²

d̂ is 0 on a cone, so χ is not determined there; the inversions differ in what they put in.
"""

from typing import Protocol, runtime_checkable

from jaxtyping import Bool, Float
from torch import Tensor

from unweight.core.errors import UsageError
from unweight.susceptibility.geometry import FieldGeometry


def check_regularisation(regularisation: float) -> None:
    """Refuse a weight of the regularisation that is not positive."""
    if not regularisation > 0:
        raise UsageError(f"a regularisation of {regularisation:g}", remedy="Give a positive one.")


@runtime_checkable
class DipoleInversion(Protocol):
    """A function from the local field to susceptibility."""

    def __call__(
        self,
        field: Float[Tensor, "x y z"],
        mask: Bool[Tensor, "x y z"],
        geometry: FieldGeometry,
        weight: Float[Tensor, "x y z"] | None = None,
    ) -> Float[Tensor, "x y z"]:
        """Return the susceptibility [ppm], 0 outside the mask; its mean is not determined.

        Args:
            field: Local field [ppm]; outside the mask it does not count.
            mask: Where it is known.
            geometry: Voxel sizes and the direction of the static field.
            weight: How far each voxel is trusted, 0 to 1; None for all alike. Linear inversions in
                k-space cannot use it.
        """
