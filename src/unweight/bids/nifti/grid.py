"""Where the voxels of an image are, and whether those of two images coincide.

Programs round the matrices they write. What counts is how far that moves a voxel, as a share of its size: a
shift of a twentieth changes nothing that can be seen, and images that truly lie apart differ by far more.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import final

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from unweight.bids.nifti.placement import Placement
from unweight.core.errors import InputError

TOLERANCE = 0.05  # of the shortest edge of a voxel


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Grid:
    """Voxels of one file.

    Attributes:
        shape: Without the volume axis.
        placement: Where its header places them.
        path: The file, for messages.
    """

    shape: tuple[int, ...]
    placement: Placement
    path: Path

    @property
    def affine(self) -> Float64[Tensor, "4 4"]:
        """Voxel index to millimetres (RAS+)."""
        return self.placement.affine

    def same_as(self, other: "Grid") -> bool:
        """Whether the voxels coincide: shape, and a matrix of each, to a twentieth of a voxel."""
        return self.shape == other.shape and self.distance_mm(other) <= TOLERANCE * self.edge_mm

    @property
    def edge_mm(self) -> float:
        """Length of the shortest edge of a voxel."""
        return float(self.affine[:3, :3].norm(dim=0).min())

    def distance_mm(self, other: "Grid") -> float:
        """Return how far equal voxels lie apart at most, by the two matrices that agree best.

        A program that keeps only one of the two matrices of an image so stays on its grid.
        """
        pairs = product(self.placement.matrices, other.placement.matrices)
        return min(farthest_mm(self.shape, first, second) for first, second in pairs)


def farthest_mm(shape: Sequence[int], first: Float[Tensor, "4 4"], second: Float[Tensor, "4 4"]) -> float:
    """Return how far two matrices place a voxel of a grid apart at most [mm]."""
    corners = torch.tensor([(*ends, 1.0) for ends in product(*((0.0, n - 1.0) for n in shape))])
    apart = corners.double() @ (first.double() - second.double()).cpu().T
    return float(apart[:, :3].norm(dim=1).max())


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
            apart = grid.distance_mm(first)
            found = (
                f"lies elsewhere than {first.path.name}: by their affines equal voxels are up to "
                f"{apart:.3g} mm apart, {apart / grid.edge_mm:.2g} of a voxel"
            )
        raise InputError(found, remedy="Bring all images onto one grid first.", path=grid.path)
