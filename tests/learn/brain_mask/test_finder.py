"""From distances to masks: borders, pieces, and objects that are unlike a brain."""

import logging

import pytest
import torch
from torch import Tensor, nn

from tests.synth.anatomy.balls import radius
from unweight.core.errors import InputError
from unweight.learn.brain_mask.finder import (
    NetworkBrain,
    main_piece,
    surface_slope,
    unlike_a_brain,
)
from unweight.learn.brain_mask.network import SCALE_MM

SIZES = (2.0, 2.0, 2.0)
GRID = torch.diag(torch.tensor([2.0, 2.0, 2.0, 1.0], dtype=torch.float64))
SHAPE = (96, 96, 96)
BALL_MM = 70.0


class Ball(nn.Module):
    """Finds the distance to a ball in the middle, whatever it is given."""

    def __init__(self, radius_mm: float = BALL_MM, slope: float = 1.0) -> None:
        super().__init__()
        self.radius_mm, self.slope = radius_mm, slope

    def forward(self, image: Tensor) -> Tensor:
        shape = image.shape[2:]
        distance = self.slope * (radius((shape[0], shape[1], shape[2]), 2.0) - self.radius_mm)
        return (distance / SCALE_MM)[None, None]


def head() -> Tensor:
    """A bright ball in a ring of skin."""
    r = radius(SHAPE, 2.0)
    noise = 0.02 * torch.rand(SHAPE, generator=torch.Generator().manual_seed(0))
    return noise + 1.0 * (r < BALL_MM) + 0.8 * ((r > 80) & (r < 88))


def volume_ml(mask: Tensor) -> float:
    return float(mask.sum()) * 8 / 1000


def ball_ml(radius_mm: float) -> float:
    return 4 / 3 * torch.pi * radius_mm**3 / 1000


@pytest.mark.parametrize("border", [-3.0, 0.0, 4.0])
def test_the_border_moves_the_surface(border: float) -> None:
    found = NetworkBrain(network=Ball(), border_mm=border).in_images([head()], GRID)
    assert volume_ml(found.mask) == pytest.approx(ball_ml(BALL_MM + border), rel=0.02)
    assert found.remarks == ()
    assert ("mm from its surface" in found.how) == (border != 0)


def test_the_mask_of_echoes_ends_a_millimetre_earlier() -> None:
    echoes = torch.stack([head(), 0.5 * head()], dim=-1)
    found = NetworkBrain(network=Ball()).in_echoes(echoes, GRID)
    assert volume_ml(found.mask) == pytest.approx(ball_ml(BALL_MM - 1), rel=0.02)


def test_a_stripped_image_is_taken_as_it_is() -> None:
    image = torch.where(radius(SHAPE, 2.0) < 60, head(), 0.0)
    found = NetworkBrain(network=Ball()).in_images([image], GRID)
    assert volume_ml(found.mask) == pytest.approx(ball_ml(60), rel=0.02)


def test_objects_that_are_unlike_a_brain() -> None:
    r = radius(SHAPE, 2.0)
    assert unlike_a_brain(r - BALL_MM, SIZES) == ""
    assert "volume" in unlike_a_brain(r - 40, SIZES)
    assert "volume" in unlike_a_brain(r - 91, SIZES)
    assert "rises" in unlike_a_brain(0.3 * (r - BALL_MM), SIZES)
    # The end of the field of view cuts a brain to any size.
    assert unlike_a_brain((r - BALL_MM)[:, :, :20], SIZES) == ""


def test_the_slope_of_a_distance_is_1() -> None:
    r = radius(SHAPE, 2.0)
    assert surface_slope(r - BALL_MM, SIZES) == pytest.approx(1.0, abs=0.02)
    assert surface_slope(2 * (r - BALL_MM), SIZES) == pytest.approx(2.0, abs=0.05)
    assert surface_slope((r - BALL_MM)[:, :, :1], SIZES) is None
    assert surface_slope(r + 100, SIZES) is None


def test_what_is_unlike_a_brain_gets_the_classical_mask(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        found = NetworkBrain(network=Ball(radius_mm=20)).in_images([head()], GRID)
    (remark,) = found.remarks
    assert "unlike a brain" in remark
    assert remark in caplog.text
    assert volume_ml(found.mask) == pytest.approx(ball_ml(BALL_MM), rel=0.1)


def test_the_largest_piece_without_holes() -> None:
    mask = torch.zeros(20, 20, 20, dtype=torch.bool)
    mask[2:12, 2:12, 2:12] = True
    mask[5, 5, 5] = False
    mask[15:17, 15:17, 15:17] = True
    piece = main_piece(mask)
    assert int(piece.sum()) == 1000
    with pytest.raises(InputError, match="no brain"):
        main_piece(torch.zeros(3, 3, 3, dtype=torch.bool))
