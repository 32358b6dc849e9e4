"""The BIDS validator, where it is installed."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

NAME = "bids-validator-deno"


def validator_errors(root: Path) -> list[str]:
    """Return what the validator calls an error, or skip."""
    binary = shutil.which(NAME, path=str(Path(sys.executable).parent)) or shutil.which(NAME)
    if binary is None:
        pytest.skip(f"{NAME} is not installed")
    done = subprocess.run(
        [binary, str(root), "--format", "json"], capture_output=True, check=False, timeout=60
    )
    issues = json.loads(done.stdout)["issues"]["issues"]
    errors = [
        f"{issue['code']} {issue.get('location')}" for issue in issues if issue.get("severity") == "error"
    ]
    assert done.returncode == 0 or errors
    return errors
