"""Label images of heads: materials, their shares in coarse voxels, and other grids.

A head as labels: one material in each fine voxel, and the shares of materials in coarse ones.

A scanner's voxel is larger than the structures in it. Its signal is the mean over what it holds, so an
anatomy is kept finer than the image, and the share of material m in a coarse voxel of N fine ones is

    f_m = (1/N) · #{fine voxels with label m}

The labels of a head on another grid: each new voxel takes the label its middle lies in.
"""

import math
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from unweight.core.errors import InputError, UsageError
from unweight.synth.tissue.materials import BRAIN, INDEX, MATERIALS

N_MATERIALS = len(MATERIALS)
BLOCK_VOXELS = 2**21


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Anatomy:
    """Labels on a fine grid; the number is the place in `MATERIALS`.

    Attributes:
        labels: One material per voxel. A whole head has x to the right, y to the front, z up; a slab
            cut out of it has the axes that its affine says.
        voxel_mm: Size of a voxel [mm].
        subject: Whose head it is; what is split into training and test is this.
        affine: Voxel index to millimetres (RAS+).
    """

    labels: UInt8[Tensor, "x y z"]
    voxel_mm: tuple[float, float, float]
    subject: str
    affine: Float[Tensor, "4 4"]

    def __post_init__(self) -> None:
        if self.labels.numel() == 0:
            raise InputError(f"an anatomy without voxels: {tuple(self.labels.shape)}")
        if not all(math.isfinite(size) and size > 0 for size in self.voxel_mm):
            raise InputError(f"voxels of {self.voxel_mm} mm", remedy="Give positive sizes.")
        if not self.subject:
            raise InputError("an anatomy without a subject", remedy="Name the head it is of.")
        highest = int(self.labels.max())
        if highest >= N_MATERIALS:
            raise InputError(
                f"label {highest} is not a material; the last one is {N_MATERIALS - 1}",
                remedy="Translate the labels to the order of MATERIALS.",
            )
        sizes = [round(size, 4) for size in self.affine[:3, :3].square().sum(0).sqrt().tolist()]
        if any(abs(a - b) > 1e-3 * b for a, b in zip(sizes, self.voxel_mm, strict=True)):
            raise InputError(f"voxels of {self.voxel_mm} mm, but an affine for {sizes} mm")

    def volume_ml(self, *materials: str) -> float:
        """Return the volume of some materials together [ml]."""
        counts = counts_of(self.labels)
        return sum(counts[INDEX[name]] for name in materials) * math.prod(self.voxel_mm) / 1000


def centred_affine(
    shape: tuple[int, int, int], voxel_mm: tuple[float, float, float]
) -> Float[Tensor, "4 4"]:
    """Return the affine of a grid along x, y and z whose middle is at 0 mm."""
    affine = torch.diag(torch.tensor([*voxel_mm, 1.0], dtype=torch.float64))
    for axis, (n_voxels, size) in enumerate(zip(shape, voxel_mm, strict=True)):
        affine[axis, 3] = -size * (n_voxels - 1) / 2
    return affine


def coarse_affine(affine: Float[Tensor, "4 4"], factor: tuple[float, float, float]) -> Float[Tensor, "4 4"]:
    """Return the affine of voxels `factor` times as large that fill the same field of view."""
    steps = torch.tensor([*factor, 1.0], dtype=affine.dtype, device=affine.device)
    larger = torch.diag(steps)
    larger[:3, 3] = (steps[:3] - 1) / 2
    return affine @ larger


def counts_of(labels: UInt8[Tensor, "..."]) -> list[int]:
    """Return how many voxels each material has."""
    return [int(n) for n in torch.bincount(labels.reshape(-1), minlength=N_MATERIALS)]


def brain_table() -> UInt8[Tensor, " labels"]:
    """Return a table from label to 1 for what lies inside the brain's envelope, else 0."""
    table = torch.zeros(256, dtype=torch.uint8)
    table[[INDEX[name] for name in BRAIN]] = 1
    return table


