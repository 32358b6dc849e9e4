"""Which simulated sets an evaluation has, and how large they are."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import final

from unweight.benchmark.core.run import Dataset
from unweight.benchmark.t1.datasets import PHANTOM, SCATTERED, SCATTERED_SHAPE, phantom_set, scattered_set
from unweight.benchmark.t1.heads import (
    BRAINS,
    BRAINS_BLURRED,
    BRAINS_OTHER,
    DETAIL,
    N_HEADS,
    N_SLICES,
    brains_blurred_set,
    brains_other_set,
    brains_set,
    brainweb_slices,
    detail_set,
    procedural_slices,
)
from unweight.core.acquisition import Acquisition
from unweight.core.errors import UsageError
from unweight.registry import datasets
from unweight.synth.anatomy.labels import Anatomy

SETS = datasets("t1")
N_SEEDS, QUICK_SEEDS = 5, 1
QUICK_SHAPE = (16, 16)


@final
@dataclass(frozen=True, kw_only=True)
class T1Plan:
    """The extent of an evaluation.

    Attributes:
        sets: Some of SETS.
        n_seeds: Noise seeds of the phantom and of small structures.
        heads: Folder of BrainWeb heads, of which the test part is used; None for procedural heads.
        quick: One head, one slice, fewer scattered voxels.
    """

    sets: tuple[str, ...] = SETS
    n_seeds: int = N_SEEDS
    heads: Path | None = None
    quick: bool = False

    def __post_init__(self) -> None:
        unknown = [name for name in self.sets if name not in SETS]
        if unknown:
            raise UsageError(f"no set called {', '.join(unknown)}", remedy=f"There are {', '.join(SETS)}.")
        if self.n_seeds < 1:
            raise UsageError(f"--seeds {self.n_seeds} is not possible", remedy="Give at least 1.")

    def datasets(self) -> Iterator[Dataset[Acquisition]]:
        """Make the simulated sets, each when it is asked for; `stability` is none."""
        slices = cache(self._slices)  # the same for all sets of heads
        step = 1 if self.quick else N_SLICES
        for name in self.sets:
            if name == PHANTOM:
                yield phantom_set(self.n_seeds)
            elif name == BRAINS:
                yield brains_set(slices())
            elif name == BRAINS_OTHER:
                yield brains_other_set(slices())
            elif name == BRAINS_BLURRED:
                yield brains_blurred_set(slices()[::step])
            elif name == SCATTERED:
                yield scattered_set(QUICK_SHAPE if self.quick else SCATTERED_SHAPE)
            elif name == DETAIL:
                yield detail_set(self.n_seeds)

    def _slices(self) -> tuple[Anatomy, ...]:
        n_slices = 1 if self.quick else N_SLICES
        if self.heads is not None:
            return brainweb_slices(self.heads, 1 if self.quick else None, n_slices)
        return procedural_slices(1 if self.quick else N_HEADS, n_slices)
