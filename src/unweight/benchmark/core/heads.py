"""Heads to benchmark on: those of the test part of a folder, which no method knows from its training."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from unweight.core.errors import UsageError
from unweight.heads.brainweb import find_brainweb, read_brainweb, subject_of
from unweight.learn.training.weights import load_weights
from unweight.synth.anatomy.labels import Anatomy
from unweight.synth.anatomy.nuclei import with_nuclei
from unweight.synth.anatomy.split import split_subjects


def heads_for_test(folder: Path) -> dict[str, Path]:
    """Return the heads in the test part of a folder, by subject.

    Args:
        folder: BrainWeb crisp heads; all of them, since the split depends on the list.

    Raises:
        InputError: There is no head.
        UsageError: The test part is empty.
    """
    # By the same names as for training: the split depends on them.
    paths = {subject_of(path): path for path in find_brainweb(folder)}
    names = split_subjects(paths)["test"]
    if not names:
        raise UsageError(
            f"the test part of {len(paths)} heads is empty",
            remedy="Give the folder with all heads used in training.",
        )
    return {f"brainweb{name}": paths[name] for name in names}


def read_test_heads(folder: Path, n_heads: int | None = None) -> Iterator[Anatomy]:
    """Read the heads in the test part of a folder, one after the other.

    Args:
        folder: As for `heads_for_test`.
        n_heads: At most so many; None for the whole test part.

    Raises:
        InputError: There is no head, or one is unusable.
        UsageError: The test part is empty.
    """
    return (with_nuclei(read_brainweb(path)) for path in list(heads_for_test(folder).values())[:n_heads])


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
