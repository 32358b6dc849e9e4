"""Arrays of a caller as series and examinations: what files give, without files.

A set made of arrays names the SHA-256 of their numbers as its sources.
"""

import hashlib
from collections.abc import Iterable, Mapping
from types import MappingProxyType

import numpy as np
import torch
from jaxtyping import Bool, Complex, Float, Num
from numpy.typing import NDArray
from torch import Tensor

from unweight.bids.nifti.canonical import turn_of
from unweight.bids.nifti.grid import SCANNER, Placement
from unweight.bids.read import UNNAMED, Series
from unweight.bids.series.weighted import told_of
from unweight.core.acquisition import Acquisition, SignalKind
from unweight.core.errors import InputError, UsageError
from unweight.core.examination import WeightedImage, WeightedImageSet
from unweight.core.protocol import protocol_from_values
from unweight.core.weighting import Weighting
from unweight.prepare.brain_finder import BrainFinder, ClassicalBrain, FoundBrain
from unweight.prepare.weighted_images import ReadExamination

Times = float | Iterable[float]


def tensor_of(array: object) -> Tensor:
    """Return an array of NumPy, PyTorch or plain numbers as a tensor, integers in single precision.

    Raises:
        InputError: It holds no numbers.
    """
    try:
        values = array if isinstance(array, Tensor) else torch.from_numpy(np.array(array))
    except (TypeError, ValueError) as error:
        raise InputError("the array is not numeric", remedy="Give a NumPy or PyTorch array.") from error
    if values.is_floating_point() or values.is_complex():
        return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
    return values.float()


def affine_of(affine: object) -> Float[Tensor, "4 4"] | None:
    """Return an affine in double precision; None if there is none.

    Raises:
        InputError: It is no 4 x 4 matrix.
    """
    if affine is None:
        return None
    matrix = tensor_of(affine).double()
    if matrix.shape != (4, 4):
        raise InputError(
            f"an affine of shape {tuple(matrix.shape)}", remedy="Give the 4 x 4 matrix of nibabel."
        )
    return matrix


def mask_of(mask: object) -> Bool[Tensor, "..."] | None:
    """Return where a mask is not 0; None if there is none."""
    return None if mask is None else tensor_of(mask) != 0


def series_of_array(
    signal: Float[Tensor, "*voxels volumes"] | Complex[Tensor, "*voxels volumes"],
    times: Mapping[str, Times | None],
    *,
    suffix: str,
    kind: SignalKind,
    field_strength: float | None = None,
    affine: Float[Tensor, "4 4"] | None = None,
    mask: Bool[Tensor, "..."] | None = None,
    subject: str | None = None,
) -> Series:
    """Return volumes as a series that was read.

    Args:
        signal: Volumes last.
        times: Timings by the names of `Protocol`, one for all or one per volume [s].
        suffix: BIDS suffix of such images.
        kind: What the numbers are.
        field_strength: [T]
        affine: Voxel index to millimetres (RAS+).
        mask: Where to work; None for everywhere.
        subject: Label of the subject.

    Raises:
        ProtocolError: A timing is impossible, or not one per volume.
        InputError: Shapes do not agree.
    """
    if signal.ndim < 2:
        raise InputError(
            f"an array of shape {tuple(signal.shape)} is not a series", remedy="Put the volumes last."
        )
    n = signal.shape[-1]
    known = {name: _per_volume(value, n) for name, value in times.items() if value is not None}
    acquisition = Acquisition(
        signal=signal,
        protocol=protocol_from_values(field_strength=field_strength, **known),
        kind=kind,
        mask=mask,
        affine=affine,
    )
    sidecar = {} if field_strength is None else {"MagneticFieldStrength": field_strength}
    return Series(
        acquisition=acquisition,
        entities=_entities(subject),
        suffix=suffix,
        files=(),
        sources=(digest_of(signal),),
        sidecar=MappingProxyType(sidecar),
        shape=tuple(acquisition.voxels),
    )


def examination_of_arrays(
    images: Mapping[str, Float[Tensor, "x y z"]],
    weightings: Mapping[str, Weighting],
    *,
    field_strength: float,
    affine: Float[Tensor, "4 4"] | None = None,
    mask: Bool[Tensor, "..."] | None = None,
    subject: str | None = None,
    finder: BrainFinder | None = None,
) -> ReadExamination:
    """Return weighted images on one grid as an examination that was read.

    Args:
        images: By contrast, magnitudes.
        weightings: How each was acquired.
        field_strength: [T]
        affine: Voxel index to millimetres (RAS+); None for cubes of 1 mm whose third axis runs up.
        mask: The brain with its CSF; None to find it.
        subject: Label of the subject.
        finder: Finds the brain, where there is no mask; None for the classical method.

    Raises:
        InputError: Shapes do not agree, or there is no brain to find.
        UsageError: There are too few images.
    """
    if len(images) < 2:
        raise UsageError("T1, T2 and PD need at least two images", remedy="Give t1w, t2w and flair.")
    shapes = {name: tuple(image.shape) for name, image in images.items()}
    if len(set(shapes.values())) > 1 or len(next(iter(shapes.values()))) != 3:
        text = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise InputError(f"images of different shapes: {text}", remedy="Give volumes on one grid.")
    matrix = torch.eye(4, dtype=torch.float64) if affine is None else affine
    x, y, z = next(iter(shapes.values()))
    turn = turn_of(matrix, (x, y, z))
    signals = {name: turn.apply(image.float()) for name, image in images.items()}
    brain = (
        (finder or ClassicalBrain()).in_images(tuple(signals.values()), turn.affine)
        if mask is None
        else FoundBrain(mask=turn.apply(mask), how="given")
    )
    examination = WeightedImageSet(
        images=tuple(
            WeightedImage(name=name, weighting=weightings[name], signal=signal)
            for name, signal in signals.items()
        ),
        mask=brain.mask,
        field_strength=field_strength,
        affine=turn.affine,
    )
    return ReadExamination(
        examination=examination,
        turn=turn,
        placement=Placement(
            affine=matrix, sform=matrix, qform=matrix, sform_code=SCANNER, qform_code=SCANNER
        ),
        entities=_entities(subject),
        sources=tuple(digest_of(image) for image in images.values()),
        root=None,
        settings={
            "Images": {name: told_of(weightings[name]) for name in images},
            "MagneticFieldStrength": field_strength,
            "Reference": next(iter(images)),
            "Registered": {},
            "BrainMask": brain.how,
            "BiasFieldCorrection": "none",
        },
        acquired={"MagneticFieldStrength": field_strength},
        notes=brain.remarks,
        remarks=brain.remarks,
    )


def _per_volume(value: Times, n_volumes: int) -> list[float]:
    if isinstance(value, int | float):
        return [float(value)] * n_volumes
    numbers = [float(number) for number in value]
    return numbers * n_volumes if len(numbers) == 1 else numbers


def _entities(subject: str | None) -> Mapping[str, str]:
    return UNNAMED if subject is None else MappingProxyType({"sub": subject})


def digest_of(values: Num[Tensor, "..."]) -> str:
    """Return how a set names an array among its sources: by the SHA-256 of its numbers."""
    numbers: NDArray[np.generic] = np.ascontiguousarray(values.detach().cpu().numpy())
    return f"sha256:{hashlib.sha256(numbers.tobytes()).hexdigest()}"
