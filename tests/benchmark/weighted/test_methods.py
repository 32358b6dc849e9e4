import pytest

from unweight.benchmark.weighted.methods import MAPS_COMPARED, maps_methods
from unweight.core.errors import UsageError


@pytest.mark.parametrize("names", [["magic"], []])
def test_unknown_methods(names: list[str]) -> None:
    found = "magic" if names else "nothing"
    with pytest.raises(
        UsageError, match=f"no method for maps called {found}. There are {', '.join(MAPS_COMPARED)}"
    ):
        maps_methods(names)
