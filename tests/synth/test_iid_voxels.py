import math
from dataclasses import replace

import pytest
import torch

from unweight.core.errors import UsageError
from unweight.core.seeding import seeded_generator
from unweight.synth.iid_voxels import Scatter, ScatterPrior, scatter
from unweight.synth.protocols.standard import Scan, seven_inversions
from unweight.synth.scanner.fields import MEASURED_EFFICIENCIES, central_efficiency

PRIOR = ScatterPrior()
SCAN: Scan = seven_inversions()


def drawn(prior: ScatterPrior = PRIOR, seed: int = 0, shape: tuple[int, ...] = (40, 50)) -> Scatter:
    return scatter(prior, SCAN, shape, seeded_generator(seed, "scatter"))


def test_shapes_and_ranges() -> None:
    one = drawn()
    assert one.signal.shape == (40, 50, 7)
    assert one.truth.shape == (40, 50, 3)
    assert float(one.signal.min()) >= 0
    ranges = (PRIOR.t1, PRIOR.pd, PRIOR.efficiency)
    for column, (low, high) in zip(one.truth.unbind(-1), ranges, strict=True):
        assert low - 1e-6 <= float(column.min()) <= float(column.max()) <= high + 1e-6
    assert 1 / PRIOR.snr[1] <= one.noise_sd <= 1 / PRIOR.snr[0]


def test_the_same_generator_gives_the_same_voxels() -> None:
    assert torch.equal(drawn().signal, drawn().signal)
    assert not torch.equal(drawn().truth, drawn(seed=1).truth)


def test_log_t1_and_pd_are_drawn_evenly() -> None:
    truth = drawn(shape=(100, 100)).truth
    log_t1, pd = truth[..., 0].log().flatten(), truth[..., 1].flatten()
    for values, low, high in ((log_t1, *map(math.log, PRIOR.t1)), (pd, *PRIOR.pd)):
        place = (values.sort().values - low) / (high - low)
        even = (torch.arange(len(place)) + 0.5) / len(place)
        # Kolmogorov and Smirnov: 1.63/sqrt(n) is exceeded once in a hundred.
        assert float((place - even).abs().max()) < 1.63 / len(place) ** 0.5


def test_neighbours_know_nothing_of_each_other() -> None:
    truth = drawn(replace(PRIOR, level=0.0), shape=(100, 100)).truth
    standard = (truth - truth.mean((0, 1))) / truth.std((0, 1))
    for axis in (0, 1):
        n = truth[..., 0].numel()
        correlation = (standard * standard.roll(1, axis)).mean((0, 1))
        assert float(correlation.abs().max()) < 4 / n**0.5


def test_b_is_level_as_often_as_asked() -> None:
    def level(prior: ScatterPrior, seed: int) -> bool:
        b = drawn(prior, seed, (4, 4)).truth[..., 2]
        return bool((b == b[0, 0]).all())

    assert all(level(replace(PRIOR, level=1.0), seed) for seed in range(10))
    assert not any(level(replace(PRIOR, level=0.0), seed) for seed in range(10))
    share = sum(level(PRIOR, seed) for seed in range(100)) / 100
    assert share == pytest.approx(0.5, abs=0.2)  # four standard deviations


def test_signal_is_that_of_the_model_with_rician_noise() -> None:
    """E[M²] = S² + 2σ², whatever S is."""
    one = drawn(replace(PRIOR, snr=(20.0, 20.0)), shape=(200, 200))
    assert one.noise_sd == pytest.approx(0.05)
    clean = SCAN.model(one.truth, SCAN.protocol, None)
    excess = (one.signal.double() ** 2 - clean.double() ** 2) / one.noise_sd**2
    # Variance of M²/σ² is 4 (S/σ)² + 4.
    sd = (4 * (clean.double() / one.noise_sd) ** 2 + 4).mean((0, 1)).sqrt() / 200
    assert bool(((excess.mean((0, 1)) - 2).abs() < 4 * sd).all())


@pytest.mark.parametrize(
    "changes",
    [{"t1": (0.0, 1.0)}, {"t1": (2.0, 1.0)}, {"pd": (0.0, 1.0)}, {"pd": (1.0, 0.5)}, {"snr": (0.0, 10.0)}],
)
def test_messages(changes: dict[str, tuple[float, float]]) -> None:
    with pytest.raises(UsageError, match="ranges of T1, PD and SNR must be positive and rising"):
        replace(PRIOR, **changes)


def test_b_of_voxels_lies_about_that_of_the_scan() -> None:
    prior = replace(PRIOR, level=0.0, scan=MEASURED_EFFICIENCIES)
    low, high = MEASURED_EFFICIENCIES.limits
    centres = []
    for seed in range(60):
        b = drawn(prior, seed).truth[..., 2]
        assert low <= float(b.min()) and float(b.max()) <= high
        assert float(b.max() - b.min()) <= 2 * prior.spread + 1e-6
        centres.append(float(b.mean()))
    # Forty per cent of scans have a full inversion, nearly all others less.
    assert min(centres) < 1.6 and max(centres) > 1.9
    level = drawn(replace(prior, level=1.0)).truth[..., 2]
    assert float(level.max()) == float(level.min())


def test_centres_are_drawn_as_plateaus_and_angles_are() -> None:
    values = torch.tensor(
        [central_efficiency(MEASURED_EFFICIENCIES, seeded_generator(i)) for i in range(2000)]
    )
    # 45 % between 1.35 and 2, 15 % at 1 − cos θ, θ from 140° to 180° (1.766 to 2), others 1.9 to 2.05.
    expected = 0.45 * (1.75 - 1.35) / 0.65
    assert float((values < 1.75).float().mean()) == pytest.approx(
        expected, abs=4 * (0.28 * 0.72 / 2000) ** 0.5
    )
    assert float(values.min()) >= 1.35 and float(values.max()) <= 2.05
