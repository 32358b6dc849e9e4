"""Where the 14 spheres of a plate lie in one slice: a template turned and shifted onto disc votes.

The template (ten spheres on a ring, four on a square) maps onto itself under a half turn and under
two mirrors. A pose therefore leaves four ways to number the spheres; `phantom.sphere_order` chooses.
"""

import math
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from jaxtyping import Float
from scipy.ndimage import map_coordinates
from torch import Tensor

from unweight.phantom.discs import disc_votes
from unweight.phantom.facts import SHELL_RADIUS_MM, SPHERE_CENTRES_MM, SPHERE_RADIUS_MM

EDGES_MM = (SPHERE_RADIUS_MM - 2.0, SHELL_RADIUS_MM)
ANGLE_STEP = math.radians(2.0)
SEARCH_MM = 3.0
OFF_PLACE_MM = 1.8
PLACE_SD_MM = 0.4  # of single spheres about the pattern, on real phantoms
CLEAR_VOTE = 0.2
LEAST_CLEAR = 9
LEAST_MEAN = 0.25


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class PlatePose:
    """Fourteen discs in the pattern of a plate, numbered one of four possible ways.

    Attributes:
        centres_mm: In the plane, voxel index times voxel size; a sphere that is hard to see is drawn
            towards its place in the pattern [mm].
        votes: How surely each is a disc, up to 1.
    """

    centres_mm: Float[Tensor, "spheres 2"]
    votes: Float[Tensor, " spheres"]

    @property
    def score(self) -> float:
        """Mean of the votes."""
        return float(self.votes.mean())

    @property
    def convincing(self) -> bool:
        """Whether a plate is really there."""
        clear = int((self.votes > CLEAR_VOTE).sum())
        return clear >= LEAST_CLEAR and self.score > LEAST_MEAN


def plate_pose(
    images: Float[Tensor, "rows columns images"], voxel_mm: tuple[float, float]
) -> PlatePose | None:
    """Return the best place for a plate in a slice, or None if it lies partly outside.

    Args:
        images: Images of one slice, any contrast.
        voxel_mm: Size of a voxel along rows and columns [mm].
    """
    votes = disc_votes(images, voxel_mm, EDGES_MM).cpu().numpy()
    template = np.array(SPHERE_CENTRES_MM)
    centres = _coarse(votes, voxel_mm, template)
    for _ in range(3):
        peaks, weights = _peaks(votes, voxel_mm, centres)
        centres = _similarity(template, peaks, weights)
    size_mm = (np.array(votes.shape) - 1) * voxel_mm
    if (centres < 0).any() or (centres > size_mm).any():
        return None
    peaks, weights = _peaks(votes, voxel_mm, centres)
    away = peaks - centres
    near = np.hypot(*away.T) < OFF_PLACE_MM
    trust = near * PLACE_SD_MM**2 / (PLACE_SD_MM**2 + _peak_sd_mm(weights) ** 2)
    return PlatePose(
        centres_mm=torch.from_numpy(centres + trust[:, None] * away),
        votes=torch.from_numpy(np.where(near, weights, np.minimum(weights, 0.0))),
    )


def _peak_sd_mm(votes: np.ndarray) -> np.ndarray:
    """Return how far peaks lie from the true centres, by experience with simulated plates."""
    error: np.ndarray = 0.1 + 2.0 * (1 - np.clip(votes, 0, 1)) ** 2
    return error


def _coarse(votes: np.ndarray, voxel_mm: tuple[float, float], template: np.ndarray) -> np.ndarray:
    """Return the template at the best of all shifts and, in steps, all half turns."""
    spectrum = np.fft.fft2(votes)
    frequency = [np.fft.fftfreq(n) / size for n, size in zip(votes.shape, voxel_mm, strict=True)]
    best, centres = -np.inf, template
    for angle in np.arange(0.0, math.pi, ANGLE_STEP):
        turned = template @ _rotation(angle).T
        waves = [np.exp(2j * np.pi * np.outer(turned[:, axis], frequency[axis])) for axis in (0, 1)]
        score = np.fft.ifft2(spectrum * (waves[0].T @ waves[1])).real
        place = np.unravel_index(score.argmax(), score.shape)
        if score[place] > best:
            best, centres = float(score[place]), turned + np.array(place) * voxel_mm
    return centres


def _rotation(angle: float) -> np.ndarray:
    cosine, sine = math.cos(angle), math.sin(angle)
    return np.array([[cosine, -sine], [sine, cosine]])


def _peaks(
    votes: np.ndarray, voxel_mm: tuple[float, float], centres: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the highest vote near each centre, to a fraction of a voxel, and its height."""
    step = 0.25
    offset = np.arange(-SEARCH_MM, SEARCH_MM + step / 2, step)
    grid = np.stack(np.meshgrid(offset, offset, indexing="ij"), -1).reshape(-1, 2)
    grid = grid[np.hypot(*grid.T) <= SEARCH_MM]
    points = centres[:, None] + grid
    heights = map_coordinates(votes, np.moveaxis(points / voxel_mm, -1, 0), order=3, mode="constant")
    best = heights.argmax(1)
    top = heights.max(1, keepdims=True)
    crest = np.clip(heights - 0.8 * top, 0, None) * (top > 0)
    crest *= np.hypot(*np.moveaxis(points - points[np.arange(len(best)), best][:, None], -1, 0)) < 2.0
    total = crest.sum(1, keepdims=True)
    mean = (crest[..., None] * points).sum(1) / np.where(total > 0, total, 1.0)
    return np.where(total > 0, mean, centres), top[:, 0]


def _similarity(template: np.ndarray, peaks: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the template turned, shifted and up to 3 % stretched onto the peaks (Procrustes)."""
    weight = np.clip(weights, 0.02, None)[:, None]
    weight = weight / weight.sum()
    middle, target = (weight * template).sum(0), (weight * peaks).sum(0)
    before, after = (
        (points - centre) @ [1, 1j] for points, centre in ((template, middle), (peaks, target))
    )
    turn = (weight[:, 0] * before.conj() * after).sum()
    stretch = float(np.clip(abs(turn) / (weight[:, 0] * abs(before) ** 2).sum(), 0.97, 1.03))
    placed: np.ndarray = stretch * (template - middle) @ _rotation(float(np.angle(turn))).T + target
    return placed
