"""Pairs of many subjects on the disk: made once by several processes, and taken up where it stopped."""

import json
import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import torch

from unweight.core.errors import InputError, UsageError
from unweight.core.estimator import Progress
from unweight.files.atomic import write_bytes_atomic
from unweight.files.text_files import parse_json, read_content
from unweight.learn.mprage.pair import SUFFIX, Pair, load_pair

MANIFEST = "pairs.json"
LARGEST_BYTES = 16 * 2**20
MakePair = Callable[[int], Pair]


def make_pairs(
    make: MakePair,
    indices: Sequence[int],
    folder: Path,
    about: Mapping[str, object],
    *,
    n_workers: int = 0,
    progress: Progress | None = None,
) -> tuple[Path, ...]:
    """Make what is not there yet, and return the files in order.

    Args:
        make: Makes the pair of one index; called in other processes if there are workers.
        indices: Of the pairs.
        folder: Where they are kept; made if absent.
        about: What they are made from; a folder of other pairs is refused.
        n_workers: Processes; 0 to make them here.
        progress: Called with the pairs done and all of them.

    Raises:
        UsageError: The folder holds other pairs.
        InputError: Its manifest is damaged.
        OutputError: A file cannot be written.
    """
    _claim(folder, about)
    paths = [folder / f"{index:04d}{SUFFIX}" for index in indices]
    missing = [(index, path) for index, path in zip(indices, paths, strict=True) if not path.exists()]
    done = len(paths) - len(missing)
    if progress is not None:
        progress(done, len(paths))
    if not n_workers:
        for count, (index, path) in enumerate(missing, start=done + 1):
            make(index).save(path)
            if progress is not None:
                progress(count, len(paths))
        return tuple(paths)
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(n_workers, context, _begin, (make,)) as workers:
        made = [workers.submit(_make_one, index, path) for index, path in missing]
        try:
            for count, one in enumerate(as_completed(made), start=done + 1):
                one.result()
                if progress is not None:
                    progress(count, len(paths))
        except BaseException:
            workers.shutdown(cancel_futures=True)
            raise
    return tuple(paths)


def kept_pairs(folder: Path) -> tuple[Pair, ...]:
    """Return the pairs of a folder, in the order of their names.

    Raises:
        InputError: There are none, or one is damaged.
    """
    paths = sorted(folder.glob(f"*{SUFFIX}"))
    if not paths:
        raise InputError("holds no pairs to learn from", path=folder)
    return tuple(load_pair(path) for path in paths)


# What a worker makes pairs with: it comes with the fork, for heads are too large to be sent for each pair.
_WITH: list[MakePair] = []


def _begin(make: MakePair) -> None:
    torch.set_num_threads(1)
    _WITH[:] = [make]


def _make_one(index: int, path: Path) -> None:
    _WITH[0](index).save(path)


def _claim(folder: Path, about: Mapping[str, object]) -> None:
    """Say what the folder is for, or see that it is for this."""
    told = json.loads(json.dumps(dict(about)))
    path = folder / MANIFEST
    if not path.exists() and any(folder.glob(f"*{SUFFIX}")):
        raise UsageError(
            f"{folder} holds pairs, and nothing tells what they are made from",
            remedy="Give another folder, or take the pairs in it away.",
        )
    if not path.exists():
        write_bytes_atomic(path, (json.dumps(told, indent=2) + "\n").encode())
        return
    try:
        known = parse_json(read_content(path, LARGEST_BYTES))
    except (InputError, ValueError) as error:
        raise InputError(
            "is no list of what pairs are made from", remedy="Move it away.", path=path
        ) from error
    if known != told:
        raise UsageError(
            f"{folder} holds pairs made from other values",
            remedy="Give another folder, or take the pairs in it away.",
        )
