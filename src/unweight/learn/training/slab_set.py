"""The slabs of a recipe as what a loader takes."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from torch.utils.data import Dataset

from unweight.core.seeding import seeded_generator
from unweight.learn.t1.image_slabs import ImageSlabs
from unweight.learn.t1.slabs import Slabs, strewn
from unweight.learn.training.recipe import FROM_FITS, Recipe
from unweight.learn.weighted.slabs import WeightedSlabRecipe, WeightedSlabs, as_examined
from unweight.synth.anatomy.labels import Anatomy

TRAIN = "train"


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class SlabSet(Dataset[dict[str, Tensor]]):
    """Some of the slabs of a recipe.

    Attributes:
        slabs: All of them.
        chosen: Which.
    """

    slabs: Slabs | ImageSlabs | WeightedSlabs
    chosen: range

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Make one.

        Raises:
            IndexError: The index lies beyond the length.
        """
        return self.slabs[self.chosen[index]]


def slab_set(recipe: Recipe, anatomies: tuple[Anatomy, ...], *, part: str, length: int) -> SlabSet:
    """Return the slabs of a recipe.

    Args:
        recipe: What is trained.
        anatomies: Heads of the part.
        part: `train`, `calibration` …: slabs of different parts have nothing in common. Of weighted
            images those of other parts than `train` are like what is examined, heads with normal tissue.
        length: How many.
    """
    seed = int(torch.randint(2**31, (), generator=seeded_generator(recipe.seed, "slabs", part)))
    if isinstance(recipe.slabs, WeightedSlabRecipe):
        slabs_of = recipe.slabs if part == TRAIN else as_examined(recipe.slabs)
        weighted = WeightedSlabs(recipe=slabs_of, anatomies=anatomies, seed=seed, length=length)
        return SlabSet(slabs=weighted, chosen=range(length))
    series = recipe.series
    heads = strewn(anatomies, seed) if series.specks else anatomies
    kind = Slabs if recipe.method in FROM_FITS else ImageSlabs
    slabs = kind(recipe=series, anatomies=heads, seed=seed, length=length)
    return SlabSet(slabs=slabs, chosen=range(length))
