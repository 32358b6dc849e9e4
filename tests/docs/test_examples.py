"""Every tutorial runs, from the first cell to the last."""

import ast
import runpy
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
from docs.hooks.gallery import NEEDS, runnable

from tests.docs.documented import ROOT
from unweight.cli.catalogue import COMMANDS

EXAMPLES = sorted((ROOT / "examples").glob("plot_*.py"))
QUICK = ("plot_1", "plot_2")


def marked(path: Path) -> object:
    marks = [] if path.name.startswith(QUICK) else [pytest.mark.slow]
    if NEEDS.get(path.name, "t1") not in COMMANDS:
        marks.append(pytest.mark.skip(reason=f"unweight {NEEDS[path.name]} is not there yet"))
    return pytest.param(path, id=path.stem, marks=marks)


@pytest.mark.parametrize("path", [marked(path) for path in EXAMPLES])
def test_it_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    plt.switch_backend("agg")
    runpy.run_path(str(path), run_name="__main__")
    plt.close("all")


def test_there_are_five() -> None:
    assert len(EXAMPLES) == 5
    assert set(NEEDS) <= {path.name for path in EXAMPLES}
    for path in EXAMPLES:
        title = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").splitlines()
        assert title and set(title[1]) == {"="}, f"{path.name} needs a title"


def test_what_waits_is_shown_and_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    import re

    monkeypatch.delitem(COMMANDS, "run", raising=False)
    pattern = re.compile(runnable())
    assert [path.name for path in EXAMPLES if not pattern.search(path.name)] == list(NEEDS)
    monkeypatch.setitem(COMMANDS, "run", COMMANDS["t1"])
    assert all(re.search(runnable(), path.name) for path in EXAMPLES)
