"""One small simulated phantom, mapped once, for the tests that look at what the commands made."""

from pathlib import Path

import pytest

from unweight.cli.main import main


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("demo")
    assert main(["demo", "-o", str(out), "--quiet", "--phantom-only"]) == 0
    return out
