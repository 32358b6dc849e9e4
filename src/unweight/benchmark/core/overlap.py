"""Whether a head is new to what is evaluated on it."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from unweight.core.errors import UsageError
from unweight.learn.training.weights import load_weights


def check_cards(subjects: Sequence[str], stored: Mapping[str, str], weights: Path | None = None) -> None:
    """Refuse heads that a method knows from its training, its checks or its calibration.

    Args:
        subjects: Whose heads are to be evaluated on.
        stored: Name of the weights of each method.
        weights: Folder of the weights; None for those that come with the package.

    Raises:
        UsageError: The card of a method names one of them.
    """
    for name, needed in stored.items():
        _, card = load_weights(needed, weights)
        seen = [one for one in subjects if re.search(rf"\b{re.escape(one)}\b", card.trained_on)]
        if seen:
            raise UsageError(
                f"{name} knows {', '.join(seen)} from its training, so scores on them would flatter it",
                remedy="Give the folder with exactly the heads it was trained with, or leave --heads out.",
            )
