import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from unweight.core.errors import InputError, UsageError
from unweight.learn.training.checkpoint import (
    GROUPS,
    HEADER,
    NUMBERS,
    Snapshot,
    read_snapshot,
    training_digest,
    write_snapshot,
)
from unweight.learn.training.execution import Precision, PrecisionChoice
from unweight.learn.training.recipe import TrainingPlan

PLAN = TrainingPlan(n_steps=10, batch_size=2, warm_up=1)
NETWORK = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
DIGEST = training_digest(PLAN, 1, NETWORK, 1)
CHOICES = (
    PrecisionChoice(precision=Precision.BFLOAT16, reason="on cuda"),
    PrecisionChoice(precision=Precision.FLOAT32, reason="as asked for", first_step=5),
)


def snapshot() -> Snapshot:
    parameters = dict(NETWORK.named_parameters())
    return Snapshot(
        digest=DIGEST,
        step=7,
        skipped=3,
        in_row=1,
        seconds=0.1 + 0.2,
        choices=CHOICES,
        network=NETWORK.state_dict(),
        average=NETWORK.state_dict(),
        first={name: torch.randn_like(one) for name, one in parameters.items()},
        second={name: torch.rand_like(one) for name, one in parameters.items()},
        updates={name: torch.tensor(4.0) for name in parameters},
    )


def test_round_trip_is_exact(tmp_path: Path) -> None:
    written = snapshot()
    write_snapshot(tmp_path / "a.safetensors", written)
    read = read_snapshot(tmp_path / "a.safetensors", DIGEST)
    assert read is not None
    for name in (*NUMBERS, "choices"):
        assert getattr(read, name) == getattr(written, name)
    for group in GROUPS:
        one, other = getattr(read, group), getattr(written, group)
        assert one.keys() == other.keys()
        assert all(
            torch.equal(one[name], other[name]) and one[name].dtype == other[name].dtype for name in one
        )


def test_an_older_snapshot_notes_no_precision(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_snapshot(path, snapshot())
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()[HEADER])
    del header["precision"]
    save_file(load_file(path), path, metadata={HEADER: json.dumps(header)})
    read = read_snapshot(path, DIGEST)
    assert read is not None and read.choices == () and read.step == 7


def test_same_snapshot_gives_the_same_bytes(tmp_path: Path) -> None:
    written = snapshot()
    for name in "ab":
        write_snapshot(tmp_path / name, written)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_no_file_is_no_snapshot(tmp_path: Path) -> None:
    assert read_snapshot(tmp_path / "a.safetensors", DIGEST) is None


def test_digest_tells_trainings_apart() -> None:
    wider = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Linear(5, 1))
    others = [
        training_digest(replace(PLAN, learning_rate=2e-3), 1, NETWORK, 1),
        training_digest(PLAN, 2, NETWORK, 1),
        training_digest(PLAN, 1, wider, 1),
        training_digest(PLAN, 1, NETWORK, 2),
    ]
    assert len({DIGEST, *others}) == 5


def test_snapshot_of_another_training_is_refused(tmp_path: Path) -> None:
    write_snapshot(tmp_path / "a.safetensors", snapshot())
    with pytest.raises(UsageError, match=r"different plan, seed, network.*Choose another folder"):
        read_snapshot(tmp_path / "a.safetensors", training_digest(PLAN, 2, NETWORK, 1))


@pytest.mark.parametrize("damage", ["bit", "cut", "empty", "header", "foreign"])
def test_damage_is_seen(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "a.safetensors"
    write_snapshot(path, snapshot())
    content = bytearray(path.read_bytes())
    if damage == "bit":
        content[-3] ^= 1
    elif damage == "cut":
        content = content[:-8]
    elif damage == "empty":
        content = bytearray()
    elif damage == "header":
        content = content.replace(b'\\"step\\"', b'\\"stop\\"')
    else:
        content = bytearray(b"\x02\x00\x00\x00\x00\x00\x00\x00{}")
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"is damaged.*Delete it to restart the training"):
        read_snapshot(path, DIGEST)
