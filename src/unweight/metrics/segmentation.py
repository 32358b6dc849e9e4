"""How well a label map meets the true one, structure by structure: overlap, surfaces and volumes.

    Dice = 2 |A ∩ B| / (|A| + |B|)

The surface of a structure is its voxels that share a face with something else. From each surface voxel of A
the distance to the nearest of B is taken between voxel centres, and from B to A; both sets together are the
surface distances. Their 95th percentile is HD95 and their mean the average surface distance: A. A. Taha,
A. Hanbury, BMC Med. Imaging 15 (2015) 29. (Others take the larger of two one-sided percentiles.)
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import final

import numpy as np
import torch
from jaxtyping import Bool, Int64, UInt8
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, distance_transform_edt, find_objects, generate_binary_structure
from torch import Tensor

from unweight.core.errors import UsageError

PERCENTILE = 95.0
MM3_PER_ML = 1000.0
LARGEST_LABEL = 255
Inside = NDArray[np.bool_]
Box = tuple[slice, ...]


@final
@dataclass(frozen=True, kw_only=True)
class StructureScore:
    """How well one structure was found.

    One that is in neither label map has NaN for all but the counts and volumes. One that is in a single map
    was missed or made up: its Dice is 0 and its distances are infinite, so that no mean hides it.

    Attributes:
        dice: Overlap, 0 to 1.
        hd95_mm: 95th percentile of the surface distances [mm].
        surface_distance_mm: Their mean [mm].
        volume_ml: As found [ml].
        true_volume_ml: As it should be [ml].
        volume_error: Found minus true over true; infinite for what was made up.
        n_voxels: Found.
        n_true_voxels: That should be.
    """

    dice: float
    hd95_mm: float
    surface_distance_mm: float
    volume_ml: float
    true_volume_ml: float
    volume_error: float
    n_voxels: int
    n_true_voxels: int


def label_overlaps(
    estimate: UInt8[Tensor, "*voxels"], truth: UInt8[Tensor, "*voxels"], n_labels: int
) -> tuple[Int64[Tensor, " labels"], Int64[Tensor, " labels"]]:
    """Return numerator and denominator of the Dice of each label: 2 |A ∩ B| and |A| + |B|.

    Args:
        estimate: Labels to be judged.
        truth: Labels as they should be.
        n_labels: Labels are below this number.
    """
    places = estimate.reshape(-1).long() * n_labels + truth.reshape(-1).long()
    counts = torch.bincount(places, minlength=n_labels**2).reshape(n_labels, n_labels)
    return 2 * counts.diagonal(), counts.sum(0) + counts.sum(1)


def dice_by_label(
    estimate: UInt8[Tensor, "*voxels"], truth: UInt8[Tensor, "*voxels"], n_labels: int
) -> list[float]:
    """Return the Dice of each label; NaN where it is in neither."""
    common, whole = (counts.tolist() for counts in label_overlaps(estimate, truth, n_labels))
    return [both / either if either else math.nan for both, either in zip(common, whole, strict=True)]


def score_structure(
    estimate: Bool[Tensor, "x y z"], truth: Bool[Tensor, "x y z"], voxel_mm: tuple[float, float, float]
) -> dict[str, float]:
    """Return the numbers of `StructureScore` for one structure by name."""
    labels = (estimate.to(torch.uint8), truth.to(torch.uint8))
    (score,) = score_structures(*labels, voxel_mm, {1: "structure"}).values()
    return asdict(score)


def score_structures(
    estimate: UInt8[Tensor, "x y z"],
    truth: UInt8[Tensor, "x y z"],
    voxel_mm: tuple[float, float, float],
    names: Mapping[int, str] | Sequence[str],
) -> dict[str, StructureScore]:
    """Return the score of each named structure, in the order of the names.

    Args:
        estimate: Labels to be judged.
        truth: Labels as they should be.
        voxel_mm: Size of a voxel along each axis [mm].
        names: The structures by label; as a sequence, by place, of which the first is background and is
            not scored.

    Raises:
        UsageError: A voxel size is not positive, a label is none, or two structures have one name.
    """
    if not all(math.isfinite(size) and size > 0 for size in voxel_mm):
        raise UsageError(f"voxels of {voxel_mm} mm are impossible", remedy="Give three positive sizes.")
    named = _named(names)
    labels, wanted = (item.detach().cpu().numpy() for item in (estimate, truth))
    boxes, wanted_boxes = (dict(enumerate(find_objects(item), start=1)) for item in (labels, wanted))
    whole = tuple(slice(0, size) for size in labels.shape)
    faces = _faces(labels.shape)
    scores = {}
    for label, name in named.items():
        box = whole if label == 0 else _around(boxes.get(label), wanted_boxes.get(label))
        scores[name] = _score(labels[box] == label, wanted[box] == label, voxel_mm, faces)
    return scores


def _named(names: Mapping[int, str] | Sequence[str]) -> dict[int, str]:
    named = dict(names) if isinstance(names, Mapping) else dict(list(enumerate(names))[1:])
    wrong = [label for label in named if not 0 <= label <= LARGEST_LABEL]
    if wrong:
        raise UsageError(f"no label can be {wrong[0]}", remedy=f"Labels go from 0 to {LARGEST_LABEL}.")
    if len(set(named.values())) != len(named):
        raise UsageError(
            "two structures have the same name: " + ", ".join(named.values()),
            remedy="Join their labels first, or give them names of their own.",
        )
    return named


def _around(*boxes: Box | None) -> Box:
    """Return the smallest box that holds all the given ones; an empty one if there is none."""
    given = [box for box in boxes if box is not None]
    if not given:
        return (slice(0, 0),) * 3
    return tuple(
        slice(min(along.start for along in axis), max(along.stop for along in axis))
        for axis in zip(*given, strict=True)
    )


def _faces(shape: tuple[int, ...]) -> Inside:
    """Return which neighbours share a face with a voxel; along an axis of a single voxel there are none."""
    cross = np.asarray(generate_binary_structure(3, 1), dtype=bool)
    for axis, size in enumerate(shape):
        if size == 1:
            cross[tuple(slice(None) if other != axis else [0, 2] for other in range(3))] = False
    return cross


def _score(
    estimate: Inside, truth: Inside, voxel_mm: tuple[float, float, float], faces: Inside
) -> StructureScore:
    n, n_true = int(np.count_nonzero(estimate)), int(np.count_nonzero(truth))
    _, dice = dice_by_label(torch.from_numpy(estimate).byte(), torch.from_numpy(truth).byte(), 2)
    millilitres = math.prod(voxel_mm) / MM3_PER_ML
    absent = n + n_true == 0
    missed = math.nan if absent else math.inf
    hd95, mean = _distances(estimate, truth, voxel_mm, faces) if n and n_true else (missed, missed)
    return StructureScore(
        dice=dice,
        hd95_mm=hd95,
        surface_distance_mm=mean,
        volume_ml=n * millilitres,
        true_volume_ml=n_true * millilitres,
        volume_error=(n - n_true) / n_true if n_true else missed,
        n_voxels=n,
        n_true_voxels=n_true,
    )


def _distances(
    estimate: Inside, truth: Inside, voxel_mm: tuple[float, float, float], faces: Inside
) -> tuple[float, float]:
    """Return HD95 and the average surface distance of two structures that are both there [mm].

    Both lie in the box, so that no surface beyond it could be nearer; its edge counts as outside.
    """
    surfaces = [item & ~binary_erosion(item, faces) for item in (estimate, truth)]
    to_found, to_truth = (distance_transform_edt(~surface, sampling=voxel_mm) for surface in surfaces)
    both = np.concatenate([to_truth[surfaces[0]], to_found[surfaces[1]]])
    return float(np.percentile(both, PERCENTILE)), float(both.mean())
