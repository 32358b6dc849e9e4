"""Folders that libraries would make in the user's home are temporary, and the user's choice stays."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from unweight.cli import process as private_caches
from unweight.cli.process import FOLDERS, PREFIX, SYSTEM_FONTS, use_private_caches


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*FOLDERS, SYSTEM_FONTS):
        monkeypatch.setenv(name, "")  # so that it is as before in the end
    monkeypatch.delenv(SYSTEM_FONTS)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(private_caches.atexit, "register", lambda *_, **__: None)


def test_one_folder_that_nobody_else_can_enter(tmp_path: Path) -> None:
    folder = use_private_caches()
    assert folder is not None and folder.parent == tmp_path and folder.stat().st_mode & 0o777 == 0o700
    assert {os.environ[name] for name in FOLDERS} == {str(folder)}
    assert os.environ[SYSTEM_FONTS] == "1"
    assert use_private_caches() is None  # nor does a child make another


def test_what_the_user_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLCONFIGDIR", "/somewhere/own")
    folder = use_private_caches()
    assert os.environ["MPLCONFIGDIR"] == "/somewhere/own" and SYSTEM_FONTS not in os.environ
    assert os.environ["DASK_CONFIG"] == str(folder)
    monkeypatch.setenv("DASK_CONFIG", "/somewhere/dask")
    assert use_private_caches() is None


def test_a_folder_of_another_machine_is_replaced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A batch system hands its environment on to hosts where the folder is not."""
    for name in FOLDERS:
        monkeypatch.setenv(name, str(tmp_path / f"{PREFIX}elsewhere"))
    folder = use_private_caches()
    assert folder is not None and os.environ["MPLCONFIGDIR"] == str(folder)


def test_without_room_work_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/proc/none")
    assert use_private_caches() is None


def test_libraries_of_a_cluster_write_no_settings(tmp_path: Path) -> None:
    """dask-jobqueue writes its settings into the home when it is imported; those of the user are read."""
    pytest.importorskip("dask_jobqueue")
    home = tmp_path / "home"
    (home / ".config" / "dask").mkdir(parents=True)
    own = home / ".config" / "dask" / "own.yaml"
    own.write_text("unweight-test: 3\n")
    code = (
        "from unweight.cli.process import use_private_caches\n"
        "print(use_private_caches())\n"
        "import unweight.run.cluster, dask\n"
        "print(dask.config.get('unweight-test'))"
    )
    kept = {name: value for name, value in os.environ.items() if name not in FOLDERS}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**kept, "HOME": str(home), "TMPDIR": str(tmp_path)},
    )
    folder, found = done.stdout.split()
    assert found == "3" and not Path(folder).exists()
    assert [path for path in home.rglob("*") if path.is_file()] == [own]
