"""Labels turned so that x runs to the right, y to the front and z up."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from nibabel import orientations
from numpy.typing import NDArray

from unweight.core.errors import InputError
from unweight.synth.anatomy import Anatomy

ORIENTATIONS: Any = orientations  # nibabel's functions carry no types


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
    turn = ORIENTATIONS.io_orientation(affine)
    if sorted(turn[:, 0].tolist()) != [0, 1, 2]:
        raise InputError(
            "has axes that cannot be told apart", remedy="Write it along x, y and z.", path=path
        )
    turned = np.ascontiguousarray(ORIENTATIONS.apply_orientation(labels, turn))
    upright = np.asarray(affine @ ORIENTATIONS.inv_ornt_aff(turn, labels.shape), dtype=np.float64)
    x, y, z = np.sqrt((upright[:3, :3] ** 2).sum(0)).tolist()
    return Anatomy(
        labels=torch.from_numpy(turned),
        voxel_mm=(x, y, z),
        subject=subject,
        affine=torch.from_numpy(upright),
    )
