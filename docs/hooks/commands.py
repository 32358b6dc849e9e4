"""The command reference, made from the catalogue: it says what the parser takes, and nothing else."""

from pathlib import Path

from unweight.cli.arguments import COMMON, Argument, Command
from unweight.cli.catalogue import COMMANDS
from unweight.cli.main import EXIT_CODES
from unweight.registry import pipelines

# What each command is explained in, beside its own page.
EXPLAINED = {item.command: item.page for item in pipelines()} | {"simulate": "simulation.md"}


def write_commands(folder: Path) -> None:
    """Write one page for each command, and their list."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, command in COMMANDS.items():
        (folder / f"{name}.md").write_text(command_page(name, command), encoding="utf-8")
    (folder / "index.md").write_text(_index(), encoding="utf-8")


def command_page(name: str, command: Command) -> str:
    """Return the page of one command, as Markdown."""
    lines = [f"# unweight {name}", "", f"{_sentence(command.summary)}", ""]
    if name in EXPLAINED:
        lines += [f"Method and limitations: [manual page](../../{EXPLAINED[name]}).", ""]
    if command.epilogue:
        lines += ["```", command.epilogue, "```", ""]
    if command.arguments:
        lines += _table("Arguments", command.arguments)
    lines += _table("Common options", COMMON)
    return "\n".join(lines)


def call_of(argument: Argument) -> str:
    """Return how an argument is written on the command line."""
    settings = argument.settings
    names = ", ".join(argument.names)
    if settings.get("action") == "store_true":
        return names
    value = _value(argument)
    return value if not argument.names[0].startswith("-") else f"{names} {value}"


def _value(argument: Argument) -> str:
    settings = argument.settings
    metavar, choices = settings.get("metavar"), settings.get("choices")
    if metavar is None and isinstance(choices, tuple):
        metavar = "{" + ",".join(map(str, choices)) + "}"
    if metavar is None:
        metavar = argument.names[-1].lstrip("-").replace("-", "_").upper()
    if isinstance(metavar, tuple):
        return " ".join(map(str, metavar))
    return {"+": f"{metavar} ...", "*": f"[{metavar} ...]"}.get(str(settings.get("nargs")), str(metavar))


def _table(title: str, arguments: tuple[Argument, ...]) -> list[str]:
    lines = [f"## {title}", "", "| argument | meaning |", "| --- | --- |"]
    for one in arguments:
        meaning = str(one.settings["help"]).replace("%%", "%").replace("|", "\\|").replace("*", "\\*")
        needed = "; required" if one.settings.get("required") else ""
        lines.append(f"| `{call_of(one)}` | {meaning}{needed} |")
    return [*lines, ""]


def _index() -> str:
    rows = [f"| [`unweight {name}`]({name}.md) | {one.summary} |" for name, one in COMMANDS.items()]
    pages = "\n".join(COMMANDS)
    return (
        "# Commands\n\nAll commands, as printed by `unweight COMMAND --help`. These pages are generated "
        "from the definitions that the parser uses.\n\n"
        "| command | purpose |\n| --- | --- |\n" + "\n".join(rows).replace("R2*", "R2\\*") + "\n\n"
        f"{EXIT_CODES}\n\nTimes are in seconds, angles in degrees, field strength in tesla. Values that "
        "look like milliseconds are rejected, never "
        f"converted.\n\n```{{toctree}}\n:hidden:\n\n{pages}\n```\n"
    )


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:].replace("*", "\\*") + "."
