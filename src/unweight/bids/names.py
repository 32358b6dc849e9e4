"""BIDS file names: entities, suffix, and the order in which they are written."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

from unweight.core.errors import InputError

LABEL = re.compile(r"[0-9A-Za-z+]{1,64}")
PAIR = re.compile(r"([a-z]{2,12})-([0-9A-Za-z+]{1,64})")
SUFFIX = re.compile(r"[0-9A-Za-z]{1,32}")
IMAGE_ENDINGS = (".nii.gz", ".nii")
ORDER = (
    "sub",
    "ses",
    "acq",
    "ce",
    "rec",
    "dir",
    "run",
    "echo",
    "flip",
    "inv",
    "mt",
    "part",
    "chunk",
    "desc",
)


@final
@dataclass(frozen=True, kw_only=True)
class BidsName:
    """A file name, taken apart.

    Attributes:
        entities: Labels by entity, `sub` to `01`.
        suffix: What stands after the last underscore.
    """

    entities: Mapping[str, str]
    suffix: str

    @property
    def stem(self) -> str:
        """The file name without its ending, entities in the order BIDS wants."""
        ranked = sorted(self.entities, key=lambda key: ORDER.index(key) if key in ORDER else len(ORDER))
        return "_".join([*(f"{key}-{self.entities[key]}" for key in ranked), self.suffix])


def check_label(label: str, what: str) -> str:
    """Return the label, if BIDS allows it: letters, digits and plus, 64 at most.

    Raises:
        InputError: It does not.
    """
    if LABEL.fullmatch(label) is None:
        raise InputError(
            f"{label[:80]!r} is not a valid label of {what}",
            remedy="Use letters and digits only, 64 at most, without the prefix.",
        )
    return label


def image_stem(path: Path) -> str | None:
    """Return the file name without `.nii` or `.nii.gz`, or None if it has no such ending."""
    for ending in IMAGE_ENDINGS:
        if path.name.endswith(ending):
            return path.name[: -len(ending)]
    return None


def parse_stem(stem: str) -> BidsName | None:
    """Take a file name without ending apart, or return None if it is not a BIDS name."""
    *pairs, suffix = stem.split("_")
    matches = [PAIR.fullmatch(pair) for pair in pairs]
    result = {match[1]: match[2] for match in matches if match is not None}
    if len(result) < len(pairs) or SUFFIX.fullmatch(suffix) is None:
        return None
    return BidsName(entities=result, suffix=suffix)


def subject_folder(root: Path, entities: Mapping[str, str]) -> Path:
    """Return the folder of a subject, or of its session, labels checked and links not followed out.

    Raises:
        InputError: `sub` is missing, a label is not allowed, or the folder leads out of the root.
    """
    for key, label in entities.items():
        check_label(label, key)
    if "sub" not in entities:
        raise InputError("a subject label is needed", remedy="Give the entity sub.")
    folder = root / f"sub-{entities['sub']}"
    if "ses" in entities:
        folder = folder / f"ses-{entities['ses']}"
    try:
        inside = folder.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError) as error:
        raise InputError("is a broken link", remedy="Remove the link.", path=folder) from error
    if not inside:
        raise InputError(
            "is reached through a link that points outside the dataset",
            remedy="Remove the link.",
            path=folder,
        )
    return folder
