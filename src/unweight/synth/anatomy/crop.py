"""Random slabs cut out of a head, straight or bent.

Slabs cut out of a head: where, in which plane, and turned how. Draw one, then apply it.

The two axes in the plane come first and the one through it last, whatever the plane; quarter turns and
mirrors act in the plane. The affine follows, so that the direction of the main field stays known.

A slab cut out of a head and bent: cut wider than wanted, so that the warp has something to bring in.
"""

import math
from dataclasses import dataclass
from enum import Enum
from typing import final

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.functional import pad

from unweight.core.errors import UsageError
from unweight.synth.anatomy.labels import Anatomy, brain_table
from unweight.synth.anatomy.warp import WarpRange, draw_warp
from unweight.synth.sampling import draw_count

N_TRIES = 64
PROBE_VOXELS = 4096


class CropPlane(Enum):
    """Plane of a slab: its two axes in the plane and the one through it."""

    AXIAL = (0, 1, 2)
    CORONAL = (0, 2, 1)
    SAGITTAL = (1, 2, 0)


@final
@dataclass(frozen=True, kw_only=True)
class Crop:
    """One slab of one head.

    Attributes:
        start: First voxel along x, y and z of the head; may be negative, then background comes first.
        size: Voxels in the plane and through it, before the quarter turns.
        plane: Which axes these are.
        n_turns: Quarter turns in the plane, 0 to 3.
        mirrored: Whether the first axis is reversed, before the turns.
    """

    start: tuple[int, int, int]
    size: tuple[int, int, int]
    plane: CropPlane = CropPlane.AXIAL
    n_turns: int = 0
    mirrored: bool = False

    def __post_init__(self) -> None:
        if min(self.size) < 1:
            raise UsageError(f"a crop of {self.size} voxels")
        if not 0 <= self.n_turns <= 3:
            raise UsageError(f"{self.n_turns} quarter turns", remedy="Give 0 to 3.")

    def apply(self, anatomy: Anatomy) -> Anatomy:
        """Cut the slab out; beyond the head there is background."""
        labels = self.oriented(_window(anatomy.labels, self.start, self.extent))
        matrix = self._matrix(anatomy.affine.dtype)
        sizes = [anatomy.voxel_mm[axis] for axis in self.plane.value]
        if self.n_turns % 2:
            sizes[0], sizes[1] = sizes[1], sizes[0]
        return Anatomy(
            labels=labels,
            voxel_mm=(sizes[0], sizes[1], sizes[2]),
            subject=anatomy.subject,
            affine=anatomy.affine @ matrix.to(anatomy.affine.device),
        )

    @property
    def extent(self) -> tuple[int, int, int]:
        """Voxels along x, y and z of the head."""
        sizes = [0, 0, 0]
        for axis, n_voxels in zip(self.plane.value, self.size, strict=True):
            sizes[axis] = n_voxels
        return sizes[0], sizes[1], sizes[2]

    def oriented(self, window: UInt8[Tensor, "x y z"]) -> UInt8[Tensor, "first second through"]:
        """Bring the axes of a window of the head into the order of the slab."""
        slab = window.permute(self.plane.value)
        if self.mirrored:
            slab = slab.flip(0)
        return torch.rot90(slab, self.n_turns, (0, 1)).contiguous()

    def _matrix(self, dtype: torch.dtype) -> Float[Tensor, "4 4"]:
        """Return where a voxel of the slab was in the head."""
        matrix = torch.eye(4, dtype=torch.float64)
        n_first, n_second = self.size[0], self.size[1]
        for _ in range(self.n_turns):
            # rot90: new[i, j] = old[j, n_second - 1 - i]
            step = torch.eye(4, dtype=torch.float64)
            step[:2, :2] = torch.tensor([[0.0, 1.0], [-1.0, 0.0]])
            step[1, 3] = n_second - 1
            matrix = matrix @ step
            n_first, n_second = n_second, n_first
        if self.mirrored:
            mirror = torch.eye(4, dtype=torch.float64)
            mirror[0, 0], mirror[0, 3] = -1.0, self.size[0] - 1
            matrix = mirror @ matrix
        into_head = torch.zeros(4, 4, dtype=torch.float64)
        into_head[3, 3] = 1.0
        for column, axis in enumerate(self.plane.value):
            into_head[axis, column] = 1.0
            into_head[axis, 3] = self.start[axis]
        return (into_head @ matrix).to(dtype)


