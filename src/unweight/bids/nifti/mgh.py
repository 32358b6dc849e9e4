"""Images of FreeSurfer and FastSurfer, `.mgz` and `.mgh`, whose matrix leads to the scanner's space."""

from pathlib import Path

import numpy as np
import torch
from nibabel.filebasedimages import ImageFileError
from nibabel.freesurfer.mghformat import MGHImage
from numpy.typing import NDArray

from unweight.bids.nifti.grid import SCANNER, UNREADABLE, Grid, Placement
from unweight.bids.nifti.volume import Volume
from unweight.core.errors import InputError

ENDINGS = (".mgz", ".mgh")
DAMAGED = (*UNREADABLE, ImageFileError, EOFError, OSError)


def is_mgh(path: Path) -> bool:
    """Return whether the name of a file is that of such an image."""
    return path.suffix.lower() in ENDINGS


def open_mgh(path: Path) -> Volume:
    """Read one image.

    Raises:
        InputError: There is no such file, or it is damaged.
    """
    if not path.is_file():
        raise InputError("there is no such file", remedy="Check the path.", path=path)
    try:
        image = MGHImage.from_filename(path)
        values: NDArray[np.float32] = np.asarray(image.dataobj, dtype=np.float32)
        affine = torch.from_numpy(np.asarray(image.affine, dtype=np.float64))
    except DAMAGED as error:
        raise InputError(
            f"is not a FreeSurfer image ({error})", remedy="Copy it again.", path=path
        ) from error
    placement = Placement(affine=affine, sform=affine, sform_code=SCANNER)
    return Volume(
        data=torch.from_numpy(np.ascontiguousarray(values)),
        grid=Grid(shape=tuple(values.shape[:3]), placement=placement, path=path),
        saturated=None,
    )
