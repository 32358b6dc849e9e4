"""Slabs made once, by several processes, into tensors that a training draws from.

Slab i is the same whatever the number of processes. A folder can keep them, so that a training that was
stopped need not make them again: they are taken from it only if they were made from the same values, and
if the first of them, made anew, is the first that was kept. Otherwise all are made again.
"""

import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from unweight.core.errors import InputError, UsageError
from unweight.core.estimator import Progress
from unweight.files.shards import LARGEST_MANIFEST, MANIFEST, read_shards, write_shards
from unweight.files.text_files import parse_json, read_content

LOG = logging.getLogger(__name__)
PER_SHARD = 64
Sample = dict[str, Tensor]


@final
@dataclass(frozen=True, kw_only=True)
class Shelf:
    """Where slabs are kept.

    Attributes:
        folder: Made if absent; what else lies in it is left alone.
        about: What the slabs are made from, as JSON values.
    """

    folder: Path
    about: Mapping[str, object]

    def clear(self) -> None:
        """Take all slabs away, and the folder if it is then empty; the manifest goes first."""
        for path in (self.folder / MANIFEST, *sorted(self.folder.glob("shard-*.safetensors"))):
            path.unlink(missing_ok=True)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()


def gather(
    dataset: Dataset[Sample],
    *,
    n_workers: int = 0,
    progress: Progress | None = None,
    shelf: Shelf | None = None,
) -> dict[str, Tensor]:
    """Make all samples and stack them; types are kept.

    Args:
        dataset: A sequence of samples, tensors by name, all of the same shapes.
        n_workers: Processes that make them, with one thread each; 0 to make them here.
        progress: Called with the samples done and all of them.
        shelf: Where they are kept, or taken from.

    Raises:
        UsageError: There are none.
        OutputError: They could not be kept.
    """
    length = len(dataset)  # type: ignore[arg-type]  # a sequence of samples, though torch does not say so
    if length < 1:
        raise UsageError("there are no slabs to make", remedy="Ask for at least one.")
    first = dataset[0]
    tensors = {name: one.new_empty(length, *one.shape) for name, one in first.items()}
    if shelf is not None and _taken(shelf, first, tensors):
        return tensors
    for index, sample in enumerate(_made(dataset, min(n_workers, length))):
        for name, one in sample.items():
            tensors[name][index] = one
        if progress is not None:
            progress(index + 1, length)
    if shelf is not None:
        shelf.clear()
        rows = ({name: one[index] for name, one in tensors.items()} for index in range(length))
        write_shards(rows, shelf.folder, per_shard=PER_SHARD, about=shelf.about)
    return tensors


def _made(dataset: Dataset[Sample], n_workers: int) -> Iterator[Sample]:
    """Give the samples in order."""
    with warnings.catch_warnings():
        # torch thinks that more processes than cores are a mistake, Python that threads here may hold locks
        # there; the processes are one thread each and use nothing of this one but the heads.
        warnings.simplefilter("ignore")
        loader: DataLoader[Sample] = DataLoader(
            dataset,
            batch_size=None,
            num_workers=n_workers,
            multiprocessing_context="fork" if n_workers else None,
            # The loader draws a number of its own; from here it cannot touch the global generator.
            generator=torch.Generator().manual_seed(0),
        )
        samples = iter(loader)
    yield from samples


def _taken(shelf: Shelf, first: Sample, tensors: dict[str, Tensor]) -> bool:
    """Whether the shelf holds these very slabs; they are then in the tensors."""
    if not (shelf.folder / MANIFEST).exists():
        return False
    length = len(next(iter(tensors.values())))
    try:
        manifest = parse_json(read_content(shelf.folder / MANIFEST, LARGEST_MANIFEST))
        about = manifest["about"]
        if about != json.loads(json.dumps(dict(shelf.about))):
            raise InputError("made from other values", path=shelf.folder)
        count = 0
        for index, sample in enumerate(read_shards(shelf.folder)):
            count = index + 1
            if count > length or (index == 0 and not _same(sample, first)):
                raise InputError("made by another version", path=shelf.folder)
            for name, one in tensors.items():
                one[index] = sample[name]
        if count < length:
            raise InputError("fewer than are wanted", path=shelf.folder)
    except (InputError, OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        LOG.warning("the slabs in %s cannot be used (%s); they are made again", shelf.folder, error)
        return False
    return True


def _same(one: Sample, other: Sample) -> bool:
    return one.keys() == other.keys() and all(
        one[name].dtype == other[name].dtype
        and one[name].shape == other[name].shape
        and torch.equal(one[name].nan_to_num(nan=-9e3), other[name].nan_to_num(nan=-9e3))
        for name in one
    )
