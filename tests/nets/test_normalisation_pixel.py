import torch

from tests.nets.probes import draw, scrambled
from unweight.nets.normalisation import PixelNorm


def test_equation() -> None:
    image, norm = draw(2, 6, 5, 4), scrambled(PixelNorm(6, eps=1e-3))
    mean, variance = image.mean(1, keepdim=True), image.var(1, keepdim=True, correction=0)
    gain, bias = (weight.reshape(1, 6, 1, 1) for weight in (norm.gain, norm.bias))
    torch.testing.assert_close(norm(image), (image - mean) / (variance + 1e-3).sqrt() * gain + bias)


def test_any_number_of_space_axes_and_an_empty_pixel() -> None:
    for space in ((), (3,), (3, 4, 5)):
        image = torch.zeros(2, 6, *space)
        assert torch.equal(PixelNorm(6)(image), image)


def test_channels_last_stays() -> None:
    image = draw(2, 6, 5, 4).float().contiguous(memory_format=torch.channels_last)
    assert PixelNorm(6)(image).is_contiguous(memory_format=torch.channels_last)


def test_derivative() -> None:
    norm = scrambled(PixelNorm(3))
    assert torch.autograd.gradcheck(norm, (draw(1, 3, 2, 2).requires_grad_(),))
