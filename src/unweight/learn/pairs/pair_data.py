"""Pairs of many subjects on the disk, and the batches drawn from them.

Pairs are computed once by several processes, and a stopped computation is resumed. Batches are patches of
slices, in three planes. Half of the patches lie about a voxel of the brain drawn evenly, the others about
one of deep grey matter, where there is some. A batch is decided by its generator alone, as in
`learn.training.sample_cache`.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil
from pathlib import Path
from types import MappingProxyType
from typing import Any, final

import torch
from jaxtyping import Float, Float16, Int
from torch import Tensor

from unweight.core.errors import InputError, UsageError
from unweight.core.estimator import Progress
from unweight.files.atomic import write_bytes_atomic
from unweight.files.text_files import parse_json, read_content
from unweight.learn.pairs.cohort import CohortRecipe
from unweight.learn.pairs.echo_channels import BESIDE, CHI, FLAGS, MASK, NEIGHBOURS
from unweight.learn.pairs.pair import SUFFIX, Pair
from unweight.learn.pairs.scan_range import SCAN, Ends, ends_of_scans, scan_features
from unweight.learn.training.recipe import NetworkConfig, Recipe, TrainingPlan
from unweight.learn.training.sample_cache import Indexed, computed
from unweight.learn.training.trainable import Samples, TrainableMethod, TrainingData
from unweight.metrics.structures import DEEP, LABELS

N_CENTRAL = 12  # slices in the middle of each brain that a check looks at
DEEP_SHARE, MIRRORED = 0.5, 0.5
COHORT = CohortRecipe()
CPU_WIDTHS, GPU_WIDTHS = (32, 64, 96, 128), (64, 96, 128, 192)
PairRecipe = Recipe[CohortRecipe, Any]
SIMULATED = (
    "Trained on simulated subjects only; motion, flow, artefacts, lesions, fibre orientation and real "
    "cortical anatomy are not simulated. "
)
WIDE_SCANS = (
    "magnitudes of 3 to 12 echoes, the first from 1.5 to 7 ms, the last up to 60 ms, 3 to 30 degrees, "
    "TR 15 to 70 ms, SNR 15 to 200"
)
GIVEN = "Trained on images provided by the user; accuracy on other images is unknown. "
AROUND = (-2, -1, 0, 1, 2)  # slices of the target, the middle one among them
KEPT_PLACES = 20_000  # voxels of each brain that patches may lie about


@final
@dataclass(frozen=True, eq=False)
class PairPool:
    """Brains, and how patches are drawn from them.

    Attributes:
        pairs: The brains.
        patch: Voxels along each side of a patch.
        batch_size: Patches in a batch.
    """

    pairs: tuple[Pair, ...]
    patch: int
    batch_size: int

    def __post_init__(self) -> None:
        if not self.pairs:
            raise UsageError("there are no pairs to learn from")
        smallest = min(min(pair.target.shape) for pair in self.pairs)
        if not 0 < self.patch <= smallest:
            raise UsageError(
                f"patches of {self.patch} voxels do not fit into brains of {smallest}",
                remedy="Choose smaller patches.",
            )

    def __call__(self, generator: torch.Generator) -> dict[str, Tensor]:
        """Draw a batch: channels of slabs, target and labels of their middle slices, target around it."""
        share = torch.rand(self.batch_size, 7, generator=generator)
        parts = [self._patch(row) for row in share.tolist()]
        return {name: torch.stack([part[name] for part in parts]) for name in parts[0]}

    @cached_property
    def _places(self) -> list[tuple[Int[Tensor, "brain 3"], Int[Tensor, "deep 3"]]]:
        deep = torch.tensor([LABELS[name] for name in DEEP], dtype=torch.uint8)
        result = []
        for pair in self.pairs:
            brain = _some((pair.channels[MASK] > 0).nonzero())
            inner = _some(torch.isin(pair.labels, deep).nonzero())
            result.append((brain, inner if len(inner) else brain))
        return result

    @cached_property
    def _flags(self) -> list[Float16[Tensor, " flags"]]:
        """Whether R2* and χ of each pair are known: echoes without phase have no χ."""
        known = [bool(pair.channels[CHI].any()) for pair in self.pairs]
        return [torch.tensor([1.0, float(chi)], dtype=torch.float16) for chi in known]

    @cached_property
    def _scans(self) -> Float[Tensor, "pairs features"] | None:
        """Features of the scan of each pair; None if one is not known."""
        features = [features_of(pair) for pair in self.pairs]
        return None if any(item is None for item in features) else torch.tensor(features)

    def _patch(self, share: Sequence[float]) -> dict[str, Tensor]:
        """Return one patch; the numbers decide subject, place, plane and mirrors."""
        subject = int(share[0] * len(self.pairs))
        pair = self.pairs[subject]
        places = self._places[subject][1 if share[1] < DEEP_SHARE else 0]
        place = places[int(share[2] * len(places))].tolist()
        axis = int(share[3] * 3)
        first, second = (index for index in range(3) if index != axis)
        window: list[slice | int] = [0, 0, 0]
        for along, jitter in ((first, share[4]), (second, share[5])):
            start = place[along] - int(jitter * self.patch)
            start = min(max(0, start), pair.target.shape[along] - self.patch)
            window[along] = slice(start, start + self.patch)
        last = pair.target.shape[axis] - 1

        def cut(step: int) -> tuple[slice | int, ...]:
            window[axis] = min(max(0, place[axis] + step), last)
            return tuple(window)

        here = cut(0)
        channels = torch.cat(
            [
                pair.channels[:, *here],
                *(pair.channels[BESIDE, *cut(step)] for step in NEIGHBOURS),
                self._flags[subject].expand(self.patch, self.patch, FLAGS).movedim(-1, 0),
            ]
        ).float()
        result = {
            "channels": channels,
            "target": pair.target[here].float()[None],
            "around": torch.stack([pair.target[cut(step)] for step in AROUND]).float(),
            "labels": pair.labels[here].float()[None],
        }
        if self._scans is not None:
            result[SCAN] = self._scans[subject]
        if share[6] < MIRRORED and first == 0:  # left and right change places
            result = {name: entry.flip(-2) if entry.ndim > 1 else entry for name, entry in result.items()}
        return result


def features_of(pair: Pair) -> tuple[float, ...] | None:
    """Return what a network is given of the scan of a pair; None if it is not known."""
    scan = pair.about.get(SCAN)
    return scan_features(scan) if isinstance(scan, Mapping) else None


def _some(places: Int[Tensor, "voxels 3"]) -> Int[Tensor, "some 3"]:
    """Return at most so many places, evenly out of all."""
    return places[:: max(1, ceil(len(places) / KEPT_PLACES))]


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
        folder: Where they are kept; created if absent.
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
    if missing:
        saved = computed(_Saved(make, tuple(missing)), min(n_workers, len(missing)))
        for count, _ in enumerate(saved, start=done + 1):
            if progress is not None:
                progress(count, len(paths))
    return tuple(paths)


@final
class _Saved(Indexed[int]):
    """Makes and saves a pair when it is asked for, and gives its index."""

    def __init__(self, make: MakePair, missing: tuple[tuple[int, Path], ...]) -> None:
        self._make, self._missing = make, missing

    def __len__(self) -> int:
        return len(self._missing)

    def __getitem__(self, place: int, /) -> int:
        index, path = self._missing[place]
        self._make(index).save(path)
        return index


def _claim(folder: Path, about: Mapping[str, object]) -> None:
    """Say what the folder is for, or see that it is for this."""
    content = json.loads(json.dumps(dict(about)))
    path = folder / MANIFEST
    if not path.exists() and any(folder.glob(f"*{SUFFIX}")):
        raise UsageError(
            f"{folder} contains pairs of unknown origin",
            remedy="Give another folder, or remove the pairs in it.",
        )
    if not path.exists():
        write_bytes_atomic(path, (json.dumps(content, indent=2) + "\n").encode())
        return
    try:
        known = parse_json(read_content(path, LARGEST_BYTES))
    except (InputError, ValueError) as error:
        raise InputError(
            "is not a valid description of pairs", remedy="Move it away.", path=path
        ) from error
    if known != content:
        raise UsageError(
            f"{folder} contains pairs made with other settings",
            remedy="Give another folder, or remove the pairs in it.",
        )


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class PairData(TrainingData):
    """Whose images are for what.

    Attributes:
        train: To learn from.
        validation: To score and calibrate on.
    """

    train: tuple[Pair, ...]
    validation: tuple[Pair, ...]

    def __post_init__(self) -> None:
        if not self.train or not self.validation:
            raise UsageError(
                f"{len(self.train)} subjects for training and {len(self.validation)} for validation",
                remedy="Both need at least one.",
            )
        both = {pair.name for pair in self.train} & {pair.name for pair in self.validation}
        if both:
            raise UsageError(
                f"listed for both training and validation: {', '.join(sorted(both))}",
                remedy="List each subject for only one of them.",
            )

    def batches(self, recipe: Recipe[Any, Any]) -> PairPool:
        """Return patches of all pairs for training."""
        return PairPool(self.train, recipe.patch, recipe.plan.batch_size)

    def trial(self, recipe: Recipe[Any, Any]) -> PairPool:
        """Return patches of two pairs."""
        return PairPool(self.train[:2], recipe.patch, recipe.plan.batch_size)

    def calibration(self, recipe: Recipe[Any, Any]) -> Samples | None:
        """Return None: networks are calibrated on the pairs for validation."""
        return None

    def discard(self) -> None:
        """Do nothing: pairs are kept for other trainings."""

    @property
    def simulated(self) -> bool:
        """Whether all pairs for training are simulated."""
        return all("true_ml" in pair.about for pair in self.train)

    @property
    def limits(self) -> str:
        """What is absent from these pairs, for a model card."""
        return SIMULATED if self.simulated else GIVEN

    @property
    def voxel_mm(self) -> tuple[float, float]:
        """Smallest and largest voxel of the training [mm]."""
        sizes = [size for pair in self.train for size in pair.voxel_mm]
        return min(sizes), max(sizes)

    def scan_ranges(self, cohort: CohortRecipe) -> dict[str, Ends]:
        """Return the ends of the scans of the training; of pairs that do not tell their scans, none.

        Args:
            cohort: What simulated pairs were drawn from.
        """
        if self.simulated:
            return cohort.scans
        scans = [scan for pair in self.train if isinstance(scan := pair.about.get(SCAN), Mapping)]
        return ends_of_scans(scans) if len(scans) == len(self.train) else {}

    def description(self, cohort: CohortRecipe) -> str:
        """Return what the training data were, for a card."""
        low, high = self.voxel_mm
        sizes = f"{low:g} mm" if high - low < 1e-3 else f"{low:g} to {high:g} mm"
        if not self.simulated:
            return (
                f"{len(self.train)} subjects, voxels of {sizes}; validated on {len(self.validation)} "
                "others."
            )
        heads = sorted({str(pair.about["head"]) for pair in self.train})
        ages = [float(str(pair.about["age"])) for pair in self.train]
        each = 1 + cohort.n_scans
        n_train, n_validation = (len(pairs) // each for pairs in (self.train, self.validation))
        further = (
            f" Each subject has {cohort.n_scans} further scans: {WIDE_SCANS}." if cohort.n_scans else ""
        )
        return (
            f"{n_train} simulated subjects aged {min(ages):.0f} to {max(ages):.0f} years, with the "
            f"anatomy of {len(heads)} heads ({', '.join(heads)}), voxels of {sizes}. Gradient echoes at 3 "
            f"T, SNR of the brightest tissue {cohort.snr[0]:g} to {cohort.snr[1]:g}; "
            f"{100 * cohort.published:g} % have eight echoes of 4 to 32 ms, TR 36 ms, 15 degrees, the "
            "others 4 to 8 echoes, the first at 3 to 7 ms, spaced by 3.5 to 6.5 ms, 10 to 20 degrees."
            f"{further} MPRAGE with TR 2.3 s, TI 0.9 s, 9 degrees. T1, T2* and susceptibility are only "
            f"partly correlated. Validated and calibrated on {n_validation} other subjects, of other heads."
        )


class PairMethod(TrainableMethod[CohortRecipe, NetworkConfig, PairData]):
    """A method that learns from pairs.

    Attributes:
        needs_labels: Whether it learns from the labels of structures.
    """

    needs_labels: bool


def central_slices(pair: Pair) -> Pair:
    """Return a few slices through the middle of a brain, for checks during a training."""
    middle = pair.target.shape[2] // 2
    some = slice(max(0, middle - N_CENTRAL // 2), middle + N_CENTRAL // 2)
    return replace(
        pair,
        channels=pair.channels[..., some],
        target=pair.target[..., some],
        labels=pair.labels[..., some],
    )


def cohort_presets(
    name: str,
    config: Callable[[tuple[int, ...]], Any],
    n_steps: int = 7000,
    schedule: Any = None,
    cohort: CohortRecipe = COHORT,
    **more: PairRecipe,
) -> Mapping[str, PairRecipe]:
    """Return the recipes of a method that learns from the simulated cohort.

    Args:
        name: Of the method.
        config: Returns the network of some widths.
        n_steps: Of the preset `cpu`.
        schedule: Noise schedule of the network, where it has one.
        cohort: The people it learns from.
        more: Further presets.
    """
    cpu = TrainingPlan(n_steps=n_steps, batch_size=16, warm_up=300, bfloat16=True, check_every=1000)
    gpu = TrainingPlan(
        n_steps=40_000, batch_size=64, warm_up=1000, bfloat16=True, check_every=4000, save_every=2000
    )
    sizes = {"cpu": (CPU_WIDTHS, cpu), "gpu": (GPU_WIDTHS, gpu)}
    recipes = {
        preset: cohort_recipe(name, preset, config(widths), plan, schedule, cohort)
        for preset, (widths, plan) in sizes.items()
    }
    return MappingProxyType({**recipes, **more})


def cohort_recipe(
    name: str,
    preset: str,
    network: Any,
    plan: TrainingPlan,
    schedule: Any = None,
    cohort: CohortRecipe = COHORT,
) -> PairRecipe:
    """Return a recipe on patches of a simulated cohort."""
    return Recipe(
        method=name,
        preset=preset,
        slabs=cohort,
        n_slabs=cohort.n[0],
        patch=64,
        network=network,
        plan=plan,
        schedule=schedule,
    )
