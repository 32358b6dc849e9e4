"""Accuracy of T1 against the number of inversion times, hence the duration of the scan.

Held-out heads under the seven inversions at SNR 50. Of all sets of 3, 4 and 5 of the seven TIs, the one
with the smallest Cramér–Rao bound is taken: root mean square of the relative bound of T1 over white matter
(0.85 s) and grey matter (1.4 s), with PD and B estimated too. The fit and the default estimator get the
same images, fewer of them; networks for one protocol exist for all seven only. Each inversion is counted as
ceil(240 / 64) excitations of TR 10 s.

Prints RMSE of ln T1 and median deviation by tissue, and the coverage of 90 % intervals; with a file name,
draws the figure. Usage: t1_inversions.py [FIGURE]. Needs the BrainWeb heads of the shared data.
"""

import math
import sys
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from torch import Tensor

from unweight.benchmark.t1.heads import brains_set, brainweb_slices
from unweight.core.acquisition import Acquisition, SignalKind
from unweight.core.errors import ProtocolError
from unweight.core.estimator import Estimator
from unweight.core.maps import ParameterMaps
from unweight.core.protocol import Protocol, protocol_from_values
from unweight.fit.inversion_recovery import InversionRecoveryFit
from unweight.learn.training.trainable import load_estimator
from unweight.signals.inversion_recovery import InversionRecovery
from unweight.signals.noise import Rician
from unweight.signals.precision import cramer_rao_bound
from unweight.synth.protocols.standard import seven_inversions

SHARED = Path(__file__).parents[2] / "shared" / "data" / "brainweb_crisp"
TISSUES = ("white matter", "grey matter", "CSF")
COUNTS = (3, 4, 5, 7)
DESIGN_T1, EFFICIENCY, SNR = (0.85, 1.4), 1.96, 50.0
LINES, ECHOES = 240, 64


def relative_bound(protocol: Protocol) -> float:
    """Return the root mean square of the relative bound of T1 over the design tissues."""
    theta = torch.tensor([[t1, 1.0, EFFICIENCY] for t1 in DESIGN_T1])
    bound = cramer_rao_bound(
        InversionRecovery(kind=SignalKind.MAGNITUDE), theta, protocol, Rician(sigma=1 / SNR)
    )
    return float((bound[:, 0] / theta[:, 0]).square().mean().sqrt())


def best_volumes(protocol: Protocol, count: int) -> tuple[int, ...]:
    """Return which volumes to keep."""
    return min(
        combinations(range(protocol.n_volumes), count),
        key=lambda kept: relative_bound(protocol.select(list(kept))),
    )


def fewer(acquisition: Acquisition, kept: tuple[int, ...]) -> Acquisition:
    """Return the acquisition with some of its volumes."""
    protocol = acquisition.protocol.select(list(kept))
    return replace(acquisition, signal=acquisition.signal[..., list(kept)], protocol=protocol)


def interval(maps: ParameterMaps) -> tuple[Tensor, Tensor]:
    """Return the ends of the 90 % interval of T1; from the SD where there are no ends."""
    if maps.lower is not None and maps.upper is not None:
        return maps.lower[..., 0], maps.upper[..., 0]
    reach = 1.645 * maps.deviation("T1")
    return maps.value("T1") - reach, maps.value("T1") + reach


def minutes(protocol: Protocol) -> float:
    """Return the duration of the scan."""
    repetition = protocol.require("repetition_time", "the duration")
    return float(repetition.sum()) * math.ceil(LINES / ECHOES) / 60


def main(figure: Path | None) -> None:
    """Measure and print."""
    methods: dict[str, Estimator] = {
        "ml": InversionRecoveryFit(),
        "posterior": load_estimator("t1-posterior", None)[0],
    }
    scan = seven_inversions()
    protocol = protocol_from_values(
        inversion_time=scan.protocol.require("inversion_time", "the design").tolist(),
        repetition_time=scan.protocol.require("repetition_time", "the design").tolist(),
    )
    cases = tuple(brains_set(brainweb_slices(SHARED)).cases())
    results: dict[str, list[list[float]]] = {name: [] for name in methods}
    durations = []
    columns = ("TIs [s]", "min", "bound %", "method", *(f"{name}: RMSE, bias %" for name in TISSUES))
    columns = (*columns, "brain: RMSE", "coverage %")
    print(" | ".join(columns), " | ".join("---" for _ in columns), sep="\n")
    for count in COUNTS:
        kept = best_volumes(protocol, count)
        chosen = protocol.select(list(kept))
        durations.append(minutes(chosen))
        times = ", ".join(f"{time:g}" for time in chosen.require("inversion_time", "the table").tolist())
        head = f"{times} | {durations[-1]:.1f} | {100 * relative_bound(chosen):.1f}"
        for name, method in methods.items():
            try:
                method.accept(fewer(cases[0].input, kept))
            except ProtocolError as refusal:
                results[name].append([math.nan] * (len(TISSUES) + 1))
                print(f"{head} | {name} | {refusal}")
                continue
            errors, member, inside = [], [], []
            for case in cases:
                groups = next(part for part in case.groups if part.names[:2] == TISSUES[:2])
                index = torch.full(case.input.voxels, -1)
                index[case.scored] = groups.index
                maps = method(fewer(case.input, kept))
                mask = (index >= 0) & torch.isfinite(maps.value("T1"))
                truth = case.truth["T1"][mask].log()
                errors.append(maps.value("T1")[mask].log() - truth)
                member.append(index[mask])
                low, high = interval(maps)
                t1 = case.truth["T1"][mask]
                inside.append((low[mask] <= t1) & (t1 <= high[mask]))
            error, group = torch.cat(errors), torch.cat(member)
            parts = [error[group == place] for place in range(len(TISSUES))]
            rmse = [float(part.square().mean().sqrt()) for part in (*parts, error)]
            results[name].append(rmse)
            cells = [
                f"{value:.3f}, {100 * float(part.median()):+.1f}"
                for value, part in zip(rmse, parts, strict=False)
            ]
            share = 100 * float(torch.cat(inside).float().mean())
            print(f"{head} | {name} | {' | '.join(cells)} | {rmse[-1]:.3f} | {share:.0f}")
    if figure is not None:
        _draw(figure, results, durations)


def _draw(path: Path, results: dict[str, list[list[float]]], durations: list[float]) -> None:
    shown, axes = plt.subplots(1, len(TISSUES), figsize=(10, 3.2), sharex=True, layout="constrained")
    for place, (axis, tissue) in enumerate(zip(axes, TISSUES, strict=True)):
        for name, rows in results.items():
            axis.plot(COUNTS, [100 * row[place] for row in rows], marker="o", label=name)
        axis.set(title=tissue, xlabel="number of inversion times", xticks=COUNTS)
        axis.set_ylim(bottom=0)
        per_inversion = durations[-1] / COUNTS[-1]
        above = axis.secondary_xaxis(
            "top", functions=(lambda n, k=per_inversion: n * k, lambda t, k=per_inversion: t / k)
        )
        above.set_xlabel("duration [min]")
    axes[0].set_ylabel("RMSE of ln T1 [%]")
    axes[0].legend(frameon=False)
    shown.savefig(path, dpi=150)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
