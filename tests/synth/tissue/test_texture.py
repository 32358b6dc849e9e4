import math

import pytest
import torch

from unweight.core.errors import UsageError
from unweight.core.seeding import seeded_generator
from unweight.synth.tissue.texture import texture


def test_the_standard_deviation_is_the_one_asked_for():
    fields = torch.stack(
        [texture((48, 48), (1.0, 1.0), 0.07, 2.0, seeded_generator(1, index)) for index in range(60)]
    )
    # 60 fields of about (48/2/sqrt(4 pi))^2 = 46 independent patches: the sd is known to about 1.3 %.
    assert fields.std().item() == pytest.approx(0.07, rel=0.05)
    assert abs(fields.mean().item()) < 0.005


@pytest.mark.parametrize("voxel", [1.0, 2.0])
def test_the_correlation_is_the_gaussian_of_its_equation(voxel):
    length = 3.0
    fields = torch.stack(
        [texture((64, 64), (voxel, 1.0), 1.0, length, seeded_generator(2, index)) for index in range(80)]
    )
    for lag in (1, 2, 3, 4):
        measured = (fields * fields.roll(lag, dims=1)).mean() / fields.square().mean()
        distance = lag * voxel
        # The sampling error of the correlation is about 2 % of 1 here.
        assert measured.item() == pytest.approx(math.exp(-(distance**2) / (4 * length**2)), abs=0.06)


def test_every_voxel_has_the_same_variance_up_to_the_edge():
    fields = torch.stack(
        [texture((16, 16), (1.0, 1.0), 1.0, 2.0, seeded_generator(3, index)) for index in range(2000)]
    )
    # 256 voxels, each variance known to 3.2 %; the extremes lie near 3 of these.
    assert (fields.var(0) - 1.0).abs().max().item() < 0.16


def test_a_short_length_is_white_noise_and_a_slice_stays_one():
    field = texture((80, 80, 1), (1.0, 1.0, 5.0), 1.0, 0.0, seeded_generator(4))
    assert field.shape == (80, 80, 1)
    assert field.std().item() == pytest.approx(1.0, rel=0.05)
    neighbour = (field * field.roll(1, dims=0)).mean().item()
    assert abs(neighbour) < 0.05


def test_the_same_generator_gives_the_same_field():
    first = texture((20, 30), (1.0, 1.0), 1.0, 3.0, seeded_generator(5))
    second = texture((20, 30), (1.0, 1.0), 1.0, 3.0, seeded_generator(5))
    assert torch.equal(first, second)


def test_nothing_is_drawn_where_nothing_is_wanted():
    assert torch.equal(texture((5, 5), (1.0, 1.0), 0.0, 3.0, seeded_generator(6)), torch.zeros(5, 5))


@pytest.mark.parametrize(
    ("shape", "voxel_mm", "sd", "length", "message"),
    [
        ((4, 4), (1.0,), 1.0, 1.0, "Give one voxel size per axis"),
        ((4, 0), (1.0, 1.0), 1.0, 1.0, "an empty grid"),
        ((4, 4), (1.0, -1.0), 1.0, 1.0, "an empty grid"),
        ((4, 4), (1.0, 1.0), -1.0, 1.0, "sd and length of 0 or more"),
        ((4, 4), (1.0, 1.0), 1.0, math.nan, "sd and length of 0 or more"),
    ],
)
def test_impossible_fields_are_refused(shape, voxel_mm, sd, length, message):
    with pytest.raises(UsageError, match=message):
        texture(shape, voxel_mm, sd, length, seeded_generator(7))
