"""What sidecars of scanners say of T1w, T2w and FLAIR, and what is asked for when they do not."""

import math
from pathlib import Path

import pytest

from unweight.bids.series.weighted import GivenWeighting, told_of, weighting_from
from unweight.bids.sidecar import Sidecar
from unweight.core.errors import ProtocolError
from unweight.core.weighting import Readout, completed
from unweight.signals.variable_train import equivalent_train

IMAGE = Path("sub-01_T1w.nii.gz")
NOTHING = GivenWeighting()
SIEMENS_MPRAGE = {
    "ScanningSequence": "GR_IR",
    "SequenceName": "tfl3d1_16ns",
    "RepetitionTime": 2.3,
    "EchoTime": 0.00298,
    "InversionTime": 0.9,
    "FlipAngle": 9,
    "MagneticFieldStrength": 3,
}
FLUID = {
    "ScanningSequence": "SE_IR",
    "RepetitionTime": 9,
    "EchoTime": 0.1,
    "InversionTime": 2.5,
    "EchoTrainLength": 16,
    "FlipAngle": 150,
}


def sidecar(**fields: object) -> Sidecar:
    return Sidecar(image=IMAGE, fields=fields)


def test_mprage_as_siemens_writes_it() -> None:
    weighting = weighting_from("T1w", sidecar(**SIEMENS_MPRAGE), NOTHING)
    assert weighting.readout is Readout.MPRAGE
    assert weighting.time("repetition_time") == 2.3
    assert weighting.time("flip_angle") == pytest.approx(math.radians(9))
    assert weighting.protocol.field_strength == 3
    full, told = completed(weighting)
    assert full.time("train_length") and len(told) == 3


def test_mprage_as_bids_asks_for_it() -> None:
    fields = SIEMENS_MPRAGE | {
        "RepetitionTimePreparation": 2.3,
        "RepetitionTimeExcitation": 0.0071,
        "NumberShots": [80, 96],
    }
    del fields["RepetitionTime"]
    weighting = weighting_from("T1w", sidecar(**fields), NOTHING)
    assert weighting.time("repetition_time") == 2.3
    assert weighting.time("echo_spacing") == 0.0071
    assert weighting.time("train_length") == 176
    assert weighting.time("centre_index") == 80
    assert completed(weighting)[1] == ()


def test_time_between_excitations_is_no_tr_of_an_mprage() -> None:
    fields = SIEMENS_MPRAGE | {"RepetitionTime": 0.00725}
    without = {**fields, "ScanningSequence": "GR", "SequenceVariant": "MP", "InversionTime": None}
    with pytest.raises(ProtocolError, match=r"RepetitionTime 0.00725 s .* not the time between.*--t1w-tr"):
        weighting_from("T1w", sidecar(**without), NOTHING)
    assumed = weighting_from("T1w", sidecar(**fields), NOTHING)
    assert assumed.time("repetition_time") == 2.35 and len(assumed.alternatives) == 2
    weighting = weighting_from("T1w", sidecar(**fields), GivenWeighting(repetition_time=2.3))
    assert weighting.time("repetition_time") == 2.3
    assert weighting.time("echo_spacing") == 0.00725


def test_time_between_excitations_goes_before_none_between_inversions() -> None:
    fields = {key: value for key, value in SIEMENS_MPRAGE.items() if key != "RepetitionTime"}
    assumed = weighting_from("T1w", sidecar(**fields, RepetitionTimeExcitation=0.0071), NOTHING)
    assert len(assumed.alternatives) == 2 and assumed.time("echo_spacing") == 0.0071
    fields |= {"ScanningSequence": "GR", "SequenceVariant": "MP", "InversionTime": None}
    with pytest.raises(ProtocolError, match=r"RepetitionTimeExcitation 0.0071 s .* not the time between"):
        weighting_from("T1w", sidecar(**fields, RepetitionTimeExcitation=0.0071), NOTHING)


def test_spacing_of_echoes_tells_the_end_of_a_train() -> None:
    weighting = weighting_from("FLAIR", sidecar(**FLUID, EchoSpacing=0.012), NOTHING)
    assert weighting.time("readout_time") == pytest.approx(16 * 0.012)
    assert completed(weighting)[1] == ()
    assert completed(weighting_from("FLAIR", sidecar(**FLUID), NOTHING))[1] != ()


def test_mp2rage_has_no_model() -> None:
    with pytest.raises(ProtocolError, match="MP2RAGE image, which is not modelled"):
        weighting_from("T1w", sidecar(**SIEMENS_MPRAGE, SeriesDescription="t1_mp2rage_UNI"), NOTHING)


