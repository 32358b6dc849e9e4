"""Which scans lie within a training, what is said of others, and a real brain outside of it."""

import math
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import pytest
import torch

from tests.learn.names import FROM_ECHOES
from unweight.core.acquisition import Acquisition
from unweight.core.errors import MissingValuesError, ProtocolError
from unweight.core.protocol import protocol_from_values
from unweight.core.seeding import seeded_generator
from unweight.learn.mprage.estimator import EchoT1w
from unweight.learn.mprage.methods import load_synthesiser
from unweight.learn.pairs.cohort import ECHOES, CohortRecipe
from unweight.learn.pairs.scan_range import (
    EchoScanRange,
    ends_of_scans,
    plain_scan,
    range_of_card,
    snr_of,
    values_of,
)
from unweight.learn.training.weights import load_weights
from unweight.synth.protocols.prior import draw_echoes
from unweight.synth.protocols.standard import eight_echoes

TRAINED = CohortRecipe().scans


def scan(
    flip: float | None = 15.0,
    tr: float | None = 0.036,
    te: tuple[float, ...] = tuple(0.004 * echo for echo in range(1, 9)),
    field: float | None = 3.0,
    noise_sd: float | None = None,
) -> Acquisition:
    """Ones, of a protocol [degrees, s, s, T]."""
    return Acquisition(
        signal=torch.ones(4, 4, 4, len(te)),
        protocol=protocol_from_values(
            echo_time=te,
            repetition_time=None if tr is None else [tr] * len(te),
            flip_angle=None if flip is None else [math.radians(flip)] * len(te),
            field_strength=field,
        ),
        affine=torch.eye(4, dtype=torch.float64),
        noise_sd=noise_sd,
    )


def test_scans_of_the_training_are_taken() -> None:
    trained = EchoScanRange(ends=TRAINED)
    generator = seeded_generator(5, "scans")
    for number in range(40):
        protocol = eight_echoes().protocol if number == 0 else draw_echoes(ECHOES, generator).protocol
        measured = Acquisition(signal=torch.ones(2, 2, 2, protocol.n_volumes), protocol=protocol)
        trained.check(measured)
        assert trained.outside(measured) == ()


@pytest.mark.parametrize(
    ("measured", "value", "ends"),
    [
        (scan(flip=6.0), "a flip angle of 6 degrees", "10 to 20 degrees"),
        (scan(flip=21.0), "a flip angle of 21 degrees", "10 to 20 degrees"),
        (scan(tr=0.1), "TR 100 ms", "15.5 to 67.5 ms"),
        (scan(te=(0.0023, 0.01, 0.016, 0.022)), "a first echo at 2.3 ms", "3 to 7 ms"),
        (scan(te=(0.004, 0.006, 0.01, 0.012)), "a last echo at 12 ms", "13.5 to 52.5 ms"),
        (scan(te=(0.004, 0.012, 0.02)), "a number of echoes of 3", "4 to 8"),
        (scan(field=1.5), "echoes at 1.5 T", "3 T"),
        (scan(noise_sd=0.05), "an SNR of about 20", "60 to 150"),
    ],
)
def test_what_lies_outside_is_refused_with_value_and_range(
    measured: Acquisition, value: str, ends: str
) -> None:
    trained = EchoScanRange(ends=TRAINED)
    sentence = f"{value} (the network was trained at {ends})"
    assert trained.outside(measured) == (sentence,)
    with pytest.raises(ProtocolError) as refused:
        trained.check(measured)
    assert refused.value.problem == sentence and "--any-scan" in refused.value.remedy


@pytest.mark.parametrize(
    "measured",
    [
        scan(flip=20.3),
        scan(field=2.89),
        scan(field=None),
        scan(noise_sd=1 / 31),  # an estimate of the SNR may be wrong by a factor of two
        scan(noise_sd=1 / 1000),
        scan(tr=0.06, te=tuple(0.004 * echo for echo in range(1, 13))),  # more echoes are less noise
    ],
)
def test_what_is_near_enough_is_taken(measured: Acquisition) -> None:
    assert EchoScanRange(ends=TRAINED).outside(measured) == ()


