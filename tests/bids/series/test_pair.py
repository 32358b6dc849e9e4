from pathlib import Path

import pytest

from unweight.bids.series.pair import check_pair, completed
from unweight.bids.series.part import Entry
from unweight.bids.sidecar import Sidecar
from unweight.core.errors import InputError
from unweight.core.protocol import Protocol, protocol_from_values

FIRST = {"EchoTime": 0.004, "RepetitionTimeExcitation": 0.03, "MagneticFieldStrength": 3}
HERE = Path("phase.nii")


def entry(name: str, fields: dict[str, object]) -> Entry:
    path = Path(name)
    return Entry(path=path, sidecar=Sidecar(image=path, fields=fields))


def protocol(te: float = 0.004, field: float | None = 3.0, **more: list[float]) -> Protocol:
    return protocol_from_values(echo_time=[te, te + 0.005], field_strength=field, **more)


def test_each_part_takes_what_only_the_other_has() -> None:
    magnitude, phase = entry("m.nii", FIRST), entry("p.nii", {"RepetitionTime": 0.031, "B0_dir": [0, 0, 1]})
    (one,), (other,) = completed([magnitude], [phase])
    assert dict(one.sidecar.fields) == {**FIRST, "B0_dir": [0, 0, 1]}
    # One of the fields that mean TR is enough; the other part's is not put beside it.
    assert dict(other.sidecar.fields) == {
        "RepetitionTime": 0.031,
        "B0_dir": [0, 0, 1],
        "EchoTime": 0.004,
        "MagneticFieldStrength": 3,
    }
    assert other.sidecar.origin("EchoTime") == Path("m.nii")


def test_rounding_does_not_part_them() -> None:
    assert check_pair(protocol(), protocol(te=0.0040016), HERE) == []
    assert check_pair(protocol(), protocol(field=None), HERE) == []
    assert check_pair(protocol(), protocol(repetition_time=[0.03, 0.03]), HERE) == []


def test_a_nominal_field_beside_a_measured_one_is_noted() -> None:
    (note,) = check_pair(protocol(), protocol(field=2.89362), HERE)
    assert "3 T is used" in note


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (protocol(te=0.0041), "echo_time of volume 1 is 0.0041 here and 0.004 in the other"),
        (protocol(field=1.5), "the field strength is 1.5 T here and 3 T in the other"),
        (protocol_from_values(echo_time=[0.004], field_strength=3.0), "1 volumes here and 2 in the other"),
    ],
)
def test_what_both_give_must_agree(other: Protocol, why: str) -> None:
    with pytest.raises(InputError, match=why) as caught:
        check_pair(protocol(), other, HERE)
    assert caught.value.path == HERE
