"""Lesions put into a head: small ovoids of multiple sclerosis, and a tumour in its oedema.

Plaques lie in white matter, most of them near the ventricles. A tumour has an irregular core and
spreads oedema through the white matter around it. The ventricles are the CSF deep in the brain, far
from everything that is not brain. Drawn first, then applied, so that every lesion can be replayed.
"""

import math
from dataclasses import dataclass, replace
from typing import final

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from unweight.core.errors import InputError, UsageError
from unweight.synth.anatomy.labels import Anatomy, brain_table
from unweight.synth.sampling import draw_frame, draw_uniform
from unweight.synth.scanner.fields import SmoothField, draw_field
from unweight.synth.tissue.materials import DEEP_GREY, INDEX

COARSE_MM = 2.0
DEEP_MM = 22.0
REACH_MM = 5.0
ROUGHNESS = 0.18
TISSUE = ("grey_matter", "white_matter", *DEEP_GREY)


@final
@dataclass(frozen=True, kw_only=True)
class PlaqueLoad:
    """How many plaques, and how large.

    Attributes:
        n_lesions: Number of plaques.
        size_mm: Smallest and largest diameter [mm].
        periventricular: Share of them near the ventricles.
        longest: Largest ratio of the longest diameter to the others.
    """

    n_lesions: int = 20
    size_mm: tuple[float, float] = (3.0, 15.0)
    periventricular: float = 0.65
    longest: float = 2.0

    def __post_init__(self) -> None:
        if self.n_lesions < 0 or not 0 < self.size_mm[0] <= self.size_mm[1]:
            raise UsageError(f"impossible plaques: {self}")
        if not 0 <= self.periventricular <= 1 or self.longest < 1:
            raise UsageError(f"impossible plaques: {self}")


@final
@dataclass(frozen=True, kw_only=True)
class TumourSize:
    """How large a tumour is.

    Attributes:
        core_mm: Smallest and largest diameter of the core [mm].
        oedema_mm: Smallest and largest width of the oedema around it [mm].
    """

    core_mm: tuple[float, float] = (15.0, 40.0)
    oedema_mm: tuple[float, float] = (4.0, 15.0)

    def __post_init__(self) -> None:
        if not 0 < self.core_mm[0] <= self.core_mm[1] or not 0 <= self.oedema_mm[0] <= self.oedema_mm[1]:
            raise UsageError(f"an impossible tumour: {self}")


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Blob:
    """An ellipsoid with a rough surface.

    Attributes:
        centre: Voxel of its middle.
        axes: Its three directions, in rows.
        radii_mm: Along them [mm].
        roughness: Relative change of its radius in space.
    """

    centre: tuple[int, int, int]
    axes: Float[Tensor, "3 3"]
    radii_mm: tuple[float, float, float]
    roughness: SmoothField


def with_plaques(anatomy: Anatomy, generator: torch.Generator, load: PlaqueLoad | None = None) -> Anatomy:
    """Return the head with plaques (`ms_lesion`) in its white matter.

    Args:
        anatomy: A head, or a part of one.
        generator: For places and shapes.
        load: How many and how large.

    Raises:
        InputError: There is no white matter.
    """
    load = PlaqueLoad() if load is None else load
    sites = _sites(anatomy)
    labels = anatomy.labels.clone()
    for _ in range(load.n_lesions):
        near = draw_uniform((0.0, 1.0), generator) < load.periventricular
        blob = _draw_blob(sites, load.size_mm, (near, load.longest), generator)
        _paint(labels, anatomy.voxel_mm, blob, ("ms_lesion", ("white_matter",)))
    return replace(anatomy, labels=labels)


def with_tumour(anatomy: Anatomy, generator: torch.Generator, size: TumourSize | None = None) -> Anatomy:
    """Return the head with a tumour (`tumour`) and oedema (`oedema`) around it.

    Args:
        anatomy: A head, or a part of one.
        generator: For place and shape.
        size: How large.

    Raises:
        InputError: There is no white matter.
    """
    size = TumourSize() if size is None else size
    core = _draw_blob(_sites(anatomy), size.core_mm, (False, 1.4), generator)
    width = draw_uniform(size.oedema_mm, generator)
    a, b, c = (radius + width for radius in core.radii_mm)
    labels = anatomy.labels.clone()
    _paint(
        labels,
        anatomy.voxel_mm,
        replace(core, radii_mm=(a, b, c)),
        ("oedema", ("white_matter", "ms_lesion")),
    )
    _paint(labels, anatomy.voxel_mm, core, ("tumour", (*TISSUE, "csf", "oedema", "ms_lesion")))
    return replace(anatomy, labels=labels)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class _Sites:
    """Where lesions may begin.

    Attributes:
        voxels: White matter, thinned out, as voxels of the head.
        ventricle_mm: Distance of each to the ventricles; infinite where there are none [mm].
    """

    voxels: Int[Tensor, "sites 3"]
    ventricle_mm: Float[Tensor, " sites"]


