"""The same input gives the same bytes, whatever the number of threads; see docs/determinism.md."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.gradient_echoes import assert_same_bytes
from tests.cli.test_within import raw_tree


@pytest.mark.parametrize("threads", [1, 2])
def test_maps_of_t1_are_the_same_bytes(tmp_path: Path, threads: int) -> None:
    raw = raw_tree(tmp_path / "raw")
    for out, number in (("one", 1), ("other", threads)):
        words = ["t1", raw, "-o", tmp_path / out, "--method", "ml", "--quiet", "--no-figures"]
        call = [sys.executable, "-m", "unweight.cli.main", *map(str, words)]
        subprocess.run(call, check=True, env=os.environ | {"OMP_NUM_THREADS": str(number)})
    assert_same_bytes(tmp_path / "one", tmp_path / "other")
