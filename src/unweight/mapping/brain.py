"""How the brain mask of a command is made, as its options ask for it."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import final

from jaxtyping import Float
from torch import Tensor

from unweight.bids.read import Series
from unweight.core.acquisition import Acquisition
from unweight.core.errors import InputError, UsageError
from unweight.learn.brain_mask.finder import NetworkBrain
from unweight.prepare.brain_finder import BrainFinder
from unweight.registry import build, method

FAMILY = "mask"
AUTO = Path("auto")  # in place of the file of a mask
FARTHEST_MM = 8.0  # distances are cut off at 10 mm in training


def is_auto(mask: object) -> bool:
    """Return whether `auto` was given in place of a mask."""
    return isinstance(mask, str | Path) and Path(mask) == AUTO


@final
@dataclass(frozen=True, kw_only=True)
class MaskOptions:
    """How a brain mask is made.

    Attributes:
        mask_method: `network` or `classical`.
        mask_border: How far outside the surface the mask of the network ends [mm].
        mask_weights: Folder with the weights of the network; None for those of the package.
    """

    mask_method: str = "network"
    mask_border: float = 0.0
    mask_weights: Path | None = None

    def __post_init__(self) -> None:
        record = method(self.mask_method, FAMILY)
        if not record.learned and (self.mask_border or self.mask_weights is not None):
            raise UsageError(
                "--mask-border and --mask-weights apply only to --mask-method network",
                remedy="Omit them, or give --mask-method network.",
            )
        if not abs(self.mask_border) <= FARTHEST_MM:
            raise UsageError(
                f"--mask-border {self.mask_border:g} is not possible",
                remedy=f"Give a distance of at most {FARTHEST_MM:g} mm.",
            )

    def check(self, mask: Path | None) -> None:
        """Refuse a border beside a mask that is given.

        Raises:
            UsageError: There are both.
        """
        if mask is not None and self.mask_border:
            raise UsageError("--mask and --mask-border cannot be combined", remedy="Give one of them.")

    def finder(self) -> BrainFinder:
        """Return what makes the mask.

        Raises:
            InputError: The weights of the network are absent or damaged.
        """
        return self._finder

    @cached_property
    def _finder(self) -> BrainFinder:
        """What makes the mask: weights are read once, whatever the number of series."""
        finder: BrainFinder = build(method(self.mask_method, FAMILY), self.mask_weights)
        return replace(finder, border_mm=self.mask_border) if isinstance(finder, NetworkBrain) else finder


def with_brain_mask(series: Series) -> Series:
    """Return a series with the brain as its mask, found by the network: `--mask auto`.

    The network gets the mean of the volumes' magnitudes, and the volume with the longest inversion time.

    Raises:
        InputError: The voxel size is unknown, or the object is unlike a brain.
    """
    acquisition = series.acquisition
    if acquisition.affine is None:
        raise InputError(
            "an array without its voxel size", remedy="Give its affine, or a mask as an array."
        )
    brain = MaskOptions().finder().in_images(_contrasts(acquisition), acquisition.affine)
    if brain.remarks:
        raise InputError(
            f"no brain mask can be computed: {'; '.join(brain.remarks)}",
            remedy="Omit the mask, or give one as a file.",
            path=series.files[0] if series.files else None,
        )
    note = f"the brain was {brain.how}"
    masked = replace(acquisition, mask=brain.mask.to(acquisition.signal.device))
    return replace(series, acquisition=masked, notes=(*series.notes, note))


def _contrasts(acquisition: Acquisition) -> list[Float[Tensor, "x y z"]]:
    magnitude = acquisition.signal.abs()
    times = acquisition.protocol.inversion_time
    mean = magnitude.mean(-1)
    return [mean] if times is None else [mean, magnitude[..., int(times.argmax())]]
