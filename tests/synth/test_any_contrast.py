"""Random images of a head of balls: contrasts by their equations, and images that meet their distances."""

import math

import pytest
import torch

from tests.synth.anatomy.balls import ball_head
from unweight.core.seeding import seeded_generator
from unweight.synth.anatomy.head_parts import PART, PARTS
from unweight.synth.any_contrast import AnyContrast, Timings, draw_images, draw_levels, tissue_table

TABLE = torch.tensor([[1.0, 0.1, 0.8, 5.0]])
PLAIN = AnyContrast(
    physical=1.0, noise=(1e-4, 2e-4), bias=0.0, slab=0.0, stripped=0.0, defaced=0.0, lesions=0.0
)


def test_signals_by_their_equations() -> None:
    e1 = math.exp(-2.0)
    echo = Timings(tr=2.0, te=0.05).signal(TABLE)
    assert float(echo) == pytest.approx(0.8 * (1 - e1) * math.exp(-0.5), rel=1e-5)
    null = Timings(tr=1e3, te=0.01, ti=math.log(2)).signal(TABLE)
    assert float(null) == pytest.approx(0.0, abs=1e-6)
    # At the Ernst angle the signal of a spoiled gradient echo is largest.
    ernst = math.acos(math.exp(-0.05))
    at, below, above = (
        float(Timings(tr=0.05, te=0.0, angle=ernst * factor).signal(TABLE)) for factor in (1.0, 0.9, 1.1)
    )
    assert at > max(below, above)
    assert float(Timings(tr=0.05, te=0.1, angle=ernst).signal(TABLE)) == pytest.approx(
        at * math.exp(-0.1 * (10 + 5)), rel=1e-5
    )


def test_every_part_has_relaxation_times() -> None:
    table = tissue_table()
    assert table.shape == (len(PARTS), 4)
    assert bool((table[:, :2] > 0).all())


@pytest.mark.parametrize("seed", range(6))
def test_levels_lie_between_0_and_1(seed: int) -> None:
    levels = draw_levels(AnyContrast(), seeded_generator(seed))
    assert float(levels.max()) == pytest.approx(1.0)
    assert float(levels.min()) >= 0


@pytest.mark.parametrize("seed", range(4))
def test_images_meet_their_distances(seed: int) -> None:
    """The brain of the ball lies in a dark skull, so it is where the image is bright."""
    head = ball_head()
    for sample in draw_images(head, 48, PLAIN, seeded_generator(seed), 2):
        inside = (sample.distance < 0) & sample.visible
        near = sample.visible & (sample.distance.abs() < 8)  # without the skin
        levels = sample.image[near & (sample.distance < -4)].median()
        dark = sample.image[near & (sample.distance > 2.5) & (sample.distance < 4)].median()
        if abs(float(levels - dark)) < 0.02:
            continue  # a sequence in which bone and brain look alike
        bright = ((sample.image - dark) / (levels - dark) > 0.5) & (sample.distance < 5)
        found = bright & near
        true = inside & near
        assert 2 * float((found & true).sum()) / float(found.sum() + true.sum()) > 0.8


def test_the_same_numbers_give_the_same_images() -> None:
    head, prior = ball_head(), AnyContrast()
    (one,), (two,) = (draw_images(head, 32, prior, seeded_generator(7)) for _ in range(2))
    assert torch.equal(one.image, two.image)
    (other,) = draw_images(head, 32, prior, seeded_generator(8))
    assert not torch.equal(one.image, other.image)


def test_what_is_cut_away_is_0() -> None:
    head = ball_head()
    stripped = AnyContrast(stripped=1.0, slab=0.0, defaced=0.0)
    (sample,) = draw_images(head, 48, stripped, seeded_generator(1))
    assert not bool(sample.image[sample.distance > 5].any())
    (slab,) = draw_images(head, 48, AnyContrast(slab=1.0), seeded_generator(2))
    assert not bool(slab.image[~slab.visible].any())
    assert float(slab.visible.float().mean()) < 0.9


def test_labels_of_the_eyes_are_parts() -> None:
    assert PART["vitreous"] > PART["air"]


def test_routine_sequences_order_tissues_as_scans_do() -> None:
    """Fluid is the darkest or the brightest tissue: T1w and FLAIR against T2w."""
    prior = AnyContrast(physical=1.0, routine=1.0)
    places = [PART[name] for name in ("csf", "grey_matter", "white_matter")]
    orders = set()
    for seed in range(60):
        levels = draw_levels(prior, seeded_generator(seed))[places]
        orders.add(tuple(levels.argsort().tolist()))
    assert (0, 1, 2) in orders  # T1w: fluid, grey, white
    assert (2, 1, 0) in orders  # T2w: white, grey, fluid
    assert (0, 2, 1) in orders  # FLAIR: fluid, white, grey


def test_grids_of_other_voxels_and_places() -> None:
    prior = AnyContrast(grid_mm=1.0, anywhere=1.0, texture=0.1, slab=0.0, stripped=0.0)
    (sample,) = draw_images(ball_head(), 64, prior, seeded_generator(5))
    span = (sample.places[32, 32, 63] - sample.places[32, 32, 0]).norm() / 63
    assert 0.7 < float(span) < 1.4  # voxels of the labels, which have 1 mm
    assert bool((sample.distance[30:34, 30:34, 30:34] < 6).all())  # its middle lies in the brain
