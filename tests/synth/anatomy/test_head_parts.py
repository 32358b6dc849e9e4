"""Eyes, neck and distances: against a head of balls, and in a head drawn from random numbers."""

import pytest
import torch

from tests.synth.anatomy.balls import BRAIN_MM, ball_anatomy, radius
from unweight.core.errors import InputError
from unweight.core.seeding import seeded_generator
from unweight.synth.anatomy.head_parts import EYE, PART, LabelledHead, with_parts
from unweight.synth.anatomy.labels import Anatomy
from unweight.synth.anatomy.procedural_head import procedural_head


@pytest.fixture(scope="module")
def ball() -> LabelledHead:
    return with_parts(ball_anatomy(), seeded_generator(1))


@pytest.fixture(scope="module")
def head() -> LabelledHead:
    anatomy = procedural_head(seeded_generator(2), shape=(91, 109, 91), voxel_mm=(2.0, 2.0, 2.0))
    return with_parts(anatomy, seeded_generator(2))


def places(head: LabelledHead, name: str) -> torch.Tensor:
    """Where a part is [mm]."""
    return (head.labels == PART[name]).nonzero().double() @ head.affine[:3, :3].T + head.affine[:3, 3]


def test_distances_are_those_of_a_ball(ball: LabelledHead) -> None:
    """Above the layer in which the brain was taken to end."""
    true = radius((60, 60, 60), 2.0) - BRAIN_MM
    upper = ball.distance[:, :, -60:]
    some = (true.abs() < 15) & (torch.arange(60) > 25)[None, None, :]
    assert float((upper - true)[some].abs().max()) < 1.0
    assert float((upper - true)[some].mean().abs()) < 0.2


def test_the_neck_goes_down_and_the_brain_does_not(ball: LabelledHead) -> None:
    bottom = float(ball.affine[2, 3])
    assert bottom == pytest.approx(-135, abs=1)
    lowest = (ball.distance < 0).any(0).any(0).nonzero()[0, 0] * 2 + bottom
    assert float(lowest) > -BRAIN_MM - 1
    assert float(places(ball, "cord")[:, 2].min()) < -100


def test_two_eyes_in_front_of_the_brain(head: LabelledHead) -> None:
    vitreous = places(head, "vitreous")
    for side in (-1, 1):
        own = vitreous[side * vitreous[:, 0] > 0]
        assert 2000 < len(own) < 12_000  # [mm³]; an eye has about 6 ml
        assert 25 < float(own[:, 0].mean().abs()) < 40
        assert float(own[:, 1].mean()) > 35
    for name in EYE:
        assert len(places(head, name)) > 50


def test_nothing_is_put_into_the_brain(head: LabelledHead) -> None:
    fine = torch.nn.functional.interpolate(head.distance[None, None], scale_factor=2.0, mode="nearest")[
        0, 0
    ]
    outside = torch.tensor([PART[name] for name in (*EYE, "mucosa", "air", "muscle")], dtype=torch.uint8)
    assert not bool((torch.isin(head.labels, outside) & (fine < -3)).any())


def test_the_same_numbers_give_the_same_head(ball: LabelledHead) -> None:
    again = with_parts(ball_anatomy(), seeded_generator(1))
    assert torch.equal(again.labels, ball.labels)
    other = with_parts(ball_anatomy(), seeded_generator(5))
    assert not torch.equal(other.labels, ball.labels)


def test_a_head_without_a_brain_is_refused() -> None:
    anatomy = ball_anatomy()
    empty = Anatomy(
        labels=torch.zeros_like(anatomy.labels),
        voxel_mm=anatomy.voxel_mm,
        subject="empty",
        affine=anatomy.affine,
    )
    with pytest.raises(InputError, match="without a brain"):
        with_parts(empty, seeded_generator(0))
