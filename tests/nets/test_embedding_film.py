import torch

from tests.nets.probes import draw, scrambled
from unweight.core.seeding import seeded_generator
from unweight.nets.embedding import FiLM, Shift


def test_film_is_the_identity_until_trained() -> None:
    image = draw(2, 3, 4, 5)
    assert torch.equal(FiLM(7, 3, generator=seeded_generator(0)).double()(image, draw(2, 7)), image)


def test_equations() -> None:
    image, embedding = draw(2, 3, 4, 5), draw(2, 7)
    film = scrambled(FiLM(7, 3, generator=seeded_generator(0)))
    steer = film.to_gain_and_bias(embedding * torch.sigmoid(embedding))[:, :, None, None]
    torch.testing.assert_close(film(image, embedding), (1 + steer[:, :3]) * image + steer[:, 3:])
    shift = scrambled(Shift(7, 3, generator=seeded_generator(0)))
    steer = shift.to_bias(embedding * torch.sigmoid(embedding))[:, :, None, None]
    torch.testing.assert_close(shift(image, embedding), image + steer)


def test_derivatives() -> None:
    film = scrambled(FiLM(2, 2, generator=seeded_generator(0)))
    image, embedding = draw(1, 2, 2, 2).requires_grad_(), draw(1, 2, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(film, (image, embedding))
