"""The default T1 estimator against the exact posterior of each voxel, on heads no training has seen.

Two slices of each test head under the seven inversions at SNR 50. The exact posterior of a single voxel
(`fit.grid_posterior`, which is told the noise and the ranges of T1 and B) is the best that can be done
without neighbours; the ratio of errors says what they are worth. Needs the BrainWeb heads of the shared
data.
"""

import sys
from dataclasses import replace
from pathlib import Path

import torch

from unweight.benchmark.t1.heads import brains_set, brainweb_slices
from unweight.fit.grid_posterior import GridPosterior
from unweight.fit.inversion_recovery import InversionRecoveryFit
from unweight.learn.training.trainable import load_estimator

SHARED = Path(__file__).parents[2] / "shared" / "data" / "brainweb_crisp"
NAMES = ("all brain", "white matter", "grey matter", "CSF", "mixed")
EXACT = GridPosterior(pd_range=(1.0, 1e5), t1_range=(0.010, 6.0), b_range=(1.5, 2.0), complete=None)


def rms(error: torch.Tensor) -> float:
    return float(error.double().square().mean().sqrt())


def main(weights: Path | None) -> None:
    estimator, card = load_estimator("t1-posterior", weights)
    cases = tuple(brains_set(brainweb_slices(SHARED)).cases())
    rows: dict[str, list[torch.Tensor]] = {"exact": [], "posterior": [], "ml": []}
    tissue, inside = [], []
    for case in cases:
        brain = next(
            groups for groups in case.groups if groups.names[:2] == ("white matter", "grey matter")
        )
        index = torch.full(case.input.voxels, -1)
        index[case.scored] = brain.index
        mask = index >= 0
        tissue.append(index[mask])
        truth = case.truth["T1"][mask].log()
        whole = estimator(case.input)
        noise = InversionRecoveryFit()(case.input).noise_sd
        told = replace(case.input, mask=mask, noise_sd=noise)
        found = {"exact": EXACT(told), "posterior": whole, "ml": InversionRecoveryFit()(case.input)}
        for name, maps in found.items():
            rows[name].append(maps.value("T1")[mask].log() - truth)
        low, high = (part[..., 0][mask].log() for part in (whole.lower, whole.upper))
        inside.append((low <= truth) & (truth <= high))
    errors = {name: torch.cat(parts) for name, parts in rows.items()}
    member, covered = torch.cat(tissue), torch.cat(inside)
    valued = torch.stack([torch.isfinite(error) for error in errors.values()]).all(0)
    print(f"weights {card.name} version {card.version}, preset {card.preset}; RMSE of ln T1")
    print("voxels | n | exact | posterior | ml | posterior / exact | 90 % interval holds")
    print("--- | ---: | ---: | ---: | ---: | ---: | ---:")
    for place, name in enumerate(NAMES):
        chosen = valued & ((member >= 0) if place == 0 else (member == place - 1))
        exact, ours, fit = (rms(errors[key][chosen]) for key in ("exact", "posterior", "ml"))
        share = 100 * float(covered[chosen].float().mean())
        print(
            f"{name} | {int(chosen.sum()):,} | {exact:.4f} | {ours:.4f} | {fit:.4f} | {ours / exact:.2f} | "
            f"{share:.1f} %"
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
