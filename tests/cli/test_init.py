import re
import tomllib
from pathlib import Path

import pytest

from unweight.cli.main import main, parser
from unweight.cli.study.init import default_settings
from unweight.cli.study.settings import filled, read_settings, settings_of
from unweight.core.errors import UnweightError
from unweight.registry import commands

KEY = re.compile(r"# ([a-z0-9-]+) = (.*)")
SECTIONS = ("run", *commands())


def keys(text: str) -> dict[str, dict[str, str]]:
    """Return each key with its example, by section, as a reader would uncomment them."""
    found: dict[str, dict[str, str]] = {}
    for line in text.splitlines():
        if line.startswith("["):
            section = line.strip("[]")
            found[section] = {}
        match = KEY.fullmatch(line)
        if match is not None:
            assert match[1] not in found[section]
            found[section][match[1]] = match[2]
    return found


def test_the_file_is_accepted_as_it_is_and_sets_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "unweight.toml"
    assert main(["init", str(path)]) == 0
    assert capsys.readouterr().out.strip() == str(path)
    found = read_settings(path)
    assert found.run == {} and set(found.options.values()) == {()}
    assert list(tomllib.loads(path.read_text())) == list(SECTIONS)


def test_every_key_is_there_with_what_it_means() -> None:
    text = default_settings()
    assert {section: list(found) for section, found in keys(text).items()} == {
        section: list(settings_of(section)) for section in SECTIONS
    }
    for section in SECTIONS:
        for one in settings_of(section).values():
            words = str(one.settings["help"]).replace("%%", "%").split()[:3]
            assert " ".join(words) in re.sub(r"\n# ", " ", text)


@pytest.mark.parametrize("section", ["run", "r2star"])
def test_every_key_can_be_uncommented(tmp_path: Path, section: str) -> None:
    for key, example in keys(default_settings())[section].items():
        path = tmp_path / f"{key}.toml"
        path.write_text(f"[{section}]\n{key} = {example}\n", encoding="utf-8")
        try:
            arguments = filled(
                parser(["run"]).parse_args(["run", "a", "b", "participant"]), read_settings(path)
            )
        except UnweightError as error:
            pytest.fail(f"[{section}] {key} = {example}: {error}")
        assert arguments.level == "participant"


def test_all_keys_can_be_uncommented_at_once(tmp_path: Path) -> None:
    text = re.sub(r"^# ([a-z0-9-]+ = )", r"\1", default_settings(), flags=re.MULTILINE)
    path = tmp_path / "all.toml"
    path.write_text(text, encoding="utf-8")
    found = read_settings(path)
    assert set(found.run) == set(settings_of("run"))
    assert all(found.options.values())


def test_a_file_that_is_there_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("mine")
    assert main(["init", str(path)]) == 3
    assert "already exists" in capsys.readouterr().err
    assert path.read_text() == "mine"
