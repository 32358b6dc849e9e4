"""Samples computed once, in memory and on the disk, and the batches drawn from them.

Slabs are computed by several processes into tensors that a training draws from. Slab i is the same whatever
the number of processes. A folder can keep them, so that a training that was stopped need not compute them
again: they are taken from it only if they come from the same values, and if the first of them, computed
anew, is the first that was kept. Otherwise all are computed again.

Batches are turned and mirrored patches. A batch is decided by its generator alone, so that training can
stop anywhere and resume as if it had not.
"""

import json
import logging
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, final, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from unweight.core.errors import InputError, UsageError
from unweight.core.estimator import Progress
from unweight.core.seeding import seeded_generator
from unweight.files.shards import LARGEST_MANIFEST, MANIFEST, read_shards, write_shards
from unweight.files.text_files import parse_json, read_content
from unweight.learn.training.execution import ProcessRank, current_rank
from unweight.learn.training.loop import NULL_CALLBACK, TrainingCallback
from unweight.learn.training.recipe import Recipe
from unweight.learn.training.trainable import Samples, TrainingData
from unweight.synth.anatomy.labels import Anatomy

LOG = logging.getLogger(__name__)
PER_SHARD = 64
SLABS = "slabs"
ALONE = ProcessRank()
TRAIN, VALIDATION, CALIBRATION, TRIAL = "train", "validation", "calibration", "timing"
Sample = dict[str, Tensor]
Item = TypeVar("Item")
Items = TypeVar("Items", covariant=True)


