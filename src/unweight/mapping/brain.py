"""Which method makes the brain mask of a command, as its options ask for it."""

from dataclasses import dataclass, replace
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
    """

    mask_method: str = "classical"
    mask_border: float = 0.0

    def __post_init__(self) -> None:
        learned = method(self.mask_method, FAMILY).learned
        if self.mask_border and not learned:
            raise UsageError("--mask-border goes with --mask-method network")
        if not abs(self.mask_border) <= FARTHEST_MM:
            raise UsageError(
                f"a border of {self.mask_border:g} mm", remedy=f"Give at most {FARTHEST_MM:g} mm."
            )

    def check(self, mask: Path | None) -> None:
        """Refuse a border beside a mask that is given.

        Raises:
            UsageError: There are both.
        """
        if mask is not None and self.mask_border:
            raise UsageError("--mask and --mask-border exclude each other", remedy="Give one.")

    def finder(self) -> BrainFinder:
        """Return what makes the mask.

        Raises:
            InputError: The weights of the network are absent or damaged.
        """
        finder: BrainFinder = build(method(self.mask_method, FAMILY))
        return replace(finder, border_mm=self.mask_border) if isinstance(finder, NetworkBrain) else finder
