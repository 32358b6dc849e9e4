"""What the documentation tells people to type: commands in fenced blocks, in tutorials and in the help."""

import re
import shlex
from pathlib import Path
from typing import NamedTuple

from unweight.cli.catalogue import COMMANDS

ROOT = Path(__file__).parents[2]
FENCED = re.compile(r"^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`(unweight [a-z0-9]+[^`]*)`")
LITERAL = re.compile(r"::\n\n((?:    .*\n)+)", re.MULTILINE)
PROGRAM = "unweight "


class Told(NamedTuple):
    """A command, and where it is told."""

    where: str
    line: str

    @property
    def words(self) -> list[str]:
        """The words after the name of the program, without a comment or a redirection by the shell."""
        words = shlex.split(self.line, comments=True)[1:]
        return words[: words.index(">")] if ">" in words else words


def pages() -> list[Path]:
    """Return the Markdown pages that people read."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def told_commands() -> list[Told]:
    """Return every command of the pages, of the tutorials, and of the help."""
    found = []
    for path in pages():
        found += _lines(path.name, FENCED.findall(path.read_text(encoding="utf-8")))
    for path in sorted((ROOT / "examples").glob("*.py")):
        found += _lines(path.name, LITERAL.findall(path.read_text(encoding="utf-8")))
    found += _lines("--help", [command.epilogue for command in COMMANDS.values()])
    return found


def inline_commands() -> list[Told]:
    """Return the commands in running text; they may be cut short, so only options can be looked at."""
    return [
        Told(path.name, " ".join(text.split()))
        for path in pages()
        for text in INLINE.findall(path.read_text(encoding="utf-8"))
    ]


def _lines(where: str, blocks: list[str]) -> list[Told]:
    lines = [line.strip() for block in blocks for line in block.splitlines()]
    return [Told(where, line) for line in lines if line.startswith(PROGRAM)]
