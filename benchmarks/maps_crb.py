"""What T1w, T2w and FLAIR can tell of T1, T2 and PD: Cramér–Rao bounds, gains known, uncertain and free.

One voxel each of white matter, grey matter, CSF and an MS lesion under the routine protocol at 3 T. The
voxels share the gain of each image; PD is relative to CSF, whose PD is 1. Unknowns are ln T1, ln T2 and ln
PD of each tissue and ln gain of each image; a prior of standard deviation s on one of them adds 1/s² to
its information. The noise is Rician, the 95th percentile of each image of a procedural head over 50.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unweight.benchmark.weighted.datasets import FACTOR, procedural_heads
from unweight.core.seeding import seeded_generator
from unweight.signals.model import derivative
from unweight.signals.noise import Rician
from unweight.synth.protocols.standard import routine_contrasts
from unweight.synth.scanner.measure import reference_intensity
from unweight.synth.tissue.compose import compose
from unweight.synth.tissue.materials import TISSUES
from unweight.synth.tissue.prior import TissuePrior

SNR = 50.0
TISSUE = ("white_matter", "grey_matter", "csf", "ms_lesion")
NAMES = ("T1", "T2", "PD")
FIXED = TISSUE.index("csf") * 3 + NAMES.index("PD")
SINGULAR = 1e-10
GAINS = (0.03, 0.10)


def noise_levels() -> list[float]:
    """Return the noise of each image [CSF of PD 1 before relaxation is 1]."""
    (head,) = procedural_heads(1)
    generator = seeded_generator(0, "maps bound")
    tissue = TissuePrior(short=None).draw(generator, 3.0)
    scene = compose(head.stack(8), FACTOR, tissue, generator)
    return [
        reference_intensity(scene.signal(scan.model, scan.protocol)) / SNR for scan in routine_contrasts()
    ]


def joint_information(noise: list[float]) -> Float[Tensor, "unknowns unknowns"]:
    """Return the information about all tissues, three unknowns each, then the gains."""
    facts = [TISSUES[name] for name in TISSUE]
    theta = torch.tensor([(f.t1[0], f.t2[0], f.pd[0]) for f in facts], dtype=torch.float64)
    scans = routine_contrasts()
    count = 3 * len(TISSUE)
    information = torch.zeros(count + len(scans), count + len(scans), dtype=torch.float64)
    for image, (scan, sigma) in enumerate(zip(scans, noise, strict=True)):
        signal = scan.model(theta, scan.protocol)
        weight = Rician(sigma=sigma).information(signal.abs())[:, 0]
        # In logarithms; a gain does to a signal what PD does.
        slope = derivative(scan.model, theta, scan.protocol)[:, 0] * theta
        for tissue in range(len(TISSUE)):
            row = torch.zeros(len(information), dtype=torch.float64)
            row[3 * tissue : 3 * tissue + 3] = slope[tissue]
            row[count + image] = slope[tissue, 2]
            information += weight[tissue] * torch.outer(row, row)
    return information


def priors(gain: float | None, *, tissue: bool) -> Float[Tensor, " unknowns"]:
    """Return the information of the priors; a gain of 0 is known, of None free."""
    spreads = [(f.t1[1], f.t2[1], f.pd[1]) for f in (TISSUES[name] for name in TISSUE)]
    sd = torch.tensor(spreads, dtype=torch.float64).flatten()
    own = torch.where(sd > 0, sd, torch.inf) ** -2 if tissue else torch.zeros_like(sd)
    level = 0.0 if gain is None else torch.inf if gain == 0 else gain**-2
    return torch.cat((own, torch.full((3,), level, dtype=torch.float64)))


def bounds(
    information: Float[Tensor, "unknowns unknowns"], prior: Float[Tensor, " unknowns"]
) -> tuple[Float[Tensor, " unknowns"], int]:
    """Return the smallest standard deviations, infinite where nothing is known, and how much is not."""
    known: Bool[Tensor, " unknowns"] = torch.isinf(prior)
    known[FIXED] = True
    left = (~known).nonzero()[:, 0]
    total = (information + torch.diag(torch.where(known, 0.0, prior)))[left][:, left]
    scale = total.diagonal().rsqrt()
    values, vectors = torch.linalg.eigh(total * scale[:, None] * scale)
    empty = values <= SINGULAR
    shares = vectors.square()
    variance = torch.where(empty, 0.0, shares / values.clamp(min=SINGULAR)).sum(-1) * scale.square()
    lost = torch.where(empty, shares, 0.0).sum(-1) > 1e-8
    result = torch.zeros(len(prior), dtype=torch.float64)
    result[left] = torch.where(lost, torch.inf, variance.sqrt())
    return result, int(empty.sum())


def main() -> None:
    information = joint_information(noise_levels())
    columns = {"gains known": priors(0.0, tissue=False)}
    columns |= {f"gains ±{100 * sd:.0f} %": priors(sd, tissue=False) for sd in GAINS}
    columns["gains free"] = priors(None, tissue=False)
    columns["gains known, tissue prior"] = priors(0.0, tissue=True)
    columns |= {f"gains ±{100 * sd:.0f} %, tissue prior": priors(sd, tissue=True) for sd in GAINS}
    columns["gains free, tissue prior"] = priors(None, tissue=True)
    found = {name: bounds(information, prior) for name, prior in columns.items()}
    alone = priors(0.0, tissue=True).rsqrt()
    print("| tissue | map |", " | ".join(columns), "| tissue prior alone |")
    print("| --- | --- |" + " ---: |" * (len(columns) + 1))
    for place, tissue in enumerate(TISSUE):
        for number, name in enumerate(NAMES):
            index = 3 * place + number
            if index != FIXED:
                cells = [100 * float(one[index]) for one in (*(b for b, _ in found.values()), alone)]
                shown = " | ".join("∞" if cell == float("inf") else f"{cell:.1f}" for cell in cells)
                print(f"| {tissue.replace('_', ' ')} | {name} | {shown} |")
    for name, (_, n_empty) in found.items():
        print(f"{name}: {n_empty} directions without information")


if __name__ == "__main__":
    main()
