"""The layers: imports point down only, each heavy library has one door, and files stay small."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from unweight.registry import trained_methods

SOURCE = Path(__file__).parents[1] / "src" / "unweight"
LAYERS = (
    {"core"},
    {"registry"},
    {"signals", "susceptibility", "nets", "diffusion", "files"},
    {"phantom"},
    {"synth"},
    {"bids", "fit", "metrics"},
    {"heads", "prepare"},
    {"learn"},
    {"report", "testing"},
    {"benchmark", "run"},
    {"mapping"},
    {"api", "cli"},
)
RANK = {room: rank for rank, rooms in enumerate(LAYERS) for room in rooms}
DOORS = {
    "nibabel": {"bids", "files", "heads"},
    "dcm2niix": {"bids"},
    "pydicom": {"bids"},
    "SimpleITK": {"prepare"},
    "skimage": {"susceptibility"},
    "matplotlib": {"report", "benchmark"},
    "cmcrameri": {"report", "benchmark"},
    "jinja2": {"report"},
    "markupsafe": {"report"},
    "dask": {"run"},
    "distributed": {"run"},
    "dask_jobqueue": {"run"},
    "argparse": {"cli"},
    "rich": {"cli"},
    "rich_argparse": {"cli"},
}
KNOW_NO_MRI = {"nets", "diffusion"}
FORBIDDEN = {"pickle", "joblib", "shelve", "marshal"}
DRAWERS = {"utils", "util", "helpers", "misc", "common"}
MAX_LINES = 500
FILES = sorted(SOURCE.rglob("*.py"))


def room_of(path: Path) -> str:
    parts = path.relative_to(SOURCE).parts
    return parts[0] if len(parts) > 1 else ""


def imports_of(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "import_module":
            yield from (str(one.value) for one in node.args if isinstance(one, ast.Constant))


def violations(path: Path) -> Iterator[str]:
    room = room_of(path)
    for name in imports_of(path):
        parts = name.split(".")
        if parts[0] in FORBIDDEN:
            yield f"{parts[0]} must not be used"
        if parts[0] in DOORS and room not in DOORS[parts[0]]:
            yield f"{parts[0]} belongs to {DOORS[parts[0]]}"
        if parts[0] != "unweight" or len(parts) < 2 or parts[1] == room or not room:
            continue
        if RANK[parts[1]] >= RANK[room]:
            yield f"{room} must not import {name}"
        if room in KNOW_NO_MRI and name not in ("unweight.core.errors", "unweight.core.seeding"):
            yield f"{room} knows no MRI, but imports {name}"


def faults(path: Path) -> Iterator[str]:
    """Everything wrong with a file, with its name before it."""
    name = path.relative_to(SOURCE)
    yield from (f"{name}: {fault}" for fault in violations(path))
    n_lines = len(path.read_text().splitlines())
    if n_lines > MAX_LINES:
        yield f"{name}: {n_lines} lines are more than {MAX_LINES}"
    yield from (f"{name}: {part} says nothing" for part in name.with_suffix("").parts if part in DRAWERS)


def test_files_keep_the_layers() -> None:
    assert len(FILES) > 300
    assert [fault for path in FILES for fault in faults(path)] == []


def test_benchmarks_share_the_core_alone() -> None:
    """A family of `benchmark` imports the core and never another family; the core imports none of them."""
    families = {path.name for path in (SOURCE / "benchmark").iterdir() if path.is_dir()} - {"__pycache__"}
    assert {"core", "t1", "weighted", "qsm", "mprage"} <= families
    for path in (SOURCE / "benchmark").rglob("*.py"):
        family = path.relative_to(SOURCE / "benchmark").parts[0]
        for name in imports_of(path):
            parts = name.split(".")
            if parts[:2] == ["unweight", "benchmark"]:
                assert parts[2] in ("core", family), f"{path}: {name}"


def test_every_room_has_a_place() -> None:
    rooms = {path.parent.name for path in SOURCE.glob("*/*.py")}  # not those of which bytecode is left
    assert rooms <= set(RANK)


def test_violations_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.test_architecture.SOURCE", tmp_path)
    bad = tmp_path / "core" / "bad.py"
    bad.parent.mkdir()
    bad.write_text(
        "import importlib\nimport pickle\nimport nibabel\nfrom unweight.fit.blocks import each_block\n"
        "importlib.import_module('SimpleITK')\n"
    )
    assert len(list(violations(bad))) == 4
    drawer = tmp_path / "core" / "utils" / "long.py"
    drawer.parent.mkdir()
    drawer.write_text("\n" * (MAX_LINES + 1))
    assert [fault.split(": ")[1] for fault in faults(drawer)] == [
        f"{MAX_LINES + 1} lines are more than {MAX_LINES}",
        "utils says nothing",
    ]


def test_no_pickle_by_another_name() -> None:
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                assert (node.value.id, node.attr) not in {("torch", "load"), ("torch", "save")}, path
            if isinstance(node, ast.keyword):
                assert node.arg != "allow_pickle", path


def test_every_room_says_what_it_is() -> None:
    for path in SOURCE.rglob("__init__.py"):
        assert ast.get_docstring(ast.parse(path.read_text())), path


# Rooms of `learn`: what all share, the data of two families, and the families.
LEARN_SHARED, LEARN_DATA = {"training"}, {"pairs", "labelled_heads"}
LEARN_FAMILIES = {"brain_mask", "t1", "weighted", "mprage", "segmentation"}


def learn_violations(path: Path) -> Iterator[str]:
    """Say which imports of a module of `learn` point up, or across to another family."""
    room = path.relative_to(SOURCE / "learn").parts[0]
    below = {"training": set(), "pairs": LEARN_SHARED, "labelled_heads": LEARN_SHARED}.get(
        room, LEARN_SHARED | LEARN_DATA
    )
    for name in imports_of(path):
        parts = name.split(".")
        if parts[:2] == ["unweight", "learn"] and len(parts) > 2 and parts[2] not in below | {room}:
            yield f"learn.{room} must not import {name}"


def test_learn_has_the_rooms_it_should() -> None:
    rooms = {path.name for path in (SOURCE / "learn").iterdir() if path.is_dir()} - {"__pycache__"}
    assert rooms == LEARN_SHARED | LEARN_DATA | LEARN_FAMILIES


def test_training_imports_no_family_and_families_not_each_other() -> None:
    paths = [path for path in (SOURCE / "learn").rglob("*.py") if path.parent != SOURCE / "learn"]
    assert [text for path in paths for text in learn_violations(path)] == []


def test_shared_training_names_no_method() -> None:
    names = {method.weights for method in trained_methods()}
    for path in (*(SOURCE / "learn" / "training").glob("*.py"), *(SOURCE / "learn" / "pairs").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert node.value not in names, f"{path}: {node.value}"


def test_tests_are_named_after_the_modules_they_test() -> None:
    """`tests/PACKAGE/test_MODULE[_TOPIC].py`; commands and trained weights are tested as a whole."""
    tests = Path(__file__).parent
    lost = []
    for path in sorted(tests.glob("*/**/test_*.py")):
        package = path.parent.relative_to(tests)
        if str(package) in ("cli", "docs", "learn"):
            continue
        names = [module.stem for module in (SOURCE / package).iterdir()]
        if not any(f"{path.stem}_".startswith(f"test_{name}_") for name in names):
            lost.append(str(path.relative_to(tests)))
    assert lost == []


def defined_twice(path: Path) -> Iterator[str]:
    """Give the names that a module defines twice at its top level: the first one is lost."""
    seen: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        for name in names_defined(node):
            if name in seen:
                yield f"{path.name}: {name}"
            seen.add(name)


def names_defined(node: ast.stmt) -> list[str]:
    """Return the names that a statement of a module defines: functions, classes and variables."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    targets: list[ast.expr] = []
    if isinstance(node, ast.Assign):
        targets = node.targets
    elif isinstance(node, ast.AnnAssign):
        targets = [node.target]
    return [
        item.id
        for target in targets
        for item in ast.walk(target)
        if isinstance(item, ast.Name) and isinstance(item.ctx, ast.Store)
    ]


def test_no_name_of_a_module_is_defined_twice(tmp_path: Path) -> None:
    """As happened to the sizes of the charts when the colour bar was merged into their module."""
    assert [fault for path in SOURCE.rglob("*.py") for fault in defined_twice(path)] == []
    path = tmp_path / "module.py"
    path.write_text(
        "WIDE, TALL = 1, 2\nx: int = 3\n\ndef f() -> None: ...\n\nWIDE, BAR = 3, 4\nx = 4\nf = 5\n"
    )
    assert list(defined_twice(path)) == ["module.py: WIDE", "module.py: x", "module.py: f"]
