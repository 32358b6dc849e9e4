"""How long T1, T2 and PD maps of a whole brain of 1 mm take, against a matrix product of the same run.

python benchmarks/maps_speed.py [REPEATS]
"""

import statistics
import sys
import time

import torch

from unweight.core.examination import WeightedImage, WeightedImageSet
from unweight.learn.training.trainable import load_estimator
from unweight.synth.protocols.standard import routine_contrasts
from unweight.synth.simulate_weighted import weighting_of

SHAPE = (182, 218, 182)
RADII = (68.0, 85.0, 65.0)  # of an ellipsoid of 1.6 litres
PRODUCT = 2048


def whole_brain() -> WeightedImageSet:
    generator = torch.Generator().manual_seed(0)
    axes = [(torch.arange(n) - n / 2) / radius for n, radius in zip(SHAPE, RADII, strict=True)]
    x, y, z = torch.meshgrid(*axes, indexing="ij")
    mask = x**2 + y**2 + z**2 < 1
    images = tuple(
        WeightedImage(
            name=scan.name,
            weighting=weighting_of(scan),
            signal=300 + 100 * torch.rand(SHAPE, generator=generator),
        )
        for scan in routine_contrasts()
    )
    return WeightedImageSet(images=images, mask=mask, field_strength=3.0)


def seconds_of_product() -> float:
    matrix = torch.rand(PRODUCT, PRODUCT)
    began = time.perf_counter()
    matrix @ matrix
    return time.perf_counter() - began


def main() -> None:
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    estimator, _ = load_estimator("maps")
    examination = whole_brain()
    took, product = [], []
    for _ in range(repeats):
        product.append(seconds_of_product())
        began = time.perf_counter()
        estimator(examination)
        took.append(time.perf_counter() - began)
    print(f"{int(examination.mask.sum())} voxels, {torch.get_num_threads()} threads")
    print(f"median {statistics.median(took):.1f} s; {[round(one, 1) for one in took]}")
    print(
        f"{statistics.median(took) / statistics.median(product):.0f} x a product of {PRODUCT} x {PRODUCT}"
    )


if __name__ == "__main__":
    main()
