"""A volume as a small NIfTI file for a viewer: whole numbers of 16 or 8 bits, and a slope."""

import gzip
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from nibabel.nifti1 import Nifti1Header
from numpy.typing import NDArray
from torch import Tensor

LIMIT = 32767
LEVEL = 6
OFFSET = 352
HEADER: Any = Nifti1Header  # nibabel's headers carry no types


def compact_values(values: Float[Tensor, "x y z"], affine: Float[Tensor, "4 4"], step: float) -> bytes:
    """Return values in whole steps; what is beyond 32767 of them stands at the limit.

    Args:
        values: Finite ones.
        affine: Voxel index to millimetres (RAS+).
        step: What one stored number is worth [unit of the values].
    """
    stored = np.clip(np.rint(values.double().numpy() / step), -LIMIT, LIMIT)
    small = float(np.abs(stored).max(initial=0.0)) <= 127 and float(stored.min(initial=0.0)) >= 0
    return _file(stored.astype(np.uint8 if small else "<i2"), affine, step)


def compact_labels(labels: UInt8[Tensor, "x y z"], affine: Float[Tensor, "4 4"]) -> bytes:
    """Return labels as they are."""
    return _file(labels.numpy(), affine, 1.0)


def _file(stored: NDArray[Any], affine: Float[Tensor, "4 4"], slope: float) -> bytes:
    header = HEADER()
    header.set_data_dtype(stored.dtype)
    header.set_data_shape(stored.shape)
    matrix = affine.double().numpy()
    header.set_sform(matrix, 1)
    header.set_qform(matrix, 1)
    header.set_xyzt_units("mm", "sec")
    header["scl_slope"], header["scl_inter"], header["vox_offset"] = slope, 0.0, OFFSET
    content = header.binaryblock + bytes(OFFSET - len(header.binaryblock)) + stored.tobytes(order="F")
    return gzip.compress(content, LEVEL, mtime=0)
