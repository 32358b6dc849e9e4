"""Links between pages lead somewhere, in the files as they are and among the pages that are made."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from docs.hooks.api import ROOMS, write_api
from docs.hooks.cards import weight_cards, write_cards
from docs.hooks.commands import write_commands
from docs.hooks.links import built

from tests.docs.documented import ROOT
from unweight.cli.catalogue import COMMANDS

LINK = re.compile(r"(?<!`)\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
DOC = re.compile(r":doc:`/([^`]+)`")
MADE_BY_GALLERY = {"index.rst"} | {f"{path.stem}.rst" for path in (ROOT / "examples").glob("plot_*.py")}
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs" / "decisions").glob("*.md")),
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages that are made when the documentation is built."""
    folder = tmp_path_factory.mktemp("made") / "docs" / "generated"
    write_commands(folder / "commands")
    write_cards(folder / "cards")
    write_api(folder / "api")
    return folder


def dead(page: Path, home: Path, made: Path, change: Callable[[str], str] = str) -> list[str]:
    """Return the links of a page that lead nowhere; `home` is the folder it is read in."""
    found = []
    for link in LINK.findall(FENCE.sub("", change(page.read_text(encoding="utf-8")))):
        target, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", link):
            continue
        path = (home / target).resolve() if target else page
        docs = ROOT / "docs"
        if path.is_relative_to(docs / "generated"):
            path = made / path.relative_to(docs / "generated")
        elif path.parent == docs / "tutorials" and path.name in MADE_BY_GALLERY:
            continue
        if not path.exists() or (anchor and anchor not in anchors(path)):
            found.append(link)
    return found


def anchors(path: Path) -> set[str]:
    """Return the names of the headings of a page."""
    headings = HEADING.findall(path.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", one).strip().lower().replace(" ", "-") for one in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_of_written_pages_lead_somewhere_in_the_repository(page: Path, tmp_path: Path) -> None:
    assert not dead(page, page.parent, tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_of_written_pages_lead_somewhere_in_the_documentation(page: Path, made: Path) -> None:
    assert not dead(page, page.parent, made, built)


def test_links_to_sources_become_links_to_pages() -> None:
    text = built((ROOT / "docs" / "index.md").read_text(encoding="utf-8"))
    assert "[`unweight t1`](generated/commands/t1.md)" in text and "(tutorials/index.rst)" in text
    assert "](../src" not in text and "](../examples" not in text


def test_links_of_made_pages(made: Path) -> None:
    pages = sorted(made.rglob("*.md"))
    assert len(pages) > 200
    for page in pages:
        assert not dead(page, ROOT / "docs" / "generated" / page.relative_to(made).parent, made), page.name


def test_links_of_tutorials() -> None:
    for path in sorted((ROOT / "examples").glob("*.py")):
        for name in DOC.findall(path.read_text(encoding="utf-8")):
            assert (ROOT / "docs" / f"{name}.md").is_file(), f"{path.name}: {name}"


def test_a_dead_link_is_seen(tmp_path: Path, made: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# One two\n\n[a](page.md#one-two) [b](no.md) [c](#three) [d](https://example.org/no)\n"
    )
    assert dead(page, tmp_path, made) == ["no.md", "#three"]


def test_all_commands_options_and_cards_have_a_place(made: Path) -> None:
    for name, command in COMMANDS.items():
        page = (made / "commands" / f"{name}.md").read_text(encoding="utf-8")
        for argument in command.arguments:
            assert all(option in page for option in argument.names if option.startswith("-"))
    for card, _ in weight_cards():
        page = (made / "cards" / f"{card.name}.md").read_text(encoding="utf-8")
        assert card.sha256 in page and card.not_a_medical_device in page
    assert {path.name for path in (made / "api").iterdir()} == {*ROOMS, "index.md"}


def test_decisions_have_numbers_of_their_own() -> None:
    pages = sorted((ROOT / "docs" / "decisions").glob("0*.md"))
    numbers = [path.name.partition("-")[0] for path in pages]
    assert len(set(numbers)) == len(numbers)
    for path in pages:
        heading = path.read_text(encoding="utf-8").partition("\n")[0]
        assert heading.startswith("# ")
        assert not heading[2:6].isdigit() or heading[2:6] == path.name[:4]
