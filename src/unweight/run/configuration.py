"""The settings of a run as they took effect, beside the results: options, weights, versions."""

import importlib.metadata
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path

from unweight import __version__
from unweight.bids.derivatives.dataset import json_bytes
from unweight.files.atomic import fingerprint, write_bytes_atomic
from unweight.learn.training.weights import available, digest_of, load_weights
from unweight.registry import methods, pipeline
from unweight.run.plan import nameless_word
from unweight.run.record import LOGS

LARGEST_BYTES = 16 * 2**20
PACKAGES = ("torch", "numpy", "scipy", "nibabel", "scikit-image")


def weights_of(command: str, folder: Path | None) -> dict[str, str]:
    """Return the SHA-256 of the weights a command may use, by name.

    Weights that do not come with the package are looked through, once for all steps.

    Raises:
        InputError: A card is damaged, or weights of a folder are.
    """
    own = {item.weights for item in methods(pipeline(command).family) if item.learned}
    names = [name for name in available(folder) if name in own] if own else []
    if folder is not None:
        return {name: load_weights(name, folder)[1].sha256 for name in names}
    return {name: digest_of(name) for name in names}


def write_configuration(
    out: Path,
    options: Mapping[str, Sequence[str]],
    weights: Mapping[str, Mapping[str, str]],
    level: str = "participant",
) -> str:
    """Write what took effect, under a name of its content, and return the name.

    Args:
        out: Root of the results.
        options: Words for each command.
        weights: SHA-256 of the weights each command may use.
        level: Of the analysis.

    Raises:
        OutputError: It cannot be written.
    """
    versions = {name: _version(name) for name in PACKAGES}
    content = json_bytes(
        {
            "Level": level,
            "Options": {name: [nameless_word(word) for word in words] for name, words in options.items()},
            "Weights": {name: dict(weight) for name, weight in weights.items() if weight},
            "Versions": {"unweight": __version__, "python": platform.python_version(), **versions},
        }
    )
    name = f"config-{fingerprint(content)[:12]}.json"
    path = out / LOGS / name
    if not path.is_file():
        write_bytes_atomic(path, content)
    return name


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "absent"
