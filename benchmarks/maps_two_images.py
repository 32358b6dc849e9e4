"""Accuracy of T1, T2 and PD from two of the three weighted images, in the internal test of `evaluate maps`.

A cell is the mean absolute error and, in parentheses, the coverage of the 90 % interval, over pure voxels.

python benchmarks/maps_two_images.py BRAINWEB_DIR [DRAWS] > benchmarks/results/maps-two.tsv
"""

import sys
from dataclasses import replace
from pathlib import Path

import torch

from unweight.benchmark.weighted.datasets import TISSUE_NAMES, brainweb_heads, internal_set, tissue_map
from unweight.learn.training.trainable import load_estimator

SETS = (("T1w", "T2w", "FLAIR"), ("T1w", "T2w"), ("T1w", "FLAIR"), ("T2w", "FLAIR"))
N_HEADS, N_DRAWS, N_SLICES = 2, 4, 8
TISSUES = ("white matter", "grey matter", "CSF")
MAPS = ("T1", "T2", "PD")


def main() -> None:
    folder, draws = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else N_DRAWS
    estimator, _ = load_estimator("maps")
    cases = internal_set(brainweb_heads(folder, N_HEADS), draws, N_SLICES)
    errors: dict[tuple[str, str, str], list[torch.Tensor]] = {}
    held: dict[tuple[str, str, str], list[torch.Tensor]] = {}
    for case in cases.cases():
        tissue = tissue_map(case)[case.scored]
        for names in SETS:
            images = tuple(image for image in case.input.images if image.name in names)
            maps = estimator(replace(case.input, images=images))
            assert maps.lower is not None and maps.upper is not None
            for place, name in enumerate(MAPS):
                truth = case.scored_truth(name)
                value, low, high = (
                    part[..., place][case.scored] for part in (maps.values, maps.lower, maps.upper)
                )
                for index, label in enumerate(TISSUE_NAMES):
                    voxels = (tissue == index) & torch.isfinite(value)
                    key = ("+".join(names), name, label)
                    errors.setdefault(key, []).append((value / truth - 1).abs()[voxels])
                    held.setdefault(key, []).append(((low <= truth) & (truth <= high))[voxels])
    print("\t".join(["images", "map", *TISSUES]))
    for names in SETS:
        for name in MAPS:
            cells = []
            for group in TISSUES:
                key = ("+".join(names), name, group)
                error, inside = torch.cat(errors[key]), torch.cat(held[key]).double()
                cells.append(f"{float(100 * error.mean()):.1f} % ({float(100 * inside.mean()):.0f} %)")
            print("\t".join([", ".join(names), name, *cells]))


if __name__ == "__main__":
    main()
