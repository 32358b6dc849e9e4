"""Types and shapes of the package are checked whenever a test calls a function of it.

`install` has every function and dataclass of a package decorated with `checked` when its module is
imported. jaxtyping's own hook for pytest does the same, but checks all arguments twice and binds them
once more for every call, which was half of the time of the tests. Here beartype checks each value once,
within a context of jaxtyping where a name of an axis means one length; functions without shapes need no
such context. Wrappers are built at the first call.
"""

import ast
import functools
import inspect
import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import cache_from_source
from types import CodeType, FunctionType, ModuleType
from typing import Any, ForwardRef, cast, get_args
from unittest.mock import patch

from beartype import BeartypeConf, beartype
from jaxtyping import AbstractArray, TypeCheckError, jaxtyped

# An int will do where a float is wanted, as in PEP 484. A violation is a TypeError, as Python's own are.
CONF = BeartypeConf(is_pep484_tower=True, violation_type=TypeCheckError)
# What the decorator is called within an instrumented module; raise the number when `Instrument` changes.
NAME = "_checked_by_the_tests"
VERSION = "unweight2"
# The parameter in which beartype's wrapper has the function that it calls.
INNER = "__beartype_func"


def has_shape(hint: object) -> bool:
    """Whether a hint has an array of jaxtyping in it, or may have: a name can stand for anything."""
    if isinstance(hint, str | ForwardRef):
        return True
    if isinstance(hint, list | tuple):
        return any(has_shape(part) for part in hint)
    if isinstance(hint, type) and issubclass(hint, AbstractArray):
        return True
    return any(has_shape(part) for part in get_args(hint))


# The wrapper of each function within a function, by its code: it is defined anew in every call.
NESTED: dict[CodeType, FunctionType] = {}


def typed(function: FunctionType) -> Callable[..., Any]:
    """Return the function as beartype wraps it; another closure of the same code gets the same wrapper."""
    known = NESTED.get(function.__code__)
    if known is not None and known.__annotations__ == function.__annotations__:
        # Defaults may differ as well, and are the function's own.
        again = FunctionType(known.__code__, known.__globals__, known.__name__)
        again.__kwdefaults__ = {**known.__kwdefaults__, INNER: function}
        return again
    wrapped: Callable[..., Any] = beartype(conf=CONF)(function)
    if "<locals>" in function.__qualname__ and INNER in (getattr(wrapped, "__kwdefaults__", None) or ()):
        NESTED[function.__code__] = cast(FunctionType, wrapped)
    return wrapped


def built(function: FunctionType) -> Callable[..., Any]:
    """Return the function with its arguments and its result checked."""
    check, hints = beartype(conf=CONF), inspect.get_annotations(function).values()
    # beartype would check the arguments of a generator at its first step, outside the context of the call,
    # and refuse a name that is there for type checkers alone.
    if inspect.isgeneratorfunction(function) or any(isinstance(hint, str) for hint in hints):
        return jaxtyped(function, typechecker=check)  # type: ignore[no-any-return]
    wrapped = typed(function)
    if not any(has_shape(hint) for hint in hints):
        return wrapped

    def in_context(*args: Any, **kwargs: Any) -> Any:
        with jaxtyped("context"):
            return wrapped(*args, **kwargs)

    return in_context


def checked(thing: Any) -> Any:
    """Return a function, or a dataclass, that checks what it is given and what it returns."""
    if isinstance(thing, type):
        if "__dataclass_fields__" in vars(thing) and isinstance(vars(thing).get("__init__"), FunctionType):
            thing.__init__ = checked(thing.__init__)  # type: ignore[misc]
        return thing
    build: Callable[..., Any] | None = None

    @functools.wraps(thing)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        nonlocal build
        if build is None:
            build = built(thing)
        return build(*args, **kwargs)

    return wrapper


class Instrument(ast.NodeTransformer):
    """Decorates every function before all else, and every class after all else."""

    def visit_Module(self, node: ast.Module) -> ast.Module:
        self.generic_visit(node)
        load = ast.ImportFrom(module=__name__, names=[ast.alias("checked", NAME)], level=0)
        node.body.insert(1 if ast.get_docstring(node) is not None else 0, load)
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        self.generic_visit(node)
        node.decorator_list.append(ast.copy_location(ast.Name(NAME, ast.Load()), node))
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:
        self.generic_visit(node)
        node.decorator_list.insert(0, ast.copy_location(ast.Name(NAME, ast.Load()), node))
        return node


class Loader(SourceFileLoader):
    """Loads an instrumented module; its bytecode has a name of its own beside the plain one."""

    def source_to_code(self, data: Any, path: Any, *, _optimize: int = -1) -> CodeType:  # type: ignore[override]
        tree = ast.fix_missing_locations(Instrument().visit(ast.parse(data, path)))
        code: CodeType = compile(tree, path, "exec", dont_inherit=True, optimize=_optimize)
        return code

    def get_code(self, fullname: str) -> CodeType | None:
        named = functools.partial(cache_from_source, optimization=VERSION)
        with patch("importlib._bootstrap_external.cache_from_source", named):
            return super().get_code(fullname)


class Finder(MetaPathFinder):
    """Gives the modules of one package to `Loader`."""

    def __init__(self, package: str) -> None:
        self.package = package

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != self.package and not name.startswith(f"{self.package}."):
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = Loader(spec.loader.name, spec.loader.path)
        return spec


def install(package: str) -> None:
    """Have the modules of a package checked from now on; nothing of it may be loaded yet."""
    if package in sys.modules:
        raise RuntimeError(f"{package} is loaded already and cannot be checked any more")
    sys.meta_path.insert(0, Finder(package))
