"""The Python on its page is carried out, block after block, as a reader would."""

import re
from pathlib import Path

import pytest

from unweight.cli.main import main

PAGE = Path(__file__).parents[2] / "docs" / "python.md"


def test_blocks_run_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["demo", "--phantom-only", "--quiet"]) == 0
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert len(blocks) >= 4
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    written = {path.relative_to("maps") for path in Path("maps").rglob("*") if path.is_file()}
    of_command = {path.relative_to("demo/maps") for path in Path("demo/maps").rglob("*") if path.is_file()}
    assert written == of_command
    for path in written:
        # The page was written before the table of the phantom; the tree lies elsewhere from there.
        if path.suffix != ".html" and path.name != "dataset_description.json":
            assert (Path("maps") / path).read_bytes() == (Path("demo/maps") / path).read_bytes(), path
