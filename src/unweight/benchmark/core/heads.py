"""Heads to benchmark on are those that no method knows from its training."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from unweight.core.errors import UsageError
from unweight.learn.training.weights import load_weights


def check_no_training_overlap(
    subjects: Sequence[str], stored: Mapping[str, str], weights: Path | None = None
) -> None:
    """Refuse heads that a method knows from its training, its checks or its calibration.

    Args:
        subjects: Whose heads are to be evaluated on.
        stored: Name of the weights of each method.
        weights: Folder of the weights; None for those that come with the package.

    Raises:
        UsageError: The card of a method names one of them.
    """
    for method, name in stored.items():
        _, card = load_weights(name, weights)
        overlap = [
            subject for subject in subjects if re.search(rf"\b{re.escape(subject)}\b", card.trained_on)
        ]
        if overlap:
            raise UsageError(
                f"{method} knows {', '.join(overlap)} from its training, "
                "so scores on them would flatter it",
                remedy="Give the folder with exactly the heads it was trained with, or leave "
                "--brainweb-dir out.",
            )
