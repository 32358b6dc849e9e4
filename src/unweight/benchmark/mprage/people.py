"""People to judge T1w images by: simulated ones of the test part, kept on the disk, or real pairs."""

import dataclasses
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from unweight.benchmark.t1.heads import heads_for_test
from unweight.core.errors import UsageError
from unweight.core.estimator import Progress
from unweight.heads.brainweb import read_brainweb
from unweight.learn.pairs.cohort import CohortRecipe, person_pair
from unweight.learn.pairs.pair_data import make_pairs
from unweight.synth.anatomy.labels import Anatomy
from unweight.synth.anatomy.nuclei import with_nuclei
from unweight.synth.anatomy.whole_head import whole_head
from unweight.synth.cohort import Group

HEALTHY = "healthy"
T1W_SETS = tuple(group.value for group in Group)
N_HEALTHY, N_OTHERS, N_QUICK = 60, 4, 2
N_DRAWN = 2
QUICK_COARSER, QUICK_MM = 4, 4.0


def heads_of_tests(folder: Path | None, *, quick: bool = False) -> tuple[Anatomy, ...]:
    """Return the heads of the test part, or procedural ones that no training draws.

    Args:
        folder: BrainWeb crisp heads; None for procedural heads.
        quick: A single coarse head.
    """
    if folder is not None:
        paths = list(heads_for_test(folder).values())
        return tuple(with_nuclei(read_brainweb(path)) for path in paths[: 1 if quick else None])
    coarser, count = (QUICK_COARSER, 1) if quick else (1, N_DRAWN)
    return tuple(whole_head(0, "test", index, coarser=coarser) for index in range(count))


def people_of(
    dataset: str,
    heads: Sequence[Anatomy],
    folder: Path,
    *,
    n: int,
    quick: bool = False,
    n_workers: int = 0,
    progress: Progress | None = None,
) -> tuple[Path, ...]:
    """Return the files of the first people of a set; those that are not there are made.

    Args:
        dataset: Of `T1W_SETS`.
        heads: Of the test part.
        folder: Where people are kept; each set has a folder of its own.
        n: How many.
        quick: Coarse voxels.
        n_workers: Processes that make them.
        progress: Called with those done and all of them.

    Raises:
        UsageError: There are not so many, or the folder holds others.
    """
    recipe = CohortRecipe(group=dataset)
    if quick:
        recipe = replace(recipe, voxel_mm=QUICK_MM)
    indices = recipe.indices("test")
    if not 1 <= n <= len(indices):
        raise UsageError(f"{n} people of {dataset}", remedy=f"Ask for 1 to {len(indices)}.")
    about = {
        "method": "mprage",
        "cohort": dataclasses.asdict(recipe),
        "heads": [one.subject for one in heads],
        "part": "test",
    }
    place = folder / ("test" if dataset == HEALTHY else f"test-{dataset}")
    return make_pairs(
        partial(person_pair, recipe, heads, "test"),
        indices[:n],
        place,
        about,
        n_workers=n_workers,
        progress=progress,
    )
