"""Labelled heads, kept on the disk: what networks of any contrast are trained on."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from unweight.core.errors import InputError
from unweight.core.estimator import Progress
from unweight.core.seeding import seeded_generator
from unweight.files.atomic import write_bytes_atomic
from unweight.files.text_files import read_content
from unweight.heads.source import ProceduralHeads
from unweight.synth.anatomy.head_parts import LabelledHead, with_parts
from unweight.synth.anatomy.labels import Anatomy

SUFFIX = ".safetensors"
LARGEST_BYTES = 2**28
# Of procedural heads: down to the neck.
SHAPE, MIDDLE_MM = (192, 230, 230), (0.0, -10.0, -20.0)
MakeAnatomy = Callable[[], Anatomy]


def procedural_heads(seed: int, counts: Mapping[str, int]) -> ProceduralHeads:
    """Return heads down to the neck, drawn from random numbers, in voxels of 1 mm.

    Args:
        seed: Of all of them.
        counts: Number of heads in each part.
    """
    return ProceduralHeads(
        generator=lambda part, index: seeded_generator(seed, "brain mask head", part, index),
        counts=counts,
        shape=SHAPE,
        voxel_mm=(1.0, 1.0, 1.0),
        centre_mm=MIDDLE_MM,
    )


def labelled_heads(
    sources: Sequence[tuple[str, MakeAnatomy]],
    folder: Path,
    seed: int,
    progress: Progress | None = None,
) -> tuple[LabelledHead, ...]:
    """Return labelled heads; what is not kept in the folder yet is computed.

    Args:
        sources: The name of each file, and what makes its anatomy.
        folder: Where heads are kept; created if absent.
        seed: Of the parts that are added to them.
        progress: Called with the heads done and all of them.

    Raises:
        InputError: A file in the folder is damaged.
        OutputError: A file cannot be written.
    """
    heads = []
    for done, (name, make) in enumerate(sources, start=1):
        path = folder / f"{name}-{seed}{SUFFIX}"
        if not path.exists():
            save_head(path, with_parts(make(), seeded_generator(seed, "head parts", name)))
        heads.append(load_head(path))
        if progress is not None:
            progress(done, len(sources))
    return tuple(heads)


def save_head(path: Path, head: LabelledHead) -> None:
    """Write a labelled head.

    Raises:
        OutputError: The file cannot be written.
    """
    tensors = {
        "labels": head.labels.contiguous(),
        "distance": head.distance.half().contiguous(),
        "affine": head.affine.double().contiguous(),
        "subject": torch.tensor(list(head.subject.encode()), dtype=torch.uint8),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes_atomic(path, save_tensors(tensors))


def load_head(path: Path) -> LabelledHead:
    """Read a labelled head.

    Raises:
        InputError: The file is absent or damaged.
    """
    content = read_content(path, LARGEST_BYTES)
    try:
        tensors = load_tensors(content)
        return LabelledHead(
            labels=tensors["labels"],
            distance=tensors["distance"].float(),
            affine=tensors["affine"],
            subject=bytes(tensors["subject"].tolist()).decode(),
        )
    except Exception as error:
        raise InputError("is not a labelled head", remedy="Remove it.", path=path) from error
