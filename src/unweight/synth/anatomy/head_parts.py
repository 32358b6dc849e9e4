"""Heads with what BrainWeb and procedural heads leave out: eyes, sinuses, mouth and neck.

The parts are ellipsoids and tubes with random sizes, placed in the stereotaxic space of the heads and along
the skin that is there; they replace everything but brain and dura. The neck continues the lowest layer of
the head downwards, narrower and without the face from the chin on, with spine, cord and airway. The result
has labels beyond `MATERIALS` and is for segmentation, where any plausible surrounding will do.

The brain is what `BRAIN` lists with the vessels between it, closed and filled, and ends `STEM_MM` below the
cerebellum; what continues it downwards is spinal cord.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from unweight.core.errors import InputError
from unweight.synth.anatomy.labels import Anatomy, brain_table, on_grid
from unweight.synth.sampling import bernoulli, draw_uniform
from unweight.synth.tissue.materials import MATERIALS

PARTS = (*MATERIALS, "vitreous", "lens", "optic_nerve", "mucosa", "cord", "canal")
PART = {name: index for index, name in enumerate(PARTS)}
EYE = ("vitreous", "lens", "optic_nerve")
VOXEL_MM = 1.0
FLOOR_MM = -135.0  # to where the neck reaches
STEM_MM, STEM_AREA_MM2 = 5.0, 800.0  # the stem alone has a smaller section than this
DISTANCE_VOXEL_MM, FARTHEST_MM = 2.0, 20.0
CLOSING_MM = 3.0
Places = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]
Point = tuple[float, float, float]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class LabelledHead:
    """A whole head with the distance to the surface of its brain.

    Attributes:
        labels: The number is the place in `PARTS`; x to the right, y to the front, z up.
        distance: Signed distance to the surface of the brain, negative inside, at most 20 mm, on a grid of
            2 mm voxels over the same field of view [mm].
        affine: Voxel index of the labels to millimetres.
        subject: Whose head it is.
    """

    labels: UInt8[Tensor, "x y z"]
    distance: Float[Tensor, "u v w"]
    affine: Float[Tensor, "4 4"]
    subject: str

    @property
    def brain(self) -> Bool[Tensor, "x y z"]:
        """Where the distance to the surface is negative, on the grid of the labels."""
        size = list(self.labels.shape)
        return F.interpolate(self.distance[None, None], size=size, mode="trilinear")[0, 0] < 0


def with_parts(anatomy: Anatomy, generator: torch.Generator) -> LabelledHead:
    """Return a head with eyes, sinuses, mouth and neck, in voxels of 1 mm.

    Args:
        anatomy: A whole head in stereotaxic space.
        generator: For sizes and places.

    Raises:
        InputError: There is no brain in it.
    """
    coarse = on_grid(anatomy, VOXEL_MM)
    labels = coarse.labels.numpy().copy()
    affine = coarse.affine.numpy().copy()
    inside = _brain(labels)
    stem = _stem(inside)
    inside[:, :, :stem] = False
    nerve = _isin(labels, ("white_matter", "grey_matter"))
    fluid = _isin(labels, ("csf",))
    lower = np.arange(labels.shape[2])[None, None, :] < stem
    labels[lower & nerve] = PART["cord"]
    labels[lower & fluid] = PART["canal"]
    labels, inside, affine = _with_neck(labels, inside, affine, generator)
    # Sizes of an even number of voxels, so that the grid of the distance covers the same field of view.
    trim = tuple(slice(0, size - size % 2) for size in labels.shape)
    labels, inside = labels[trim], inside[trim]
    kept = inside | _isin(labels, ("dura",))
    _Painter(labels=labels, kept=kept, affine=affine).face(generator)
    return LabelledHead(
        labels=torch.from_numpy(np.ascontiguousarray(labels)),
        distance=torch.from_numpy(_distance(inside)),
        affine=torch.from_numpy(affine),
        subject=coarse.subject,
    )


def _isin(labels: NDArray[np.uint8], names: Sequence[str]) -> NDArray[np.bool_]:
    table = np.zeros(256, dtype=bool)
    table[[PART[name] for name in names]] = True
    return np.asarray(table[labels])


def _brain(labels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return the largest piece of what is brain, closed and filled."""
    table = brain_table().numpy().astype(bool)
    pieces, count = ndimage.label(table[labels])
    if count == 0:
        raise InputError("a head without a brain", remedy="Give a whole head.")
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    brain = pieces == int(sizes.argmax())
    margin = int(CLOSING_MM / VOXEL_MM) + 1
    tight = ndimage.find_objects(brain.astype(np.uint8))[0]
    box = tuple(slice(max(0, item.start - margin), item.stop + margin) for item in tight)
    near = ndimage.distance_transform_edt(~brain[box]) <= CLOSING_MM / VOXEL_MM
    # The end of the field of view is no surface.
    closed = ndimage.distance_transform_edt(np.pad(near, margin, mode="edge")) > CLOSING_MM / VOXEL_MM
    brain[box] |= closed[margin:-margin, margin:-margin, margin:-margin]
    return np.asarray(ndimage.binary_fill_holes(brain), dtype=bool)


