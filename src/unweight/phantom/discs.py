"""Where an image shows discs of a known size, bright or dark.

Every edge votes for the centres it could belong to. With J the structure tensor summed over images,
each in units of its own noise, the doubled-angle vector

    (J_xx − J_yy, 2 J_xy) / (tr J + c)

says which way the edges of a voxel point and how sure that is; c is a few times the median of tr J in
the object, or where there is no noise what edges at 4 % of the strongest would give. Its mean over a
ring, taken along the radii, is 1 in the centre of a perfect disc, about 0 where edges have no order,
and it does not ask whether the disc is brighter or darker than what is around it. One pale image
therefore does no harm, and one clear image is enough.

References: Bigün, Granlund, ICCV 1987 (structure tensor); Duda, Hart, Commun ACM 15:11, 1972 (votes
for the parameters of a curve).
"""

import numpy as np
import torch
from jaxtyping import Float
from scipy.ndimage import gaussian_filter
from scipy.signal import fftconvolve
from torch import Tensor

SMOOTHING_MM = 1.3
DOUBT = 8.0
FAINTEST_EDGE = 0.04
OBJECT_FRACTION = 0.08


def disc_votes(
    images: Float[Tensor, "rows columns images"],
    voxel_mm: tuple[float, float],
    radii_mm: tuple[float, float],
) -> Float[Tensor, "rows columns"]:
    """Return for every voxel how surely a disc is centred there, −1 to 1.

    Args:
        images: Images of one slice, any contrast and unit.
        voxel_mm: Size of a voxel along rows and columns [mm].
        radii_mm: The edges of the disc lie between these radii [mm].
    """
    numbers = np.nan_to_num(images.detach().cpu().double().numpy())
    tensor = _structure_tensor(numbers, voxel_mm)
    ring, cosine, sine = _ring(voxel_mm, radii_mm)
    votes = fftconvolve(tensor[0], ring * cosine, mode="same")
    votes += fftconvolve(tensor[1], ring * sine, mode="same")
    return torch.from_numpy(votes).to(images)


def _structure_tensor(images: np.ndarray, voxel_mm: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Return the two doubled-angle components, each −1 to 1."""
    inside = _inside(images)
    sigma = [SMOOTHING_MM / size for size in voxel_mm]
    xx, xy, yy = (np.zeros(images.shape[:2]) for _ in range(3))
    for image in np.moveaxis(images, -1, 0):
        along_rows = gaussian_filter(image, sigma, order=(1, 0)) / voxel_mm[0]
        along_columns = gaussian_filter(image, sigma, order=(0, 1)) / voxel_mm[1]
        edges = (along_rows**2 + along_columns**2)[inside]
        noise = max(float(np.median(edges)), FAINTEST_EDGE**2 * float(np.percentile(edges, 99)))
        if noise > 0:
            xx += along_rows**2 / noise
            xy += along_rows * along_columns / noise
            yy += along_columns**2 / noise
    strength = xx + yy
    total = strength + DOUBT * max(float(np.median(strength[inside])), 1.0)
    return (xx - yy) / total, 2 * xy / total


def _inside(images: np.ndarray) -> np.ndarray:
    """Return where there is an object; all voxels if that cannot be determined."""
    scale = np.percentile(np.abs(images), 99, axis=(0, 1))
    known = (np.abs(images) / np.where(scale > 0, scale, 1.0)).sum(-1)
    inside: np.ndarray = known > OBJECT_FRACTION * np.percentile(known, 99)
    return inside if inside.any() else np.ones_like(inside)


def _ring(voxel_mm: tuple[float, float], radii_mm: tuple[float, float]) -> tuple[np.ndarray, ...]:
    """Return the weights of a ring, and the cosine and sine of twice its angle."""
    reach = [int(np.ceil((radii_mm[1] + 1.0) / size)) for size in voxel_mm]
    x, y = np.meshgrid(
        *(np.arange(-count, count + 1) * size for count, size in zip(reach, voxel_mm, strict=True)),
        indexing="ij",
    )
    radius = np.hypot(x, y)
    weight = np.clip(radius - radii_mm[0] + 0.5, 0, 1) * np.clip(radii_mm[1] - radius + 0.5, 0, 1)
    square = np.maximum(radius**2, 1e-12)
    return weight / weight.sum(), (x**2 - y**2) / square, 2 * x * y / square
