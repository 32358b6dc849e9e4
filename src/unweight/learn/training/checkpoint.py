"""Where a training stands, in one safetensors file: weights, their average, moments of AdamW, step.

The header says of which training the snapshot is (a digest over plan, seed, number of processes, and
names, shapes and types of the tensors of the network), and holds the SHA-256 of the tensors, so that a
damaged file is seen.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn, uint8

from unweight.core.errors import InputError, UsageError
from unweight.files.atomic import write_bytes_atomic
from unweight.files.text_files import parse_json
from unweight.learn.training.execution import Precision, PrecisionChoice
from unweight.learn.training.recipe import TrainingPlan

HEADER = "unweight"
REMEDY = "Delete it to restart the training, or choose another output folder."


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Snapshot:
    """All that a training needs to go on as if nothing had happened.

    Attributes:
        digest: Of which training; see `training_digest`.
        step: Steps done.
        skipped: Steps without an update because the loss was not finite.
        in_row: How many of these came last, one after the other.
        seconds: Time spent so far [s].
        choices: What the losses were computed in, first to last; none in snapshots of older versions.
        network: State of the network by name.
        average: State of the network with the averaged weights.
        first: First moment of AdamW by parameter.
        second: Second moment of AdamW by parameter.
        updates: Updates of each parameter.
    """

    digest: str
    step: int
    skipped: int
    in_row: int
    seconds: float
    choices: tuple[PrecisionChoice, ...] = ()
    network: Mapping[str, Tensor]
    average: Mapping[str, Tensor]
    first: Mapping[str, Tensor]
    second: Mapping[str, Tensor]
    updates: Mapping[str, Tensor]


NUMBERS: dict[str, type] = {"digest": str, "step": int, "skipped": int, "in_row": int, "seconds": float}
GROUPS = ("network", "average", "first", "second", "updates")


def training_digest(plan: TrainingPlan, seed: int, network: nn.Module, n_processes: int) -> str:
    """Return what two trainings share only if one can go on where the other stopped."""
    tensors = {name: [str(entry.dtype), list(entry.shape)] for name, entry in network.state_dict().items()}
    about = {"plan": asdict(plan), "seed": seed, "processes": n_processes, "tensors": tensors}
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


def write_snapshot(path: Path, snapshot: Snapshot) -> None:
    """Write a snapshot; what stood there before is replaced in one step, or untouched.

    Raises:
        OutputError: It could not be written.
    """
    tensors = {
        f"{group}/{name}": tensor.detach().to("cpu", copy=True).contiguous()
        for group in GROUPS
        for name, tensor in getattr(snapshot, group).items()
    }
    header = {
        **{name: getattr(snapshot, name) for name in NUMBERS},
        "precision": [asdict(choice) for choice in snapshot.choices],
        "sha256": _digest(tensors),
    }
    write_bytes_atomic(path, save(tensors, metadata={HEADER: json.dumps(header)}))


def read_snapshot(path: Path, digest: str) -> Snapshot | None:
    """Return the snapshot of the training with this digest, or None if there is no file.

    Raises:
        InputError: The file is damaged.
        UsageError: It is of another training.
    """
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            header = parse_json((file.metadata() or {})[HEADER])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        numbers: dict[str, Any] = {name: kind(header[name]) for name, kind in NUMBERS.items()}
        choices = tuple(
            PrecisionChoice(**{**item, "precision": Precision(item["precision"])})
            for item in header.get("precision", ())
        )
        whole = header["sha256"] == _digest(tensors)
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise InputError("is damaged or is not a training checkpoint", remedy=REMEDY, path=path) from error
    if not whole:
        raise InputError(
            "is damaged: its tensors are not those that were written", remedy=REMEDY, path=path
        )
    if numbers["digest"] != digest:
        raise UsageError(
            f"{path} belongs to a training with a different plan, seed, network or number of processes",
            remedy="Choose another folder, or repeat the training with its original settings.",
        )
    groups: dict[str, Any] = {group: {} for group in GROUPS}
    for name, tensor in tensors.items():
        group, _, rest = name.partition("/")
        groups[group][rest] = tensor
    return Snapshot(**numbers, choices=choices, **groups)


def _digest(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 over names, types, shapes and bytes."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(tensor.reshape(-1).view(uint8).numpy().data)
    return digest.hexdigest()
