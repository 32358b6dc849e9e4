"""What the brain mask changes in maps of simulated heads: the true mask, and that of each method.

    python benchmarks/mask_effect.py BRAINWEB_DIR [WEIGHTS]

Two unseen heads with eyes, sinuses, mouth and neck, which BrainWeb does not label. `maps`: T1w, T2w and
FLAIR in voxels of 1 x 1 x 3 mm, spin echo or MPRAGE, mapped by `embedding`; errors are those of white and
grey matter, where all masks have a value. `qsm`: eight echoes, as in `unweight evaluate qsm`, the RMSE of
susceptibility where all have a value. The other columns are shares of white and grey matter without a value
and of the mask outside the brain.
"""

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Bool
from torch import Tensor

from unweight.benchmark.qsm.heads import qsm_heads
from unweight.core.seeding import seeded_generator
from unweight.fit.susceptibility import SusceptibilityFit
from unweight.heads.source import TEST, BrainwebHeads
from unweight.learn.brain_mask.finder import load_brain_finder
from unweight.learn.training.trainable import load_estimator
from unweight.prepare.brain_finder import BrainFinder, ClassicalBrain
from unweight.prepare.qsm_series import brain_of_echoes
from unweight.synth.anatomy.head_parts import PARTS, LabelledHead, with_parts
from unweight.synth.anatomy.labels import Anatomy
from unweight.synth.protocols.standard import Scan, mprage, routine_contrasts
from unweight.synth.simulate_weighted import SimulatedImages, examine
from unweight.synth.tissue.materials import INDEX
from unweight.synth.tissue.prior import TissuePrior

N_HEADS = 2
FACTOR = (1, 1, 3)
LIKE = {
    "vitreous": "csf",
    "lens": "muscle",
    "optic_nerve": "white_matter",
    "mucosa": "muscle",
    "cord": "white_matter",
    "canal": "csf",
}
PURE = 0.95
TISSUES = ("white_matter", "grey_matter")
Mask = Bool[Tensor, "x y z"]


def as_anatomy(head: LabelledHead) -> Anatomy:
    """Return the head with a material for each label."""
    table = torch.tensor([INDEX[LIKE.get(name, name)] for name in PARTS], dtype=torch.uint8)
    depth = head.labels.shape[2] - head.labels.shape[2] % FACTOR[2]
    return Anatomy(
        labels=table[head.labels[:, :, :depth].long()],
        voxel_mm=(1.0, 1.0, 1.0),
        subject=head.subject,
        affine=head.affine,
    )


def exams(anatomy: Anatomy) -> Iterator[tuple[str, SimulatedImages]]:
    """Give an exam with spin echo and one with MPRAGE."""
    tissue = TissuePrior(short=None).draw(seeded_generator(0, "mask effect", anatomy.subject), 3.0)
    routine = routine_contrasts()
    protocols: dict[str, tuple[Scan, ...]] = {
        "maps, T1w spin echo": routine,
        "maps, MPRAGE": (mprage(), *routine[1:]),
    }
    for name, scans in protocols.items():
        yield name, examine(anatomy, FACTOR, tissue, scans, seeded_generator(0, "mask effect", name))


def row(what: str, subject: str, method: str, mask: Mask, brain: Mask, tissue: Mask, errors: str) -> None:
    lost = 100 * float((tissue & ~mask).sum() / tissue.sum())
    outside = 100 * float((mask & ~brain).sum() / mask.sum())
    print(f"{what} | {subject} | {method} | {errors} | {lost:.1f} | {outside:.1f}", flush=True)


def map_exams(head: LabelledHead, finders: Mapping[str, BrainFinder]) -> None:
    estimator, _ = load_estimator("maps")
    anatomy = as_anatomy(head)
    brain = F.interpolate(head.distance[None, None], size=list(head.labels.shape), mode="trilinear")[0, 0]
    coarse = F.avg_pool3d(brain[None, None, ..., : anatomy.labels.shape[2]], FACTOR)[0, 0] < 0
    for what, examined in exams(anatomy):
        exam = examined.examination
        images = [image.signal for image in exam.images]
        found = {name: finder.in_images(images, exam.affine).mask for name, finder in finders.items()}
        shares = torch.stack([examined.scene.share(name) for name in TISSUES]) > PURE
        tissue = shares.any(0) & coarse
        masks = {"true": coarse, **found}
        common = tissue & torch.stack(list(masks.values())).all(0)
        for method, mask in masks.items():
            values = estimator(replace(exam, mask=mask)).values
            away = (values / examined.truth - 1).abs()[common].nanmean(0) * 100
            row(what, head.subject, method, mask, coarse, tissue, " / ".join(f"{x:.1f} %" for x in away))


def map_chi(folder: Path, finders: Mapping[str, BrainFinder]) -> None:
    for head in qsm_heads(folder, ("plain",)):
        found = {name: brain_of_echoes(head.acquisition, finder).mask for name, finder in finders.items()}
        masks = {"true": head.clean, **found}
        maps = {
            name: SusceptibilityFit()(replace(head.acquisition, mask=mask)) for name, mask in masks.items()
        }
        known = {name: torch.isfinite(chi.values[..., 0]) for name, chi in maps.items()}
        common = head.clean & torch.stack(list(known.values())).all(0)
        for method in masks:
            away = (maps[method].values[..., 0] - head.chi)[common]
            rmse = 1000 * float((away - away.mean()).square().mean().sqrt())
            row("qsm", head.name, method, known[method], head.clean, head.clean, f"{rmse:.1f} ppb")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("brainweb", type=Path)
    parser.add_argument("weights", type=Path, nargs="?")
    options = parser.parse_args()
    finders: dict[str, BrainFinder] = {
        "classical": ClassicalBrain(),
        "network": load_brain_finder("brain-mask", options.weights)[0],
    }
    print("what | head | mask | error | tissue without a value % | mask outside the brain %")
    print("--- | --- | --- | --- | ---: | ---:")
    source = BrainwebHeads(options.brainweb)
    for index in range(N_HEADS):
        head = with_parts(source.read(TEST, index), seeded_generator(0, "head parts", TEST, index))
        map_exams(head, finders)
    map_chi(options.brainweb, finders)


if __name__ == "__main__":
    main()
