"""Every promise of `docs/guarantees.md` names tests that exist."""

import ast
import re
from pathlib import Path

import pytest

from tests.docs.documented import ROOT

PAGE = ROOT / "docs" / "guarantees.md"
TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`(?: \((slow)\))?")
ROWS = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
PROMISES = [line.strip("| ").split(" | ") for line in ROWS if not line.startswith(("| promise", "| ---"))]


def missing(path: str, name: str, *, slow: bool) -> str:
    """Return what is wrong with a test that is named; nothing if it is there, and slow as is said."""
    if not (ROOT / path).is_file():
        return "no such file"
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    tests = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    if name not in tests:
        return "no such test"
    marks = [ast.unparse(one) for one in tests[name].decorator_list]
    return "" if slow == ("pytest.mark.slow" in marks) else f"slow is {not slow}"


@pytest.mark.parametrize("row", PROMISES, ids=lambda row: str(row[0])[:60])
def test_every_promise_has_tests_that_exist(row: list[str]) -> None:
    promise, place, tests = row
    assert promise and place
    named = TEST.findall(tests)
    assert named and len(named) == tests.count("::")
    wrong = {f"{path}::{name}": missing(path, name, slow=bool(slow)) for path, name, slow in named}
    assert not {name: fault for name, fault in wrong.items() if fault}


def test_a_test_that_is_not_there_is_seen() -> None:
    here = str(Path(__file__).relative_to(ROOT))
    assert missing(here, "test_every_promise_has_tests_that_exist", slow=False) == ""
    assert missing(here, "test_every_promise_has_tests_that_exist", slow=True)
    assert missing(here, "test_nothing", slow=False) == "no such test"
    assert missing("tests/none.py", "test_nothing", slow=False) == "no such file"


def test_no_promise_is_made_twice() -> None:
    names = [row[0] for row in PROMISES]
    assert len(names) > 30 and len(set(names)) == len(names)
