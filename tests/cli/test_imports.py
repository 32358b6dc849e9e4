"""What a command imports: nothing slow that it does not need."""

import subprocess
import sys
from pathlib import Path

from tests.cli.test_within import raw_tree


def test_mapping_needs_no_slow_imports(tmp_path: Path) -> None:
    """`scipy.stats` and `sympy` would take a quarter of the time in which a command starts."""
    raw = raw_tree(tmp_path / "raw")
    words = ["t1", str(raw), "-o", str(tmp_path / "out"), "--method", "ml", "--quiet", "--no-report"]
    code = (
        "import sys; from unweight.cli.main import main; "
        f"assert main({words}) == 0; "
        "print([name for name in ('scipy.stats', 'sympy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip().endswith("[]")
