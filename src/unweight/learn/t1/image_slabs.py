"""Simulated slabs as the published networks see them: weighted images of one protocol, and true maps.

As published they are cut from heads alone, with normal tissue: what short T1 looks like is never seen.
"""

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from unweight.learn.t1.slabs import SlabRecipe, measured_slab
from unweight.synth.anatomy.labels import Anatomy
from unweight.synth.scanner.measure import reference_intensity


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class ImageSlabs:
    """Slabs of a recipe with fixed inversion times, made when they are asked for.

    Attributes:
        recipe: What they are made from.
        anatomies: Heads to cut from.
        seed: Of all slabs.
        length: How many there are.
    """

    recipe: SlabRecipe
    anatomies: tuple[Anatomy, ...]
    seed: int
    length: int

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Make one slab: `signal` over the reference intensity, and `truth`, T1 [s], relative PD and B.

        Raises:
            IndexError: The index lies beyond the length.
        """
        slab = measured_slab(self.recipe, self.anatomies, self.seed, self.length, index)
        acquisition, truth = slab.acquisition, slab.truth
        scale = reference_intensity(acquisition.signal)
        relative = truth / torch.tensor([1.0, scale if scale > 0 else math.nan, 1.0])
        return {
            "signal": (acquisition.signal / max(scale, 1e-12)).movedim(-1, 0).half(),
            "truth": relative.movedim(-1, 0).clamp(max=6e4).half(),
        }
