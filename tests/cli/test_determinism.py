"""The same input gives the same bytes, whatever the number of threads; see docs/determinism.md."""

import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.cli.gradient_echoes import assert_same_bytes
from tests.cli.test_within import raw_tree


def test_maps_of_t1_are_the_same_bytes(tmp_path: Path) -> None:
    raw = raw_tree(tmp_path / "raw")
    for out, number in (("one", 1), ("two threads", 2)):
        words = ["t1", raw, "-o", tmp_path / out, "--method", "ml", "--quiet", "--no-figures"]
        call = [sys.executable, "-m", "unweight.cli.main", *map(str, words)]
        subprocess.run(call, check=True, env=os.environ | {"OMP_NUM_THREADS": str(number)})
    assert_same_bytes(tmp_path / "one", tmp_path / "two threads")


@pytest.mark.slow
def test_maps_of_weighted_images_differ_in_the_last_digits_only(tmp_path: Path) -> None:
    def unweight(threads: int, *words: object) -> None:
        call = [sys.executable, "-m", "unweight.cli.main", *map(str, words), "--quiet"]
        subprocess.run(call, check=True, env=os.environ | {"OMP_NUM_THREADS": str(threads)})

    unweight(1, "simulate", tmp_path, "--contrast", "routine", "--slices", 2, "--seed", 3)
    for threads in (1, 2):
        unweight(threads, "maps", tmp_path / "bids", "-o", tmp_path / str(threads), "--no-report")
    for name in ("T1map", "T2map", "PDmap"):
        one, other = (
            np.asarray(nib.load(next((tmp_path / threads).rglob(f"sub-001_{name}.nii.gz"))).dataobj)
            for threads in "12"
        )
        np.testing.assert_allclose(other, one, rtol=2e-5)  # docs/determinism.md: 3e-6 seen