def draw_crop(
    anatomy: Anatomy,
    size: tuple[int, int, int],
    generator: torch.Generator,
    *,
    plane: CropPlane = CropPlane.AXIAL,
    least_brain: float = 0.3,
) -> Crop:
    """Draw a slab with enough brain in it, turned and mirrored at random.

    Places are drawn evenly until one has enough brain; if none of many has, the best of them is taken.

    Args:
        anatomy: The head.
        size: Voxels in the plane and through it.
        generator: For the place, the turns and the mirror.
        plane: Which plane to cut.
        least_brain: Share of the voxels that should be brain or CSF.
    """
    turned = Crop(
        start=(0, 0, 0),
        size=size,
        plane=plane,
        n_turns=draw_count(0, 3, generator),
        mirrored=bool(draw_count(0, 1, generator)),
    )
    best, most = turned.start, -1.0
    for _ in range(N_TRIES):
        start = _draw_start(anatomy, turned.extent, generator)
        share = _brain_share(_window_inside(anatomy.labels, start, turned.extent), turned.extent)
        if share > most:
            best, most = start, share
        if most >= least_brain:
            break
    return Crop(start=best, size=size, plane=plane, n_turns=turned.n_turns, mirrored=turned.mirrored)


def _draw_start(
    anatomy: Anatomy, extent: tuple[int, int, int], generator: torch.Generator
) -> tuple[int, int, int]:
    """Draw where a slab begins; one larger than the head is centred on it."""
    start = []
    for n_voxels, wanted in zip(anatomy.labels.shape, extent, strict=True):
        spare = n_voxels - wanted
        start.append(draw_count(0, spare, generator) if spare > 0 else spare // 2)
    return start[0], start[1], start[2]


def _brain_share(window: UInt8[Tensor, "x y z"], extent: tuple[int, int, int]) -> float:
    """Estimate the share of brain from a part of the voxels."""
    stride = max(1, int((window.numel() / PROBE_VOXELS) ** 0.5))
    probe = (
        window[::stride, ::stride] if window.shape[2] <= window.shape[0] else window[:, ::stride, ::stride]
    )
    if probe.numel() == 0:
        return 0.0
    inside = float(brain_table()[probe.reshape(-1).long().cpu()].float().mean())
    return inside * window.numel() / math.prod(extent)


def _window_inside(
    labels: UInt8[Tensor, "x y z"], start: tuple[int, int, int], extent: tuple[int, int, int]
) -> UInt8[Tensor, "wx wy wz"]:
    """Return the part of a window that lies in the head."""
    ranges = tuple(slice(max(0, a), max(0, a + n)) for a, n in zip(start, extent, strict=True))
    return labels[ranges]


def _window(
    labels: UInt8[Tensor, "x y z"], start: tuple[int, int, int], extent: tuple[int, int, int]
) -> UInt8[Tensor, "wx wy wz"]:
    """Return a window, filled up with background beyond the head."""
    inside = _window_inside(labels, start, extent)
    if inside.shape == extent:
        return inside
    margins: list[int] = []
    for axis in (2, 1, 0):
        before = min(extent[axis], max(0, -start[axis]))
        margins += [before, extent[axis] - inside.shape[axis] - before]
    return pad(inside, margins)


MARGIN = 8  # fine voxels around the slab


def draw_bent_slab(
    anatomy: Anatomy, fine: tuple[int, int, int], generator: torch.Generator, within: WarpRange
) -> Anatomy:
    """Cut an axial slab of so many fine voxels out of a head at random, and bend it in its plane."""
    wide = (fine[0] + 2 * MARGIN, fine[1] + 2 * MARGIN, fine[2])
    slab = draw_crop(anatomy, wide, generator, plane=CropPlane.AXIAL).apply(anatomy)
    warp = draw_warp(wide, slab.voxel_mm, generator, within=within, planar=True)
    labels = warp.apply(slab.labels, slab.voxel_mm)
    inner = labels[MARGIN : MARGIN + fine[0], MARGIN : MARGIN + fine[1]].contiguous()
    affine = slab.affine.clone()
    affine[:3, 3] += slab.affine[:3, :2].sum(-1) * MARGIN
    return Anatomy(labels=inner, voxel_mm=slab.voxel_mm, subject=slab.subject, affine=affine)
