"""Short trainings give the weights they gave when they were recorded, and old files load and resume.

The bits of a training depend on the instructions of the CPU and on the version of PyTorch: the hash of
the weights is compared where both are those of the record (`machine`). Elsewhere the sums of the weight
matrices are compared, relative to the sums of their magnitudes. Between AVX-512, AVX2 and SSE4.1 on one
CPU they differ by at most 1.3e-3, where fits of single voxels end elsewhere; another seed changes them by
1e-2 and more. Biases are left out: where a normalisation follows, their gradient is rounding noise, which
AdamW scales to a full step. `python -m tests.learn.test_fixed_trainings` records anew.
"""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.learn.fixed_trainings import METHODS, StopAt, StoppedError, digest_of, trained
from unweight.learn.training.loop import SNAPSHOT
from unweight.learn.training.weights import available, load_weights

HERE = Path(__file__).parent
RECORD, OLD_TRAINING = HERE / "fixed_trainings.json", HERE / "old_training"
STOPPED, STOP = "t1-rim", 2
TOLERANCE = 5e-3


def machine() -> str:
    """Return what the bits depend on: PyTorch, and the instructions of the CPU."""
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.exists() else []
    wanted = ("vendor_id", "cpu family", "flags")
    facts = sorted({line for line in lines if line.startswith(wanted)})
    digest = hashlib.sha256("|".join(facts).encode()).hexdigest()[:12]
    return f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, {digest}"


def sums(tensors: dict[str, Tensor]) -> dict[str, tuple[float, float]]:
    """Return the sum of each weight matrix, and of its magnitudes."""
    return {
        name: (float(one.double().sum()), float(one.double().abs().sum()))
        for name, one in tensors.items()
        if one.ndim > 1
    }


def recorded() -> dict[str, Any]:
    values: dict[str, Any] = json.loads(RECORD.read_text())
    return values


def machine_of(record: dict[str, Any], method: str) -> str:
    """Return where a method was recorded; one that came later has a machine of its own."""
    return str(record["methods"][method].get("machine", record["machine"]))


def check(method: str, tensors: dict[str, Tensor]) -> None:
    record = recorded()
    expected = record["methods"][method]
    found = sums(tensors)
    assert found.keys() == expected["sums"].keys()
    for name, (total, size) in found.items():
        before, _ = expected["sums"][name]
        assert abs(total - before) <= TOLERANCE * size, name
    if machine_of(record, method) == machine():
        assert digest_of(tensors) == expected["sha256"]


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("method", METHODS)
def test_a_short_training_gives_the_weights_of_the_record(method: str) -> None:
    tensors, card = trained(method)
    check(method, tensors)
    metrics = recorded()["methods"][method]["metrics"]
    assert card.metrics.keys() == metrics.keys()
    if machine_of(recorded(), method) == machine():
        assert dict(card.metrics) == metrics
        assert json.loads(card.to_json())["calibration"] == recorded()["methods"][method]["calibration"]


def test_a_training_stopped_before_goes_on(tmp_path: Path) -> None:
    """The snapshot and the log were written by version 0.1 in the middle of a training."""
    shutil.copytree(OLD_TRAINING, tmp_path, dirs_exist_ok=True)
    stop = StopAt()
    tensors, _ = trained(STOPPED, tmp_path, stop)
    assert [step.step for step in stop.steps] == [4]
    check(STOPPED, tensors)


@pytest.mark.parametrize("name", available())
def test_every_shipped_card_loads(name: str) -> None:
    tensors, card = load_weights(name)
    assert card.name == name and tensors


def record_again() -> None:
    """Write the record, and the snapshot of a stopped training."""
    torch.set_num_threads(1)
    methods = {}
    for method in METHODS:
        tensors, card = trained(method)
        methods[method] = {
            "sha256": digest_of(tensors),
            "metrics": dict(card.metrics),
            "calibration": dict(card.calibration),
            "sums": {name: [float(f"{x:.9g}") for x in pair] for name, pair in sums(tensors).items()},
        }
    RECORD.write_text(json.dumps({"machine": machine(), "methods": methods}) + "\n")
    shutil.rmtree(OLD_TRAINING, ignore_errors=True)
    try:
        trained(STOPPED, OLD_TRAINING, StopAt(STOP))
    except StoppedError:
        shutil.rmtree(OLD_TRAINING / "slabs")
    assert (OLD_TRAINING / SNAPSHOT).stat().st_size < 50_000


if __name__ == "__main__":
    record_again()
