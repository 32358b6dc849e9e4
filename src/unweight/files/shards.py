"""Frozen sets of samples: safetensors shards, and a manifest that knows the SHA-256 of each.

A shard holds samples stacked along the first axis, by name. Tensors whose length along the last axis
differs from sample to sample (volumes of a random protocol) are padded with NaN. The manifest is written
last: a set without it, or with a shard that does not agree with it, is refused.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from unweight.core.errors import InputError, UsageError
from unweight.core.ragged import stack_ragged
from unweight.files.atomic import fingerprint, write_bytes_atomic
from unweight.files.text_files import parse_json, read_content

MANIFEST = "manifest.json"
LARGEST_MANIFEST, LARGEST_SHARD = 64 * 2**20, 16 * 2**30


def write_shards(
    samples: Iterable[Mapping[str, Tensor]],
    folder: Path,
    *,
    per_shard: int = 256,
    about: Mapping[str, object] | None = None,
) -> Path:
    """Write samples to a new folder and return the manifest.

    Args:
        samples: Tensors by name, the same names for every sample.
        folder: Created if absent; must not hold a set already.
        per_shard: Samples in a shard.
        about: What made the samples, for the manifest; plain values.

    Raises:
        UsageError: There is a set already, or no sample.
        OutputError: The files could not be written.
    """
    if (folder / MANIFEST).exists():
        raise UsageError(f"{folder} already contains a set", remedy="Choose a new folder.")
    shards: list[dict[str, object]] = []
    for number, group in enumerate(_groups(samples, per_shard)):
        content = save(
            {name: stack_ragged([item[name] for item in group]).contiguous() for name in group[0]}
        )
        name = f"shard-{number:05d}.safetensors"
        write_bytes_atomic(folder / name, content)
        shards.append({"file": name, "samples": len(group), "sha256": fingerprint(content)})
    if not shards:
        raise UsageError("no samples to write")
    manifest = {"about": dict(about or {}), "shards": shards}
    write_bytes_atomic(folder / MANIFEST, (json.dumps(manifest, indent=2) + "\n").encode())
    return folder / MANIFEST


def read_shards(folder: Path) -> Iterator[dict[str, Tensor]]:
    """Give the samples of a set, one after the other; each shard is checked before it is used.

    Raises:
        InputError: There is no manifest, or a shard is missing or was changed.
    """
    path = folder / MANIFEST
    try:
        manifest = parse_json(read_content(path, LARGEST_MANIFEST))
        shards = [(str(item["file"]), str(item["sha256"])) for item in manifest["shards"]]
    except (InputError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            "is not the manifest of a set", remedy="Write the set again.", path=path
        ) from error
    for name, digest in shards:
        yield from _samples(folder / Path(name).name, digest)


def _samples(path: Path, digest: str) -> Iterator[dict[str, Tensor]]:
    try:
        content = read_content(path, LARGEST_SHARD)
    except InputError as error:
        raise InputError(error.problem, remedy="Write the set again.", path=path) from error
    if fingerprint(content) != digest:
        raise InputError("is not the shard the manifest names", remedy="Write the set again.", path=path)
    try:
        tensors = load(content)
    except SafetensorError as error:
        raise InputError("is not a shard", remedy="Write the set again.", path=path) from error
    for index in range(len(next(iter(tensors.values())))):
        yield {name: tensor[index] for name, tensor in tensors.items()}


def _groups(samples: Iterable[Mapping[str, Tensor]], size: int) -> Iterator[list[Mapping[str, Tensor]]]:
    group: list[Mapping[str, Tensor]] = []
    for sample in samples:
        group.append(sample)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group