def _stem(inside: NDArray[np.bool_]) -> int:
    """Return the lowest layer of the brain."""
    areas = inside.sum((0, 1)) * VOXEL_MM**2
    large = np.flatnonzero(areas > STEM_AREA_MM2)
    if not len(large):
        raise InputError("a head without a brain", remedy="Give a whole head.")
    return max(0, int(large[0] - STEM_MM / VOXEL_MM))


def _distance(inside: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the signed distance to the surface on a grid of twice the voxel size."""
    margin = int(FARTHEST_MM / VOXEL_MM) + 2
    tight = ndimage.find_objects(inside.astype(np.uint8))[0]
    # Even ends, so that pairs of voxels stay together.
    box = tuple(
        slice(max(0, item.start - margin) // 2 * 2, min(size, (item.stop + margin) // 2 * 2))
        for item, size in zip(tight, inside.shape, strict=True)
    )
    part = inside[box]
    outer = ndimage.distance_transform_edt(~part).astype(np.float32)
    inner = ndimage.distance_transform_edt(part).astype(np.float32)
    # The surface lies half a voxel from the middle of the voxels beside it.
    fine = np.where(part, 0.5 - inner, outer - 0.5) * VOXEL_MM
    x, y, z = (size // 2 for size in fine.shape)
    halved = fine.reshape(x, 2, y, 2, z, 2).mean((1, 3, 5))
    whole = np.full([size // 2 for size in inside.shape], FARTHEST_MM, dtype=np.float32)
    whole[tuple(slice(item.start // 2, item.stop // 2) for item in box)] = halved
    return np.clip(whole, -FARTHEST_MM, FARTHEST_MM)


def _with_neck(
    labels: NDArray[np.uint8],
    inside: NDArray[np.bool_],
    affine: NDArray[np.float64],
    generator: torch.Generator,
) -> tuple[NDArray[np.uint8], NDArray[np.bool_], NDArray[np.float64]]:
    """Continue the lowest layer of a head downwards."""
    n_more = max(0, round((affine[2, 3] - FLOOR_MM) / VOXEL_MM))
    if n_more == 0:
        return labels, inside, affine
    base = labels[:, :, :3].max(2)
    base[_isin(base, ("cord", "canal", "vessel", "csf", "white_matter", "grey_matter", "dura"))] = PART[
        "muscle"
    ]
    x = np.arange(labels.shape[0]) * VOXEL_MM + affine[0, 3]
    y = np.arange(labels.shape[1]) * VOXEL_MM + affine[1, 3]
    back = float(y[np.flatnonzero((base > 0).any(0))[0]]) if (base > 0).any() else -80.0
    jaw, narrow = draw_uniform((25.0, 65.0), generator), draw_uniform((0.0, 0.25), generator)
    chin, forward = draw_uniform((50.0, 80.0), generator), draw_uniform((-0.1, 0.45), generator)
    neck = draw_uniform((90.0, 125.0), generator)
    more = np.zeros((*base.shape, n_more), dtype=np.uint8)
    for below in range(1, n_more + 1):
        scale = 1 - narrow * min(1.0, below / 50)
        shift = forward * below
        rows = _nearest(x / scale, x)
        columns = _nearest(back + (y - shift - back) / scale, y)
        layer = base[rows][:, columns]
        depth = neck if below > jaw else chin + neck - 0.5 * below
        layer[:, y > back + shift + depth] = 0
        more[:, :, n_more - below] = layer
    solid = ndimage.binary_opening(more > 0, iterations=2)
    more[~solid] = 0
    rim = solid & ~ndimage.binary_erosion(solid, iterations=3, border_value=1)
    more[rim] = PART["skin"]
    total = np.concatenate([more, labels], axis=2)
    moved = affine.copy()
    moved[2, 3] -= n_more * VOXEL_MM
    grown = np.concatenate([np.zeros(more.shape, dtype=bool), inside], axis=2)
    return total, grown, moved


def _nearest(places: NDArray[np.float64], axis: NDArray[np.float64]) -> NDArray[np.intp]:
    index = np.clip(np.rint((places - axis[0]) / VOXEL_MM), 0, len(axis) - 1)
    return np.asarray(index, dtype=np.intp)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class _Painter:
    """Puts parts into labels, in place.

    Attributes:
        labels: Of the head.
        kept: Where nothing is put.
        affine: Voxel index to millimetres.
    """

    labels: NDArray[np.uint8]
    kept: NDArray[np.bool_]
    affine: NDArray[np.float64]

    def face(self, generator: torch.Generator) -> None:
        """Put everything in."""
        self._spine(generator)
        self._cavities(generator)
        for side in (-1.0, 1.0):
            self._eye(side, generator)

    def ellipsoid(self, middle: Point, radii: Point, name: str, over: Sequence[str] = ()) -> None:
        """Fill an ellipsoid; only what `over` names, if anything."""
        box, places = self._box(middle, radii)
        level = sum(
            ((place - centre) / radius) ** 2
            for place, centre, radius in zip(places, middle, radii, strict=True)
        )
        self._put(box, np.asarray(level < 1), name, over)

    def tube(self, start: Point, end: Point, radius: float, name: str) -> None:
        """Fill a straight tube."""
        a, b = np.array(start), np.array(end)
        middle = (a + b) / 2
        reach = np.abs(b - a) / 2 + radius
        box, (x, y, z) = self._box(
            (float(middle[0]), float(middle[1]), float(middle[2])),
            (float(reach[0]), float(reach[1]), float(reach[2])),
        )
        along = b - a
        share = ((x - a[0]) * along[0] + (y - a[1]) * along[1] + (z - a[2]) * along[2]) / (along @ along)
        share = np.clip(share, 0, 1)
        square = sum(
            (place - (start_of + share * step)) ** 2
            for place, start_of, step in zip((x, y, z), a, along, strict=True)
        )
        self._put(box, np.asarray(square < radius**2), name, ())

    def _put(
        self, box: tuple[slice, ...], inside: NDArray[np.bool_], name: str, over: Sequence[str]
    ) -> None:
        inside = inside & ~self.kept[box]
        if over:
            inside &= _isin(self.labels[box], over)
        self.labels[box][inside] = PART[name]

    def _box(self, middle: Point, radii: Point) -> tuple[tuple[slice, ...], Places]:
        """Return the voxels around an ellipsoid, and where they lie along each axis [mm]."""
        box, places = [], []
        for axis, (centre, radius) in enumerate(zip(middle, radii, strict=True)):
            first = (centre - radius - self.affine[axis, 3]) / VOXEL_MM
            last = (centre + radius - self.affine[axis, 3]) / VOXEL_MM
            size = self.labels.shape[axis]
            begin = min(max(0, int(np.floor(first))), size)
            end = min(max(begin, int(np.ceil(last)) + 1), size)
            box.append(slice(begin, end))
            along = np.arange(begin, end, dtype=np.float32) * VOXEL_MM + np.float32(self.affine[axis, 3])
            shape = [-1 if other == axis else 1 for other in range(3)]
            places.append(along.astype(np.float32).reshape(shape))
        return tuple(box), (places[0], places[1], places[2])

    def _front(self, x: float, z: float) -> float:
        """Return where the skin lies in front of a point [mm]."""
        i, k = (round((at - self.affine[axis, 3]) / VOXEL_MM) for axis, at in ((0, x), (2, z)))
        i, k = min(max(i, 0), self.labels.shape[0] - 1), min(max(k, 0), self.labels.shape[2] - 1)
        solid = np.flatnonzero(self.labels[i, :, k])
        return float(solid[-1] * VOXEL_MM + self.affine[1, 3]) if len(solid) else 60.0

    def _eye(self, side: float, generator: torch.Generator) -> None:
        x = side * draw_uniform((29.0, 35.0), generator)
        z = draw_uniform((-42.0, -32.0), generator)
        radius = draw_uniform((10.5, 13.0), generator)
        y = self._front(x, z) - radius - draw_uniform((0.0, 5.0), generator)
        soft = ("muscle", "skin", "connective", "fat", "vessel", "marrow", "skull")
        orbit = (15.5, 26.0, 15.0)
        self.ellipsoid((x * 0.95, y - 14.0, z), orbit, "fat", soft)
        for dx, dz in ((8.0, 0.0), (-8.0, 0.0), (0.0, 8.0), (0.0, -8.0)):
            thick = draw_uniform((1.2, 2.6), generator)
            start, end = (x + dx, y - 4.0, z + dz), (side * 14.0 + dx / 4, y - 36.0, z + 4 + dz / 4)
            self.tube(start, end, thick, "muscle")
        back = (side * 9.0, y - 42.0, z + draw_uniform((2.0, 8.0), generator))
        if bernoulli(0.6, generator):
            self.tube((x, y - radius, z), back, draw_uniform((2.6, 3.6), generator), "canal")
        self.tube((x, y - radius, z), back, draw_uniform((1.6, 2.5), generator), "optic_nerve")
        ball = radius + draw_uniform((0.5, 1.5), generator)
        self.ellipsoid((x, y, z), (ball, ball, ball), "connective")
        self.ellipsoid((x, y, z), (radius, radius, radius), "vitreous")
        self.ellipsoid((x, y + 0.6 * radius, z), (4.5, 2.2, 4.5), "lens")

    def _cavities(self, generator: torch.Generator) -> None:
        """Put in air with mucosa around it: sinuses, nose and mouth; some are full."""
        places: list[tuple[Point, Point]] = [
            ((0.0, 48.0, -42.0), (9.0, 18.0, 11.0)),
            ((0.0, 12.0, -43.0), (11.0, 9.0, 8.0)),
            ((0.0, 55.0, -62.0), (9.0, 24.0, 15.0)),
            ((0.0, self._front(0.0, -22.0) - 11.0, -22.0), (18.0, 5.0, 10.0)),
        ]
        for side in (-1.0, 1.0):
            places.append(((side * 25.0, 42.0, -64.0), (12.0, 14.0, 15.0)))
            places.append(((side * 50.0, -32.0, -52.0), (9.0, 11.0, 12.0)))
        for middle, radii in places:
            size = draw_uniform((0.5, 1.15), generator)
            full, thin = bernoulli(0.15, generator), draw_uniform((0.5, 2.5), generator)
            x, y, z = (at + draw_uniform((-4.0, 4.0), generator) for at in middle)
            a, b, c = (size * radius for radius in radii)
            self.ellipsoid((x, y, z), (a + thin, b + thin, c + thin), "mucosa")
            self.ellipsoid((x, y, z), (a, b, c), "mucosa" if full else "air")
        front = self._front(0.0, -92.0)
        tongue = draw_uniform((0.8, 1.2), generator)
        middle_z = draw_uniform((-98.0, -86.0), generator)
        if bernoulli(0.5, generator):
            self.ellipsoid((0.0, front - 30, middle_z), (26.0, 26.0, 18.0), "air")
        self.ellipsoid((0.0, front - 34, middle_z - 3), (22 * tongue, 26 * tongue, 16 * tongue), "muscle")
        for side in (-1.0, 1.0):
            for place in range(5):
                angle = 0.25 + 0.28 * place
                x, y = side * 24 * np.sin(angle), front - 32 + 24 * np.cos(angle)
                self.tube((x, y, middle_z - 14), (x, y, middle_z + 12), 3.2, "skull")

    def _spine(self, generator: torch.Generator) -> None:
        """Put in cord, canal, vertebrae with discs, and airway, below the brain."""
        rows = np.argwhere(_isin(self.labels, ("cord", "canal")))
        if len(rows):
            x, y, _ = (rows.mean(0) * VOXEL_MM + self.affine[:3, 3]).tolist()
            top = float(rows[:, 2].min() * VOXEL_MM + self.affine[2, 3])
        else:
            x, y, top = 0.0, -42.0, -75.0
        lean = draw_uniform((-0.05, 0.3), generator)
        bottom = FLOOR_MM - 4
        end = y + lean * (top - bottom)
        canal, cord = draw_uniform((7.5, 10.5), generator), draw_uniform((4.0, 6.5), generator)
        self.tube((x, y, top), (x, end, bottom), canal + 4, "skull")
        height, disc = draw_uniform((13.0, 18.0), generator), draw_uniform((3.0, 6.0), generator)
        at = top - draw_uniform((0.0, 20.0), generator)
        while at > bottom:
            middle = y + lean * (top - at) + canal + 9
            self.ellipsoid((x, middle, at), (15.0, 10.0, height / 2 + disc), "connective")
            self.ellipsoid((x, middle, at), (14.0, 9.5, height / 2 + 2), "skull")
            self.ellipsoid((x, middle, at), (12.5, 8.0, height / 2 + 1), "marrow")
            at -= height + disc
        self.tube((x, y, top), (x, end, bottom), canal, "canal")
        self.tube((x, y, top + 6), (x, end, bottom), cord, "cord")
        throat = canal + draw_uniform((24.0, 32.0), generator)
        wide = draw_uniform((4.0, 10.0), generator)
        self.tube((x, y + throat, -62.0), (x, end + throat, bottom), wide, "air")
