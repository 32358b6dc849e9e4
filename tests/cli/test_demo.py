"""The commands of the demo, without carrying them out: each is one that the parser accepts."""

from pathlib import Path

import pytest

from unweight.cli.demo import calls
from unweight.cli.main import parser
from unweight.registry import pipelines


@pytest.mark.parametrize("phantom_only", [True, False])
def test_every_call_is_accepted_by_the_parser(*, phantom_only: bool) -> None:
    for words in calls(Path("bids"), Path("maps"), phantom_only=phantom_only):
        parser(words).parse_args(words)


def test_the_head_is_mapped_by_the_pipelines_of_its_images_and_no_other() -> None:
    commands = [words[0] for words in calls(Path("bids"), Path("maps"), phantom_only=False)]
    assert {"t1", "maps", "qsm", "mprage"} <= set(commands)
    assert not {item.command for item in pipelines() if item.on_request} & set(commands)
