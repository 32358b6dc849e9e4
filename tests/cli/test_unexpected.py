"""Whatever happens, a user reads one paragraph: no traceback, and an exit code that tells it apart."""

import errno
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest

from unweight.cli import main as entry
from unweight.cli import process as lines
from unweight.cli.main import main
from unweight.cli.unexpected import UNEXPECTED, exit_code_of, explained
from unweight.core.errors import InputError, OutputError

LONG = "a" * 300


@pytest.mark.parametrize(
    ("error", "said", "code"),
    [
        (MemoryError(), "insufficient memory", 70),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
            "memory",
            70,
        ),
        (RuntimeError("CUDA out of memory. Tried to allocate 20 GiB"), "insufficient memory", 70),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "insufficient memory", 70),
        (
            ImportError("libtorch.so: failed to map segment: Cannot allocate memory"),
            "insufficient memory",
            70,
        ),
        (
            RuntimeError("unable to write to file </torch_1_2>: No space left on device (28)"),
            "/dev/shm",
            70,
        ),
        (RuntimeError("DataLoader worker (pid 9) is killed by signal: Bus error. "), "/dev/shm", 70),
        (OSError(errno.ENOSPC, "No space left on device"), "/dev/shm", 70),
        (RuntimeError("can't start new thread"), "could not start another process or thread", 70),
        (
            BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"),
            "could not start another process",
            70,
        ),
        (RecursionError(), "nested too deeply", 70),
        (OSError(errno.ENAMETOOLONG, "File name too long", LONG), "aaa...: the name is too long", 2),
        (PermissionError(errno.EACCES, "Permission denied", "/x/y"), "/x/y: Permission denied", 70),
        (ZeroDivisionError("by\nzero"), "unexpected ZeroDivisionError: by zero", 70),
    ],
)
def test_a_failure_is_one_paragraph(
    error: Exception,
    said: str,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(_: object) -> int:
        raise error

    monkeypatch.setattr(entry.importlib, "import_module", lambda _: SimpleNamespace(run=fail))
    assert explained(error)[1] == code
    assert main(["validate", "a.nii"]) == code
    shown = capsys.readouterr().err
    assert said in shown and shown.count("\n") == 1 and shown.startswith("unweight validate: ")
    with pytest.raises(type(error)):
        main(["validate", "a.nii", "--debug"])


@pytest.mark.parametrize(
    "call",
    [
        ["t1", f"{LONG}.nii", "-o", "out"],
        ["qsm", LONG, "-o", "out"],
        ["mprage", LONG, "-o", "out"],
        ["validate", LONG],
        ["report", LONG],
        ["run", LONG, "out", "participant"],
        ["run", ".", "out", "participant", "--config", LONG],
        ["simulate", LONG],
        ["init", LONG],
        ["regions", LONG, "--labels", LONG, "-o", "x.tsv"],
    ],
)
def test_a_name_too_long_is_said(
    call: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(call) in (2, 3)
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr().err.count("\n") == 1


def test_a_process_without_memory_says_so(tmp_path: Path) -> None:
    """A limit that Python starts under, and its libraries do not: the loader of libraries fails."""
    call = f"ulimit -v 400000; exec {sys.executable} -m unweight.cli.main validate {tmp_path}"
    ended = subprocess.run(["sh", "-c", call], capture_output=True, text=True, check=False)
    assert ended.returncode == UNEXPECTED
    assert "insufficient memory" in ended.stderr and "Traceback" not in ended.stderr


def test_warnings_of_libraries_go_to_the_log(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    monkeypatch.setenv("TORCH_CPP_LOG_LEVEL", "INFO")
    lines.log_warnings()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lines._log_warning
        caplog.set_level("DEBUG", logger="unweight.cli.process")
        warnings.warn("invalid value encountered in divide", RuntimeWarning, stacklevel=1)
    assert capsys.readouterr().err == ""
    (record,) = caplog.records
    assert record.levelname == "DEBUG" and "RuntimeWarning: invalid value" in record.getMessage()


def test_no_traceback_of_what_fails_while_it_is_tidied_up() -> None:
    code = (
        "from unweight.cli.process import log_warnings\n"
        "class Careless:\n"
        "    def __del__(self): raise AttributeError('_shutdown')\n"
        "log_warnings(); Careless()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_no_warning_reaches_the_user(tmp_path: Path) -> None:
    """A command in a process of its own, into which a library's warning is put."""
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib, warnings\n"
        "before = importlib.import_module\n"
        "def loading(name, *rest):\n"
        "    warnings.warn('a warning of a library', RuntimeWarning)\n"
        "    return before(name, *rest)\n"
        "importlib.import_module = loading\n"
    )
    way = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    for extra, n_told in ((), 0), (("--debug",), 1):
        call = [sys.executable, "-m", "unweight.cli.main", "init", str(tmp_path / f"{n_told}.toml"), *extra]
        ended = subprocess.run(
            call, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": way}
        )
        assert ended.stderr.count("a warning of a library") == n_told


def test_a_deeply_nested_card_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    deep: object = 1
    for _ in range(300):
        deep = [deep]
    (tmp_path / "t1-posterior.json").write_text(json.dumps({"recipe": deep}))
    (tmp_path / "t1-posterior.safetensors").write_bytes(b"")
    (tmp_path / "a.nii").write_bytes(b"x")
    call = ["run", str(tmp_path), str(tmp_path / "out"), "participant"]
    assert main([*call, "--set", f"t1.weights={tmp_path}"]) == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError("is damaged"), 2),
        (OutputError("is full"), 3),
        (KeyboardInterrupt(), 130),
        (BrokenPipeError(), 141),
        (OSError(errno.ENAMETOOLONG, "too long"), 2),
        (MemoryError(), UNEXPECTED),
        (ValueError("of the program"), UNEXPECTED),
    ],
    ids=lambda one: type(one).__name__ if isinstance(one, BaseException) else str(one),
)
def test_exit_codes(error: BaseException, code: int) -> None:
    assert exit_code_of(error) == code
