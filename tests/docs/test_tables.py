"""Figures stand in one place, `benchmarks/results`, and pages show what is recorded there."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.documented import ROOT
from unweight.cli.main import parser

SCRIPT = ROOT / "scripts" / "benchmark-tables"
RESULTS = sorted((ROOT / "benchmarks" / "results").glob("*.tsv"))
CLAIMS = ["metric", "figure", "unit", "command"]


def rows_of(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as lines:
        return list(csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))


def test_pages_are_as_recorded() -> None:
    words = [sys.executable, str(SCRIPT), "--check"]
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout}Run scripts/benchmark-tables."


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_tables_are_whole_and_shown(path: Path) -> None:
    header, *rows = rows_of(path)
    assert rows and all(len(row) == len(header) for row in rows)
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    assert any(f"<!-- results: {path.stem} -->" in page.read_text(encoding="utf-8") for page in pages)


@pytest.mark.parametrize(
    "path", [one for one in RESULTS if rows_of(one)[0] == CLAIMS], ids=lambda one: one.stem
)
def test_claims_name_what_measures_them(path: Path) -> None:
    for metric, figure, _, command in rows_of(path)[1:]:
        assert metric and figure
        if command.startswith("unweight "):
            name = command.split()[1]
            assert name in parser().format_help()
        else:
            assert (ROOT / command).is_file(), command


def test_a_table_that_was_changed_by_hand_is_seen(tmp_path: Path) -> None:
    for part in ("README.md", "docs", "benchmarks/results", "scripts"):
        target = tmp_path / part
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(ROOT / part)
    (tmp_path / "scripts").unlink()
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / SCRIPT.name).write_text(SCRIPT.read_text(encoding="utf-8"))
    (tmp_path / "README.md").unlink()
    changed = (ROOT / "README.md").read_text(encoding="utf-8").replace("67.5 %", "76.5 %")
    (tmp_path / "README.md").write_text(changed)
    words = [sys.executable, str(tmp_path / "scripts" / SCRIPT.name), "--check"]
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    assert done.returncode == 1 and "README.md" in done.stdout
