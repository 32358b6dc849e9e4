import subprocess
import sys

import pytest

from unweight.testing.contract import ContractError, demand


def test_a_kept_promise_is_silent() -> None:
    demand(True, "never read")


def test_a_broken_promise_is_an_assertion_error_with_its_message() -> None:
    with pytest.raises(AssertionError, match=r"^Mine gives another shape$"):
        demand(False, "Mine gives another shape")
    assert issubclass(ContractError, AssertionError)


def test_it_survives_optimised_python() -> None:
    program = "from unweight.testing.contract import demand; demand(False, 'broken')"
    run = subprocess.run([sys.executable, "-O", "-c", program], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert "ContractError: broken" in run.stderr
