import pytest

from unweight.benchmark.weighted.methods import FAMILY, maps_methods
from unweight.core.errors import UsageError
from unweight.registry import compared_names


@pytest.mark.parametrize("names", [["magic"], []])
def test_unknown_methods(names: list[str]) -> None:
    found = "magic" if names else "nothing"
    with pytest.raises(
        UsageError,
        match=f"no method for maps called {found}. There are {', '.join(compared_names(FAMILY))}",
    ):
        maps_methods(names)