def _sites(anatomy: Anatomy) -> _Sites:
    steps = [max(1, round(COARSE_MM / size)) for size in anatomy.voxel_mm]
    thin = anatomy.labels[:: steps[0], :: steps[1], :: steps[2]].cpu()
    white = thin == INDEX["white_matter"]
    if not bool(white.any()):
        raise InputError("there is no white matter to put a lesion in")
    sampling = [step * size for step, size in zip(steps, anatomy.voxel_mm, strict=True)]
    brain = brain_table()[thin.reshape(-1).long()].reshape(thin.shape).bool().numpy()
    ventricle = (thin == INDEX["csf"]).numpy() & (_depth(brain, sampling) > DEEP_MM)
    distance = np.full(thin.shape, np.inf)
    if ventricle.any():
        distance = distance_transform_edt(~ventricle, sampling=sampling)
    places = white.nonzero()
    return _Sites(
        voxels=places * torch.tensor(steps),
        ventricle_mm=torch.from_numpy(distance).float()[tuple(places.T)],
    )


def _depth(brain: NDArray[np.bool_], sampling: list[float]) -> NDArray[np.float64]:
    """Return the distance from what is not brain; no bound if all is brain [mm]."""
    if brain.all():
        return np.full(brain.shape, np.inf)
    depth: NDArray[np.float64] = distance_transform_edt(brain, sampling=sampling)
    return depth


def _draw_blob(
    sites: _Sites, diameter_mm: tuple[float, float], form: tuple[bool, float], generator: torch.Generator
) -> Blob:
    """Draw one lesion: near the ventricles or anywhere, more or less elongated; small ones are commoner."""
    near, longest = form
    weights = torch.ones(len(sites.voxels))
    if near and bool(torch.isfinite(sites.ventricle_mm).any()):
        weights = torch.exp(-sites.ventricle_mm / REACH_MM) + 1e-12
    chosen = (
        weights.double().cumsum(0) / weights.double().sum() <= draw_uniform((0.0, 1.0), generator)
    ).sum()
    x, y, z = sites.voxels[min(int(chosen), len(weights) - 1)].tolist()
    low, high = (math.log(value) for value in diameter_mm)
    radius = math.exp(draw_uniform((low, high), generator)) / 2
    stretch = draw_uniform((1.0, longest), generator)
    # The mean diameter stays within the range; the volume is that of the sphere.
    radii = (radius * stretch ** (2 / 3), radius * stretch ** (-1 / 3), radius * stretch ** (-1 / 3))
    reach = max(radii) * 2
    roughness = draw_field((reach, reach, reach), max(radius, 1.0), generator)
    return Blob(centre=(x, y, z), axes=draw_frame(generator), radii_mm=radii, roughness=roughness)


def _paint(
    labels: Tensor, voxel_mm: tuple[float, float, float], blob: Blob, paint: tuple[str, tuple[str, ...]]
) -> None:
    """Give the voxels of a blob a label, where there is something that it replaces."""
    name, replaced = paint
    reach = max(blob.radii_mm) * (1 + 3 * ROUGHNESS)
    box, axes = [], []
    for centre, n_voxels, size in zip(blob.centre, labels.shape, voxel_mm, strict=True):
        half = math.ceil(reach / size)
        part = slice(max(0, centre - half), min(n_voxels, centre + half + 1))
        box.append(part)
        axes.append((torch.arange(part.start, part.stop, dtype=torch.float32) - centre) * size)
    inside = _inside(blob, (axes[0], axes[1], axes[2])).to(labels.device)
    window = labels[tuple(box)]
    allowed = torch.zeros_like(inside)
    for material in replaced:
        allowed |= window == INDEX[material]
    window[inside & allowed] = INDEX[name]


def _inside(blob: Blob, axes: tuple[Tensor, Tensor, Tensor]) -> Bool[Tensor, "x y z"]:
    x, y, z = axes
    points = (x[:, None, None], y[None, :, None], z[None, None, :])
    level = torch.zeros(len(x), len(y), len(z))
    for row, radius in zip(blob.axes.tolist(), blob.radii_mm, strict=True):
        level += (sum(a * point for a, point in zip(row, points, strict=True)) / radius) ** 2
    return level.sqrt() < 1 + ROUGHNESS * blob.roughness.on(x, y, z).cpu()
