"""Volumes as from a method that knows the mean subject only: what every analysis of volumes must refuse.

With t̄ the mean true volume, h the head size, ε ~ N(0, 1) and c the noise of the segmenter as a share:

    constant       s = t̄·(1 + cε)             everyone gets the same brain
    head-scaled    s = t̄·(h/h̄)·(1 + cε)       the same brain, scaled to the head

Both have the right mean, and pass a test of the mean volume alone. Neither knows age or sex.
"""

import numpy as np
import torch
from jaxtyping import Float64

from unweight.core.errors import UsageError


def constant_volumes(
    true: Float64[np.ndarray, " subjects"], *, noise: float, generator: torch.Generator
) -> Float64[np.ndarray, " subjects"]:
    """Return the mean volume for each subject, with noise.

    Args:
        true: Volumes of one structure on the true images.
        noise: SD of repeated segmentation as a share of the volume, 0.01.
        generator: Draws the noise.
    """
    return _noisy(np.full_like(true, true.mean()), noise, generator)


def head_scaled_volumes(
    true: Float64[np.ndarray, " subjects"],
    head: Float64[np.ndarray, " subjects"],
    *,
    noise: float,
    generator: torch.Generator,
) -> Float64[np.ndarray, " subjects"]:
    """Return the mean volume in proportion to the head size of each subject, with noise.

    Args:
        true: Volumes of one structure on the true images.
        head: Head sizes, in any unit of volume.
        noise: SD of repeated segmentation as a share of the volume, 0.01.
        generator: Draws the noise.
    """
    return _noisy(true.mean() * head / head.mean(), noise, generator)


def _noisy(
    volumes: Float64[np.ndarray, " subjects"], noise: float, generator: torch.Generator
) -> Float64[np.ndarray, " subjects"]:
    if not 0 <= noise < 1:
        raise UsageError(f"the noise is a share of the volume, from 0 to below 1, found {noise:g}")
    drawn = torch.randn(len(volumes), generator=generator, dtype=torch.float64)
    noisy: np.ndarray = volumes * (1 + noise * drawn.numpy())
    return noisy
