"""Slices whose numbers are noise where those of the other volumes are an image.

The numbers of an image resemble their neighbours; those of a damaged file do not, though they are not
small as those of a volume without signal. Such a slice in one volume makes a map that is wrong and, where
noise is estimated from residuals, not even implausible.
"""

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

# Correlation of neighbours: below the first there is no image, above the second there is one.
NO_IMAGE, IMAGE = 0.1, 0.4
EVEN = 2.5  # mean over SD of a slice that is nearly uniform, whose neighbours differ by noise alone
FAINT = 0.5  # energy, of that of the other volumes, below which a volume is faint and not damaged
BRIGHT = 10.0  # energy, of that of the other volumes, that noise does not reach where they show no image
FEWEST_VOXELS = 256  # of a slice, for a correlation to be told from 0
FEWEST_VOLUMES = 3


def incoherent_slices(
    signal: Float[Tensor, "x y z volumes"] | Complex[Tensor, "x y z volumes"],
) -> Bool[Tensor, "z volumes"]:
    """Return which slices of which volumes hold noise of the strength of an image, or more."""
    n_slices, n_volumes = signal.shape[2:]
    if n_volumes < FEWEST_VOLUMES or signal.shape[0] * signal.shape[1] < FEWEST_VOXELS:
        return torch.zeros(n_slices, n_volumes, dtype=torch.bool)
    facts = [_facts(signal[..., volume].abs().nan_to_num()) for volume in range(n_volumes)]
    likeness, evenness, energy = (torch.stack(one, dim=-1) for one in zip(*facts, strict=True))
    found = torch.zeros_like(likeness, dtype=torch.bool)
    for volume in range(n_volumes):
        others = [other for other in range(n_volumes) if other != volume]
        image = likeness[:, others].median(dim=-1).values > IMAGE
        times = energy[:, volume] / energy[:, others].median(dim=-1).values
        noise = (likeness[:, volume] < NO_IMAGE) & (evenness[:, volume] < EVEN)
        found[:, volume] = noise & ((image & (times > FAINT)) | (times > BRIGHT))
    return found


def _facts(
    volume: Float[Tensor, "x y z"],
) -> tuple[Float[Tensor, " z"], Float[Tensor, " z"], Float[Tensor, " z"]]:
    """Return the correlation of neighbours in each slice, its mean over SD, and its energy."""
    values = volume.double()
    mean = values.mean(dim=(0, 1))
    centred = values - mean
    variance = centred.square().mean(dim=(0, 1)).clamp(min=torch.finfo(torch.float64).tiny)
    along_x = (centred[1:] * centred[:-1]).mean(dim=(0, 1))
    along_y = (centred[:, 1:] * centred[:, :-1]).mean(dim=(0, 1))
    return (
        torch.maximum(along_x, along_y) / variance,
        mean / variance.sqrt(),
        values.square().mean(dim=(0, 1)),
    )
