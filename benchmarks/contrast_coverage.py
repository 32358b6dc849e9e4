"""Coverage of the standard deviation of synthesised contrasts, in simulated heads.

    python benchmarks/contrast_coverage.py [EXAMS]

Each exam is a procedural head of its own (slab of two slices, 2 x 2 x 4 mm, labels of 1 x 1 x 2 mm), with
tissue, scanner and a protocol as in the training of `maps`, at 3 T. The estimator of `unweight maps` maps
it, and each preset of `unweight contrast` is computed from these maps and from the true ones, by the same
equation. The residual is their difference, its interval 1.645 SD to either side. Printed are the share of
residuals inside, the mean residual relative to the mean image, and the correlation of the two images, by
tissue where a voxel is pure.
"""

import sys

import torch
from torch import Tensor

from unweight.benchmark.weighted.datasets import (
    SCANNER,
    TISSUE,
    TISSUE_NAMES,
    tissue_of,
    trained_contrasts,
)
from unweight.core.maps import ParameterMaps, VoxelStatus, assemble_maps
from unweight.core.seeding import seeded_generator
from unweight.learn.training.trainable import load_estimator
from unweight.mapping.contrast import synthesised
from unweight.mapping.map_input import SPECS
from unweight.synth.anatomy.procedural_head import procedural_head
from unweight.synth.protocols.contrast import Contrast, ContrastTimes
from unweight.synth.protocols.prior import ContrastPrior
from unweight.synth.simulate_weighted import SimulatedImages, examine

NINETY = 1.6448536
FACTOR = (2, 2, 2)
PRIOR = ContrastPrior(field_strengths=(3.0,))


def exam(number: int) -> SimulatedImages:
    """Return a simulated exam, the same one each time."""
    generator = seeded_generator(number, "contrast coverage")
    head = procedural_head(
        generator, shape=(180, 216, 4), voxel_mm=(1.0, 1.0, 2.0), centre_mm=(0.0, -16.0, 25.0)
    )
    tissue = TISSUE.draw(generator, 3.0)
    return examine(head, FACTOR, tissue, trained_contrasts(PRIOR, generator), generator, SCANNER)


def true_maps(truth: Tensor, maps: ParameterMaps) -> ParameterMaps:
    """Return the truth as maps, where the maps have a value."""
    lost = maps.failed | ~truth.isfinite().all(dim=-1)
    status = torch.where(lost, int(VoxelStatus.MASKED), int(VoxelStatus.OK)).to(torch.uint8)
    return assemble_maps(SPECS, truth, torch.zeros_like(truth), status, like=maps.values)


def main() -> None:
    """Map all exams and print the table."""
    n_exams = int(sys.argv[1]) if len(sys.argv) > 1 else 8
    estimator, card = load_estimator("maps")
    parts: dict[Contrast, list[Tensor]] = {contrast: [] for contrast in Contrast}
    for number in range(n_exams):
        examined = exam(number)
        maps = estimator(examined.examination)
        truth = true_maps(examined.truth, maps)
        inside = maps.usable & truth.usable
        tissue = tissue_of(examined)[inside].double()
        for contrast in Contrast:
            weighting, _ = ContrastTimes().weighting(contrast)
            image, true = (synthesised(item, contrast.spec, weighting) for item in (maps, truth))
            rows = (image.values, image.std, true.values)
            parts[contrast].append(torch.stack([*(row[inside][:, 0].double() for row in rows), tissue]))
        print(f"exam {number}: {int(inside.sum()):,} voxels", file=sys.stderr, flush=True)
    print(f"weights {card.name} {card.version}, {n_exams} exams")
    print(f"{'contrast':9}{'tissue':14}{'voxels':>9}{'in 90 %':>9}{'residual':>10}{'r':>8}")
    for contrast, tables in parts.items():
        values, spread, true_values, places = torch.cat(tables, dim=1)
        away = (values - true_values).abs()
        for place, name in enumerate(("all", *TISSUE_NAMES), start=-1):
            here = torch.full_like(places, True, dtype=torch.bool) if place < 0 else places == place
            if not bool(here.any()):
                continue
            covered = float((away <= NINETY * spread)[here].double().mean())
            residual = float(away[here].mean() / true_values[here].mean())
            r = float(torch.corrcoef(torch.stack([values[here], true_values[here]]))[0, 1])
            count = f"{int(here.sum()):9,}"
            print(f"{contrast.display_name:9}{name:14}{count}{covered:9.1%}{residual:10.1%}{r:8.3f}")


if __name__ == "__main__":
    main()
