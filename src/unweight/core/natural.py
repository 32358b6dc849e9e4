"""The order people expect of names: numbers in them count as numbers, so that 2 comes before 10."""

import re
from pathlib import Path

PIECES = re.compile(r"([^0-9]*)([0-9]*)")
NaturalKey = tuple[tuple[tuple[str, int], ...], str]


def natural_key(name: str | Path) -> NaturalKey:
    """Return a key by which names, or paths folder by folder, are sorted naturally."""
    text = "\0".join(name.parts) if isinstance(name, Path) else name
    pieces = ((words, int(number) if number else -1) for words, number in PIECES.findall(text))
    return tuple(pieces), text
