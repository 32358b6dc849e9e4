"""Types and shapes are checked in every test, as they are in this one."""

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch
from jaxtyping import TypeCheckError

from tests.instrument import Loader, has_shape, install
from unweight.core.maps import ParameterMaps
from unweight.signals.parameters import T1

SOURCE = '''"""A module with a docstring."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from jaxtyping import Float
from torch import Tensor

Pair = tuple[Float[Tensor, "n"], Float[Tensor, "n"]]


def product(a: Float[Tensor, "n k"], b: Float[Tensor, "k m"], wrong: bool = False) -> Float[Tensor, "n m"]:
    return (a @ b).T if wrong else a @ b


def halved(number: float) -> float:
    return number / 2


def pair(both: Pair | None) -> None: ...


def outer(offset: int = 0, hint: type = int) -> Callable[[int], int]:
    def inner(number: hint, factor: int = offset + 1) -> int:
        return factor * number + offset

    return inner


@functools.cache
def named(number: int) -> str:
    return str(number)


def ended(hint: "NotThere", number: int) -> int:
    return number


@contextmanager
def within(number: int) -> Iterator[int]:
    yield number


@dataclass(frozen=True, kw_only=True)
class Thing:
    values: Float[Tensor, "n"]
    weights: Float[Tensor, "n"]
    names: list[str] = field(default_factory=list)

    @property
    def first(self) -> str:
        return self.names[0] if self.names else 0

    @classmethod
    def of(cls, values: Float[Tensor, "n"]) -> "Thing":
        return cls(values=values, weights=values)

    @staticmethod
    def count(values: Float[Tensor, "n"]) -> int:
        return len(values)

    def times(self, other: "Thing", k: int = 1) -> "Thing":
        return Thing(values=self.values * other.values, weights=self.weights)
'''


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    (tmp_path / "instrumented_here.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    install("instrumented_here")
    yield importlib.import_module("instrumented_here")
    del sys.modules["instrumented_here"]


def test_what_is_right_passes(module: ModuleType) -> None:
    thing = module.Thing.of(torch.ones(3))
    assert module.product(torch.ones(2, 3), torch.ones(3, 4)).shape == (2, 4)
    assert module.halved(3) == 1.5
    module.pair((torch.ones(3), torch.ones(3)))
    module.pair(None)
    assert module.ended(None, 3) == 3
    assert module.outer()(3) == 3 and module.named(3) == "3" and thing.names == []
    with module.within(3) as number:
        assert number == 3
    assert thing.times(thing).values.shape == (3,)
    assert module.product.__doc__ is None and module.product.__name__ == "product"


@pytest.mark.parametrize(
    "call",
    [
        lambda m: m.product(torch.ones(2, 3), torch.ones(2, 4)),
        lambda m: m.product(torch.ones(2, 3), torch.ones(3, 4), wrong=True),
        lambda m: m.product(torch.ones(2, 3, dtype=torch.int32), torch.ones(3, 4)),
        lambda m: m.product(torch.ones(2, 3, 1), torch.ones(3, 4)),
        lambda m: m.halved("3"),
        lambda m: m.pair((torch.ones(3), torch.ones(4))),
        lambda m: m.outer()("3"),
        lambda m: m.named(3.0),
        lambda m: m.within("3"),
        lambda m: m.ended(None, "3"),
        lambda m: m.Thing(values=torch.ones(3), weights=torch.ones(4)),
        lambda m: m.Thing(values=torch.ones(3), weights=torch.ones(3), names="names"),
        lambda m: m.Thing.of(torch.ones(3)).first,
        lambda m: m.Thing.of(torch.ones(3, 3)),
        lambda m: m.Thing.count(torch.ones(3, 3)),
        lambda m: m.Thing.of(torch.ones(3)).times(torch.ones(3)),
        lambda m: m.Thing.of(torch.ones(3)).times(m.Thing.of(torch.ones(3)), k=1.5),
    ],
)
def test_what_is_wrong_is_caught(module: ModuleType, call: Callable[[ModuleType], object]) -> None:
    with pytest.raises(TypeCheckError):
        call(module)


def test_lengths_of_one_call_do_not_bind_another(module: ModuleType) -> None:
    for n in (2, 3):
        assert module.product(torch.ones(n, n), torch.ones(n, n)).shape == (n, n)


def test_functions_within_functions_keep_their_own_values(module: ModuleType) -> None:
    """One wrapper serves all closures of the same code, but not other hints."""
    functions = [module.outer(offset) for offset in (0, 10, 20)]
    assert [function(1) for function in (*functions, *functions)] == 2 * [1, 21, 41]
    assert functions[1](1, 2) == 12
    for function in functions:
        with pytest.raises(TypeCheckError):
            function("1")
    with pytest.raises(TypeCheckError):
        module.outer(0, str)(1)
    assert module.outer()(1) == 1


def test_names_in_hints_count_as_shapes() -> None:
    assert has_shape("Thing") and has_shape(tuple["Thing", int])
    assert not has_shape(Callable[[int], list[str]])


def test_the_package_is_checked() -> None:
    loaded = [module for name, module in sys.modules.items() if name.split(".")[0] == "unweight"]
    assert len(loaded) > 1 and all(isinstance(module.__loader__, Loader) for module in loaded)
    with pytest.raises(TypeCheckError):
        ParameterMaps(
            specs=(T1,),
            values=torch.ones(3, 1),
            std=torch.ones(4, 1),
            status=torch.zeros(3, dtype=torch.uint8),
            misfit=None,
            affine=torch.eye(4, dtype=torch.float64),
        )


def test_a_loaded_package_is_refused() -> None:
    with pytest.raises(RuntimeError, match="loaded already"):
        install("unweight")
