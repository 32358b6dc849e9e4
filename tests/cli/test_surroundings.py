"""No command writes elsewhere than it says, touches the user's home, or uses a network."""

from pathlib import Path

import pytest

from tests.cli.gradient_echoes import echoes, write_mask, write_tree
from tests.cli.small_tree import write_small_tree
from tests.cli.watched import Watched, watched


def check(done: Watched, home: Path, *places: Path) -> None:
    """Check that a command came through and stayed where it belongs."""
    assert done.code == 0, done.text
    assert done.network == ()
    assert done.written_outside(*places, home.parent / "tmp") == []
    assert list(home.iterdir()) == []
    assert list((home.parent / "tmp").iterdir()) == []


def test_t1_with_a_page_leaves_the_home_as_it_was(tmp_path: Path) -> None:
    home, out = tmp_path / "home", tmp_path / "maps"
    write_small_tree(tmp_path / "bids", 1)
    done = watched(["t1", tmp_path / "bids", "-o", out], home)
    check(done, home, out)
    assert (out / "sub-000.html").is_file() and list(out.rglob("*.png"))
    assert [path for path in done.written if "fontlist" in path.name]  # so the watch sees such things


def test_what_the_user_set_is_used(tmp_path: Path) -> None:
    home, own = tmp_path / "home", tmp_path / "own"
    write_small_tree(tmp_path / "bids", 1)
    words = ["t1", tmp_path / "bids", "-o", tmp_path / "maps", "--method", "ml", "--no-report"]
    done = watched(words, home, {"MPLCONFIGDIR": str(own)})
    check(done, home, tmp_path / "maps", own)
    assert [path.name for path in own.glob("fontlist*")]


def test_a_study_in_two_workers(tmp_path: Path) -> None:
    home, raw, out = tmp_path / "home", tmp_path / "bids", tmp_path / "maps"
    write_small_tree(raw, 2)
    check(watched(["run", raw, out, "participant", "--workers", 2], home), home, out)
    check(watched(["run", raw, out, "group"], home), home, out)
    check(watched(["report", out], home), home, out)
    check(watched(["validate", raw], home), home)


@pytest.mark.parametrize("command", ["qsm", "r2star", "mprage"])
def test_commands_of_echoes(tmp_path: Path, command: str) -> None:
    home, raw, out = tmp_path / "home", tmp_path / "bids", tmp_path / "maps"
    write_tree(raw, echoes(), {"sub": "01"})
    mask = write_mask(tmp_path / "mask.nii.gz")
    check(watched([command, raw, "-o", out, "--mask", mask], home), home, out)


def test_doctor(tmp_path: Path) -> None:
    check(watched(["doctor"], tmp_path / "home"), tmp_path / "home")


def test_the_watch_sees_a_connection_and_a_file(tmp_path: Path) -> None:
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook" / "rich.py").write_text(
        "import socket, pathlib\n"
        "pathlib.Path.home().joinpath('x').write_text('x')\n"
        "socket.create_connection(('127.0.0.1', 9), 0.1)\n"
    )
    done = watched(["doctor"], tmp_path / "home")
    assert done.code and done.network
    assert done.written_outside() == [tmp_path / "home" / "x"]
