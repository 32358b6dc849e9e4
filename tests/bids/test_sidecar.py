import json
import math
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unweight.bids.sidecar import Part, Sidecar, Timing, part_of, read_sidecar, timing_of
from unweight.core.errors import InputError, ProtocolError

IMAGE = Path("ir.nii")


def timing(**fields: object) -> Timing:
    return timing_of(Sidecar(image=IMAGE, fields=fields))


def test_degrees_become_radians_and_times_stay_seconds() -> None:
    found = timing(
        FlipAngle=90, EchoTime=0.012, InversionTime=0.4, RepetitionTime=2, MagneticFieldStrength=1.5
    )
    assert found.flip_angle == pytest.approx(math.pi / 2, abs=1e-15)
    assert (found.echo_time, found.inversion_time, found.repetition_time) == (0.012, 0.4, 2.0)
    assert found.field_strength == 1.5


def test_which_repetition_time_counts() -> None:
    both = {"RepetitionTimeExcitation": 0.007, "RepetitionTimePreparation": 2.3, "RepetitionTime": 0.5}
    assert timing(**both).repetition_time == 0.007
    assert timing(**both, InversionTime=0.9).repetition_time == 2.3
    assert timing(RepetitionTime=2.5).repetition_time == 2.5
    # dcm2niix, where it puts the time between volumes into RepetitionTime
    assert (
        timing(RepetitionTime=30.0, RepetitionTimeInversion=2.0, InversionTime=0.9).repetition_time == 2.0
    )
    assert timing(RepetitionTimeExcitation=2.5, InversionTime=0.9).repetition_time == 2.5


def test_what_bids_has_no_field_for_stands_in_an_object_of_ours() -> None:
    found = timing(unweight={"ReadoutTime": 0.2, "ExcitationTrainLength": 176}, EchoTime=0.01)
    assert (found.readout_time, found.train_length) == (0.2, 176.0)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"EchoTime": 14}, "echo_time 14 s looks like milliseconds"),
        ({"InversionTime": 400}, "inversion_time 400 s looks like milliseconds"),
        ({"RepetitionTime": 2500}, "repetition_time 2500 s looks like milliseconds"),
        ({"InversionTime": 3, "RepetitionTime": 2}, "inversion_time 3 s is not shorter"),
        ({"InversionTime": -0.1}, "cannot be -0.1"),
        ({"RepetitionTime": 0}, "repetition_time cannot be 0"),
    ],
)
def test_impossible_times_name_the_file_to_correct(fields: dict[str, object], problem: str) -> None:
    origin = Path("IRT1.json")
    sidecar = Sidecar(image=IMAGE, fields=fields, origins=dict.fromkeys(fields, origin))
    with pytest.raises(ProtocolError, match=problem) as caught:
        timing_of(sidecar)
    assert caught.value.path == origin


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"EchoTime": "0.01"}, "EchoTime must be a number, not '0.01'"),
        ({"EchoTime": True}, "EchoTime must be a number"),
        ({"EchoTime": [0.01]}, "EchoTime must be a number"),
        ({"EchoTime": 10**400}, "EchoTime is not finite"),
        ({"FlipAngle": 900}, "FlipAngle cannot be 900"),
        ({"FlipAngle": 0}, "FlipAngle cannot be 0"),
        ({"MagneticFieldStrength": 15000}, "MagneticFieldStrength cannot be 15000"),
        ({"unweight": 3}, "unweight must be an object"),
    ],
)
def test_fields_of_the_wrong_type(fields: dict[str, object], problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        timing(**fields)


def test_which_part_of_the_complex_image() -> None:
    for words, part in (
        (["ORIGINAL", "PRIMARY", "M", "ND", "MAGNITUDE"], Part.MAGNITUDE),
        (["ORIGINAL", "PRIMARY", "R", "NORM", "REAL"], Part.REAL),
        (["ORIGINAL", "PRIMARY", "P", "FFE"], Part.PHASE),
        (["ORIGINAL", "PRIMARY", "OTHER", "IMAGINARY"], Part.IMAGINARY),
        (["DERIVED", "SECONDARY"], None),
    ):
        assert part_of(Sidecar(image=IMAGE, fields={"ImageType": words})) is part
    with pytest.raises(InputError, match="several parts"):
        part_of(Sidecar(image=IMAGE, fields={"ImageType": ["M", "PHASE"]}))
    with pytest.raises(InputError, match="must be a list of words"):
        part_of(Sidecar(image=IMAGE, fields={"ImageType": "M"}))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b'{"a": 1, "a": 2}', "'a' occurs twice"),
        (b'{"x": {"a": 1, "a": 2}}', "'a' occurs twice"),
        (b"[1, 2]", "is not a JSON object"),
        (b'{"a": NaN}', "NaN is not a number"),
        (b'{"a": -Infinity}', "Infinity is not a number"),
        (b'{"a": "\xff"}', "not UTF-8"),
        (b'{"a": 1', "not valid JSON"),
        (b"", "not valid JSON"),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not valid JSON"),
    ],
)
def test_faults_of_json(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=problem) as caught:
        read_sidecar(path)
    assert caught.value.path == path


def test_a_byte_order_mark_is_tolerated_and_a_missing_file_is_not(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b'\xef\xbb\xbf{"EchoTime": 0.01}')
    assert read_sidecar(tmp_path / "a.json") == {"EchoTime": 0.01}
    for path in (tmp_path / "b.json", tmp_path):
        with pytest.raises(InputError):
            read_sidecar(path)


NAMES = [
    "EchoTime",
    "InversionTime",
    "RepetitionTime",
    "FlipAngle",
    "MagneticFieldStrength",
    "unweight",
    "ImageType",
]
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=4)
VALUES = st.recursive(
    SCALARS, lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(max_size=4), x, max_size=2)
)


@settings(
    max_examples=1000,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    fields=st.dictionaries(st.sampled_from(NAMES), VALUES),
    damage=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=3),
)
def test_any_json_gives_a_timing_or_one_error(
    tmp_path: Path, fields: dict[str, object], damage: list[tuple[int, int]]
) -> None:
    content = bytearray(json.dumps(fields).encode())
    for position, value in damage:
        content[position % len(content)] = value
    path = tmp_path / "a.json"
    path.write_bytes(content)
    try:
        sidecar = Sidecar(image=IMAGE, fields=read_sidecar(path))
        part_of(sidecar)
        found = timing_of(sidecar)
    except InputError as error:
        assert error.path in (path, IMAGE)
    else:
        assert all(value is None or math.isfinite(value) for value in vars(found).values())
