"""The documentation is made without a warning; links that lead nowhere are warnings."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.documented import ROOT


@pytest.mark.slow
def test_documentation_is_made_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("sphinx_gallery")
    words = [
        sys.executable,
        "-m",
        "sphinx",
        "-W",
        "-n",
        "-q",
        "-b",
        "html",
        str(ROOT / "docs"),
        str(tmp_path),
    ]
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for page in ("index.html", "faq.html", "generated/commands/t1.html", "generated/cards/maps.html"):
        assert (tmp_path / page).is_file()
