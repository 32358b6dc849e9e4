import argparse
from pathlib import Path

import pytest

from tests.cli.test_report import out  # noqa: F401 (a fixture)
from unweight.cli.pages import each_with_page
from unweight.cli.terminal import console
from unweight.core.errors import InputError


def arguments(folder: Path, *, no_report: bool = False) -> argparse.Namespace:
    return argparse.Namespace(out=folder, no_report=no_report, debug=False)


def subject_of(label: str, thing: str) -> str:
    if thing == "bad":
        raise InputError("is bad", remedy="Mend it.")
    return thing


def test_pages_of_those_that_were_mapped(out: Path, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    found = [("a", "01"), ("b", "bad"), ("c", "01")]
    assert each_with_page(found, subject_of, arguments(out), console()) == 1
    assert [path.name for path in out.glob("*.html")] == ["sub-01.html"]
    assert capsys.readouterr().out.count("sub-01.html") == 1


def test_no_report(out: Path) -> None:  # noqa: F811
    assert each_with_page([("a", "01")], subject_of, arguments(out, no_report=True), console()) == 0
    assert list(out.glob("*.html")) == []
