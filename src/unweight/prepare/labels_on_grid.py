"""A label image of another program on the grid of maps, where both lie in the space of the scanner.

A voxel gets the label at its centre if this is the label of more than half of the voxel: of K points spread
evenly over it, as many along each axis as label voxels fit,

    L(x) = l(x) if #{k : l(x + δ_k) = l(x)} > K/2, else 0.

So thick slices of maps do not take the label of whatever lies at their centre. Movement of the head between
the scans is not corrected.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import torch
from jaxtyping import Float64
from torch import Tensor

from unweight.bids.nifti.grid import ALIGNED, NO_SPACE, Grid
from unweight.bids.nifti.label_image import LabelImage
from unweight.core.errors import InputError
from unweight.prepare.lattice import VoxelGrid
from unweight.prepare.resample import resampled_labels

MOST_POINTS = 6  # along each axis
RESAMPLED = (
    "the labels were resampled to the grid of the maps by the coordinates of the scanner; movement between "
    "the scans is not corrected"
)


def labels_on_grid(labelled: LabelImage, grid: Grid) -> LabelImage:
    """Return labels on the grid of maps; the same object if they are on it.

    Raises:
        InputError: The label image lies in a standard space or in none, or shares no region with the grid.
    """
    if labelled.grid.same_as(grid):
        return labelled
    for each in (labelled.grid, grid):
        _check_space(each)
    source, target = _lattice(labelled.grid), _lattice(grid)
    centre = resampled_labels(labelled.labels, source, target)
    points = list(_points(source, target))
    if len(points) > 1:
        agree = torch.zeros_like(centre)
        for point in points:
            agree += resampled_labels(labelled.labels, source, _shifted(target, point)) == centre
        centre = torch.where(2 * agree > len(points), centre, 0)
    if not bool((centre != 0).any()):
        raise InputError(
            f"shares no region with {grid.path.name}",
            remedy="Give labels of the same subject and session, in the space of its scanner.",
            path=labelled.grid.path,
        )
    return LabelImage(labels=centre, names=labelled.names, grid=grid)


def _check_space(grid: Grid) -> None:
    """Refuse an image that no matrix places in the space of a scanner."""
    place = grid.placement
    codes = {place.sform_code, place.qform_code} - {NO_SPACE}
    if codes and min(codes) <= ALIGNED:
        return
    where = "a standard space" if codes else "no known space"
    raise InputError(
        f"is on another grid than the maps, and its header places it in {where}",
        remedy="Give labels in the space of the subject's own images, or resample them first.",
        path=grid.path,
    )


def _lattice(grid: Grid) -> VoxelGrid:
    x, y, z = grid.shape
    return VoxelGrid(shape=(x, y, z), affine=grid.affine.double())


def _shifted(grid: VoxelGrid, point: Float64[Tensor, " 3"]) -> VoxelGrid:
    """Return a grid moved by parts of its voxels."""
    affine = grid.affine.clone()
    affine[:3, 3] += affine[:3, :3] @ point
    return replace(grid, affine=affine)


def _points(source: VoxelGrid, target: VoxelGrid) -> Iterator[Float64[Tensor, " 3"]]:
    """Give where in a voxel of the maps the labels are looked at, in voxels from its centre."""
    sizes = torch.linalg.solve(source.affine, target.affine)[:3, :3].norm(dim=0)
    counts = [min(MOST_POINTS, max(1, round(float(size)))) for size in sizes]
    axes = [[(index + 0.5) / count - 0.5 for index in range(count)] for count in counts]
    yield from (torch.tensor(point, dtype=torch.float64) for point in product(*axes))
