"""Slices whose numbers are noise where those of the other volumes are an image.

The numbers of an image resemble their neighbours; those of a damaged file do not, though they are not
small as those of a volume without signal. Such a slice in one volume makes a map that is wrong and, where
noise is estimated from residuals, not even implausible.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

# Correlation of neighbours: below the first there is no image, above the second there is one.
NO_IMAGE, IMAGE = 0.1, 0.4
EVEN = 2.5  # mean over SD of a slice that is nearly uniform, whose neighbours differ by noise alone
FAINT = 0.5  # energy, of that of the other volumes, below which a volume is faint and not damaged
BRIGHT = 10.0  # energy, of that of the other volumes, that noise does not reach where they show no image
FEWEST_VOXELS = 256  # of a slice, for a correlation to be distinguished from 0
FEWEST_VOLUMES = 3


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class SliceFacts:
    """What the magnitudes of the slices of one volume are.

    Attributes:
        likeness: Correlation of neighbours.
        evenness: Mean over SD.
        energy: Mean square.
        n_voxels: Of one slice.
    """

    likeness: Float[Tensor, " z"]
    evenness: Float[Tensor, " z"]
    energy: Float[Tensor, " z"]
    n_voxels: int

    def times(self, factor: float) -> "SliceFacts":
        """Return the facts of the volume times a number."""
        return replace(self, energy=self.energy * factor**2)


def incoherent_slices(volumes: Sequence[SliceFacts]) -> Bool[Tensor, "z volumes"]:
    """Return which slices of which volumes hold noise of the strength of an image, or more."""
    n_slices, n_volumes = len(volumes[0].energy), len(volumes)
    if n_volumes < FEWEST_VOLUMES or volumes[0].n_voxels < FEWEST_VOXELS:
        return torch.zeros(n_slices, n_volumes, dtype=torch.bool)
    likeness = torch.stack([volume.likeness for volume in volumes], dim=-1)
    evenness = torch.stack([volume.evenness for volume in volumes], dim=-1)
    energy = torch.stack([volume.energy for volume in volumes], dim=-1)
    result = torch.zeros_like(likeness, dtype=torch.bool)
    for volume in range(n_volumes):
        others = [other for other in range(n_volumes) if other != volume]
        image = likeness[:, others].median(dim=-1).values > IMAGE
        times = energy[:, volume] / energy[:, others].median(dim=-1).values
        noise = (likeness[:, volume] < NO_IMAGE) & (evenness[:, volume] < EVEN)
        result[:, volume] = noise & ((image & (times > FAINT)) | (times > BRIGHT))
    return result


def facts_of(volume: Float[Tensor, "x y z"] | Complex[Tensor, "x y z"]) -> SliceFacts:
    """Return what the magnitudes of each slice are."""
    return facts_from(rows_of(volume), volume.shape[0] * volume.shape[1])


def rows_of(volume: Float[Tensor, "x y z"] | Complex[Tensor, "x y z"]) -> Float[Tensor, "3 z"]:
    """Return likeness, evenness and energy of each slice; one at a time, for volumes can be large."""
    n_slices = volume.shape[2]
    rows = torch.empty(3, n_slices, dtype=torch.float64, device=volume.device)
    for index in range(n_slices):
        rows[:, index] = _of_slice(volume[:, :, index].abs().nan_to_num().double())
    return rows


def facts_from(rows: Float[Tensor, "3 z"], n_voxels: int) -> SliceFacts:
    """Return the facts of a volume.

    Args:
        rows: Likeness, evenness and energy of its slices.
        n_voxels: Of one slice.
    """
    return SliceFacts(likeness=rows[0], evenness=rows[1], energy=rows[2], n_voxels=n_voxels)


def _of_slice(values: Float[Tensor, "x y"]) -> Float[Tensor, "3"]:
    """Return likeness, evenness and energy of one slice."""
    mean = values.mean()
    centred = values - mean
    variance = centred.square().mean().clamp(min=torch.finfo(torch.float64).tiny)
    along_x, along_y = (centred[1:] * centred[:-1]).mean(), (centred[:, 1:] * centred[:, :-1]).mean()
    likeness = torch.maximum(along_x, along_y) / variance
    return torch.stack([likeness, mean / variance.sqrt(), values.square().mean()])
