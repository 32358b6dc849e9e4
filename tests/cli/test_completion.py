"""`unweight completion`: scripts that shells accept and that complete as they should."""

import shutil
import subprocess
from pathlib import Path

import pytest

from unweight.cli.main import main

CAPTURE = pytest.CaptureFixture[str]


def script_of(shell: str, capsys: CAPTURE) -> str:
    assert main(["completion", shell]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts_name_commands_and_options(shell: str, capsys: CAPTURE) -> None:
    text = script_of(shell, capsys)
    assert all(word in text for word in ("r2star", "mprage", "log-file", "participant"))
    program = shutil.which(shell)
    if program is not None:
        subprocess.run([program, "-n"], input=text, text=True, check=True)


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (("unweight", "mpr"), {"mprage"}),
        (("unweight", "t1", "--meth"), {"--method"}),
        (("unweight", "t1", "--method", "post"), {"posterior"}),
        (("unweight", "train", "t1-post"), {"t1-posterior"}),
        (("unweight", "t1", "ima"), {"image.nii.gz"}),
    ],
)
def test_bash_completes(words: tuple[str, ...], wanted: set[str], tmp_path: Path, capsys: CAPTURE) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("no bash")
    (tmp_path / "image.nii.gz").touch()
    (tmp_path / "script").write_text(script_of("bash", capsys))
    asked = (
        f"source ./script; COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}; "
        '_shtab_unweight; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    ended = subprocess.run(
        [bash, "--norc", "-c", asked], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert set(ended.stdout.split()) == wanted
