"""What a routine examination gives: weighted images of one head on one grid, each with its timings."""

import math
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unweight.core.errors import InputError, ProtocolError
from unweight.core.weighting import Weighting


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class WeightedImage:
    """One image, in whatever unit the scanner stored it.

    Attributes:
        name: Contrast, as BIDS writes its suffix: `T1w`, `T2w`, `FLAIR`.
        weighting: How it was made.
        signal: Magnitudes; NaN where there is no value.
    """

    name: str
    weighting: Weighting
    signal: Float[Tensor, "*voxels"]

    def __post_init__(self) -> None:
        if bool((self.signal < 0).any()):
            raise InputError(f"the {self.name} has negative values", remedy="Give the magnitude.")


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class WeightedImageSet:
    """Weighted images of one head, aligned. It checks itself when built.

    Attributes:
        images: In any order; what matters is how each was weighted.
        mask: The brain with its CSF.
        field_strength: Static field [T].
        affine: Voxel index to millimetres (RAS+).
    """

    images: tuple[WeightedImage, ...]
    mask: Bool[Tensor, "..."]
    field_strength: float
    affine: Float[Tensor, "4 4"] | None = None

    def __post_init__(self) -> None:
        if not self.images:
            raise InputError("an examination without images")
        shapes = {image.name: tuple(image.signal.shape) for image in self.images} | {
            "mask": tuple(self.mask.shape)
        }
        if len(set(shapes.values())) > 1:
            text = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
            raise InputError(f"images of different shapes: {text}", remedy="Resample all to one grid.")
        if not bool(self.mask.any()):
            raise InputError("the brain mask contains no voxel", remedy="Give the mask of this brain.")
        if not 0 < self.field_strength < math.inf:
            raise ProtocolError(
                f"a field strength of {self.field_strength:g} T is not possible",
                remedy="Give it in tesla, as 1.5 or 3.",
            )

    @property
    def voxels(self) -> torch.Size:
        """Shape of the grid."""
        return self.mask.shape

    @property
    def inside(self) -> Bool[Tensor, "*voxels"]:
        """The mask, where all images are finite."""
        finite = torch.stack([torch.isfinite(image.signal) for image in self.images]).all(0)
        return self.mask & finite
