"""The lateral ventricles of a labelled head, found in its cerebrospinal fluid.

Label sets such as BrainWeb's have one label for all fluid. Ellipsoids for body, frontal horn, atrium and
occipital horn in the stereotaxic space of `nuclei` are the seeds; the ventricles are what is connected with
them in fluid within three times their radii, apart from the third ventricle, the fissure between the
hemispheres and the cisterns at the midline, which bounds on the coordinates leave out. Temporal horns that
are apart from the atrium are left out too.
"""

from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from unweight.synth.anatomy.labels import Anatomy
from unweight.synth.anatomy.nuclei import brain_frame
from unweight.synth.tissue.materials import INDEX

# Middle and radii on the right [mm].
SEEDS = (
    ((8.0, -6.0, 20.0), (5.0, 27.0, 4.5)),
    ((6.5, 19.0, 11.0), (4.0, 11.0, 7.0)),
    ((16.0, -32.0, 14.0), (6.0, 10.0, 7.0)),
    ((23.0, -42.0, 10.0), (4.5, 15.0, 7.0)),
)
BOX_MM = ((-45.0, 45.0), (-80.0, 50.0), (-25.0, 45.0))
FARTHEST = 3.0  # in radii of the seeds
SMALLEST = 50  # voxels of a piece
FRONT_MM, TOP_MM = 36.0, 26.0
Field = NDArray[np.floating[Any]]


def lateral_ventricles(anatomy: Anatomy) -> Bool[Tensor, "x y z"]:
    """Return the voxels of both lateral ventricles.

    Args:
        anatomy: A whole head, axes to the right, front and top.

    Raises:
        InputError: There is no grey and white matter.
    """
    frame = brain_frame(anatomy)
    axes = [
        (np.arange(n) * anatomy.voxel_mm[axis] + float(anatomy.affine[axis, 3]) - frame.origin_mm[axis])
        / frame.scale[axis]
        for axis, n in enumerate(anatomy.labels.shape)
    ]
    box = tuple(
        slice(int(np.searchsorted(axis, low)), int(np.searchsorted(axis, high)))
        for axis, (low, high) in zip(axes, BOX_MM, strict=True)
    )
    x, y, z = (axis[part] for axis, part in zip(axes, box, strict=True))
    across, along, up = np.abs(x)[:, None, None], y[None, :, None], z[None, None, :]
    level = _level(across, along, up)
    fluid = anatomy.labels[box].numpy() == INDEX["csf"]
    candidates = fluid & (level < FARTHEST) & _lateral(across, along, up)
    pieces, _ = ndimage.label(candidates)
    sizes = np.bincount(pieces.ravel())
    kept = [piece for piece in np.unique(pieces[candidates & (level < 1)]) if sizes[piece] >= SMALLEST]
    result = torch.zeros(anatomy.labels.shape, dtype=torch.bool)
    result[box] = torch.from_numpy(np.isin(pieces, kept) & candidates)
    return result


def _level(across: Field, along: Field, up: Field) -> Field:
    """Return the distance to the nearest seed, in its radii."""
    squares = [
        ((across - a) / p) ** 2 + ((along - b) / q) ** 2 + ((up - c) / r) ** 2
        for (a, b, c), (p, q, r) in SEEDS
    ]
    return np.asarray(np.sqrt(np.minimum.reduce(squares)))


def _lateral(across: Field, along: Field, up: Field) -> NDArray[np.bool_]:
    """Return where the fluid is no third ventricle, fissure or cistern."""
    third = (across < 5) & (along > -32) & (along < 8) & (up < 8)
    behind = (across < 7) & (along < -30)
    fissure = (across < 4) & (up > TOP_MM)
    return np.asarray((across > 1) & (along < FRONT_MM) & ~third & ~behind & ~fissure)
