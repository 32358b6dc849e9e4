"""The door to SimpleITK, which is loaded when it is first needed.

Affines here are those of NIfTI (RAS+); ITK counts x to the left and y to the back (LPS+), so that the
first two rows change sign on the way in, and transforms change on both sides on the way out.
"""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from unweight.core.errors import UsageError

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def simpleitk() -> Any:
    """Return the module; it carries no types that could be used.

    Raises:
        UsageError: It is not installed.
    """
    try:
        return importlib.import_module("SimpleITK")
    except ImportError as error:
        raise UsageError(
            "registration and N4 need SimpleITK, which is not installed here",
            remedy="pip install SimpleITK; or give images that are already on one grid.",
        ) from error


@contextmanager
def one_thread() -> Iterator[None]:
    """Let ITK compute in one thread: sums over several come out in another order each time.

    The number of threads set for a single method does not reach its parts.
    """
    process = simpleitk().ProcessObject
    before = process.GetGlobalDefaultNumberOfThreads()
    process.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        process.SetGlobalDefaultNumberOfThreads(before)


def to_itk(values: Float[Tensor, "x y z"] | Bool[Tensor, "x y z"], affine: Float[Tensor, "4 4"]) -> Any:
    """Return an image of SimpleITK: float32, or uint8 for a mask."""
    kind = torch.float32 if values.is_floating_point() else torch.uint8
    image = simpleitk().GetImageFromArray(values.detach().cpu().to(kind).numpy().T)
    matrix = RAS_TO_LPS @ affine.detach().cpu().double().numpy()
    spacing = np.sqrt((matrix[:3, :3] ** 2).sum(0))
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(matrix[:3, 3].tolist())
    image.SetDirection((matrix[:3, :3] / spacing).ravel().tolist())
    return image


def from_itk(image: Any) -> Float[Tensor, "x y z"]:
    """Return the values of an image of SimpleITK."""
    return torch.from_numpy(np.ascontiguousarray(simpleitk().GetArrayFromImage(image).T)).float()


def rigid_matrix(transform: Any) -> Float64[Tensor, "4 4"]:
    """Return an Euler transform as a matrix between points in RAS+ [mm]."""
    turn = np.array(transform.GetMatrix()).reshape(3, 3)
    centre = np.array(transform.GetCenter())
    matrix = np.eye(4)
    matrix[:3, :3] = turn
    matrix[:3, 3] = np.array(transform.GetTranslation()) + centre - turn @ centre
    return torch.from_numpy(RAS_TO_LPS @ matrix @ RAS_TO_LPS)
