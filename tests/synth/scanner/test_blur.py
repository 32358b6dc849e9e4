import math

import pytest
import torch

from unweight.core.errors import UsageError
from unweight.core.seeding import seeded_generator
from unweight.synth.scanner.blur import Blur, EchoOrder, EchoTrain, apply_blur, apply_filter, tse_filter


def test_weights_by_hand() -> None:
    e = math.exp(-0.01 / 0.05)
    centric = tse_filter(8, 4, 0.01, 0.05, EchoOrder.CENTRIC).tolist()
    assert centric == pytest.approx([1, e, e**2, e**3, e**3, e**3, e**2, e])
    linear = tse_filter(8, 4, 0.01, 0.05, EchoOrder.LINEAR).tolist()
    assert linear == pytest.approx([1, 1, e, e, e**-2, e**-2, e**-1, e**-1])
    assert tse_filter(9, 1, 0.01, 0.05, EchoOrder.CENTRIC).tolist() == [1.0] * 9


def test_centric_point_spread_is_a_lorentzian() -> None:
    """An exponential in |k| is a Lorentzian in space, once the train lasts much longer than T2."""
    n, duration, t2 = 1024, 0.64, 0.04
    weights = tse_filter(n, 512, duration / 512, t2, EchoOrder.CENTRIC)
    spread = torch.fft.ifft(weights).real
    rate = 2 * duration / t2 / n
    x = torch.arange(40, dtype=torch.float64)
    lorentzian = 2 * rate / (rate**2 + (2 * torch.pi * x / n) ** 2) / n
    # A band of two lines counts as one step, which moves the tails a little.
    torch.testing.assert_close(spread[:40], lorentzian, rtol=0.04, atol=2e-4)
    assert float(torch.fft.ifft(weights).imag.abs().max()) < 1e-12


@pytest.mark.parametrize("order", list(EchoOrder))
def test_point_spread_is_the_sum_over_lines(order) -> None:
    n = 24
    weights = tse_filter(n, 6, 0.01, 0.08, order)
    point = torch.zeros(n, 3, 2, dtype=torch.float64)
    point[5, 1, 0] = 2.0
    made = apply_filter(point, weights, 0)
    lines = torch.fft.fftfreq(n, dtype=torch.float64)
    for place in range(n):
        expected = 2 * (weights * torch.exp(2j * torch.pi * lines * (place - 5))).sum() / n
        assert complex(made[place, 1, 0]) == pytest.approx(complex(expected), abs=1e-12)
    assert float(made[:, [0, 2]].abs().max()) == 0.0 and float(made[..., 1].abs().max()) == 0.0


def test_constants_pass_and_short_t2_blurs_more() -> None:
    train = EchoTrain(n_echoes=64, echo_spacing=0.007)
    flat = torch.full((16, 128, 3), 0.7)
    torch.testing.assert_close(apply_blur(flat, Blur(train=train, t2=0.08)).real, flat)
    edge = torch.zeros(4, 128, 1)
    edge[:, 40:80] = 1.0
    widths = []
    for t2 in (1.0, 0.1, 0.05):
        image = apply_blur(edge, Blur(train=train, t2=t2)).abs()[0, :, 0]
        widths.append(float(image[40] - image[36]))
    assert widths[0] > widths[1] > widths[2] > 0


def test_a_patch_is_blurred_like_the_whole() -> None:
    train = EchoTrain(n_echoes=64, echo_spacing=0.007)
    whole = torch.zeros(1, 240, 1, dtype=torch.float64)
    whole[0, 118:122] = torch.rand(4, 1, generator=seeded_generator(1), dtype=torch.float64)
    blur = Blur(train=train, t2=0.1)
    patch = apply_blur(whole[:, 88:152], blur)
    # Steps of one line in four and 15 of 240 lines differ a little, and tails wrap around.
    torch.testing.assert_close(patch[:, 20:44], apply_blur(whole, blur)[:, 108:132], atol=0.02, rtol=0)
    assert apply_blur(whole[:, 110:130], blur).shape == (1, 20, 1)


def test_precision_is_kept() -> None:
    weights = tse_filter(8, 4, 0.01, 0.05, EchoOrder.LINEAR)
    assert apply_filter(torch.ones(8, 8, 2), weights, 1).dtype == torch.complex64


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: tse_filter(8, 16, 0.01, 0.05, EchoOrder.LINEAR), "16 echoes for 8 lines"),
        (lambda: tse_filter(8, 4, 0.01, 0.0, EchoOrder.LINEAR), "T2 must be positive"),
        (lambda: EchoTrain(n_echoes=0, echo_spacing=0.01), "a train of 0 echoes"),
        (lambda: apply_filter(torch.ones(8, 8, 2), torch.ones(7), 1), "7 weights along axis 1"),
        (lambda: apply_filter(torch.ones(8, 8, 2), torch.ones(2), 2), "Give one weight per line"),
    ],
)
def test_what_cannot_be_is_refused(call, message) -> None:
    with pytest.raises(UsageError, match=message):
        call()
