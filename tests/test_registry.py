"""The one list of names: targets resolve, names stand nowhere else, other packages add to it."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

import numpy as np
import pytest

from tests.bids.files import nifti_bytes
from tests.test_architecture import SOURCE
from unweight import registry
from unweight.core.errors import UsageError
from unweight.core.estimator import Estimator
from unweight.learn.training.trainable import TrainableMethod
from unweight.registry.records import Method, Model, Pipeline, Quantity, Records
from unweight.signals.model import SignalModel

ROOT = Path(__file__).parents[1]
HOUSE = module_from_spec(
    spec_from_loader("house_count", SourceFileLoader("house_count", str(ROOT / "scripts" / "house-count")))
)
HOUSE.__spec__.loader.exec_module(HOUSE)
OWN = registry.OWN
FAMILIES = {item.family for item in OWN.methods}
TARGETS = {
    *(item.target for item in (*OWN.methods, *OWN.models, *OWN.metrics, *OWN.datasets)),
    *(item.trainable for item in OWN.methods),
    *(item.plan for item in OWN.pipelines),
    *(item.benchmark for item in OWN.pipelines),
} - {""}
PLUGIN = """
from unweight.registry.records import DatasetName, Method, Model, Quantity, Records

PLUGIN = Records(
    methods=(Method(name="toy", family="t1", summary="a toy", target="toy_package.toy:ToyFit",
                    algorithm="Twice the first image", reference="A paper"),),
    models=(Model(name="toy-model", target="toy_package.toy:ToyModel", summary="a toy"),),
    quantities=(Quantity(suffix="Toymap", name="Toy", symbol="ToY", colours="batlow"),),
)


class Lists:
    methods = [Method(name="other", family="decay", summary="another toy", target="toy_package.toy:Solver")]
"""
TOY = """
from dataclasses import dataclass

import torch

from unweight.core.estimator import Estimator
from unweight.core.maps import ParameterMaps
from unweight.signals.model import SignalModel
from unweight.signals.parameters import PD, T1


@dataclass(frozen=True, kw_only=True)
class ToyFit(Estimator):
    @property
    def parameters(self):
        return (T1,)

    def accept(self, measured, /):
        pass

    def __call__(self, measured, /, progress=None):
        value = 1.0 + 0.0 * measured.signal[..., :1]
        status = torch.zeros(value.shape[:-1], dtype=torch.uint8)
        return ParameterMaps(specs=(T1,), values=value, std=0.1 * value, status=status,
                             affine=measured.affine)


@dataclass(frozen=True, kw_only=True)
class ToyModel(SignalModel):
    @property
    def parameters(self):
        return (PD, T1)

    @property
    def timings(self):
        return ("inversion_time",)

    def __call__(self, theta, protocol, known=None):
        return theta[..., :1] * protocol.require("inversion_time", "toy").to(theta)


class Solver:
    pass
"""


def test_no_two_public_classes_have_the_same_name() -> None:
    assert HOUSE.same_classes(HOUSE.Source(ROOT)) == []


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_every_target_is_there(target: str) -> None:
    loaded = registry.load(target)
    assert callable(loaded) or isinstance(loaded, TrainableMethod)


def test_every_pipeline_has_methods_a_cost_and_words() -> None:
    for pipeline in OWN.pipelines:
        assert pipeline.family in FAMILIES
        assert pipeline.nanoseconds > 0 and pipeline.bytes > 0
        assert pipeline.title and pipeline.caveats
        assert pipeline.on_request or (pipeline.suffixes and registry.quantity(pipeline.first[0]).words)
        assert (ROOT / "docs" / pipeline.page).is_file()


def test_what_has_weights_has_a_card_and_a_use() -> None:
    for method in registry.trained_methods():
        assert method.card.endswith(".")
        assert registry.usage(method).split()[1] in (*registry.commands(), "segment", "evaluate")
        assert not method.base or registry.trained_method(method.base).learned
    assert all(item.algorithm for item in OWN.methods if item.offered and not item.stage)


def test_order_of_help_and_of_benchmarks() -> None:
    assert registry.offered("t1") == ("posterior", "ml", "resnet", "rim", "diffusor")
    assert registry.compared_names("t1") == ("ml", "posterior", "resnet", "rim", "diffusor")
    assert registry.compared_names("weighted") == ("physics", "unet", "pgan", "no-embedding", "embedding")
    assert registry.compared_names("qsm")[:6] == (
        *("vsharp+wtv", "vsharp+tv", "vsharp+rts", "vsharp+tkd", "vsharp+tikhonov", "resharp+wtv"),
    )
    assert len(registry.compared_names("qsm")) == 15
    assert [item.command for item in registry.benchmarks()] == [
        *("t1", "maps", "qsm", "mprage", "mask", "segment"),
    ]


@pytest.mark.parametrize(
    ("look_up", "known"),
    [
        (lambda: registry.method("magic", "t1"), "posterior, ml, resnet"),
        (lambda: registry.method("tkd", "qsm", "background"), "vsharp, resharp, pdf"),
        (lambda: registry.trained_method("t9"), "t1-posterior"),
        (lambda: registry.pipeline("t9"), "t1, maps, r2star"),
        (lambda: registry.model("t9"), "inversion-recovery"),
    ],
)
def test_a_name_that_is_not_there_is_refused(look_up: object, known: str) -> None:
    with pytest.raises(UsageError) as caught:
        look_up()  # type: ignore[operator]
    assert known in caught.value.remedy


def test_maps_that_are_not_known_have_the_name_of_their_suffix() -> None:
    assert registry.quantity("MTsatmap").symbol == "MTsat"
    assert registry.quantity_named("B1").colours == "batlow"


def test_names_of_methods_are_compared_in_their_packages_only() -> None:
    """Also those that stand behind a constant."""
    assert HOUSE.comparisons(HOUSE.Source(ROOT)) == []


def test_names_are_listed_in_the_registry_only() -> None:
    """The parser's list of commands is the only other one: it holds those that are no pipelines, too."""
    assert HOUSE.parallel_lists(HOUSE.Source(ROOT)) == ["cli/catalogue.py: COMMANDS"]


