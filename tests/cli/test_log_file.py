"""`--log-file`, `--verbose` and `--json`: what a program or a person who helps needs to read."""

import json
import logging
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.small_tree import write_small_tree
from unweight import __version__
from unweight.cli.log_file import PRINT_LOG, LogFile, complain, log_printed, logged_to
from unweight.cli.main import main

CAPTURE = pytest.CaptureFixture[str]
LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3} (DEBUG|INFO|WARNING|ERROR) [\w.]+: ?")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("log") / "bids"
    write_small_tree(root, 2)
    return root


def t1(tree: Path, out: Path, *words: object) -> int:
    return main(["t1", str(tree), "-o", str(out), "--method", "ml", "--no-figures", *map(str, words)])


def test_a_log_has_all_that_is_printed_a_line_a_record(tree: Path, tmp_path: Path, capsys: CAPTURE) -> None:
    log = tmp_path / "unweight.log"
    assert t1(tree, tmp_path / "maps", "--log-file", log) == 0
    lines = log.read_text(encoding="utf-8").splitlines()
    assert all(LINE.match(line) for line in lines)
    assert f"INFO unweight.cli.main: unweight {__version__}" in lines[0] and "t1" in lines[0]
    assert lines[-1].endswith("exit code 0")
    text = "\n".join(lines)
    for shown in capsys.readouterr().out.splitlines():
        assert shown.rstrip() in text
    assert "images read in" in text and "maps computed in" in text
    assert not any(isinstance(item, LogFile) for item in PRINT_LOG.handlers)


def test_a_log_is_continued_and_holds_the_traceback_of_an_error(tmp_path: Path, capsys: CAPTURE) -> None:
    log = tmp_path / "a.log"
    for _ in range(2):
        assert t1(tmp_path / "no\x1b[31mwhere.nii.gz", tmp_path / "maps", "--log-file", log) == 2
    lines = log.read_text(encoding="utf-8").splitlines()
    assert all(LINE.match(line) for line in lines) and "\x1b" not in "".join(lines)
    assert sum("exit code 2" in line for line in lines) == 2
    assert sum("Traceback (most recent call last)" in line for line in lines) == 2
    assert sum(" ERROR " in line for line in lines) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_a_log_that_cannot_be_written_is_one_error(tree: Path, tmp_path: Path, capsys: CAPTURE) -> None:
    assert t1(tree, tmp_path / "maps", "--log-file", tmp_path / "no" / "a.log") == 3
    message = capsys.readouterr().err
    assert "a.log: the log file cannot be opened" in message and len(message.splitlines()) == 1
    assert not (tmp_path / "maps").exists()


def test_a_full_disk_shortens_the_log_and_stops_nothing(capsys: CAPTURE) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full")
    with logged_to(full):
        logging.getLogger("unweight.test").debug("lost")
    assert "/dev/full: the log is incomplete" in capsys.readouterr().err


def test_verbose_shows_our_steps_and_no_library(tree: Path, tmp_path: Path) -> None:
    words = ["t1", str(tree), "-o", str(tmp_path / "maps"), "--method", "ml", "--no-report", "-v"]
    ended = subprocess.run(
        [sys.executable, "-m", "unweight", *words, "--subjects", "000"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "images read in" in ended.stderr and "maps computed in" in ended.stderr
    assert "matplotlib" not in ended.stderr and "images read in" not in ended.stdout


def test_json_is_all_that_is_printed(tree: Path, tmp_path: Path, capsys: CAPTURE) -> None:
    out = tmp_path / "maps"
    assert t1(tree, out, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["command"], told["version"], told["exit_code"]) == ("t1", __version__, 0)
    assert [item["label"] for item in told["series"]] == ["sub-000_IRT1", "sub-001_IRT1"]
    for item in told["series"]:
        assert sum(item["voxels"].values()) == 12 * 12 * 3
        assert 0 < item["seconds"] <= told["seconds"]
        low, high = item["maps"]["T1"]["quartiles"]
        assert 0.5 < low < item["maps"]["T1"]["median"] < high < 2.1
        assert item["maps"]["T1"]["unit"] == "s"
        assert item["files"] and all(Path(path).is_file() for path in item["files"])
    assert told["failed"] == []
    assert told["pages"] == [str(out / f"sub-{label}.html") for label in ("000", "001")]


def test_json_names_what_failed(tree: Path, tmp_path: Path, capsys: CAPTURE) -> None:
    assert t1(tree, tmp_path / "maps", "--json", "--subjects", "000", "none") == 1
    told = json.loads(capsys.readouterr().out)
    assert told["exit_code"] == 1 and len(told["series"]) == 1
    assert [item["label"] for item in told["failed"]] == ["sub-none"]
    assert t1(tmp_path / "nowhere", tmp_path / "maps", "--json") == 2
    told = json.loads(capsys.readouterr().out)
    assert told["exit_code"] == 2 and len(told["failed"]) == 1 and told["series"] == []


def test_records_of_what_is_printed_can_be_encoded(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Names of files may hold bytes that are no text, and other handlers than the log file get records."""
    with logged_to(tmp_path / "log"):
        complain("sub-\udcff: is damaged")
        log_printed("sub-\udcff: mapped")
    assert "\\udcff: is damaged" in (tmp_path / "log").read_text()
    for record in caplog.records:
        record.getMessage().encode()
