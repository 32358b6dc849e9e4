from collections.abc import Sequence
from pathlib import Path

import pytest

from unweight.bids.series.overrides import NOTHING_GIVEN, ProtocolOverrides
from unweight.bids.series.part import Entry
from unweight.bids.series.readout import Echoes, check_echoes, check_recovery
from unweight.bids.sidecar import Sidecar
from unweight.core.errors import ProtocolError

TIMES = (0.05, 0.4, 1.1, 2.8)


def series(times: Sequence[float] = TIMES, name: str = "ir", **fields: object) -> list[Entry]:
    """Return one file for each inversion time; a list of values has one for each."""
    entries = []
    for index, time in enumerate(times):
        path = Path(f"{name}_{index}.nii")
        own = {key: value[index] if isinstance(value, tuple) else value for key, value in fields.items()}
        entries.append(Entry(path=path, sidecar=Sidecar(image=path, fields={"InversionTime": time, **own})))
    return entries


def one_file(**fields: object) -> list[Entry]:
    path = Path("ir.nii")
    return [Entry(path=path, sidecar=Sidecar(image=path, fields={"InversionTime": list(TIMES), **fields}))]


GOOD: list[dict[str, object]] = [
    {},
    {"RepetitionTime": 5.0},
    {"FlipAngle": 90, "RepetitionTime": 5.0, "ScanningSequence": "EP\\IR", "MRAcquisitionType": "2D"},
    {"FlipAngle": 180, "RepetitionTime": 5.0, "ScanningSequence": "SE\\IR", "EchoTrainLength": 16},
    {"FlipAngle": 120, "RepetitionTime": 5.0, "ScanningSequence": "SE_IR", "MRAcquisitionType": "3D"},
    {"FlipAngle": 90, "RepetitionTimeExcitation": 5.0, "RepetitionTimePreparation": 5.0},
    {"FlipAngle": 90, "RepetitionTime": (1.0, 1.4, 2.0, 5.0)},
    {"FlipAngle": 90, "RepetitionTimeExcitation": 0.08, "RepetitionTimePreparation": 5.0},
    {"SliceTiming": [0.0] * 6, "RepetitionTime": 5.0},
    {"SliceTiming": [0.0, 2.5, 0.8, 3.3, 1.6, 4.1], "RepetitionTime": 5.0},
]


@pytest.mark.parametrize("fields", GOOD)
def test_plain_inversion_recovery_passes(fields: dict[str, object]) -> None:
    assert check_recovery(series(**fields), NOTHING_GIVEN) == []
    listed = {key: list(value) if isinstance(value, tuple) else value for key, value in fields.items()}
    assert check_recovery(one_file(**listed), NOTHING_GIVEN) == []


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        (
            {"FlipAngle": 10, "RepetitionTimeExcitation": 0.08, "RepetitionTimePreparation": 6.0},
            "RepetitionTimeExcitation 0.08 s between excitations of 10 degrees",
        ),
        ({"FlipAngle": 5, "RepetitionTimeExcitation": 0.35, "RepetitionTime": 6.0}, "Look-Locker"),
        ({"FlipAngle": 35, "RepetitionTime": 0.28}, "RepetitionTime 0.28 s between excitations"),
        ({"SeriesDescription": "T1_MOLLI_native", "FlipAngle": 35}, "a Look-Locker series"),
        ({"ProtocolName": "Look_Locker"}, "a Look-Locker series"),
        ({"SeriesDescription": "t1_mp2rage_sag", "FlipAngle": 4, "RepetitionTime": 5.0}, "an MP2RAGE"),
        ({"SequenceName": "*tfl3d1_16ns", "FlipAngle": 9, "RepetitionTime": 3.3}, "MPRAGE, turbo FLASH"),
        ({"PulseSequenceName": "*tfl2d1_96", "FlipAngle": 8, "RepetitionTime": 4.0}, "turbo FLASH"),
        (
            {
                "ScanningSequence": "GR\\IR",
                "MRAcquisitionType": "3D",
                "FlipAngle": 8,
                "RepetitionTime": 3.3,
            },
            "three-dimensional gradient echoes of 8 degrees",
        ),
        (
            {"SliceTiming": [0.0, 0.1, 0.2], "RepetitionTime": 5.0},
            "SliceTiming spreads the slices over 0.2 s",
        ),
        (
            {"SliceTiming": [0.0, 0.1], "RepetitionTime": 5.0, "FlipAngle": 90, "ScanningSequence": "EP"},
            "an inversion time of its own",
        ),
    ],
)
def test_what_is_no_plain_inversion_recovery_is_refused(fields: dict[str, object], why: str) -> None:
    for entries in (series(**fields), one_file(**fields)):
        with pytest.raises(ProtocolError, match=why) as caught:
            check_recovery(entries, NOTHING_GIVEN)
        assert caught.value.remedy


