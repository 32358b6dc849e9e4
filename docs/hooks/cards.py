"""A page for each set of weights, made from the card that lies beside it."""

import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from unweight.learn.training.model_card import Card, card_from_json
from unweight.learn.training.weights import CARD, SHELF, TENSORS, available
from unweight.registry import trained_methods, usage


def weight_cards() -> tuple[tuple[Card, int], ...]:
    """Return the card of all weights of the package, with the size of the tensors [bytes]."""
    shelf = files("unweight") / SHELF
    return tuple(
        (
            card_from_json((shelf / f"{name}{CARD}").read_bytes(), name),
            len((shelf / f"{name}{TENSORS}").read_bytes()),
        )
        for name in available()
    )


def write_cards(folder: Path) -> None:
    """Write one page for each set of weights, and their list."""
    folder.mkdir(parents=True, exist_ok=True)
    cards = weight_cards()
    for card, size in cards:
        (folder / f"{card.name}.md").write_text(card_page(card, size), encoding="utf-8")
    (folder / "index.md").write_text(_index(cards), encoding="utf-8")


def card_page(card: Card, size: int) -> str:
    """Return the page of one set of weights, as Markdown."""
    facts = (
        ("used by", _used_by(card.name)),
        ("version", str(card.version)),
        ("size", f"{size / 1e6:.1f} MB, {card.stored}"),
        ("licence", card.licence),
        ("preset", f"`{card.preset}`, seed {card.seed}"),
        (
            "training time",
            f"{card.seconds / 60:.0f} min on two shared cores"
            if card.preset == "cpu"
            else f"{card.seconds / 60:.0f} min",
        ),
        ("computed in", _prose(card.precision)),
        ("SHA-256 of the tensors", f"`{card.sha256}`"),
    )
    lines = [f"# Weights {card.name}", "", _prose(card.summary), ""]
    lines += ["| | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in facts if value), ""]
    lines += ["## Intended use", "", _prose(card.intended_use), ""]
    lines += ["## Limitations", "", _prose(card.limits), ""]
    lines += ["## Training data", "", _prose(card.trained_on), ""]
    lines += ["## Supported range", ""]
    lines += ["| | from | to |", "| --- | ---: | ---: |"]
    lines += [f"| {_named(name)} | {low:g} | {high:g} |" for name, (low, high) in card.ranges.items()]
    lines += [
        "",
        "Times in seconds, field strength in tesla, voxels in millimetres. Input outside this range is "
        "rejected, or mapped with a note.",
        "",
    ]
    lines += ["## Scores on held-out data", "", "| | |", "| --- | ---: |"]
    lines += [f"| {_named(name)} | {value:.3g} |" for name, value in card.metrics.items()]
    lines += ["", "## Recipe", "", "Configuration for `unweight train` that repeats the training:", ""]
    lines += ["```json", json.dumps(_plain(card.recipe), indent=2, ensure_ascii=False), "```", ""]
    return "\n".join(lines)


def _index(cards: tuple[tuple[Card, int], ...]) -> str:
    total = sum(size for _, size in cards) / 1e6
    rows = [
        f"| [{card.name}]({card.name}.md) | {_prose(card.summary)} | {size / 1e6:.1f} MB |"
        for card, size in cards
    ]
    pages = "\n".join(card.name for card, _ in cards)
    return (
        f"# Model cards\n\nAll weights are files of the package, {total:.0f} MB in all; nothing is "
        "downloaded, and nothing is unpickled. Each has a model card with its intended use, training "
        "data, limitations and training configuration. A file whose SHA-256 differs from that on its card "
        "is rejected. All were trained on simulated images only.\n\n"
        "| weights | purpose | size |\n| --- | --- | ---: |\n" + "\n".join(rows) + "\n\n"
        f"```{{toctree}}\n:hidden:\n\n{pages}\n```\n"
    )


def _used_by(weights: str) -> str:
    known = (item for item in trained_methods() if item.weights == weights)
    return next((f"`{usage(item)}`" for item in known), "")


def _named(name: str) -> str:
    return name.replace("_", " ")


def _prose(text: str) -> str:
    return text.replace("*", "\\*").replace("|", "\\|")


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _plain(value) if isinstance(value, Mapping) else value for name, value in values.items()}
