"""Where the voxels of an image are, and whether those of two images coincide."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import torch
from jaxtyping import Float64
from torch import Tensor

from unweight.core.errors import InputError

TOLERANCE = 1e-3


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Grid:
    """Voxels of one file.

    Attributes:
        shape: Without the volume axis.
        affine: Voxel index to millimetres (RAS+).
        path: The file, for messages.
    """

    shape: tuple[int, ...]
    affine: Float64[Tensor, "4 4"]
    path: Path

    def same_as(self, other: "Grid") -> bool:
        """Whether the voxels coincide, to a thousandth of a millimetre."""
        return self.shape == other.shape and torch.allclose(
            self.affine, other.affine, rtol=0.0, atol=TOLERANCE
        )


def check_same_grid(grids: Sequence[Grid]) -> None:
    """Refuse files whose voxels do not coincide.

    Raises:
        InputError: Two of them differ; both are named.
    """
    first = grids[0]
    for grid in grids[1:]:
        if grid.same_as(first):
            continue
        if grid.shape != first.shape:
            shapes = ["x".join(map(str, one.shape)) for one in (grid, first)]
            found = f"has {shapes[0]} voxels, but {first.path.name} has {shapes[1]}"
        else:
            found = f"lies elsewhere than {first.path.name} (their affines differ)"
        raise InputError(found, remedy="Bring all images onto one grid first.", path=grid.path)
