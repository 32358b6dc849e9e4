import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

from unweight import __version__
from unweight.cli.catalogue import COMMANDS
from unweight.cli.main import main
from unweight.core.errors import InputError


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert COMMANDS[command].summary in capsys.readouterr().out.replace("\n", " ")


def test_help_needs_no_heavy_import_and_is_quick() -> None:
    probe = (
        "import sys\nfrom unweight.cli.main import main\n"
        "try:\n    main(['t1', '--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'numpy', 'scipy', 'nibabel', 'matplotlib'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", probe], check=True, capture_output=True)
        seconds.append(time.perf_counter() - began)
    assert min(seconds) < 1.0  # 0.08 s on an idle core; other jobs may share it


def test_unknown_command_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["t3"])
    assert ended.value.code == 2
    assert "invalid choice" in capsys.readouterr().err


def test_errors_are_one_paragraph(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = tmp_path / "nothing.nii.gz"
    assert main(["t1", str(missing), "--ti", "0.1", "-o", str(tmp_path / "out")]) == 2
    message = capsys.readouterr().err
    assert message.startswith("unweight t1: ")
    assert "nothing.nii.gz" in message
    assert "Traceback" not in message
    assert len(message.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_doctor_tells_versions(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    shown = capsys.readouterr().out
    for word in ("unweight", "torch", "threads", "memory", "dcm2niix", "extra cluster", "all undamaged"):
        assert word in shown


def test_doctor_finds_damaged_weights(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(name: str) -> None:
        if name == "t1-rim":
            raise InputError("is damaged", remedy="Install the package again.")

    monkeypatch.setattr("unweight.cli.doctor.load_weights", load)
    assert main(["doctor"]) == 1
    assert "t1-rim: is damaged. Install the package again." in capsys.readouterr().out


@pytest.mark.parametrize("command", ["t1", "run", "doctor"])
def test_every_command_has_the_version(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"unweight {__version__}\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full here")
@pytest.mark.parametrize(
    ("output", "code"),
    [
        (">/dev/full", 3),
        ("2>/dev/full", 0),
        (">/dev/full 2>/dev/full", 3),
        (">&-", 0),
        ("2>&-", 0),
        (">&- 2>&- <&-", 0),
    ],
)
def test_a_command_does_its_work_whatever_becomes_of_its_output(
    tmp_path: Path, output: str, code: int
) -> None:
    settings = tmp_path / "settings.toml"
    call = f"{shlex.quote(sys.executable)} -m unweight init {shlex.quote(str(settings))} {output}"
    ended = subprocess.run(["sh", "-c", call], capture_output=True, text=True, check=False)
    assert ended.returncode == code and "Traceback" not in ended.stderr
    assert settings.is_file()
    assert ("standard output could not be written" in ended.stderr) == (output == ">/dev/full")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full here")
def test_an_error_that_cannot_be_printed_keeps_its_exit_code(tmp_path: Path) -> None:
    call = (
        f"{shlex.quote(sys.executable)} -m unweight validate {shlex.quote(str(tmp_path / 'x'))} 2>/dev/full"
    )
    assert subprocess.run(["sh", "-c", call], check=False).returncode == 2


def test_doctor_names_the_extra_that_is_absent(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "cryptography", None)
    assert main(["doctor"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "cryptography" in shown and "unweight[cluster]" in shown