def fractions(
    labels: UInt8[Tensor, "x y z"], factor: tuple[int, int, int]
) -> Float[Tensor, "coarse_x coarse_y coarse_z materials"]:
    """Return the share of each material in voxels `factor` times as large, in the order of `MATERIALS`.

    The counting is in integers, one material at a time and in blocks along x, so the memory beyond the
    result stays small.

    Args:
        labels: Fine labels.
        factor: Fine voxels in a coarse one along each axis; each must divide the size.

    Raises:
        UsageError: A factor does not divide the size of the labels.
    """
    if min(factor) < 1 or any(n % step for n, step in zip(labels.shape, factor, strict=True)):
        raise UsageError(
            f"{tuple(labels.shape)} voxels cannot be gathered {factor} at a time",
            remedy="Crop the labels to a multiple.",
        )
    coarse = tuple(n // step for n, step in zip(labels.shape, factor, strict=True))
    shares = torch.zeros(*coarse, N_MATERIALS, dtype=torch.float32, device=labels.device)
    rows = max(1, BLOCK_VOXELS // (labels.shape[1] * labels.shape[2] * factor[0]))
    for first in range(0, coarse[0], rows):
        block = labels[first * factor[0] : (first + rows) * factor[0]]
        _share(block, factor, shares[first : first + rows])
    return shares


def _share(
    labels: UInt8[Tensor, "x y z"],
    factor: tuple[int, int, int],
    shares: Float[Tensor, "coarse_x coarse_y coarse_z materials"],
) -> None:
    """Fill in the shares of one block."""
    n_fine = math.prod(factor)
    counter = torch.uint8 if n_fine <= 255 else torch.int32
    present = torch.bincount(labels.reshape(-1), minlength=N_MATERIALS).nonzero()[:, 0].tolist()
    if len(present) == 1:
        shares[..., present[0]] = 1.0
        return
    for material in present:
        count = (labels == material).to(counter)
        for axis, step in enumerate(factor):
            count = _gathered(count, axis, step)
        torch.mul(count, 1.0 / n_fine, out=shares[..., material])


def _gathered(count: Tensor, axis: int, step: int) -> Tensor:
    """Add up neighbours along one axis, `step` at a time."""
    if step == 1:
        return count
    shape = count.shape
    parts = count.reshape(*shape[:axis], -1, step, *shape[axis + 1 :])
    total: Tensor = parts.select(axis + 1, 0) + parts.select(axis + 1, 1)
    for part in range(2, step):
        total += parts.select(axis + 1, part)
    return total


ROUNDING = 1e-6


def on_grid(anatomy: Anatomy, voxel_mm: float) -> Anatomy:
    """Return the anatomy in cubic voxels of another size, over the same field of view.

    Raises:
        UsageError: The size is not positive, or larger than the head.
    """
    if (
        not 0
        < voxel_mm
        <= min(count * size for count, size in zip(anatomy.labels.shape, anatomy.voxel_mm, strict=True))
    ):
        raise UsageError(f"voxels of {voxel_mm:g} mm", remedy="Give a size in millimetres.")
    if all(abs(size - voxel_mm) < 1e-6 for size in anatomy.voxel_mm):
        return anatomy
    labels, affine = anatomy.labels, anatomy.affine.clone()
    for axis, (count, size) in enumerate(zip(anatomy.labels.shape, anatomy.voxel_mm, strict=True)):
        ratio = voxel_mm / size
        places = (torch.arange(math.floor(count / ratio + ROUNDING)) + 0.5) * ratio
        labels = labels.index_select(axis, places.floor().long().clamp(max=count - 1))
        affine[:3, axis] *= ratio
        affine[:3, 3] += affine[:3, axis] * (0.5 - 0.5 / ratio)
    return Anatomy(
        labels=labels.contiguous(),
        voxel_mm=(voxel_mm, voxel_mm, voxel_mm),
        subject=anatomy.subject,
        affine=affine,
    )
