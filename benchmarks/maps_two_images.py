"""Accuracy of T1, T2 and PD from two of the three weighted images, in the internal test of `evaluate maps`.

python benchmarks/maps_two_images.py BRAINWEB_DIR [DRAWS] > benchmarks/results/maps-two.tsv
"""

import sys
from dataclasses import replace
from pathlib import Path

import torch

from unweight.benchmark.weighted.datasets import TISSUE_NAMES, brainweb_heads, internal_set, tissue_map
from unweight.learn.training.trainable import load_estimator

SETS = (("T1w", "T2w", "FLAIR"), ("T1w", "T2w"), ("T1w", "FLAIR"), ("T2w", "FLAIR"))
N_HEADS, N_DRAWS, N_SLICES = 2, 8, 8
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
                    for group in (label, "all"):
                        key = ("+".join(names), name, group)
                        error = (value / truth - 1).abs()[voxels]
                        errors.setdefault(key, []).append(error)
                        held.setdefault(key, []).append(((low <= truth) & (truth <= high))[voxels])
    print("images\tmap\ttissue\tmean error [%]\tmedian error [%]\tcoverage of the 90 % interval [%]")
    for names in SETS:
        for name in MAPS:
            for group in (*TISSUES, "all"):
                key = ("+".join(names), name, group)
                error, inside = torch.cat(errors[key]), torch.cat(held[key]).double()
                numbers = (100 * error.mean(), 100 * error.median(), 100 * inside.mean())
                print("\t".join([*key, *(f"{float(number):.1f}" for number in numbers)]))


if __name__ == "__main__":
    main()
