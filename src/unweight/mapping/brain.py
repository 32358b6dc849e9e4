"""Which method makes the brain mask of a command, as its options ask for it."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import final

from unweight.core.errors import UsageError
from unweight.learn.brain_mask.finder import NetworkBrain
from unweight.prepare.brain_finder import BrainFinder
from unweight.registry import build, method

FAMILY = "mask"
FARTHEST_MM = 8.0  # distances are cut off at 10 mm in training


@final
@dataclass(frozen=True, kw_only=True)
class MaskOptions:
    """How a brain mask is made.

    Attributes:
        mask_method: `classical` or `network`.
        mask_border: How far outside the surface the mask of the network ends [mm].
        mask_weights: Folder with the weights of the network; None for those of the package.
    """

    mask_method: str = "classical"
    mask_border: float = 0.0
    mask_weights: Path | None = None

    def __post_init__(self) -> None:
        record = method(self.mask_method, FAMILY)
        if not record.learned and (self.mask_border or self.mask_weights is not None):
            raise UsageError(
                "--mask-border and --mask-weights apply only to --mask-method network",
                remedy="Omit them, or add --mask-method network.",
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
