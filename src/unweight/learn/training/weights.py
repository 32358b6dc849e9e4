"""Trained weights as files: the tensors in NAME.safetensors, the model card in NAME.json.

The card holds the SHA-256 of the tensors and is written last: weights without their card are none.
"""

from collections.abc import Mapping
from dataclasses import replace
from importlib.resources import as_file, files
from importlib.resources.abc import Traversable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from unweight.core.errors import InputError, UsageError
from unweight.files.atomic import fingerprint, write_together
from unweight.files.text_files import read_content
from unweight.learn.training.model_card import Card, card_from_json, check_name

SHELF = "weights"
TENSORS = ".safetensors"
CARD = ".json"
LARGEST_CARD, LARGEST_TENSORS = 16 * 2**20, 2**30


def save_weights(folder: Path, tensors: Mapping[str, Tensor], card: Card, *, half: bool = False) -> Path:
    """Write tensors and card together, and return the path of the tensors.

    Args:
        folder: Created if absent.
        tensors: By name; what is not floating point is kept as it is.
        card: Given the SHA-256 and the type of what is stored.
        half: Whether to store float16, in half the space.

    Raises:
        UsageError: There are no tensors, or a value is not finite, or becomes so in float16.
        OutputError: The files could not be written.
    """
    if not tensors:
        raise UsageError(f"no weights to write for {card.name}")
    kind = torch.float16 if half else torch.float32
    stored = {name: _stored(name, tensor, kind) for name, tensor in tensors.items()}
    content = save(stored)
    path = folder / f"{card.name}{TENSORS}"
    info = replace(card, sha256=fingerprint(content), stored="float16" if half else "float32")
    write_together([(path, content), (folder / f"{card.name}{CARD}", info.to_json())])
    return path


def load_weights(name: str, folder: Path | None = None) -> tuple[dict[str, Tensor], Card]:
    """Return tensors by name, in float32 where they are floating point, and their card.

    Args:
        name: Of the weights.
        folder: Where they lie; None for those that come with the package.

    Raises:
        InputError: They are absent, damaged, not finite, or not what their name says.
        UsageError: No weights can have this name.
    """
    check_name(name)
    shelf = _shelf(folder)
    card_path, path = shelf / f"{name}{CARD}", shelf / f"{name}{TENSORS}"
    for item in (card_path, path):
        if not item.is_file():
            raise InputError(
                f"there are no weights called {name}",
                remedy=f"Train them with `unweight train {name}`.",
                path=str(item),
            )
    remedy = f"Copy weights and card again, or train them with `unweight train {name}`."
    card = card_from_json(_read(card_path, remedy, LARGEST_CARD), str(card_path))
    if card.name != name:
        raise InputError(f"is the card of {card.name}, not of {name}", remedy=remedy, path=str(card_path))
    content = _read(path, remedy, LARGEST_TENSORS)
    if fingerprint(content) != card.sha256:
        raise InputError("is damaged, or does not match its card", remedy=remedy, path=str(path))
    try:
        tensors = load(content)
    except SafetensorError as error:
        raise InputError("contains no tensors", remedy=remedy, path=str(path)) from error
    broken = [key for key, tensor in tensors.items() if not bool(torch.isfinite(tensor).all())]
    if broken:
        raise InputError(f"has values that are not finite, in {broken[0]}", remedy=remedy, path=str(path))
    return {
        key: tensor.float() if tensor.is_floating_point() else tensor for key, tensor in tensors.items()
    }, card


def fill(network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Give a network its weights: the same names and shapes, none more and none fewer.

    Raises:
        InputError: The weights are of another network.
    """
    own = network.state_dict()
    faults = [f"{name} is missing" for name in own if name not in tensors]
    faults += [f"{name} is unknown" for name in tensors if name not in own]
    faults += [
        f"{name} is {tuple(tensors[name].shape)}, not {tuple(entry.shape)}"
        for name, entry in own.items()
        if name in tensors and tensors[name].shape != entry.shape
    ]
    faults += [
        f"{name} is of {tensors[name].dtype}, not {entry.dtype}"
        for name, entry in own.items()
        if name in tensors and tensors[name].is_floating_point() != entry.is_floating_point()
    ]
    if faults:
        more = f", and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise InputError(
            f"these weights are of another network: {', '.join(faults[:3])}{more}",
            remedy="Build the network from the recipe in the card of the weights.",
        )
    network.load_state_dict(dict(tensors))


def available(folder: Path | None = None) -> tuple[str, ...]:
    """Return the names of the weights in a folder, or of those that come with the package, sorted."""
    shelf = _shelf(folder)
    if not shelf.is_dir():
        return ()
    result = {path.name for path in shelf.iterdir()}
    names = (item.removesuffix(CARD) for item in result if item.endswith(CARD))
    return tuple(sorted(name for name in names if f"{name}{TENSORS}" in result))


def digest_of(name: str, folder: Path | None = None) -> str:
    """Return the SHA-256 of weights as their card tells it; `load_weights` sees that it is true.

    Raises:
        InputError: There is no such card.
    """
    return card_of(name, folder).sha256


def card_of(name: str, folder: Path | None = None) -> Card:
    """Return the card of weights, without their tensors.

    Args:
        name: Of the weights.
        folder: Where they lie; None for those that come with the package.

    Raises:
        InputError: There is no such card.
    """
    check_name(name)
    path = _shelf(folder) / f"{name}{CARD}"
    return card_from_json(_read(path, f"Train them with `unweight train {name}`.", LARGEST_CARD), str(path))


def _shelf(folder: Path | None) -> Traversable:
    return files("unweight") / SHELF if folder is None else folder


def _read(path: Traversable, remedy: str, largest: int) -> bytes:
    try:
        with as_file(path) as file:
            return read_content(file, largest)
    except InputError as error:
        raise InputError(error.problem, remedy=remedy, path=str(path)) from error


def _stored(name: str, tensor: Tensor, kind: torch.dtype) -> Tensor:
    """Return a copy that owns its memory."""
    if not tensor.is_floating_point():
        return tensor.detach().to("cpu", copy=True).contiguous()
    stored = tensor.detach().to("cpu", kind, copy=True).contiguous()
    if not bool(stored.isfinite().all()):
        raise UsageError(f"{name} has values that are not finite as {str(kind).removeprefix('torch.')}")
    return stored
