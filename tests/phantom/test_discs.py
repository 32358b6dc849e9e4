import pytest
import torch

from unweight.core.seeding import seeded_generator
from unweight.phantom.discs import disc_votes

SIZE = (1.5, 1.0)


def disc(radius: float, height: float) -> torch.Tensor:
    x = (torch.arange(60, dtype=torch.float64) - 30) * SIZE[0]
    y = (torch.arange(90, dtype=torch.float64) - 45) * SIZE[1]
    noise = 0.01 * torch.randn(60, 90, generator=seeded_generator(1), dtype=torch.float64)
    return 1.0 + height * (x[:, None] ** 2 + y**2 < radius**2) + noise


@pytest.mark.parametrize("height", [1.0, -0.8], ids=["bright", "dark"])
def test_a_disc_gets_nearly_one_vote_in_its_centre(height: float) -> None:
    votes = disc_votes(disc(8.0, height)[..., None], SIZE, (7.0, 9.0))
    assert divmod(int(votes.argmax()), 90) == (30, 45)
    assert float(votes.max()) > 0.9


def test_one_clear_image_is_enough() -> None:
    flat = torch.ones(60, 90, dtype=torch.float64)
    flat = flat + 0.01 * torch.randn(60, 90, generator=seeded_generator(2), dtype=torch.float64)
    votes = disc_votes(torch.stack((flat, disc(8.0, 1.0), flat), -1), SIZE, (7.0, 9.0))
    assert float(votes[30, 45]) > 0.9


def test_other_sizes_edges_and_noise_get_little() -> None:
    straight = torch.zeros(60, 90, 1, dtype=torch.float64)
    straight[30:] = 1.0
    straight += 0.01 * torch.randn(straight.shape, generator=seeded_generator(3), dtype=torch.float64)
    noise = torch.rand(60, 90, 3, generator=seeded_generator(4), dtype=torch.float64)
    assert float(disc_votes(disc(16.0, 1.0)[..., None], SIZE, (7.0, 9.0)).max()) < 0.35
    assert float(disc_votes(straight, SIZE, (7.0, 9.0)).max()) < 0.35
    assert float(disc_votes(noise, SIZE, (7.0, 9.0)).max()) < 0.35


def test_empty_and_infinite_images_give_numbers() -> None:
    empty = torch.zeros(30, 30, 2)
    assert bool((disc_votes(empty, SIZE, (7.0, 9.0)) == 0).all())
    empty[4, 4, 0] = torch.nan
    votes = disc_votes(empty, SIZE, (7.0, 9.0))
    assert votes.dtype == torch.float32 and bool(torch.isfinite(votes).all())
