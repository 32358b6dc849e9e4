"""What a command is: where it is carried out, and what it takes."""

from dataclasses import dataclass
from typing import final

from unweight.cli.arguments import Argument


@final
@dataclass(frozen=True, kw_only=True)
class Command:
    """One command.

    Attributes:
        module: Where its `run(arguments) -> exit code` is; loaded when the command is called.
        summary: One line for the list of commands.
        arguments: What it takes.
        epilogue: Examples.
        mapping: Of a command that maps, the target of its `MappingOptions`.
    """

    module: str
    summary: str
    arguments: tuple[Argument, ...]
    epilogue: str = ""
    mapping: str = ""
