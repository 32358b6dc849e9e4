"""The quantiles of `scipy.stats`, and no import of it when a command starts."""

import subprocess
import sys
from pathlib import Path

import pytest
from scipy.stats import chi2

from tests.cli.test_within import raw_tree
from unweight.core.chi_square import chi_square_above, chi_square_median


@pytest.mark.parametrize("degrees", [1, 2, 2.5, 4, 11, 100])
def test_values_equal_those_of_scipy_stats(degrees: float) -> None:
    assert chi_square_median(degrees) == chi2.median(degrees)
    for share in (1e-6, 1e-3, 0.05, 0.5):
        assert chi_square_above(share, degrees) == chi2.isf(share, degrees)


def test_mapping_needs_no_slow_imports(tmp_path: Path) -> None:
    """`scipy.stats` and `sympy` take a second each when they are first imported."""
    raw = raw_tree(tmp_path / "raw")
    words = ["t1", str(raw), "-o", str(tmp_path / "out"), "--method", "ml", "--quiet", "--no-report"]
    code = (
        "import sys; from unweight.cli.main import main; "
        f"assert main({words}) == 0; "
        "print([name for name in ('scipy.stats', 'sympy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip().endswith("[]")
