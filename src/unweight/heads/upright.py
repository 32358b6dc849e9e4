"""Labels turned so that x runs to the right, y to the front and z up."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from unweight.bids.nifti.canonical import turn_of
from unweight.synth.anatomy.labels import Anatomy


def upright_anatomy(
    labels: NDArray[np.uint8], affine: NDArray[np.float64], *, subject: str, path: Path
) -> Anatomy:
    """Return labels as an anatomy; whole axes are swapped and reversed, nothing is interpolated.

    Args:
        labels: In the order of `MATERIALS`.
        affine: Voxel index to millimetres (RAS+).
        subject: Whose head it is.
        path: The file, for messages.

    Raises:
        InputError: Two axes run along the same direction.
    """
    turn = turn_of(torch.tensor(affine), labels.shape, path)
    x, y, z = turn.affine[:3, :3].norm(dim=0).tolist()
    return Anatomy(
        labels=turn.apply(torch.from_numpy(np.require(labels, requirements=["C", "W"]))),
        voxel_mm=(x, y, z),
        subject=subject,
        affine=turn.affine,
    )
