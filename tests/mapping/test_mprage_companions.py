"""The images beside a synthetic T1w image: their names, and that they hold what they say."""

import math
from dataclasses import replace

import torch

from unweight.bids.derivatives.description import derived_images
from unweight.core.maps import ParameterMaps, VoxelStatus
from unweight.core.seeding import seeded_generator
from unweight.learn.mprage.estimator import T1W_IMAGE
from unweight.mapping.mprage import made_beside

SHAPE = (4, 5, 6)


def masked_maps(n_draws: int = 0) -> ParameterMaps:
    values = torch.rand(*SHAPE, 1, generator=seeded_generator(0))
    values[0] = math.nan
    status = torch.full(SHAPE, VoxelStatus.OK, dtype=torch.uint8)
    status[0] = VoxelStatus.MASKED
    draws = torch.rand(n_draws, *SHAPE, 1, generator=seeded_generator(1))
    draws[:, 0] = math.nan
    return ParameterMaps(
        specs=(T1W_IMAGE,),
        values=values,
        std=0.1 * values,
        status=status,
        draws=draws if n_draws else None,
    )


def test_brain_alone_where_nothing_was_drawn() -> None:
    mask = torch.rand(SHAPE, generator=seeded_generator(2)) > 0.5
    (brain,) = made_beside(masked_maps(), mask)
    assert (brain.key, brain.desc, brain.suffix, brain.unit) == ("brain", "T1wbrain", "mask", None)
    assert torch.equal(brain.values, mask) and "brain" in brain.description


def test_draws_are_numbered_images_without_holes() -> None:
    maps = masked_maps(n_draws=3)
    assert maps.draws is not None
    brain, *draws = made_beside(maps, torch.ones(SHAPE, dtype=torch.bool))
    assert brain.key == "brain"
    assert [one.key for one in draws] == ["draw 1", "draw 2", "draw 3"]
    assert [one.desc for one in draws] == ["synth1", "synth2", "synth3"]
    assert {(one.suffix, one.unit) for one in draws} == {("T1w", "arbitrary")}
    assert draws[1].description.startswith("Draw 2 of 3")
    for drawn, one in zip(maps.draws, draws, strict=True):
        assert not one.values[0].any()
        assert torch.equal(one.values[1:], drawn[1:, ..., 0])
    assert torch.isnan(maps.draws[:, 0]).all()


def test_no_name_is_taken_twice() -> None:
    """Beside the images that every set of maps has."""
    maps = masked_maps(n_draws=2)
    images = [*derived_images(maps), *made_beside(maps, torch.ones(SHAPE, dtype=torch.bool))]
    names = [(one.desc, one.suffix) for one in images]
    assert len(set(names)) == len(names) and len({one.key for one in images}) == len(images)


def test_brain_of_another_map_is_named_after_it() -> None:
    """So that sets share a folder."""
    spec = replace(T1W_IMAGE, suffix="T2w")
    (brain,) = made_beside(replace(masked_maps(), specs=(spec,)), torch.ones(SHAPE, dtype=torch.bool))
    assert brain.desc == "T2wbrain"
