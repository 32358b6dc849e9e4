from dataclasses import replace

import pytest
import torch

from tests.learn.lessons import head, slab_data, tiny
from tests.learn.names import MAPS, POSTERIOR, RESNET
from unweight.learn.t1.slabs import FittedSlabs, ImageSlabs
from unweight.learn.training.sample_cache import SlabSource
from unweight.learn.training.trainable import trainable
from unweight.learn.weighted.slabs import WeightedSlabs, as_examined

HEADS = (head("a"),)


def source_of(method: str) -> SlabSource:
    source = trainable(method)
    assert isinstance(source, SlabSource)
    return source


@pytest.mark.parametrize(
    ("method", "kind"), [(POSTERIOR, FittedSlabs), (RESNET, ImageSlabs), (MAPS, WeightedSlabs)]
)
def test_each_method_has_its_slabs(method: str, kind: type) -> None:
    slabs = source_of(method).dataset(tiny(method), HEADS, part="train", length=5)
    assert type(slabs) is kind and len(slabs) == 5
    assert slabs.recipe == tiny(method).slabs  # type: ignore[attr-defined]


@pytest.mark.parametrize("method", [POSTERIOR, RESNET, MAPS])
def test_parts_and_seeds_have_nothing_in_common(method: str) -> None:
    recipe = tiny(method)
    seeds = {
        source_of(method).dataset(one, HEADS, part=part, length=1).seed  # type: ignore[attr-defined]
        for one in (recipe, replace(recipe, seed=1))
        for part in ("train", "validation", "calibration")
    }
    assert len(seeds) == 6


def test_networks_of_weighted_images_are_scored_on_normal_heads() -> None:
    recipe = tiny(MAPS)
    for part in ("validation", "calibration"):
        slabs = source_of(MAPS).dataset(recipe, HEADS, part=part, length=1)
        assert isinstance(slabs, WeightedSlabs)
        assert slabs.recipe == as_examined(slabs.recipe)
        assert (slabs.recipe.shapes, slabs.recipe.far) == (0.0, 0.0)
        assert replace(slabs.recipe, shapes=0.15, far=0.3) == recipe.slabs


def test_processes_share_the_slabs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of two computes every other slab."""
    recipe = tiny(RESNET)
    whole = slab_data(RESNET).batches(recipe)
    for name, value in (("WORLD_SIZE", "2"), ("LOCAL_RANK", "1"), ("RANK", "1")):
        monkeypatch.setenv(name, value)
    share = slab_data(RESNET).batches(recipe)
    assert torch.equal(share.slabs["signal"], whole.slabs["signal"][1::2])
