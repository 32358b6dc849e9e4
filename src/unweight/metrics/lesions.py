"""Whether a map shows a lesion on the right side of the tissue around it.

    contrast = median(lesion) / median(white matter) − 1

of the estimate, against that of the truth. A lesion is what hangs together within a slice: the slices of a
stack may lie far apart.
"""

import math
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.ndimage import label
from torch import Tensor

from unweight.metrics.accuracy import median

FEWEST = 5  # voxels of a lesion
LEAST_CONTRAST = 0.1  # of a lesion that must be seen


@final
@dataclass(frozen=True, kw_only=True)
class LesionContrast:
    """Contrast of one lesion against white matter.

    Attributes:
        true: Of the true map; NaN if it has no value in one of the two.
        measured: Of the estimate; likewise.
        n: Voxels of the lesion.
    """

    true: float
    measured: float
    n: int

    @property
    def counts(self) -> bool:
        """Whether there is enough true contrast to ask for its sign."""
        return abs(self.true) > LEAST_CONTRAST

    @property
    def right(self) -> bool:
        """Whether the estimate has the sign of the truth; without a value it has not."""
        return self.measured * self.true > 0


def separate_lesions(pure: Bool[Tensor, "x y slices"], fewest: int = FEWEST) -> Int[Tensor, "x y slices"]:
    """Return the number of the lesion of each voxel, from 0; −1 where there is none.

    Args:
        pure: Voxels that hold nothing but lesion. Those that share an edge in a slice are of one lesion.
        fewest: Voxels that a lesion has at least.
    """
    within = np.zeros((3, 3, 3), dtype=bool)
    within[1, :, 1] = within[:, 1, 1] = True
    result, _ = label(pure.cpu().numpy(), structure=within)
    numbers = torch.from_numpy(result.astype(np.int64))
    counts = torch.bincount(numbers.flatten())
    kept = counts >= fewest
    kept[0] = False
    place = torch.where(kept, kept.long().cumsum(0) - 1, -1)
    return place[numbers].to(pure.device)


def lesion_contrasts(
    estimate: Float[Tensor, " voxels"],
    truth: Float[Tensor, " voxels"],
    lesion: Int[Tensor, " voxels"],
    white: Bool[Tensor, " voxels"],
) -> tuple[LesionContrast, ...]:
    """Return the contrast of each lesion, in the order of their numbers.

    Args:
        estimate: The map; voxels without a finite value are left out.
        truth: The true map.
        lesion: Number of the lesion of each voxel; −1 for none.
        white: Voxels of normal white matter.
    """
    around, result = _median(truth[white]), _median(estimate[white])
    contrasts = []
    for number in sorted(set(lesion[lesion >= 0].tolist())):
        inside = lesion == number
        contrasts.append(
            LesionContrast(
                true=_ratio(_median(truth[inside]), around) - 1,
                measured=_ratio(_median(estimate[inside]), result) - 1,
                n=int(inside.sum()),
            )
        )
    return tuple(contrasts)


def _median(values: Float[Tensor, " voxels"]) -> float:
    return median(values[torch.isfinite(values)])


def _ratio(inside: float, around: float) -> float:
    return inside / around if around > 0 else math.nan