def test_given_times_do_not_hide_the_readout() -> None:
    path = Path("ir.nii")
    fields = {"FlipAngle": 10, "RepetitionTimeExcitation": 0.08}
    entries = [Entry(path=path, sidecar=Sidecar(image=path, fields=fields))]
    with pytest.raises(ProtocolError, match="Look-Locker"):
        check_recovery(entries, ProtocolOverrides(inversion_time=TIMES, repetition_time=(6.0,)))


def test_given_times_are_those_of_every_slice() -> None:
    entries = one_file(SliceTiming=[0.0, 0.1, 0.2], RepetitionTime=5.0)
    (note,) = check_recovery(entries, ProtocolOverrides(inversion_time=TIMES))
    assert "slices were acquired over 0.2 s" in note
    spin = one_file(SliceTiming=[0.0, 0.1, 0.2], RepetitionTime=5.0, ScanningSequence="SE\\IR")
    assert len(check_recovery(spin, NOTHING_GIVEN)) == 1


def test_what_may_be_wrong_is_noted() -> None:
    fast = series(RepetitionTimeExcitation=0.08, RepetitionTimePreparation=6.0)
    (note,) = check_recovery(fast, NOTHING_GIVEN)
    assert "RepetitionTimeExcitation 0.08 s is shorter" in note
    flat = series(ScanningSequence="GR", MRAcquisitionType="2D", FlipAngle=20, RepetitionTime=5.0)
    (note,) = check_recovery(flat, NOTHING_GIVEN)
    assert "gradient echoes of 20 degrees" in note


def test_files_named_mp2rage_are_refused() -> None:
    with pytest.raises(ProtocolError, match="an MP2RAGE"):
        check_recovery(
            [
                Entry(path=path, sidecar=Sidecar(image=path, fields={"InversionTime": time}))
                for path, time in (
                    (Path("sub-1_inv-1_MP2RAGE.nii"), 0.8),
                    (Path("sub-1_inv-2_MP2RAGE.nii"), 2.7),
                )
            ],
            NOTHING_GIVEN,
        )


def test_one_inversion_time_is_no_recovery() -> None:
    echoes = series((1.1,) * 4, EchoTime=(0.002, 0.004, 0.006, 0.008), SequenceName="tfl_me3d5_16ns")
    assert check_recovery(echoes, NOTHING_GIVEN) == []


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"ScanningSequence": "SE"}, Echoes.SPIN),
        ({"ScanningSequence": ["SE"]}, Echoes.SPIN),
        ({"PulseSequenceType": "Multi-echo Spin Echo"}, Echoes.SPIN),
        ({"ScanningSequence": "GR", "SequenceVariant": "SP"}, Echoes.GRADIENT),
        ({"ScanningSequence": "EP_GR"}, Echoes.GRADIENT),
        ({"PulseSequenceType": "Spoiled Gradient Echo"}, Echoes.GRADIENT),
        ({"ScanningSequence": "SE_GR"}, None),  # GRASE has both
        ({"ScanningSequence": "RM"}, None),
        ({"ScanningSequence": 5}, None),
        ({}, None),
    ],
)
def test_spin_and_gradient_echoes_are_told_apart(fields: dict[str, object], kind: Echoes | None) -> None:
    sidecars = [Sidecar(image=Path("a.nii")), Sidecar(image=Path("b.nii"), fields=fields)]
    for wanted in Echoes:
        if kind is None or kind is wanted:
            check_echoes(sidecars, "", wanted, "Do.")
            continue
        with pytest.raises(ProtocolError, match=f"these are {kind.value} echoes"):
            check_echoes(sidecars, "", wanted, "Do.")


def test_the_suffix_counts_too() -> None:
    with pytest.raises(ProtocolError, match="is named MESE: these are spin echoes"):
        check_echoes([Sidecar(image=Path("a.nii"))], "MESE", Echoes.GRADIENT, "Do.")
    check_echoes([], "MEGRE", Echoes.GRADIENT, "Do.")
