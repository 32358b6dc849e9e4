from dataclasses import replace

import pytest
import torch

from tests.learn.lessons import head, tiny
from unweight.learn.t1.image_slabs import ImageSlabs
from unweight.learn.t1.slabs import Slabs
from unweight.learn.training.recipe import MAPS, POSTERIOR, RESNET
from unweight.learn.training.slab_set import SlabSet, slab_set
from unweight.learn.weighted.slabs import WeightedSlabs, as_examined

HEADS = (head("a"),)


@pytest.mark.parametrize(
    ("method", "kind"), [(POSTERIOR, Slabs), (RESNET, ImageSlabs), (MAPS, WeightedSlabs)]
)
def test_each_method_has_its_slabs(method: str, kind: type) -> None:
    made = slab_set(tiny(method), HEADS, part="train", length=5)
    assert type(made.slabs) is kind and len(made) == 5
    assert made.slabs.recipe == tiny(method).slabs


@pytest.mark.parametrize("method", [POSTERIOR, RESNET, MAPS])
def test_parts_and_seeds_have_nothing_in_common(method: str) -> None:
    recipe = tiny(method)
    seeds = {
        slab_set(one, HEADS, part=part, length=1).slabs.seed
        for one in (recipe, replace(recipe, seed=1))
        for part in ("train", "validation", "calibration")
    }
    assert len(seeds) == 6


def test_networks_of_weighted_images_are_scored_on_normal_heads() -> None:
    recipe = tiny(MAPS)
    for part in ("validation", "calibration"):
        made = slab_set(recipe, HEADS, part=part, length=1).slabs
        assert isinstance(made, WeightedSlabs)
        assert made.recipe == as_examined(made.recipe)
        assert (made.recipe.shapes, made.recipe.far) == (0.0, 0.0)
        assert replace(made.recipe, shapes=0.15, far=0.3) == recipe.slabs


def test_a_share_of_the_slabs_is_the_same_slabs() -> None:
    made = slab_set(tiny(MAPS), HEADS, part="train", length=4)
    some = SlabSet(slabs=made.slabs, chosen=range(1, 4, 2))
    assert len(some) == 2
    assert torch.equal(some[1]["images"], made[3]["images"])
    with pytest.raises(IndexError):
        some[2]
