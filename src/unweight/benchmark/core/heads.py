"""Heads to benchmark on are those that no method knows from its training."""

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from unweight.core.errors import UsageError
from unweight.heads.source import TEST, BrainwebHeads
from unweight.learn.training.weights import card_of
from unweight.registry import compared


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
        card = card_of(name, weights)
        overlap = [
            subject for subject in subjects if re.search(rf"\b{re.escape(subject)}\b", card.trained_on)
        ]
        if overlap:
            raise UsageError(
                f"{method} was trained or calibrated on {', '.join(overlap)}, so its scores on these heads "
                "would be too good",
                remedy="Give the folder with exactly the heads of its training, or omit --brainweb-dir.",
            )


def check_heads(
    folder: Path | None, family: str, methods: Collection[str], weights: Path | None = None
) -> None:
    """Refuse the heads in the test part of a folder if a method knows one of them from its training.

    Args:
        folder: BrainWeb crisp heads; None for heads drawn from random numbers, which no method knows.
        family: Of the methods.
        methods: Those that are evaluated, by name.
        weights: Folder of the weights; None for those that come with the package.

    Raises:
        UsageError: A card names one of them.
    """
    if folder is None:
        return
    stored = {item.name: item.weights for item in compared(family) if item.name in methods and item.learned}
    check_no_training_overlap(BrainwebHeads(folder).subjects(TEST), stored, weights)
