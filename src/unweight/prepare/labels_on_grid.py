"""A label image of another program on the grid of maps, where both lie in the space of the scanner.

A voxel gets the label at its centre if this is the label of more than half of the voxel: of K points spread
evenly over it, as many along each axis as label voxels fit,

    L(x) = l(x) if #{k : l(x + δ_k) = l(x)} > K/2, else 0.

So thick slices of maps do not take the label of whatever lies at their centre. Movement of the head between
the scans is not corrected.
"""

from collections.abc import Iterator
from itertools import product

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from unweight.bids.nifti.grid import ALIGNED, NO_SPACE, Grid
from unweight.bids.nifti.label_image import LabelImage
from unweight.core.errors import InputError

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
    x, y, z = grid.shape
    steps = torch.linalg.solve(labelled.grid.affine.double(), grid.affine.double())
    centre = _at(labelled.labels, steps, (x, y, z), (0.0, 0.0, 0.0))
    points = list(_points(steps))
    if len(points) > 1:
        agree = sum((_at(labelled.labels, steps, (x, y, z), point) == centre).int() for point in points)
        centre = torch.where(2 * torch.as_tensor(agree) > len(points), centre, 0)
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


def _points(steps: Float64[Tensor, "4 4"]) -> Iterator[tuple[float, float, float]]:
    """Give where in a voxel of the maps the labels are looked at, in voxels from its centre."""
    counts = [min(MOST_POINTS, max(1, round(float(size)))) for size in steps[:3, :3].norm(dim=0)]
    axes = [[(index + 0.5) / count - 0.5 for index in range(count)] for count in counts]
    yield from ((first, second, third) for first, second, third in product(*axes))


def _at(
    labels: Int64[Tensor, "x y z"],
    steps: Float64[Tensor, "4 4"],
    shape: tuple[int, int, int],
    offset: tuple[float, float, float],
) -> Int64[Tensor, "x2 y2 z2"]:
    """Return the label nearest to a point of each voxel; 0 outside the label image."""
    axes = [torch.arange(n, dtype=torch.float64) + by for n, by in zip(shape, offset, strict=True)]
    inside = torch.ones(shape, dtype=torch.bool)
    places = torch.zeros(shape, dtype=torch.long)
    for row, size in zip(steps[:3], labels.shape, strict=True):
        place = (
            row[0] * axes[0][:, None, None] + row[1] * axes[1][:, None] + row[2] * axes[2] + row[3]
        ).round()
        inside &= (place >= 0) & (place <= size - 1)
        places = places * size + place.clamp(0, size - 1).long()
    return torch.where(inside, labels.flatten()[places], 0)
