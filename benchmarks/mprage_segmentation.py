"""What a synthetic MPRAGE is worth for segmentation: against the true MPRAGE, and the echoes themselves.

Simulated people of the test part are segmented by the network of `unweight segment` in four images: the
true MPRAGE, the one that `unweight mprage` synthesises (`unet`), and the magnitude of the gradient echo at
4 and at 28 ms, its bias field removed. A cell is the mean Dice with the labels that the person was
simulated from, and the mean absolute error of the volume. The last column is the gain in Dice of the
synthetic MPRAGE over the better of the two echoes, with the 95 % interval over people.

python benchmarks/mprage_segmentation.py BRAINWEB_DIR --keep FOLDER \\
    > benchmarks/results/mprage-segmentation.tsv
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from unweight.benchmark.mprage.scores import SCORED_STRUCTURES, bootstrap
from unweight.benchmark.mprage.subjects import HEALTHY, cohort_heads, cohort_subjects
from unweight.learn.mprage.methods import load_synthesiser
from unweight.learn.pairs.echo_channels import DECAYS, EVERYTHING, LEVEL, MASK
from unweight.learn.pairs.pair import Pair, load_pair
from unweight.learn.segmentation.segmenter import load_segmenter
from unweight.metrics.brain_labels import BRAIN_LABELS
from unweight.metrics.segmentation import score_structure
from unweight.metrics.structures import LABELS, VENTRICLE

IMAGES = ("true MPRAGE", "synthetic MPRAGE", "GRE, 4 ms", "GRE, 28 ms")
MADE, ECHOES = IMAGES[1], IMAGES[2:]
Volume = Float[Tensor, "x y z"]


def structures_of(labels: UInt8[Tensor, "x y z"]) -> UInt8[Tensor, "x y z"]:
    """Return labels of structures of both sides together; the ventricles are fluid."""
    result = torch.zeros_like(labels)
    for label in BRAIN_LABELS:
        name = "csf" if label.structure == VENTRICLE else label.structure
        result[labels == label.index] = LABELS[name]
    return result


def images_of(pair: Pair, made: Volume) -> dict[str, Volume]:
    channels = pair.channels.float()
    early = channels[LEVEL].exp()
    late = (channels[LEVEL] + channels[DECAYS[-1]]).exp()
    return dict(zip(IMAGES, (pair.target.float(), made, early, late), strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("brainweb", type=Path)
    parser.add_argument("--keep", type=Path, required=True, help="where the people are kept")
    parser.add_argument("-n", type=int, default=12, help="how many")
    options = parser.parse_args()
    segmenter, _ = load_segmenter("brain-segmentation")
    synthesise, _ = load_synthesiser("mprage-unet")
    paths = cohort_subjects(HEALTHY, cohort_heads(options.brainweb), options.keep, n=options.n)
    dice: dict[tuple[str, str], list[float]] = {}
    volume: dict[tuple[str, str], list[float]] = {}
    for path in paths:
        pair = load_pair(path)
        inside = pair.channels[MASK] > 0
        affine = torch.diag(torch.tensor([*pair.voxel_mm, 1.0]))
        truth = pair.labels * inside
        made = synthesise(pair.channels.float(), EVERYTHING).mean
        for name, image in images_of(pair, made).items():
            labels = structures_of(segmenter.segment(image * inside, affine, inside).labels)
            for structure in SCORED_STRUCTURES:
                predicted, true = labels == LABELS[structure], truth == LABELS[structure]
                key = (structure, name)
                dice.setdefault(key, []).append(score_structure(predicted, true, pair.voxel_mm)["dice"])
                volume.setdefault(key, []).append(abs(int(predicted.sum()) / int(true.sum()) - 1))
        print(pair.name, file=sys.stderr, flush=True)
    print("\t".join(["structure", *IMAGES, "gain over the echoes"]))
    for structure in SCORED_STRUCTURES:
        cells = [
            f"{np.mean(dice[structure, name]):.3f} ({100 * np.mean(volume[structure, name]):.0f} %)"
            for name in IMAGES
        ]
        best = max(ECHOES, key=lambda name: float(np.mean(dice[structure, name])))
        gain = np.array(dice[structure, MADE]) - np.array(dice[structure, best])
        low, high = bootstrap(gain)
        cells.append(f"{gain.mean():+.3f} ({low:+.3f} to {high:+.3f})")
        print("\t".join([structure.replace("_", " "), *cells]))


if __name__ == "__main__":
    main()
