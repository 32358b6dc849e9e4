import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.bids.files import write_nifti
from unweight.cli.main import main
from unweight.cli.process import PrintableFormatter
from unweight.cli.terminal import console, error_line, table
from unweight.core.text import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("sub-01: 2.5 s, χ² of 1 mm³", "sub-01: 2.5 s, χ² of 1 mm³"),
        ("a\x1b[31mred", r"a\x1b[31mred"),
        ("one\ntwo\r\tthree\x07", r"one\ntwo\r\tthree\x07"),
        ("\u202egnp.exe\u2028", r"\u202egnp.exe\u2028"),
        ("sub-\udcff", r"sub-\udcff"),
    ],
)
def test_what_cannot_be_shown_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable(shown) == shown


def test_every_way_to_the_terminal_escapes(capsys: pytest.CaptureFixture[str]) -> None:
    hostile = "[/red] :smile: \x1b[31m\n"
    console().print(hostile)
    console().print(table((hostile,), [(hostile,)], hostile))
    error_line(hostile)
    said = capsys.readouterr()
    assert said.out.count(r"[/red] :smile: \x1b[31m\n") == 4
    assert said.err == r"[/red] :smile: \x1b[31m\n" + "\n"
    assert "\x1b" not in said.out
    record = logging.LogRecord("a", logging.WARNING, "", 0, hostile, None, None)
    assert PrintableFormatter().format(record) == r"[/red] :smile: \x1b[31m\n"


def test_hostile_names_in_errors_and_notes(tmp_path: Path) -> None:
    """In a process of its own, as a terminal sees it; brackets in names are no markup."""
    folder = tmp_path / "[/bold]\x1b[31m\nunweight t1: all is well"
    for index, ti in enumerate((0.05, 0.4, 1.1, 2.5)):
        signal = np.abs(1000 * (1 - 1.96 * np.exp(-ti / 0.8) + np.exp(-5.0 / 0.8)))
        values = np.full((8, 8, 2), signal, dtype=np.float32)
        write_nifti(folder / f"ir_{index}.nii", values, {"InversionTime": ti, "RepetitionTime": 5.0})
    (folder / "extra.nii").write_bytes((folder / "ir_0.nii").read_bytes())
    call = [sys.executable, "-m", "unweight.cli.main", "t1", str(folder), "--method", "ml", "--no-figures"]
    ended = subprocess.run([*call, "-o", str(folder / "out")], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "note: " in ended.stdout
    assert r"[/bold]\x1b[31m\nunweight t1: all is well/out" in ended.stdout
    (folder / "ir_0.nii").write_bytes(b"")
    ended = subprocess.run(
        [*call, "-o", str(folder / "other")], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert "is empty (0 bytes)" in ended.stderr
    for text in (ended.stdout, ended.stderr):
        assert "\x1b" not in text
        assert not any(line.startswith("unweight t1: all is well") for line in text.splitlines())


def test_a_path_of_any_bytes_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["t1", str(tmp_path / "a\udcff\x1b"), "-o", str(tmp_path / "out")]) == 2
    assert r"a\udcff\x1b" in capsys.readouterr().err
