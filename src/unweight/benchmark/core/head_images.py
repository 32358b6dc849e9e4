"""Images of labelled heads in eight contrasts and any voxels, with bias field and Rician noise."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from unweight.synth.anatomy.head_parts import LabelledHead
from unweight.synth.any_contrast import Timings, tissue_table

CONTRASTS: Mapping[str, Timings] = MappingProxyType(
    {
        "MPRAGE": Timings(tr=2.3, te=0.003, ti=0.9),
        "T1w spin echo": Timings(tr=0.55, te=0.012),
        "T2w": Timings(tr=5.0, te=0.09),
        "PDw": Timings(tr=4.0, te=0.02),
        "FLAIR": Timings(tr=9.0, te=0.11, ti=2.5),
        "GRE, early echo": Timings(tr=0.036, te=0.004, angle=0.26),
        "GRE, late echo": Timings(tr=0.036, te=0.028, angle=0.26),
        "inversion recovery": Timings(tr=4.0, te=0.012, ti=0.4),
    }
)
# Voxels of the data sets isotropic, coarse and thick, in the order of the registry [mm].
VOXELS_MM = ((1.0, 1.0, 1.0), (2.0, 2.0, 2.0), (1.0, 1.0, 5.0))
NOISE, BIAS, BIAS_KNOTS = 0.03, 0.2, 4


def averaged(volume: Float[Tensor, "x y z"], shape: Sequence[int]) -> Float[Tensor, "u v w"]:
    """Return means over larger voxels."""
    return F.interpolate(volume[None, None], size=list(shape), mode="area")[0, 0]


def head_image(
    head: LabelledHead, timings: Timings, shape: Sequence[int], generator: torch.Generator
) -> Float[Tensor, "x y z"]:
    """Return the magnitude of a head in voxels of the size that a number of voxels gives.

    Args:
        head: Labels.
        timings: Of the sequence.
        shape: Voxels along each axis.
        generator: For bias field and noise.
    """
    levels = timings.signal(tissue_table()).abs()
    levels = levels / levels.max()
    image = averaged(torch.from_numpy(levels.numpy()[head.labels.numpy()]), shape)
    knots = torch.randn(1, 1, BIAS_KNOTS, BIAS_KNOTS, BIAS_KNOTS, generator=generator)
    image = image * torch.exp(BIAS * F.interpolate(knots, size=list(shape), mode="trilinear")[0, 0])
    noise = NOISE * torch.randn((2, *shape), generator=generator)
    return ((image + noise[0]) ** 2 + noise[1] ** 2).sqrt()
