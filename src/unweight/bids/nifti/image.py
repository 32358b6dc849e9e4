"""A volume as the bytes of a NIfTI file: millimetres, no scaling.

Maps of an image keep both of its matrices and their codes. Without an image to keep to, sform and qform are
the same and lead to the space of the scanner.
"""

import logging
import math
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, UInt8
from nibabel.nifti1 import Nifti1Image
from numpy.typing import NDArray
from torch import Tensor

from unweight import __version__
from unweight.bids.nifti.grid import NO_SPACE, SCANNER, Placement
from unweight.core.errors import UsageError
from unweight.files.atomic import compressed

LOG = logging.getLogger(__name__)

NIFTI: Any = Nifti1Image  # nibabel's images carry no types
BRIGHTEST = 0.99
SHEAR = 1e-4


def image_bytes(
    values: Float[Tensor, "*voxels"] | UInt8[Tensor, "*voxels"] | Bool[Tensor, "*voxels"],
    affine: Float[Tensor, "4 4"] | None,
    placement: Placement | None = None,
) -> bytes:
    """Return a compressed NIfTI file, as `nifti_image` makes it.

    Args:
        values: As there.
        affine: As there.
        placement: As there.

    Raises:
        UsageError: There are more than three dimensions.
    """
    return compressed(nifti_image(values, affine, placement).to_bytes())


def nifti_image(
    values: Float[Tensor, "*voxels"] | UInt8[Tensor, "*voxels"] | Bool[Tensor, "*voxels"],
    affine: Float[Tensor, "4 4"] | None,
    placement: Placement | None = None,
) -> Any:
    """Return a nibabel image: float32 for maps, uint8 for labels and masks.

    Args:
        values: One volume; fewer than three dimensions are filled up with single voxels.
        affine: Voxel index to millimetres (RAS+); None if it is not known, and the file says so.
        placement: Of the image that the volume lies on; None if there is none.

    Raises:
        UsageError: There are more than three dimensions.
    """
    if not 1 <= values.ndim <= 3:
        raise UsageError(f"a map has three dimensions, not {values.ndim}")
    data = values.detach().cpu().reshape(*values.shape, *[1] * (3 - values.ndim)).numpy()
    stored = data.astype(np.float32 if values.is_floating_point() else np.uint8)
    matrix = np.eye(4) if affine is None else affine.detach().cpu().double().numpy()
    image = NIFTI(stored, matrix)
    header = image.header
    if placement is None:
        code = NO_SPACE if affine is None else SCANNER
        image.set_sform(matrix, code)
        image.set_qform(matrix, code)
    else:
        sform, qform = (
            matrix if item is None else item.numpy() for item in (placement.sform, placement.qform)
        )
        image.set_sform(sform, placement.sform_code)
        image.set_qform(qform, placement.qform_code)
    header.set_xyzt_units("mm", "sec")
    header["cal_min"], header["cal_max"] = _window(stored)
    header["descrip"] = f"unweight {__version__}".encode()
    if affine is not None:
        _note_shear(affine.double())
    return image


def _window(values: NDArray[np.generic]) -> tuple[float, float]:
    """Return the range a viewer should show."""
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return 0.0, 0.0
    lowest, highest = float(finite.min()), float(np.quantile(finite, BRIGHTEST))
    return min(0.0, lowest), highest if highest > lowest else float(finite.max())


def _note_shear(affine: Float64[Tensor, "4 4"]) -> None:
    """Log that viewers built on ITK refuse a sheared image."""
    axes = affine[:3, :3] / affine[:3, :3].norm(dim=0)
    if not math.isclose(float((axes.T @ axes - torch.eye(3)).abs().max()), 0.0, abs_tol=SHEAR):
        LOG.warning("the voxel axes are not orthogonal; programs based on ITK will reject the maps")