@pytest.mark.parametrize(
    ("length", "readout"), [(None, Readout.SPIN_ECHO), (1, Readout.SPIN_ECHO), (3, Readout.TURBO_SPIN_ECHO)]
)
def test_spin_echo_or_turbo_spin_echo(length: int | None, readout: Readout) -> None:
    fields = {"ScanningSequence": "SE", "RepetitionTime": 0.6, "EchoTime": 0.01, "FlipAngle": 70}
    if length is not None:
        fields["EchoTrainLength"] = length
    weighting = weighting_from("T1w", sidecar(**fields), NOTHING)
    assert weighting.readout is readout
    excited = weighting.time("flip_angle")
    assert (excited == pytest.approx(math.radians(70))) if readout is Readout.SPIN_ECHO else excited is None


def test_refocusing_angle_of_a_train_is_left_aside() -> None:
    weighting = weighting_from("FLAIR", sidecar(**FLUID), NOTHING)
    assert weighting.readout is Readout.TURBO_SPIN_ECHO
    assert weighting.inverts
    assert weighting.time("flip_angle") is None
    assert told_of(weighting) == {
        "Readout": "turbo-spin-echo",
        "RepetitionTime": 9.0,
        "EchoTime": 0.1,
        "InversionTime": 2.5,
    }


@pytest.mark.parametrize(
    ("contrast", "missing", "said"),
    [
        ("FLAIR", "InversionTime", "no value for InversionTime of this FLAIR.*--flair-ti"),
        ("FLAIR", "EchoTime", "no value for EchoTime of this FLAIR.*--flair-te"),
        ("FLAIR", "RepetitionTime", "no value for RepetitionTime of this FLAIR.*--flair-tr"),
        ("T2w", "RepetitionTime", "no value for RepetitionTime of this T2w.*--t2w-tr"),
        ("T1w", "RepetitionTime", "no value for RepetitionTimePreparation of this T1w.*--t1w-tr"),
        ("T1w", "FlipAngle", "no value for FlipAngle of this T1w.*--t1w-flip"),
    ],
)
def test_what_is_absent_is_asked_for(contrast: str, missing: str, said: str) -> None:
    fields = dict(SIEMENS_MPRAGE if contrast == "T1w" else FLUID)
    if contrast == "T2w":
        del fields["InversionTime"]
    del fields[missing]
    with pytest.raises(ProtocolError, match=said):
        weighting_from(contrast, sidecar(**fields), NOTHING)


def test_what_the_caller_says_wins() -> None:
    given = GivenWeighting(repetition_time=2.0, inversion_time=0.8, flip_angle=8.0)
    weighting = weighting_from("T1w", sidecar(**SIEMENS_MPRAGE), given)
    assert weighting.time("repetition_time") == 2.0
    assert weighting.time("inversion_time") == 0.8
    assert weighting.time("flip_angle") == pytest.approx(math.radians(8))


def test_gradient_echo_without_inversion_has_no_model() -> None:
    fields = {"ScanningSequence": "GR", "RepetitionTime": 0.018, "EchoTime": 0.004, "FlipAngle": 25}
    with pytest.raises(ProtocolError, match="gradient echo without inversion"):
        weighting_from("T1w", sidecar(**fields), NOTHING)


def test_milliseconds_are_refused_with_the_file() -> None:
    with pytest.raises(ProtocolError, match="milliseconds") as caught:
        weighting_from("FLAIR", sidecar(**FLUID | {"EchoTime": 100.0}), NOTHING)
    assert caught.value.path == IMAGE


SPACE_FLAIR = {
    "ScanningSequence": "SE\\IR",
    "MRAcquisitionType": "3D",
    "RepetitionTime": 5,
    "EchoTime": 0.475,
    "InversionTime": 1.81,
    "EchoTrainLength": 141,
    "FlipAngle": 120,
    "MagneticFieldStrength": 3,
}


def test_nominal_echo_time_of_a_train_of_low_angles() -> None:
    weighting = weighting_from("FLAIR", sidecar(**SPACE_FLAIR), NOTHING)
    assert weighting.time("echo_time") == pytest.approx(equivalent_train(0.475).echo_time)
    assert weighting.time("nominal_echo_time") == 0.475
    assert weighting.time("readout_time") == pytest.approx(0.95)
    assert told_of(weighting)["NominalEchoTime"] == 0.475
    assert completed(weighting)[1] == ()


@pytest.mark.parametrize(
    ("fields", "given"),
    [
        ({"EchoTime": 0.119}, NOTHING),
        ({}, GivenWeighting(echo_time=0.12)),
        ({"MRAcquisitionType": "2D"}, NOTHING),
    ],
)
def test_other_echo_times_are_those_of_a_spin_echo(
    fields: dict[str, object], given: GivenWeighting
) -> None:
    info = sidecar(**{**SPACE_FLAIR, **fields})
    weighting = weighting_from("FLAIR", info, given)
    assert weighting.time("nominal_echo_time") is None
    assert weighting.time("echo_time") == (given.echo_time or info.fields["EchoTime"])