def test_comparisons_and_lists_are_found(tmp_path: Path) -> None:
    room = tmp_path / "src" / "unweight"
    for folder in ("cli", "learn/t1"):
        (room / folder).mkdir(parents=True)
    (room / "cli" / "names.py").write_text('RIM, MINE = "t1-rim", "mine"\nSOME = ("ml", RIM, "resnet")\n')
    bad = "from unweight.cli.names import RIM\n\n\n"
    bad += "def f(x):\n    return x == RIM or x in ('ml', 'a') or x == 'b'\n"
    (room / "cli" / "bad.py").write_text(bad)
    (room / "learn" / "t1" / "good.py").write_text(bad)
    source = HOUSE.Source(tmp_path)
    assert HOUSE.comparisons(source) == ["cli/bad.py:5: x == RIM", "cli/bad.py:5: x in ('ml', 'a')"]
    assert HOUSE.parallel_lists(source) == ["cli/names.py: SOME"]


def plug_in(folder: Path, *entries: str) -> dict[str, str]:
    """Install a package in a folder, and return the environment that has it."""
    package = folder / "toy_package"
    package.mkdir()
    (package / "__init__.py").write_text(PLUGIN)
    (package / "toy.py").write_text(TOY)
    metadata = folder / "toy_package-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-package\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("\n".join((f"[{registry.PLUGINS}]", *entries, "")))
    return {**os.environ, "PYTHONPATH": os.pathsep.join((str(folder), str(SOURCE.parent)))}


def python(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_package_adds_a_method_and_a_signal_model(tmp_path: Path) -> None:
    environment = plug_in(
        tmp_path, "toy = toy_package:PLUGIN", "lists = toy_package:Lists", "broken = toy_package:absent"
    )
    program = (
        "import sys\n"
        "from unweight import registry\n"
        "from unweight.cli.main import parser\n"
        "chosen = parser().parse_args(['t1', 'images', '-o', 'out', '--method', 'toy'])\n"
        "parser().parse_args(['evaluate', 't1', '-o', 'out', '--methods', 'toy'])\n"
        "parser().parse_args(['t2', 'images', '-o', 'out', '--method', 'other'])\n"
        "assert not {'torch', 'numpy'} & set(sys.modules), 'the plug-in is light, and so is the parser'\n"
        "assert 'toy' in registry.compared_names('t1')\n"
        "assert registry.quantity('Toymap').symbol == 'ToY'\n"
        "from unweight.mapping.t1_method import T1Choice, check_method, method_for\n"
        "choice = T1Choice(method=chosen.method)\n"
        "check_method(choice)\n"
        "method = method_for(None, choice)\n"
        "print(type(method.estimator).__name__, method.settings['Method'], method.algorithm)\n"
        "print(registry.load(registry.model('toy-model').target)().timings)\n"
    )
    done = python(environment, "-c", program)
    assert done.stdout.splitlines() == ["ToyFit toy Twice the first image", "('inversion_time',)"]
    (line,) = done.stderr.splitlines()
    assert "broken" in line and "toy_package:absent" in line
    shown = python(environment, "-m", "unweight", "t1", "--help").stdout
    assert "toy: a toy" in " ".join(shown.split())


def test_a_method_of_a_package_maps_a_series(tmp_path: Path) -> None:
    environment = plug_in(tmp_path, "toy = toy_package:PLUGIN")
    volumes = np.random.default_rng(0).uniform(50, 100, (4, 3, 2, 4))
    (tmp_path / "ir.nii").write_bytes(nifti_bytes(volumes))
    words = ("t1", str(tmp_path / "ir.nii"), "--ti", "0.1", "0.4", "1", "2.5", "--tr", "4")
    out = tmp_path / "out"
    done = python(environment, "-m", "unweight", *words, "-o", str(out), "--method", "toy", "--no-figures")
    assert "method toy" in done.stdout
    (sidecar,) = (path for path in out.rglob("*_T1map.json") if "desc-" not in path.name)
    fields = json.loads(sidecar.read_text())
    assert fields["EstimationAlgorithm"] == "Twice the first image"
    assert fields["EstimationReference"] == "A paper"


def test_names_that_are_taken_are_refused() -> None:
    first = OWN.methods[0]
    with pytest.raises(ValueError, match=first.name):
        registry.joined(OWN, Records(methods=(replace(first, summary="mine"),)))
    with pytest.raises(ValueError, match="no records"):
        registry.joined(OWN, object())
    foreign = Records()
    object.__setattr__(foreign, "methods", (OWN.pipelines[0],))  # as a plug-in without type checks would
    with pytest.raises(TypeError, match="methods"):
        registry.joined(OWN, foreign)
    other = replace(first, family="elsewhere")
    assert registry.joined(OWN, Records(methods=(other,))).methods[-1] is other


def test_kinds_of_records() -> None:
    """Estimators and models of the list keep the contract of their kind."""
    for item in OWN.models:
        target = registry.load(item.target)
        assert isinstance(target, SignalModel) or issubclass(target, SignalModel)
    for name, family in (("ml", "t1"), ("physics", "weighted")):
        assert isinstance(registry.build(registry.method(name, family)), Estimator)
    assert {type(item) for part in (OWN.methods, OWN.models, OWN.pipelines) for item in part} == {
        *(Method, Model, Pipeline),
    }
    assert all(isinstance(item, Quantity) for item in OWN.quantities)
