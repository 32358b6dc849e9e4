import math

import pytest
import torch

from unweight.core.acquisition import SignalKind
from unweight.core.errors import UsageError
from unweight.core.seeding import seeded_generator
from unweight.synth.scanner.measure import Measurement, measure
from unweight.synth.scanner.reconstruction import FilterPrior, ReconstructionFilter, Window, draw_filter

ZERO_FILLED = ReconstructionFilter(window=Window.ZERO_FILLED, width=0.6)
GAUSSIAN = ReconstructionFilter(window=Window.GAUSSIAN, width=0.8)


@pytest.mark.parametrize("reconstruct", [ZERO_FILLED, GAUSSIAN])
def test_noise_falls_by_the_stated_factor(reconstruct: ReconstructionFilter) -> None:
    noise = torch.randn(64, 50, 20, generator=seeded_generator(1)) + 0j
    measured = float(reconstruct(noise).real.std() / noise.real.std())
    assert measured == pytest.approx(reconstruct.noise_factor((64, 50)), rel=0.02)


def test_noise_factors_in_closed_form() -> None:
    # Zero-filling keeps the share f of each axis: the variance falls by f². A Gaussian of s ≫ 1/π voxels
    # leaves 1/(4πs²) of the variance in two dimensions.
    half = ReconstructionFilter(window=Window.ZERO_FILLED, width=0.5)
    assert half.noise_factor((200, 200)) == pytest.approx(0.5, rel=0.01)
    wide = ReconstructionFilter(window=Window.GAUSSIAN, width=2.0)
    assert wide.noise_factor((200, 200)) == pytest.approx(1 / math.sqrt(4 * math.pi * 4), rel=1e-3)


def test_constant_images_keep_their_intensity() -> None:
    for reconstruct in (ZERO_FILLED, GAUSSIAN):
        torch.testing.assert_close(
            reconstruct(torch.full((32, 32, 1), 3.0 + 0j)).real, torch.full((32, 32, 1), 3.0)
        )


def test_gaussian_widens_a_point_as_stated() -> None:
    point = torch.zeros(65, 65, 1, dtype=torch.complex64)
    point[32, 32] = 1
    profile = GAUSSIAN(point).real[:, 32, 0]
    place = torch.arange(65.0) - 32
    variance = float((profile * place**2).sum() / profile.sum())
    assert variance == pytest.approx(0.8**2, rel=0.02)


@pytest.mark.parametrize("seam", [0, 8])
def test_measured_noise_is_known_and_correlated(seam: int) -> None:
    signal = torch.ones(96, 96, 4)
    record = Measurement(kind=SignalKind.SIGNED, snr=40.0, scale=800.0, filter=GAUSSIAN, seam=seam)
    noise = measure(signal, record, seeded_generator(1)) - 800.0
    assert float(noise.std()) == pytest.approx(record.stored_noise_sd((96, 96)), rel=0.03)
    neighbours = float((noise[1:] * noise[:-1]).mean() / noise.square().mean())
    assert neighbours == pytest.approx(math.exp(-1 / (4 * 0.8**2)), abs=0.03)


def test_magnitudes_are_those_of_filtered_complex_noise() -> None:
    record = Measurement(snr=20.0, filter=ZERO_FILLED)
    stored = measure(torch.zeros(128, 128, 2), record, seeded_generator(1), reference=1.0)
    sd = record.stored_noise_sd((128, 128))
    assert float(stored.square().mean()) == pytest.approx(2 * sd**2, rel=0.05)


def test_draws_and_refusals() -> None:
    generator = seeded_generator(3)
    before = generator.get_state()
    assert draw_filter(FilterPrior(probability=0.0), generator) is None
    assert torch.equal(before, generator.get_state())
    draws = [draw_filter(FilterPrior(), seeded_generator(i)) for i in range(300)]
    present = [draw for draw in draws if draw is not None]
    assert 90 < len(present) < 150
    assert {draw.window for draw in present} == set(Window)
    with pytest.raises(UsageError):
        ReconstructionFilter(window=Window.ZERO_FILLED, width=1.2)
    with pytest.raises(UsageError):
        ReconstructionFilter(window=Window.GAUSSIAN, width=0.0)