def test_what_is_not_known_is_asked_for() -> None:
    trained = EchoScanRange(ends=TRAINED)
    with pytest.raises(MissingValuesError) as refused:
        trained.check(scan(flip=None, tr=None))
    assert [value.field for value in refused.value.missing] == ["FlipAngle", "RepetitionTime"]
    assert trained.outside(scan(tr=None)) == (
        "RepetitionTime is not known (the network was trained at 15.5 to 67.5 ms)",
    )
    # A card of before tells the voxels only: then the field is all that is compared.
    old = range_of_card({"voxel_mm": (1.0, 1.5)})
    old.check(scan(flip=None, tr=None))
    assert old.unknown == ("flip_angle", "repetition_time")
    with pytest.raises(ProtocolError):
        old.check(scan(field=7.0))


def test_scans_that_differ_between_echoes_are_compared_at_both_ends() -> None:
    protocol = protocol_from_values(
        echo_time=[0.004, 0.01, 0.016, 0.022],
        repetition_time=[0.036] * 4,
        flip_angle=[math.radians(angle) for angle in (15, 15, 15, 40)],
    )
    measured = Acquisition(signal=torch.ones(2, 2, 2, 4), protocol=protocol)
    assert values_of(measured)["flip_angle"] == pytest.approx((math.radians(15), math.radians(40)))
    assert len(EchoScanRange(ends=TRAINED).outside(measured)) == 1
    assert "flip_angle" not in plain_scan(protocol)


def test_the_snr_is_that_of_the_background() -> None:
    """Rayleigh magnitudes around a bright block; the truth is 40."""
    generator = seeded_generator(4)
    channels = 5.0 * torch.randn(2, 24, 24, 24, 4, generator=generator)
    channels[0, 6:18, 6:18, 6:18] += 200.0
    magnitude = channels.square().sum(0).sqrt()
    protocol = protocol_from_values(echo_time=[0.004, 0.01, 0.016, 0.022])
    measured = Acquisition(signal=magnitude, protocol=protocol)
    assert snr_of(measured) == pytest.approx(40, rel=0.1)
    assert math.isnan(snr_of(scan()))


def test_ends_are_of_what_all_scans_have() -> None:
    scans = [{"flip_angle": 0.1, "snr": 20.0}, {"flip_angle": 0.3}, {"flip_angle": 0.2, "snr": 5.0}]
    assert ends_of_scans(scans) == {"flip_angle": (0.1, 0.3)} and ends_of_scans([]) == {}


@pytest.mark.parametrize("name", FROM_ECHOES)
def test_cards_that_are_shipped_hold_the_ranges(name: str) -> None:
    ranges = load_weights(name)[1].ranges
    assert {"flip_angle", "repetition_time", "first_echo", "last_echo", "n_echoes", "snr"} <= ranges.keys()


@pytest.mark.parametrize(("series", "flip"), [("pdw", 6.0), ("t1w", 21.0)])
def test_a_real_brain_outside_the_training_is_refused(
    shared_data: Callable[[str], Path], series: str, flip: float
) -> None:
    """Two scans whose image was wrong and marked as good: TE 2.3 to 18.4 ms, TR 25 ms."""
    root = shared_data("mpm_wias")
    files = [nib.load(root / f"{series}_{echo}.nii.gz") for echo in range(1, 9)]
    measured = Acquisition(
        signal=torch.stack([torch.from_numpy(file.get_fdata()).float() for file in files], -1),
        protocol=protocol_from_values(
            echo_time=[0.0023 * echo for echo in range(1, 9)],
            repetition_time=[0.025] * 8,
            flip_angle=[math.radians(flip)] * 8,
            field_strength=3.0,
        ),
        affine=torch.eye(4, dtype=torch.float64),
    )
    synthesiser, card = load_synthesiser("mprage-unet")
    estimator = EchoT1w(synthesise=synthesiser, scans=range_of_card(card.ranges))
    with pytest.raises(ProtocolError, match=f"a flip angle of {flip:g} degrees"):
        estimator.accept(measured)
