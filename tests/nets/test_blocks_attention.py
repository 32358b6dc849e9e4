import torch

from tests.nets.probes import draw, reach, scrambled
from unweight.core.seeding import seeded_generator
from unweight.nets.blocks import SelfAttention
from unweight.nets.normalisation import Normalisation


def build() -> SelfAttention:
    return scrambled(
        SelfAttention(8, head_channels=4, norm=Normalisation.PIXEL, generator=seeded_generator(0))
    )


def test_equation() -> None:
    attend, image = build(), draw(1, 8, 3, 5)
    query, key, value = attend.to_qkv(attend.norm(image))[0].flatten(1).chunk(3)
    gathered = []
    for head in (slice(0, 4), slice(4, 8)):
        weights = torch.softmax(query[head].T @ key[head] / 2.0, dim=1)  # sqrt of 4 channels a head
        gathered.append(value[head] @ weights.T)
    expected = image + attend.project(torch.cat(gathered).reshape(1, 8, 3, 5))
    torch.testing.assert_close(attend(image), expected)


def test_sees_the_whole_image_whatever_the_order_of_pixels() -> None:
    attend, image = build(), draw(1, 8, 6, 6)
    assert reach(attend, 8, 9) == 4
    torch.testing.assert_close(attend(image.flip(2)), attend(image).flip(2))


def test_derivative() -> None:
    assert torch.autograd.gradcheck(build(), (draw(1, 8, 2, 2).requires_grad_(),))
