"""Grids of images: from their headers, and whether two coincide.

Where a NIfTI header places voxels: its two matrices, and the space each of them leads to.

The code of a matrix names its space: 1 is the scanner, 2 another image, 3 and 4 a standard brain, 0 none.
The sform comes first, then the qform, then the voxel sizes alone (noted). The static field is along z of
the scanner and of no other space; only a matrix of code 1 says where it points.

Where the voxels of an image are, and whether those of two images coincide.

Programs round the matrices they write. What counts is how far that moves a voxel, as a share of its size: a
shift of a twentieth changes nothing that can be seen, and images that truly lie apart differ by far more.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float, Float64
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray
from torch import Tensor

from unweight.core.errors import InputError

Header = Any  # what nibabel's headers give carries no types
NO_SPACE, SCANNER, ALIGNED = 0, 1, 2
SMALLEST_ZOOM, LARGEST_ZOOM, FARTHEST = 1e-3, 1e3, 1e6
FLATTEST = 1e-3
DIFFERENT_MM = 1e-2
MILLIMETRES = {0: 1.0, 1: 1e3, 2: 1.0, 3: 1e-3}
UNREADABLE = (HeaderDataError, ValueError, OverflowError, KeyError, TypeError, np.linalg.LinAlgError)
Matrix = Float64[Tensor, "4 4"]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Placement:
    """The matrices of a header, voxel index to millimetres (RAS+).

    Attributes:
        affine: The one that counts: sform, else qform, else voxel sizes.
        sform: None where its code is 0.
        qform: None where its code is 0.
        sform_code: The space the sform leads to.
        qform_code: The space the qform leads to.
    """

    affine: Matrix
    sform: Matrix | None = None
    qform: Matrix | None = None
    sform_code: int = NO_SPACE
    qform_code: int = NO_SPACE

    @property
    def matrices(self) -> tuple[Matrix, ...]:
        """All that place the voxels somewhere, the one that counts first."""
        return (self.affine, *(item for item in (self.sform, self.qform) if item is not None))

    def of_code(self, code: int) -> tuple[Matrix, ...]:
        """Return the matrices that lead to one space, the sform first."""
        both = ((self.sform, self.sform_code), (self.qform, self.qform_code))
        return tuple(matrix for matrix, its in both if matrix is not None and its == code)


def placement_of(path: Path, header: Header) -> tuple[Placement, tuple[str, ...]]:
    """Return where a header places the voxels, and what a careful reader should know of that.

    Raises:
        InputError: It places them nowhere that is possible.
    """
    _check_zooms(path, header)
    scale = MILLIMETRES.get(int(header["xyzt_units"]) & 7)
    if scale is None:
        raise bad_header(path, f"its unit of length is unknown ({int(header['xyzt_units']) & 7})")
    try:
        with np.errstate(all="ignore"):
            result = (header.get_sform(coded=True), header.get_qform(coded=True))
    except UNREADABLE as error:
        raise bad_header(path, f"its orientation cannot be read ({error})") from error
    sform, qform = (None if item is None else _in_millimetres(item, scale) for item, _ in result)
    affine, notes = sform if sform is not None else qform, []
    if affine is None:
        notes.append("the header gives no orientation; voxel axes are used as they are")
        affine = _in_millimetres(np.diag([*(float(zoom) for zoom in header["pixdim"][1:4]), 1.0]), scale)
    problem = _problem(affine)
    if problem is not None:
        raise bad_header(path, problem)
    if qform is not None and qform is not affine and _problem(qform) is not None:
        qform = None
    if sform is not None and qform is not None and not np.allclose(sform, qform, atol=DIFFERENT_MM):
        notes.append("sform and qform of the header differ; the sform is used")
    place = Placement(
        affine=torch.from_numpy(affine),
        sform=None if sform is None else torch.from_numpy(sform),
        qform=None if qform is None else torch.from_numpy(qform),
        sform_code=NO_SPACE if sform is None else int(result[0][1]),
        qform_code=NO_SPACE if qform is None else int(result[1][1]),
    )
    return place, tuple(notes)


def bad_header(path: Path, problem: str) -> InputError:
    """Return the error for a header that cannot be used."""
    return InputError(
        f"the NIfTI header is invalid: {problem}", remedy="Convert the image again.", path=path
    )


def _in_millimetres(matrix: NDArray[Any], scale: float) -> NDArray[np.float64]:
    scaled = np.array(matrix, dtype=np.float64)
    scaled[:3] *= scale
    return scaled


def _check_zooms(path: Path, header: Header) -> None:
    """Refuse impossible voxel sizes; those of axes the image does not have may be left at 0."""
    if float(header["pixdim"][0]) == 0:
        header["pixdim"][0] = 1
    for axis in range(1, 4):
        zoom = float(header["pixdim"][axis])
        if zoom == 0 and axis > int(header["dim"][0]):
            header["pixdim"][axis] = 1
        elif not (np.isfinite(zoom) and zoom > 0):
            raise bad_header(path, f"the voxel size along axis {axis} is {zoom:g} mm")


def _problem(affine: NDArray[np.float64]) -> str | None:
    """Return why a matrix cannot place voxels, if it cannot."""
    if not np.isfinite(affine).all():
        return "its affine is not finite"
    if np.abs(affine[:3]).max() > FARTHEST:
        return "its affine places voxels a kilometre away"
    zooms = np.sqrt((affine[:3, :3] ** 2).sum(0))
    if zooms.min() < SMALLEST_ZOOM or zooms.max() > LARGEST_ZOOM:
        x, y, z = zooms.tolist()
        return f"its affine has voxels of {x:g}x{y:g}x{z:g} mm"
    if abs(np.linalg.det(affine[:3, :3] / zooms)) < FLATTEST:
        return "its affine is singular"
    return None


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
    def voxel_mm(self) -> tuple[float, float, float]:
        """Size of a voxel along each axis."""
        x, y, z = self.affine[:3, :3].norm(dim=0).tolist()
        return x, y, z

    @property
    def edge_mm(self) -> float:
        """Length of the shortest edge of a voxel."""
        return min(self.voxel_mm)

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
            shapes = ["x".join(map(str, item.shape)) for item in (grid, first)]
            text = f"has {shapes[0]} voxels, but {first.path.name} has {shapes[1]}"
        else:
            apart = grid.distance_mm(first)
            text = (
                f"is at a different position than {first.path.name}: by the affines, corresponding voxels "
                f"are up to {apart:.3g} mm apart ({apart / grid.edge_mm:.2g} times the voxel size)"
            )
        raise InputError(text, remedy="Resample all images to one grid first.", path=grid.path)