@runtime_checkable
class Indexed(Protocol[Items]):
    """A sequence whose items are computed when they are asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Items: ...


@final
@dataclass(frozen=True, kw_only=True)
class SampleCache:
    """Where samples are kept.

    Attributes:
        folder: Created if absent; what else lies in it is left alone.
        about: What the samples are computed from, as JSON values.
    """

    folder: Path
    about: Mapping[str, object]

    def clear(self) -> None:
        """Remove all samples, and the folder if it is then empty; the manifest goes first."""
        for path in (self.folder / MANIFEST, *sorted(self.folder.glob("shard-*.safetensors"))):
            path.unlink(missing_ok=True)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()


def precompute(
    dataset: Indexed[Sample],
    *,
    n_workers: int = 0,
    progress: Progress | None = None,
    cache: SampleCache | None = None,
) -> dict[str, Tensor]:
    """Compute all samples and stack them; types are kept.

    Args:
        dataset: A sequence of samples, tensors by name, all of the same shapes.
        n_workers: Processes that compute them, with one thread each; 0 to compute them here.
        progress: Called with the samples done and all of them.
        cache: Where they are kept, or taken from.

    Raises:
        UsageError: There are none.
        OutputError: They could not be kept.
    """
    length = len(dataset)
    if length < 1:
        raise UsageError("there are no slabs to make", remedy="Ask for at least one.")
    first = dataset[0]
    tensors = {name: item.new_empty(length, *item.shape) for name, item in first.items()}
    if cache is not None and _restore(cache, first, tensors):
        return tensors
    for index, sample in enumerate(computed(dataset, min(n_workers, length))):
        for name, entry in sample.items():
            tensors[name][index] = entry
        if progress is not None:
            progress(index + 1, length)
    if cache is not None:
        cache.clear()
        rows = ({name: tensor[index] for name, tensor in tensors.items()} for index in range(length))
        write_shards(rows, cache.folder, per_shard=PER_SHARD, about=cache.about)
    return tensors


def computed(dataset: Indexed[Item], n_workers: int) -> Iterator[Item]:
    """Give the items of a sequence in order, computed by so many processes; 0 to compute them here."""
    with warnings.catch_warnings():
        # torch thinks that more processes than cores are a mistake, Python that threads here may hold locks
        # there; the processes are one thread each and use nothing of this one but the heads.
        warnings.simplefilter("ignore")
        loader: DataLoader[Item | _Failure] = DataLoader(
            _Caught(dataset),
            batch_size=None,
            num_workers=n_workers,
            multiprocessing_context="fork" if n_workers else None,
            # The loader draws a number of its own; from here it cannot touch the global generator.
            generator=torch.Generator().manual_seed(0),
        )
        items = iter(loader)
    for item in items:
        if isinstance(item, _Failure):
            raise item.error
        yield item


@final
@dataclass(frozen=True)
class _Failure:
    """An error of a worker, which the loader would otherwise turn into one without its fields."""

    error: Exception


@final
class _Caught(Dataset["Item | _Failure"], Generic[Item]):
    """A sequence that gives errors instead of raising them."""

    def __init__(self, dataset: Indexed[Item]) -> None:
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> "Item | _Failure":
        if not 0 <= index < len(self):
            raise IndexError(index)
        try:
            return self._dataset[index]
        except Exception as error:
            return _Failure(error)


def _restore(cache: SampleCache, first: Sample, tensors: dict[str, Tensor]) -> bool:
    """Whether the cache holds these very samples; they are then in the tensors."""
    if not (cache.folder / MANIFEST).exists():
        return False
    length = len(next(iter(tensors.values())))
    try:
        manifest = parse_json(read_content(cache.folder / MANIFEST, LARGEST_MANIFEST))
        about = manifest["about"]
        if about != json.loads(json.dumps(dict(cache.about))):
            raise InputError("made from other values", path=cache.folder)
        count = 0
        for index, sample in enumerate(read_shards(cache.folder)):
            count = index + 1
            if count > length or (index == 0 and not _same(sample, first)):
                raise InputError("made by another version", path=cache.folder)
            for name, tensor in tensors.items():
                tensor[index] = sample[name]
        if count < length:
            raise InputError("fewer than are wanted", path=cache.folder)
    except (InputError, OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        LOG.warning("the slabs in %s cannot be used (%s); they are simulated again", cache.folder, error)
        return False
    return True


def _same(sample: Sample, other: Sample) -> bool:
    return sample.keys() == other.keys() and all(
        sample[name].dtype == other[name].dtype
        and sample[name].shape == other[name].shape
        and torch.equal(sample[name].nan_to_num(nan=-9e3), other[name].nan_to_num(nan=-9e3))
        for name in sample
    )


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class PatchPool:
    """Slabs, and how patches are drawn from them.

    Attributes:
        slabs: Tensors (slabs, channels, x, y) or (slabs, x, y) by name, all on one grid.
        patch: Voxels along each side of a patch.
        batch_size: Patches in a batch.
        whole: Names of tensors that belong to a slab as a whole, and have no grid.
    """

    slabs: Mapping[str, Tensor]
    patch: int
    batch_size: int
    whole: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        shapes = {(len(slab), *slab.shape[-2:]) for slab in self._gridded.values()}
        if len(shapes) != 1:
            raise UsageError(f"slabs on different grids: {sorted(shapes)}")
        if not 0 < self.patch <= min(next(iter(shapes))[1:]):
            raise UsageError(
                f"patches of {self.patch} voxels do not fit into slabs of {next(iter(shapes))[1:]}",
                remedy="Choose smaller patches or larger slabs.",
            )

    def __len__(self) -> int:
        return len(next(iter(self.slabs.values())))

    def __call__(self, generator: torch.Generator) -> dict[str, Float[Tensor, "batch ..."]]:
        """Draw a batch, in single precision."""
        height, width = next(iter(self._gridded.values())).shape[-2:]
        ends = torch.tensor([len(self), height - self.patch + 1, width - self.patch + 1, 4, 2])
        share = torch.rand(self.batch_size, 5, generator=generator)
        places = (share * ends).long().tolist()
        batch = {
            name: torch.stack([self._patch(slabs, *place) for place in places]).float()
            for name, slabs in self._gridded.items()
        }
        chosen = [place[0] for place in places]
        return batch | {name: self.slabs[name][chosen].float() for name in self.whole}

    @property
    def _gridded(self) -> dict[str, Tensor]:
        return {name: slabs for name, slabs in self.slabs.items() if name not in self.whole}

    def _patch(self, slabs: Tensor, slab: int, x: int, y: int, turns: int, mirrored: int) -> Tensor:
        window = slabs[slab, ..., x : x + self.patch, y : y + self.patch]
        window = window.flip(-1) if mirrored else window
        return torch.rot90(window, turns, (-2, -1))


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Heads:
    """Whose heads are for what; none is in both parts.

    Attributes:
        train: To train on.
        validation: To score and to calibrate on.
    """

    train: tuple[Anatomy, ...]
    validation: tuple[Anatomy, ...]

    def __post_init__(self) -> None:
        both = {head.subject for head in self.train} & {head.subject for head in self.validation}
        if both:
            raise UsageError(
                f"listed for both training and validation: {', '.join(sorted(both))}",
                remedy="List each subject for only one of them.",
            )


class SlabSource(ABC):
    """What a method that is trained on slabs of heads supplies beside its network.

    Attributes:
        cache_key: What else than the recipe decides the slabs, as JSON values.
        ungridded: Names of tensors that belong to a slab as a whole.
    """

    cache_key: Mapping[str, object]
    ungridded: tuple[str, ...]

    @abstractmethod
    def dataset(
        self, recipe: Recipe[Any, Any], anatomies: tuple[Anatomy, ...], *, part: str, length: int
    ) -> Indexed[Sample]:
        """Return the slabs of one part, computed when they are asked for.

        Args:
            recipe: What is trained.
            anatomies: Heads of the part.
            part: `train`, `calibration` …: slabs of different parts have nothing in common.
            length: How many.
        """

    @abstractmethod
    def held_out(self, recipe: Recipe[Any, Any]) -> tuple[int, int]:
        """Return how many slabs are for validation and how many for calibration."""


@final
class _Every(Indexed[Sample]):
    """Every n-th item, from that of this process on."""

    def __init__(self, dataset: Indexed[Sample], rank: ProcessRank) -> None:
        self._dataset, self._chosen = dataset, range(rank.rank, len(dataset), rank.n)

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, index: int, /) -> Sample:
        return self._dataset[self._chosen[index]]


def seed_of_part(recipe: Recipe[Any, Any], part: str) -> int:
    """Return the seed of the slabs of one part."""
    return int(torch.randint(2**31, (), generator=seeded_generator(recipe.seed, "slabs", part)))


def held_out_shares(n_slabs: int) -> tuple[int, int]:
    """Return how many slabs are for validation and for calibration beside so many for training."""
    return min(32, max(4, n_slabs // 64)), min(400, max(16, n_slabs // 8))


def check_patch(recipe: Recipe[Any, Any], size: int) -> None:
    """Return if the patches of a recipe fit into slabs of this size.

    Raises:
        UsageError: They do not.
    """
    if recipe.patch > size:
        raise UsageError(f"patches of {recipe.patch} voxels do not fit into slabs of {size}")


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class SlabData(TrainingData):
    """Slabs of heads, computed before the training and kept beside it.

    Attributes:
        source: Of the slabs.
        heads: To cut slabs from.
        n_workers: Processes that compute slabs; 0 to compute them here.
        folder: Of the training; None to keep no slabs.
        callback: Called with the progress.
    """

    source: SlabSource
    heads: Heads
    n_workers: int = 0
    folder: Path | None = None
    callback: TrainingCallback = NULL_CALLBACK

    def batches(self, recipe: Recipe[Any, Any]) -> PatchPool:
        """Return patches of the slabs for training, of every n-th in each of n processes."""
        return self._pool(recipe, self._slabs(recipe, TRAIN, recipe.n_slabs, current_rank()))

    def validation(self, recipe: Recipe[Any, Any]) -> Samples:
        """Return the slabs for validation."""
        return self._slabs(recipe, VALIDATION, self.source.held_out(recipe)[0])

    def calibration(self, recipe: Recipe[Any, Any]) -> Samples | None:
        """Return the slabs for calibration, if there are any."""
        length = self.source.held_out(recipe)[1]
        return self._slabs(recipe, CALIBRATION, length) if length else None

    def trial(self, recipe: Recipe[Any, Any]) -> PatchPool:
        """Return patches of two slabs."""
        return self._pool(
            recipe, precompute(self.source.dataset(recipe, self.heads.train, part=TRIAL, length=2))
        )

    def seconds_each(self, recipe: Recipe[Any, Any]) -> float:
        """Return how long a process takes for one slab [s], measured on two after a first one."""
        dataset = self.source.dataset(recipe, self.heads.train, part=TRIAL, length=3)
        dataset[0]
        began = time.perf_counter()
        for index in (1, 2):
            dataset[index]
        return (time.perf_counter() - began) / 2

    def discard(self) -> None:
        """Remove the slabs that were kept."""
        root = None if self.folder is None else self.folder / SLABS
        for path in sorted(root.glob("*")) if root is not None else ():
            if path.is_dir():
                SampleCache(folder=path, about={}).clear()

    def _pool(self, recipe: Recipe[Any, Any], slabs: Samples) -> PatchPool:
        return PatchPool(
            slabs=slabs,
            patch=recipe.patch,
            batch_size=recipe.plan.batch_size,
            whole=self.source.ungridded,
        )

    def _slabs(
        self, recipe: Recipe[Any, Any], part: str, length: int, rank: ProcessRank = ALONE
    ) -> dict[str, Tensor]:
        dataset = self.source.dataset(recipe, self._heads_of(part), part=part, length=length)
        if rank.n > 1:
            if length < rank.n:
                raise UsageError(f"{length} slabs for {rank.n} processes", remedy="Ask for more slabs.")
            dataset = _Every(dataset, rank)
        return precompute(
            dataset,
            n_workers=self.n_workers,
            progress=self.callback.samples(part) if current_rank().rank == 0 else None,
            cache=self._cache(recipe, part, length, rank),
        )

    def _heads_of(self, part: str) -> tuple[Anatomy, ...]:
        return self.heads.train if part == TRAIN else self.heads.validation

    def _cache(
        self, recipe: Recipe[Any, Any], part: str, length: int, rank: ProcessRank
    ) -> SampleCache | None:
        if self.folder is None:
            return None
        name = part if rank.n == 1 else f"{part}-{rank.rank + 1}-of-{rank.n}"
        about = {
            "method": recipe.method,
            "seed": recipe.seed,
            "slabs": asdict(recipe.slabs),
            "part": part,
            "length": length,
            "heads": [head.subject for head in self._heads_of(part)],
            **self.source.cache_key,
        }
        return SampleCache(folder=self.folder / SLABS / name, about=about)


def describe_heads(heads: Sequence[Anatomy]) -> str:
    """Return whose heads these are, for a card."""
    names = ", ".join(head.subject for head in heads)
    return f"{len(heads)} head{'s' if len(heads) != 1 else ''} ({names})" if heads else "no head"


def describe_held_out(recipe: Recipe[Any, Any], data: SlabData) -> str:
    """Return what a network was scored and calibrated on, for a card."""
    n_validation, n_calibration = data.source.held_out(recipe)
    text = f"Validated on {n_validation} other slabs of {describe_heads(data.heads.validation)}"
    if n_calibration:
        text += f", intervals calibrated on {n_calibration} more of the same heads"
    return text


def percent(share: float) -> str:
    """Return a share in per cent."""
    return f"{100 * share:g} %"
