"""Coverage of the standard deviation of synthesised contrasts, in simulated heads.

    python benchmarks/contrast_coverage.py [HEADS] [DRAWS] [SLICES]

The cases are those of the set `internal` of `unweight evaluate maps` with procedural heads: protocols and
scanners as in the training, heads that are not in it. The estimator of `unweight maps` maps each case, and
each preset of `unweight contrast` is computed from these maps and from the true ones, by the same equation.
The residual is their difference, its interval 1.645 SD to either side. Printed are the share of residuals
inside, the mean residual relative to the mean image, and the correlation of the two images, by tissue where
a voxel is pure.
"""

import sys

import torch
from torch import Tensor

from unweight.benchmark.weighted.datasets import TISSUE_NAMES, internal_set, procedural_heads, tissue_map
from unweight.core.maps import ParameterMaps, VoxelStatus, assemble_maps
from unweight.learn.training.trainable import load_estimator
from unweight.mapping.contrast import synthesised
from unweight.mapping.map_input import SPECS
from unweight.synth.protocols.contrast import Contrast, ContrastTimes

NINETY = 1.6448536


def true_maps(truth: dict[str, Tensor], maps: ParameterMaps) -> ParameterMaps:
    """Return the truth as maps, where the maps have a value."""
    values = torch.stack([truth[spec.name] for spec in SPECS], dim=-1).to(maps.values)
    lost = maps.failed | ~values.isfinite().all(dim=-1)
    status = torch.where(lost, int(VoxelStatus.MASKED), int(VoxelStatus.OK)).to(torch.uint8)
    return assemble_maps(SPECS, values, torch.zeros_like(values), status, like=values)


def main() -> None:
    """Map all cases and print the table."""
    n_heads, n_draws, n_slices = (
        int(word) for word in (sys.argv[1:] + ["2", "4", "4"][len(sys.argv) - 1 :])
    )
    estimator, card = load_estimator("maps")
    parts: dict[Contrast, list[Tensor]] = {contrast: [] for contrast in Contrast}
    for case in internal_set(procedural_heads(n_heads), n_draws, n_slices).cases():
        maps = estimator(case.input)
        truth = true_maps(dict(case.truth), maps)
        inside = maps.usable & truth.usable
        tissue = tissue_map(case)[inside].double()
        for contrast in Contrast:
            weighting, _ = ContrastTimes().weighting(contrast)
            image, true = (synthesised(item, contrast.spec, weighting) for item in (maps, truth))
            rows = (image.values, image.std, true.values)
            parts[contrast].append(torch.stack([*(row[inside][:, 0].double() for row in rows), tissue]))
    print(
        f"weights {card.name} {card.version}, {n_heads} heads, {n_draws} draws, {n_slices} slices",
        flush=True,
    )
    print(f"{'contrast':9}{'tissue':14}{'voxels':>9}{'in 90 %':>9}{'residual':>10}{'r':>8}")
    for contrast, tables in parts.items():
        values, spread, true_values, places = torch.cat(tables, dim=1)
        away = (values - true_values).abs()
        for place, name in enumerate(("all", *TISSUE_NAMES), start=-1):
            here = (places == place) | (place == -1)
            if not bool(here.any()):
                continue
            covered = float((away <= NINETY * spread)[here].double().mean())
            residual = float(away[here].mean() / true_values[here].mean())
            r = float(torch.corrcoef(torch.stack([values[here], true_values[here]]))[0, 1])
            print(
                f"{contrast.display_name:9}{name:14}{int(here.sum()):9,}{covered:9.1%}{residual:10.1%}{r:8.3f}"
            )


if __name__ == "__main__":
    main()
