"""The table of trainings names every network, and weights that score worse replace none."""

import json
import shutil
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import pytest

from unweight.registry import trained_methods

SCRIPT = Path(__file__).parents[1] / "scripts" / "train-all"


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    loader = SourceFileLoader("train_all", str(SCRIPT))
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    module = module_from_spec(spec_from_loader(loader.name, loader))  # type: ignore[arg-type]
    loader.exec_module(module)
    monkeypatch.setattr(module, "WEIGHTS", tmp_path / "weights")
    (tmp_path / "weights").mkdir()
    return module


def finished(out: Path, name: str, better: bool) -> None:
    folder = out / name / "training"
    folder.mkdir(parents=True)
    content = {"score": "rmse", "new": 0.1, "other": 0.2, "better": better}
    (folder / f"{name}-comparison.json").write_text(json.dumps(content))
    for ending in ("safetensors", "json"):
        (out / name / f"{name}.{ending}").write_text(f"{name} {ending}")


def test_every_network_is_in_the_table(script: ModuleType) -> None:
    records = {record.weights: record for record in trained_methods()}
    assert set(script.TABLE) == set(records)
    order = list(script.TABLE)
    for name, row in script.TABLE.items():
        assert not row.base or order.index(row.base) < order.index(name)


def test_better_weights_are_installed(script: ModuleType, tmp_path: Path) -> None:
    finished(tmp_path, "t1-rim", better=True)
    assert script.install("t1-rim", tmp_path)
    assert (tmp_path / "weights" / "t1-rim.json").read_text() == "t1-rim json"


def test_worse_weights_are_refused(script: ModuleType, tmp_path: Path) -> None:
    finished(tmp_path, "t1-rim", better=False)
    assert not script.install("t1-rim", tmp_path)
    assert not list((tmp_path / "weights").iterdir())


def test_a_residual_is_trained_for_the_base_that_is_installed(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []

    class Done:
        returncode = 0

    def run(words: list[str], check: bool) -> Done:
        commands.append(words)
        name = words[words.index("train") + 1]
        finished(tmp_path / "out", name, better=name == "t1-posterior")
        return Done()

    monkeypatch.setattr(script.subprocess, "run", run)
    names = ["t1-posterior", "t1-residual"]
    arguments = ["train-all", str(tmp_path / "out"), "--install", "--factor", "0.5", "--only", *names]
    monkeypatch.setattr("sys.argv", arguments)
    assert script.main() == 0
    assert commands[0][commands[0].index("--minutes") + 1] == "45"
    assert commands[1][commands[1].index("--base") + 1] == str(tmp_path / "out" / "t1-posterior")
    assert sorted(path.name for path in (tmp_path / "weights").iterdir()) == [
        "t1-posterior.json",
        "t1-posterior.safetensors",
    ]
    shutil.rmtree(tmp_path / "out")
    finished(tmp_path / "out", "t1-posterior", better=False)
    options = script.argparse.Namespace(out=tmp_path / "out", device="cpu", factor=1.0, brainweb_dir=None)
    assert "--base" not in script.command("t1-residual", options)
