from dataclasses import dataclass
from typing import Any

import pytest

from unweight.core.errors import UsageError
from unweight.nets.layers import check_channels, check_counts, check_widths


@dataclass
class SomeConfig:
    n_blocks: Any = 2


@pytest.mark.parametrize("value", [0, -1, 1.0, True, "3", None])
def test_what_is_no_count_is_refused(value: object) -> None:
    with pytest.raises(
        UsageError, match=r"SomeConfig\.n_blocks is .*\. Give a whole number of at least 1\."
    ):
        check_counts(SomeConfig(n_blocks=value), "n_blocks")


@pytest.mark.parametrize("value", [(), (8, 0), (True, 8)])
def test_what_are_no_widths_is_refused(value: Any) -> None:
    with pytest.raises(UsageError, match=r"SomeConfig\.widths is .* such as \(64, 128\)\."):
        check_widths(SomeConfig(), value)


def test_channels_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UsageError, match="it has 3 channels, but this network was built for 2"):
        check_channels("it", actual=3, expected=2)


def test_the_rest_passes() -> None:
    check_counts(SomeConfig(), "n_blocks")
    check_widths(SomeConfig(), (8, 16))
    check_channels("it", actual=2, expected=2)
