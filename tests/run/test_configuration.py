import json
from importlib.resources import files
from pathlib import Path

import pytest

from unweight import __version__
from unweight.core.errors import InputError, OutputError
from unweight.learn.training.weights import available, load_weights
from unweight.run.configuration import weights_of, write_configuration

OPTIONS = {"t1": ("--method", "ml", "--weights", "/home/someone/weights"), "maps": ()}


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    """A folder of weights, as many as are needed."""
    folder = tmp_path / "weights"
    folder.mkdir()
    for name in ("t1-posterior", "maps", "mprage-unet", "structures"):
        for ending in (".json", ".safetensors"):
            with (files("unweight") / "weights" / f"{name}{ending}").open("rb") as source:
                (folder / f"{name}{ending}").write_bytes(source.read())
    return folder


def test_weights_of_a_command_are_those_it_may_use(shelf: Path) -> None:
    for command, name in (("t1", "t1-posterior"), ("maps", "maps"), ("mprage", "mprage-unet")):
        assert weights_of(command, shelf) == {name: load_weights(name, shelf)[1].sha256}
    assert weights_of("r2star", shelf) == {}
    assert weights_of("t1", shelf / "none") == {}


def test_weights_that_come_with_the_package() -> None:
    named = {*weights_of("t1", None), *weights_of("maps", None), *weights_of("mprage", None)}
    named |= {*weights_of("segment", None)}
    assert named == set(available()) - {"brain-mask"}


def test_a_damaged_card_is_said(shelf: Path) -> None:
    (shelf / "maps.json").write_text("{")
    with pytest.raises(InputError, match="maps"):
        weights_of("maps", shelf)


def test_what_took_effect_is_written_under_a_name_of_its_content(tmp_path: Path) -> None:
    weights = {"t1": {"t1-posterior": "0" * 64}, "maps": {}}
    name = write_configuration(tmp_path, OPTIONS, weights)
    assert write_configuration(tmp_path, OPTIONS, weights) == name
    assert write_configuration(tmp_path, {**OPTIONS, "maps": ("--n4",)}, weights) != name
    content = json.loads((tmp_path / "logs" / name).read_text())
    assert content["Options"] == {"t1": ["--method", "ml", "--weights", "weights"], "maps": []}
    assert content["Weights"] == {"t1": {"t1-posterior": "0" * 64}}
    assert content["Level"] == "participant"
    versions = content["Versions"]
    assert isinstance(versions, dict)
    assert versions["unweight"] == __version__ and "torch" in versions
    assert "someone" not in json.dumps(dict(content))


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "logs").write_bytes(b"a file where a folder should be")
    with pytest.raises(OutputError, match="could not be written"):
        write_configuration(tmp_path, OPTIONS, {})
