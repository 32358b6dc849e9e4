"""What lies beside the package for containers and workflow engines agrees with it."""

import argparse
import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from unweight import __version__
from unweight.cli.catalogue import COMMANDS
from unweight.cli.main import parser

ROOT = Path(__file__).parents[1]


def lines() -> list[str]:
    text = (ROOT / "Containerfile").read_text().replace("\\\n", " ")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def test_every_path_that_the_container_copies_exists() -> None:
    copied = [name for line in lines() if line.startswith("COPY ") for name in shlex.split(line)[1:-1]]
    assert len(copied) >= 5
    assert [name for name in copied if not (ROOT / name).exists()] == []
    assert {"pyproject.toml", "constraints.txt", "src", "README.md", "LICENSE", "NOTICE"} <= set(copied)


def test_container_runs_the_command_as_nobody_special() -> None:
    assert lines()[-1] == 'ENTRYPOINT ["unweight", "run"]'
    assert "USER unweight" in lines()
    assert lines().index("USER unweight") > max(
        k for k, line in enumerate(lines()) if line.startswith("RUN")
    )


def descriptor() -> dict[str, Any]:
    content: dict[str, Any] = json.loads((ROOT / "boutiques" / "unweight.json").read_text())
    return content


def test_descriptor_names_each_of_its_inputs_once() -> None:
    told = descriptor()
    assert told["tool-version"] == __version__
    keys = [one["value-key"] for one in told["inputs"]]
    assert told["command-line"].split() == ["unweight", "run", *keys]


def test_descriptor_agrees_with_the_parser() -> None:
    if "run" not in COMMANDS:
        pytest.skip("the command `run` is not in the catalogue")
    words = ["run", "bids", "out", "participant"]
    for one in descriptor()["inputs"]:
        flag = one.get("command-line-flag")
        if flag is None:
            continue
        words.append(flag)
        if one["type"] == "Number":
            words.append("1")
        elif one["type"] != "Flag":
            # Which maps there are is for the command to say; labels and files can be anything.
            words.append("t1" if one["id"] == "only" else "01")
    assert isinstance(parser().parse_args(words), argparse.Namespace)
