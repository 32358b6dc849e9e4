"""Whose heads are for training and whose for validation."""

from pathlib import Path

from unweight.core.errors import UsageError
from unweight.heads.brainweb import find_brainweb, subject_of
from unweight.synth.anatomy.split import split_subjects

LEARNING = ("train", "validation")


def chosen_heads(folder: Path | None) -> dict[str, tuple[str, ...]] | None:
    """Return the files of training and validation; None for heads drawn from random numbers.

    Raises:
        UsageError: The heads are too few.
        InputError: There are none.
    """
    if folder is None:
        return None
    files = {subject_of(path): path.name for path in find_brainweb(folder)}
    split = split_subjects(files)
    for part in LEARNING:
        if not split[part]:
            raise UsageError(
                f"{len(files)} heads leave none for {part}",
                remedy="Give at least four, or leave --brainweb-dir out.",
            )
    return {part: tuple(files[name] for name in split[part]) for part in LEARNING}
