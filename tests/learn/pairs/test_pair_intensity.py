"""The scale of T1w images against histograms and fields that are known."""

import pytest
import torch
from torch import Tensor

from tests.prepare.heads import BALLS, inside, lattice, points_of
from unweight.core.errors import InputError
from unweight.core.seeding import seeded_generator
from unweight.learn.pairs.pair import on_own_scale, white_matter_peak

PLACE = lattice((4.0, 4.0, 4.0))
WHITE, GREY = 520.0, 330.0


def two_tissues(n_grey: int, n_white: int, sd: float = 25.0, seed: int = 1) -> Tensor:
    noise = sd * torch.randn(n_grey + n_white, generator=seeded_generator(seed))
    level = torch.full_like(noise, GREY)
    level[n_grey:] = WHITE
    return (level + noise)[:, None, None]


def everywhere(image: Tensor) -> Tensor:
    return torch.ones_like(image, dtype=torch.bool)


@pytest.mark.parametrize("n_white", [50_000, 90_000])
def test_the_brightest_peak_is_white_matter_though_there_be_more_grey(n_white: int) -> None:
    """To a bin or two of 256, which are 2.4 wide."""
    image = two_tissues(100_000, n_white)
    assert white_matter_peak(image, everywhere(image)) == pytest.approx(WHITE, abs=6)


def test_a_few_bright_voxels_are_no_tissue() -> None:
    """As high as a fifth of the highest peak: vessels and what is left of fat."""
    image = two_tissues(100_000, 20_000)
    assert white_matter_peak(image, everywhere(image)) == pytest.approx(GREY, abs=6)


def test_one_tissue_and_none_of_the_others() -> None:
    image = two_tissues(0, 3000, sd=1.0)
    assert white_matter_peak(image, everywhere(image)) == pytest.approx(WHITE, abs=4)


def test_what_lies_outside_and_what_has_no_number_are_of_no_account() -> None:
    image = two_tissues(30_000, 20_000)
    expected = white_matter_peak(image, everywhere(image))
    more = torch.cat([image, torch.full((40_000, 1, 1), 2000.0), torch.full((9, 1, 1), torch.nan)])
    mask = torch.ones_like(more, dtype=torch.bool)
    mask[len(image) : -9] = False
    assert white_matter_peak(more, mask) == expected


@pytest.mark.parametrize("scale", [1e-3, 7.3, 4e4])
def test_the_peak_goes_with_the_scale(scale: float) -> None:
    image = two_tissues(30_000, 20_000)
    mask = everywhere(image)
    # To a bin.
    assert white_matter_peak(scale * image, mask) / scale == pytest.approx(
        white_matter_peak(image, mask), rel=0.006
    )


def test_too_little_tells_no_intensity() -> None:
    image = two_tissues(300, 300)
    few = torch.zeros_like(image, dtype=torch.bool)
    few[:199] = True
    with pytest.raises(
        InputError, match="199 voxels in the mask do not determine the intensity of white matter"
    ):
        white_matter_peak(image, few)
    few[199] = True
    assert white_matter_peak(image, few) > 0
    with pytest.raises(InputError, match="600 voxels in the mask do not determine the intensity"):
        white_matter_peak(torch.zeros_like(image), everywhere(image))


def brain() -> tuple[Tensor, Tensor]:
    """White matter around grey balls, with noise, and the mask."""
    points, noise = points_of(PLACE), torch.randn(PLACE.shape, generator=seeded_generator(2))
    image = torch.full(PLACE.shape, WHITE)
    for middle, radius, *_ in BALLS[1:]:
        far = (points - torch.tensor(middle, dtype=torch.float64)).norm(dim=-1)
        image[far < radius] = GREY
    mask = points.norm(dim=-1) < BALLS[0][1]
    return torch.where(inside(PLACE), image + 10 * noise, 0.0), mask


def shading() -> Tensor:
    x, y, z = (points_of(PLACE) / 80).unbind(-1)
    return torch.exp(0.5 * x - 0.4 * y * z + 0.3 * z).float()


def test_white_matter_has_one_under_any_field() -> None:
    pytest.importorskip("SimpleITK")
    plain, mask = brain()
    field = shading()
    made, again = (on_own_scale(image, mask, PLACE.affine) for image in (plain, plain * field))
    white, grey = mask & (plain > 480), mask & (plain > 200) & (plain < 370)
    for image in (made, again):
        assert float(image[white].median()) == pytest.approx(1.0, abs=0.02)
        assert float(image[grey].median()) == pytest.approx(GREY / WHITE, abs=0.02)
        assert float(image[~mask].abs().max()) == 0.0
    # As of N4 itself: a third at most of the field that was put in is left.
    left = torch.log(again[white] / made[white]).std()
    assert float(left / torch.log(field[white]).std()) < 0.33


def test_scale_and_extremes() -> None:
    pytest.importorskip("SimpleITK")
    image, mask = brain()
    made = on_own_scale(image, mask, PLACE.affine)
    torch.testing.assert_close(on_own_scale(30 * image, mask, PLACE.affine), made, rtol=0.01, atol=0.01)
    odd = image.clone()
    odd[20, 20, 20], odd[20, 20, 21], odd[20, 20, 22] = torch.nan, 100 * WHITE, -WHITE
    shown = on_own_scale(odd, mask, PLACE.affine)
    assert bool(torch.isfinite(shown).all())
    assert shown[20, 20, 20:23].tolist() == [0.0, 2.0, 0.0]


def test_an_empty_mask_is_refused() -> None:
    image, mask = brain()
    with pytest.raises(InputError, match="mask is empty"):
        on_own_scale(image, torch.zeros_like(mask), PLACE.affine)
