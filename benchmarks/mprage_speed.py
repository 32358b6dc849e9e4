"""How long a T1w image of a whole brain of 1 mm takes, method by method, against a matrix product.

python benchmarks/mprage_speed.py [REPEATS]

A procedural head of 180 x 216 x 180 voxels with eight complex echoes. What every method needs first (brain,
R2*, susceptibility) is measured once; each network is measured on the channels that come of it.
"""

import statistics
import sys
import time
from collections.abc import Callable

import torch

from unweight.benchmark.mprage.methods import WEIGHTS
from unweight.benchmark.mprage.subjects import cohort_heads
from unweight.learn.mprage.methods import load_synthesiser
from unweight.learn.pairs.cohort import CohortRecipe, scan_person
from unweight.learn.pairs.pair import maps_of_echoes
from unweight.learn.training.weights import available
from unweight.synth.protocols.standard import eight_echoes

VOXEL_MM, PRODUCT = 1.0, 2048


def seconds(work: Callable[[], object], repeats: int) -> float:
    found = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        found.append(time.perf_counter() - began)
    return statistics.median(found)


def main() -> None:
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    recipe = CohortRecipe()
    person = recipe.person(recipe.indices("test")[0])
    scanned = scan_person(cohort_heads(None)[0], person, eight_echoes(), VOXEL_MM, recipe)
    square = torch.randn(PRODUCT, PRODUCT)
    product = seconds(lambda: square @ square, 5)
    print(f"product of {PRODUCT} x {PRODUCT} matrices: {product:.3f} s, {torch.get_num_threads()} threads")
    began = time.perf_counter()
    maps = maps_of_echoes(scanned.echoes)
    print(f"brain, R2*, susceptibility: {time.perf_counter() - began:.1f} s")
    channels = maps.channels()
    shape = " x ".join(str(size) for size in channels.shape[1:])
    print(f"{shape} voxels, {int(maps.mask.sum())} in the brain")
    for method, name in WEIGHTS.items():
        if name in available():
            synthesise, _ = load_synthesiser(name)
            taken = seconds(lambda: synthesise(channels), repeats)  # noqa: B023  # called at once
            print(f"{method}: {taken:.1f} s, {taken / product:.0f} products")


if __name__ == "__main__":
    main()
