"""The time between inversions where scanners write that between excitations."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from unweight.bids.series.inversion_cycle import assumed_cycle, estimated_cycle, shortest_cycle
from unweight.bids.series.weighted import GivenWeighting, estimated_repetition, weighting_from
from unweight.bids.sidecar import Sidecar
from unweight.core.errors import MissingValuesError, ProtocolError

NOTHING = GivenWeighting()
# A scan of 85 trains of 256 excitations, 2.3 s from inversion to inversion.
TRAINS = {
    "ScanningSequence": "GR",
    "SequenceVariant": "MP",
    "RepetitionTime": 0.0065,
    "EchoTime": 0.003,
    "InversionTime": 0.9,
    "FlipAngle": 9,
    "EchoTrainLength": 256,
    "PhaseEncodingSteps": 256,
    "PhaseEncodingStepsOutOfPlane": 170,
    "ParallelReductionFactorOutOfPlane": 2,
    "AcquisitionDuration": 195.5,
}


def sidecar(**fields: object) -> Sidecar:
    return Sidecar(image=Path("x.nii"), fields=fields)


def test_duration_over_trains_is_the_time_between_inversions() -> None:
    estimate = estimated_cycle(sidecar(**TRAINS))
    assert estimate is not None and estimate.seconds == pytest.approx(2.3)
    assert "85 trains" in estimate.source
    weighting = weighting_from("T1w", sidecar(**TRAINS), NOTHING)
    assert weighting.time("repetition_time") == pytest.approx(2.3)
    assert weighting.time("train_length") == 256
    assert weighting.time("echo_spacing") == 0.0065
    assert estimated_repetition("T1w", sidecar(**TRAINS), NOTHING) == estimate


def test_a_counted_number_of_trains_goes_before_a_computed_one() -> None:
    estimate = estimated_cycle(sidecar(**TRAINS, NumberOfKSpaceTrajectories=100))
    assert estimate is not None and estimate.seconds == pytest.approx(1.955)
    far = estimated_cycle(sidecar(**TRAINS, NumberOfKSpaceTrajectories=1000))
    assert far is not None and far.seconds == pytest.approx(2.3)


@pytest.mark.parametrize(
    "fields",
    [
        {"AcquisitionDuration": None},
        {"AcquisitionDuration": 120.0},  # the train would not fit
        {"AcquisitionDuration": 900.0},
        {"EchoTrainLength": 4},  # echoes of one excitation
        {"PhaseEncodingSteps": None},
    ],
)
def test_without_what_it_takes_there_is_no_estimate(fields: dict[str, object]) -> None:
    """A common value is assumed, with limits; without TI both are asked for."""
    info = TRAINS | fields
    assert estimated_cycle(sidecar(**info)) is None
    assert estimated_repetition("T1w", sidecar(**info), NOTHING) is None
    weighting = weighting_from("T1w", sidecar(**info), NOTHING)
    shortest = 0.9 + 0.01 + 128 * 0.0065 if fields.get("EchoTrainLength") != 4 else 1.7
    cycles = [float(other.repetition_time[0]) for other in weighting.alternatives]
    assert cycles == pytest.approx([shortest, 3.0])
    assert weighting.time("repetition_time") == pytest.approx((shortest + 3.0) / 2, abs=1e-4)
    with pytest.raises(MissingValuesError) as caught:
        weighting_from("T1w", sidecar(**(info | {"InversionTime": None})), NOTHING)
    value, inversion = caught.value.missing
    assert value.field == "RepetitionTimePreparation" and value.option == "--t1w-tr S"
    assert "RepetitionTime 0.0065 s" in value.reason and inversion.option == "--t1w-ti S"


def test_nothing_is_assumed_of_a_train_that_does_not_fit_its_inversion() -> None:
    assert assumed_cycle(sidecar(**(TRAINS | {"InversionTime": 0.8}))) is None
    with pytest.raises(MissingValuesError):
        weighting_from(
            "T1w", sidecar(**(TRAINS | {"InversionTime": 0.8, "AcquisitionDuration": 1})), NOTHING
        )


def test_an_inversion_time_that_is_given_suffices() -> None:
    fields = TRAINS | {"InversionTime": None, "AcquisitionDuration": None}
    weighting = weighting_from("T1w", sidecar(**fields), GivenWeighting(inversion_time=0.95))
    assert weighting.time("inversion_time") == 0.95 and len(weighting.alternatives) == 2
    full = weighting_from(
        "T1w", sidecar(**fields), GivenWeighting(inversion_time=0.95, repetition_time=2.3)
    )
    assert full.alternatives == () and full.time("repetition_time") == 2.3


def test_what_the_caller_gives_goes_before_an_estimate() -> None:
    given = GivenWeighting(repetition_time=2.5)
    assert weighting_from("T1w", sidecar(**TRAINS), given).time("repetition_time") == 2.5
    assert estimated_repetition("T1w", sidecar(**TRAINS), given) is None
    with pytest.raises(ProtocolError, match="not the time between inversions"):
        weighting_from("T1w", sidecar(**TRAINS), GivenWeighting(repetition_time=0.0065))


def test_a_train_has_a_shortest_cycle() -> None:
    assert shortest_cycle(sidecar(**TRAINS)) == pytest.approx(0.9 + 128 * 0.0065)
    assert shortest_cycle(sidecar(**(TRAINS | {"EchoTrainLength": None}))) is None


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("philips_1301_WIP_ADNI_Sag3D_MPRAGE_enh", ["--t1w-tr S", "--t1w-ti S"]),
        ("philips_ds004910_T1w", ["--t1w-tr S", "--t1w-ti S"]),
        ("philips_wip_anatbrain_t1w3d_301", ["--t1w-ti S"]),
    ],
)
def test_scanners_that_write_the_readout(
    shared_data: Callable[[str], Path], name: str, options: list[str]
) -> None:
    """All that is missing is asked for at once, and with it the image has a protocol."""
    fields = json.loads((shared_data("sidecars") / f"{name}.json").read_text())
    with pytest.raises(MissingValuesError) as caught:
        weighting_from("T1w", sidecar(**fields), NOTHING)
    assert [value.option for value in caught.value.missing] == options
    given = GivenWeighting(repetition_time=2.3, inversion_time=0.9)
    weighting = weighting_from("T1w", sidecar(**fields), given)
    assert weighting.time("repetition_time") == 2.3
    assert weighting.time("echo_spacing") == pytest.approx(fields["RepetitionTime"])


@pytest.mark.parametrize(
    ("name", "cycles"),
    [
        ("philips_1301_WIP_ADNI_Sag3D_MPRAGE_cl", (1.742, 3.0)),
        ("uih_t1_gre_fsp_3d_sag_132222", (1.7, 3.0)),
    ],
)
def test_scanners_that_write_ti_but_no_time_between_inversions(
    shared_data: Callable[[str], Path], name: str, cycles: tuple[float, float]
) -> None:
    fields = json.loads((shared_data("sidecars") / f"{name}.json").read_text())
    weighting = weighting_from("T1w", sidecar(**fields), NOTHING)
    limits = [float(other.repetition_time[0]) for other in weighting.alternatives]
    assert limits == pytest.approx(list(cycles), abs=0.002)
