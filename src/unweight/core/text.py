"""Text for people: natural order of names, and escapes for what cannot be printed.

The order people expect of names: numbers in them count as numbers, so that 2 comes before 10.

Text as a terminal, a page or a table may have it: what cannot be printed is shown as its escape.

Names of files and what stands in them come from others. Printed as they are, an escape sequence could
recolour or retitle the terminal, a line break could forge a line of output, and a right-to-left mark show
a name as another.
"""

import re
from pathlib import Path

PIECES = re.compile(r"([^0-9]*)([0-9]*)")
NaturalKey = tuple[tuple[tuple[str, int], ...], str]


def natural_key(name: str | Path) -> NaturalKey:
    """Return a key by which names, or paths folder by folder, are sorted naturally."""
    text = "\0".join(name.parts) if isinstance(name, Path) else name
    pieces = ((words, int(number) if number else -1) for words, number in PIECES.findall(text))
    return tuple(pieces), text


def printable_lines(text: str) -> str:
    """Return the text as `printable` does, its line breaks kept."""
    return "\n".join(printable(line) for line in text.split("\n"))


def printable(text: str) -> str:
    r"""Return the text with each character that cannot be shown written as `\x1b` or `\u202e`."""
    if text.isprintable():
        return text
    return "".join(
        item if item.isprintable() else item.encode("unicode_escape", "backslashreplace").decode()
        for item in text
    )
