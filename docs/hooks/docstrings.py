"""Docstrings are plain text with `names` in single quotes; this makes reStructuredText of them.

Stars, bars and trailing underscores mean nothing in them, `R2*` above all; indented paragraphs are
equations.
"""

import re

SECTIONS = frozenset(
    {"Args:", "Attributes:", "Raises:", "Returns:", "Yields:", "Example:", "Examples:", "Note:", "Notes:"}
)
QUOTED = re.compile(r"`([^`]+)`")
MARKUP = re.compile(r"([*|\\])")
TRAILING = re.compile(r"(?<=\w)_(?=\W|$)")


def to_rst(lines: list[str]) -> list[str]:
    """Return a docstring as reStructuredText, its Google sections left as they are."""
    out: list[str] = []
    section = equation = False
    for line in lines:
        text, indent = line.strip(), len(line) - len(line.lstrip())
        if text and indent == 0:
            if equation and out[-1].strip():
                out.append("")
            section, equation = text in SECTIONS, False
        elif text and not section and not equation and out and not out[-1].strip():
            out += ["::", ""]
            equation = True
        out.append(line if equation else _escaped(line))
    return out


def _escaped(line: str) -> str:
    pieces, at = [], 0
    for found in QUOTED.finditer(line):
        pieces += [_plain(line[at : found.start()]), f"``{found.group(1)}``"]
        at = found.end()
    return "".join(pieces) + _plain(line[at:])


def _plain(text: str) -> str:
    return TRAILING.sub(r"\\_", MARKUP.sub(r"\\\1", text))
