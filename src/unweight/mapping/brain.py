"""Which method makes the brain mask of a command, as its options ask for it."""

from dataclasses import dataclass
from pathlib import Path
from typing import final

from unweight.core.errors import UsageError
from unweight.learn.brain_mask.finder import load_brain_finder
from unweight.prepare.brain_finder import BrainFinder, ClassicalBrain

NETWORK, CLASSICAL = "network", "classical"
MASK_METHODS = (CLASSICAL, NETWORK)
FARTHEST_MM = 8.0  # the network knows no larger distances well


@final
@dataclass(frozen=True, kw_only=True)
class MaskOptions:
    """How a brain mask is made.

    Attributes:
        mask_method: `classical` or `network`.
        mask_border: How far outside the surface the mask of the network ends [mm].
    """

    mask_method: str = CLASSICAL
    mask_border: float = 0.0

    def __post_init__(self) -> None:
        if self.mask_method not in MASK_METHODS:
            raise UsageError(
                f"there is no mask method {self.mask_method}", remedy=f"Use {' or '.join(MASK_METHODS)}."
            )
        if self.mask_border and self.mask_method != NETWORK:
            raise UsageError("--mask-border goes with --mask-method network")
        if not abs(self.mask_border) <= FARTHEST_MM:
            raise UsageError(
                f"a border of {self.mask_border:g} mm", remedy=f"Give at most {FARTHEST_MM:g} mm."
            )

    def check(self, mask: Path | None) -> None:
        """Refuse a method beside a mask that is given.

        Raises:
            UsageError: There are both.
        """
        if mask is not None and self.mask_method == NETWORK:
            raise UsageError("--mask and --mask-method network exclude each other", remedy="Give one.")

    def finder(self) -> BrainFinder:
        """Return what makes the mask.

        Raises:
            InputError: The weights of the network are absent or damaged.
        """
        return load_brain_finder(self.mask_border) if self.mask_method == NETWORK else ClassicalBrain()
