import math
from dataclasses import replace

import pytest
import torch
from scipy import stats

from unweight.core.acquisition import Acquisition, SignalKind
from unweight.core.errors import InputError, UsageError
from unweight.core.seeding import seeded_generator
from unweight.synth.protocols.standard import seven_inversions
from unweight.synth.scanner.blur import EchoTrain
from unweight.synth.scanner.measure import (
    Measurement,
    MeasurementPrior,
    draw_measurement,
    measure,
    reference_intensity,
)
from unweight.synth.scanner.motion import Motion

FULL = MeasurementPrior(moving=1.0, train=EchoTrain(n_echoes=64, echo_spacing=0.00714), shape=(48, 40))


def signs(seed=1, shape=(64, 64, 7)):
    return torch.randn(shape, generator=seeded_generator(seed))


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0, 3.0])
def test_magnitudes_are_rician(level) -> None:
    measurement = Measurement(snr=2.0, scale=100.0)
    made = measure(torch.full((200, 200, 1), level), measurement, seeded_generator(1), reference=1.0)
    expected = stats.rice(2 * level, scale=50.0)
    values = made.double().flatten()
    n = len(values)
    assert float(values.mean()) == pytest.approx(expected.mean(), abs=5 * expected.std() / math.sqrt(n))
    # Five standard errors of a variance, with the kurtosis of at most 3.3.
    assert float(values.var()) == pytest.approx(expected.var(), rel=5 * math.sqrt(2.3 / n))
    assert stats.kstest(values.numpy()[:5000], expected.cdf).pvalue > 1e-3


@pytest.mark.parametrize("kind", [SignalKind.SIGNED, SignalKind.COMPLEX])
def test_other_kinds_get_gaussian_noise(kind) -> None:
    signal = torch.full((200, 200, 1), -1.0 + 0j)
    made = measure(signal, Measurement(kind=kind, snr=20.0, scale=40.0), seeded_generator(1))
    channels = [made.real, made.imag] if kind is SignalKind.COMPLEX else [made]
    assert made.is_complex() == (kind is SignalKind.COMPLEX)
    for channel, mean in zip(channels, (-40.0, 0.0), strict=False):
        assert float(channel.mean()) == pytest.approx(mean, abs=0.05)
        assert float(channel.std()) == pytest.approx(2.0, rel=0.02)


def test_without_noise_only_the_scale_is_left() -> None:
    signal = signs()
    level = reference_intensity(signal)
    made = measure(signal, Measurement(scale=300.0), seeded_generator(1))
    torch.testing.assert_close(made, signal.abs() * 300 / level)
    assert reference_intensity(made) == pytest.approx(300.0)
    signed = measure(signal, Measurement(kind=SignalKind.SIGNED), seeded_generator(1))
    torch.testing.assert_close(signed, signal / level)


def test_reference_is_the_percentile_of_the_brightest() -> None:
    signal = torch.stack([torch.arange(1.0, 101.0), -2 * torch.arange(1.0, 101.0)], -1).reshape(10, 10, 2)
    assert reference_intensity(signal) == 190.0


def test_unit_of_the_signal_does_not_matter() -> None:
    measurement = draw_measurement(FULL, 7, seeded_generator(2))
    first, again = (measure(factor * signs(), measurement, seeded_generator(3)) for factor in (1.0, 8.0))
    torch.testing.assert_close(first, again, atol=1.0 if measurement.rounded else 1e-3, rtol=1e-5)


def test_same_record_same_images() -> None:
    records = [draw_measurement(FULL, 7, seeded_generator(seed)) for seed in (1, 1, 2)]
    assert records[0] == records[1] != records[2]
    images = [measure(signs(), record, seeded_generator(5)) for record in records]
    assert torch.equal(images[0], images[1])
    assert images[0].shape == (48, 40, 7) and images[0].dtype == torch.float32
    assert not torch.equal(images[0], measure(signs(), records[0], seeded_generator(6)))


def test_records_spread_over_the_prior() -> None:
    records = [draw_measurement(MeasurementPrior(), 5, seeded_generator(seed)) for seed in range(400)]
    snr = torch.tensor([record.snr for record in records])
    assert float(snr.min()) >= 15 and float(snr.max()) <= 300
    assert float(snr.median()) == pytest.approx(math.sqrt(15 * 300), rel=0.2)
    moving = [record for record in records if record.motions]
    assert 0.2 < len(moving) / 400 < 0.4
    assert all(record.motions[0].shift == (0.0, 0.0) and len(record.motions) == 5 for record in moving)
    assert max(abs(m.shift[0]) for record in moving for m in record.motions) <= 1.0
    assert {record.rounded for record in records} == {True, False}


def test_whole_numbers() -> None:
    made = measure(signs(), Measurement(scale=50.0, snr=30.0, rounded=True), seeded_generator(1))
    assert torch.equal(made, made.round())
    both = measure(
        torch.complex(signs(), signs(2)),
        Measurement(scale=50.0, kind=SignalKind.COMPLEX, rounded=True),
        seeded_generator(1),
    )
    assert torch.equal(both.imag, both.imag.round())


def test_acquisitions_accept_the_result() -> None:
    scan = seven_inversions()
    for kind in SignalKind:
        record = replace(draw_measurement(FULL, 7, seeded_generator(1)), kind=kind)
        signal = torch.complex(signs(), signs(2)) if kind is SignalKind.COMPLEX else signs()
        made = measure(signal, record, seeded_generator(1))
        Acquisition(signal=made, protocol=scan.protocol, kind=kind, noise_sd=record.noise_sd)


def test_noise_level_is_known() -> None:
    record = Measurement(kind=SignalKind.SIGNED, snr=40.0, scale=800.0)
    quiet = measure(signs(), replace(record, snr=math.inf), seeded_generator(1))
    noise = measure(signs(), record, seeded_generator(1)) - quiet
    assert float(noise.std()) == pytest.approx(record.noise_sd, rel=0.02)


def test_patches_do_not_feel_their_own_far_edge() -> None:
    ramp = (1 + torch.arange(64.0) / 8)[:, None, None].expand(64, 64, 2)
    still = measure(ramp, Measurement(), seeded_generator(1))
    record = Measurement(motions=(Motion(), Motion(shift=(0.5, 0.0))), seam=8)
    moved = measure(ramp, record, seeded_generator(1))[..., 1]
    level = reference_intensity(ramp)
    torch.testing.assert_close(moved[4:-4], still[4:-4, :, 1] - 0.5 / 8 / level, atol=2e-3, rtol=0)
    with pytest.raises(UsageError, match="a patch cannot be sampled on another matrix"):
        Measurement(seam=8, shape=(32, 32))


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(InputError, match="there is no signal to scale the noise to"):
        measure(torch.zeros(8, 8, 2), Measurement(snr=20.0), seeded_generator(1))
    with pytest.raises(UsageError, match="complex data need a complex signal"):
        measure(signs(), Measurement(kind=SignalKind.COMPLEX), seeded_generator(1))
    with pytest.raises(UsageError, match="snr 0 and scale 1 must be positive"):
        Measurement(snr=0.0)
    with pytest.raises(UsageError, match="snr and scale must be positive"):
        MeasurementPrior(snr=(0.0, 10.0))
