"""The shipped weights for T1w images: they make images, and find structures, of a new head."""

import functools
from dataclasses import replace

import pytest
import torch

from tests.learn.names import FROM_ECHOES, STRUCTURES, T1W_CONDITIONED
from unweight.core.seeding import seeded_generator
from unweight.learn.mprage.methods import load_network, load_synthesiser
from unweight.learn.pairs.cohort import CohortRecipe, person_pair
from unweight.learn.pairs.echo_channels import LEVEL, MASK, Conditions
from unweight.learn.pairs.pair import DATA_RANGE, Pair
from unweight.learn.pairs.scan_range import plain_scan, scan_features
from unweight.learn.segmentation.structures import find_structures
from unweight.metrics.image_quality import psnr
from unweight.metrics.structures import LABELS
from unweight.synth.anatomy.procedural_head import procedural_head
from unweight.synth.protocols.standard import eight_echoes


@functools.cache
def person() -> Pair:
    """A person with voxels of 2 mm, coarser than any of the training, of a head drawn from numbers."""
    head = procedural_head(
        seeded_generator(3, "head"),
        shape=(180, 216, 180),
        voxel_mm=(1.0, 1.0, 1.0),
        centre_mm=(0.0, -16.0, 12.0),
    )
    recipe = CohortRecipe(n=(0, 0, 1), voxel_mm=2.0)
    return person_pair(recipe, [head], "test", 0)


@functools.cache
def layers() -> Pair:
    """Six layers of the person, through ventricles and deep grey matter: networks work by planes."""
    whole = person()
    first = whole.target.shape[2] // 2 - 3
    kept = slice(first, first + 6)
    cut = {name: getattr(whole, name)[..., kept] for name in ("channels", "target", "labels")}
    return replace(whole, **cut)


def inside(pair: Pair) -> torch.Tensor:
    return pair.channels[MASK] > 0


@pytest.mark.parametrize("name", [*FROM_ECHOES, T1W_CONDITIONED])
def test_images_are_like_the_true_one(name: str) -> None:
    pair = layers()
    truth, mask = pair.target.float(), inside(pair)
    made, card = load_synthesiser(name)
    scan = scan_features(plain_scan(eight_echoes().protocol)) if name == T1W_CONDITIONED else None
    found = made(pair.channels.float(), Conditions(scan=scan))
    # What anyone could say without a network: the level, brought to the mean and spread of the truth.
    level = pair.channels[LEVEL].float()[mask]
    guess = torch.zeros_like(truth)
    guess[mask] = (level - level.mean()) / level.std() * truth[mask].std() + truth[mask].mean()
    assert psnr(found.mean, truth, mask, DATA_RANGE) > psnr(guess, truth, mask, DATA_RANGE) + 2
    assert "simulated" in card.trained_on and "simulated subjects only" in card.limits


def test_images_are_made_without_conditions_too() -> None:
    pair = person()
    made, _ = load_synthesiser("mprage-unet")
    truth, channels, mask = pair.target.float(), pair.channels.float(), inside(pair)
    told = [
        psnr(made(channels, one).mean, truth, mask, DATA_RANGE)
        for one in (Conditions(), Conditions(False, False))
    ]
    assert told[0] > told[1] > told[0] - 5


def test_structures_are_found() -> None:
    pair = person()
    network, _ = load_network(STRUCTURES)
    share = find_structures(network, pair.target.float(), pair.channels[MASK].float())
    found = share.argmax(0)
    for name in ("grey_matter", "white_matter"):
        here, there = (found == LABELS[name]) & inside(pair), pair.labels == LABELS[name]
        assert 2 * int((here & there).sum()) > 0.7 * (int(here.sum()) + int(there.sum())), name
