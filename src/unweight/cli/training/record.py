"""Record of the training in a folder: an interrupted one is resumed, and no other takes its place."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from unweight.core.errors import InputError, UsageError
from unweight.files.atomic import write_bytes_atomic
from unweight.files.text_files import parse_json, read_content
from unweight.learn.training.recipe import Recipe
from unweight.learn.training.trainable import recipe_from_plain

FOLDER, RECORD = "training", "recipe.json"
LARGEST_BYTES = 16 * 2**20


@final
@dataclass(frozen=True, kw_only=True)
class TrainingRecord:
    """What a folder was asked to train, and the recipe that came of it.

    Attributes:
        folder: Of the training.
        asked: All that decides it, as JSON values.
    """

    folder: Path
    asked: Mapping[str, Any]

    def recipe(self) -> Recipe[Any, Any] | None:
        """Return the recipe of the training in the folder, if it is the one asked for."""
        path = self.folder / RECORD
        if not path.exists():
            return None
        try:
            content = parse_json(read_content(path, LARGEST_BYTES))
            info, recipe = content["asked"], recipe_from_plain(content["recipe"])
        except (ValueError, KeyError, TypeError, InputError) as error:
            raise InputError(
                "is not the record of a training", remedy="Choose another folder with -o.", path=path
            ) from error
        other = sorted(_differences(info, json.loads(json.dumps(self.asked))))
        if other:
            raise UsageError(
                f"{self.folder.parent} holds another training, with another {', '.join(other[:4])}",
                remedy="Choose another folder with -o, or repeat the original command.",
            )
        return recipe

    def write(self, recipe: Recipe[Any, Any]) -> None:
        """Keep the recipe."""
        content = {"asked": dict(self.asked), "recipe": recipe.to_plain()}
        write_bytes_atomic(self.folder / RECORD, (json.dumps(content, indent=2) + "\n").encode())


def _differences(item: Any, other: Any, name: str = "") -> list[str]:
    """Return the names under which two trees of JSON values differ."""
    if isinstance(item, dict) and isinstance(other, dict):
        keys = item.keys() | other.keys()
        return [
            each for key in keys for each in _differences(item.get(key), other.get(key), f"{name}.{key}")
        ]
    return [] if item == other else [name.removeprefix(".").removeprefix("recipe.") or "call"]
