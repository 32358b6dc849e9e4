"""Types and shapes are checked in all tests; those on real data skip where `shared/data` has none."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.instrument import install

# Before a test file loads anything of it.
install("unweight")

SHARED = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture
def shared_data() -> Callable[[str], Path]:
    """Give the path of a shared data set, or skip."""

    def find(name: str) -> Path:
        path = SHARED / name
        if not path.exists():
            pytest.skip(f"the shared data set {name} is not on this machine")
        return path

    return find
