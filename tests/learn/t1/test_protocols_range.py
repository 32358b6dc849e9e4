import json
from dataclasses import replace

import pytest
import torch

from unweight.core.acquisition import Acquisition, SignalKind
from unweight.core.errors import InputError, ProtocolError, UsageError
from unweight.core.protocol import protocol_from_values
from unweight.learn.t1.protocols import ProtocolRange, range_from_plain

RANGE = ProtocolRange(
    n_inversions=(4.0, 6.0), shortest=(0.02, 0.5), longest=(0.6, 4.5), repetition_time=(0.9, 15.0)
)
NAME = "t1-posterior"
TIMES = (0.05, 0.3, 0.9, 2.0)


def acquisition(
    times: tuple[float, ...] = TIMES,
    tr: float | tuple[float, ...] | None = 10.0,
    kind: SignalKind = SignalKind.MAGNITUDE,
) -> Acquisition:
    repetition = (tr,) * len(times) if isinstance(tr, float) else tr
    protocol = protocol_from_values(inversion_time=times, repetition_time=repetition)
    return Acquisition(signal=torch.ones(4, len(times)), protocol=protocol, kind=kind)


def refusal(one: Acquisition) -> str:
    with pytest.raises(ProtocolError) as refused:
        RANGE.check(one, NAME)
    return str(refused.value)


@pytest.mark.parametrize(
    "accepted",
    [
        acquisition(),
        acquisition((2.0, 0.05, 0.9, 0.3)),
        acquisition((0.02, 0.1, 0.2, 0.6)),
        acquisition((0.5, 1.0, 2.0, 3.0, 4.0, 4.5)),
        acquisition(tr=15.0),
        acquisition((0.05, 0.3, 0.5, 0.7), tr=0.9),
        acquisition(tr=(2.1, 5.0, 9.0, 14.0)),
        # A few milliseconds, or two per cent, are what scanners round.
        acquisition((0.014, 0.1, 0.2, 0.594)),
        acquisition((0.508, 1.0, 2.0, 4.585)),
        acquisition(tr=15.25),
    ],
)
def test_what_lies_inside_is_accepted(accepted: Acquisition) -> None:
    RANGE.check(accepted, NAME)


@pytest.mark.parametrize(
    ("times", "tr", "what", "ends", "value"),
    [
        ((0.05, 0.3, 2.0), 10.0, "number of inversion times", "4 to 6", "3"),
        ((0.05, 0.1, 0.3, 0.5, 0.8, 1.0, 2.0), 10.0, "number of inversion times", "4 to 6", "7"),
        ((0.01, 0.3, 0.9, 2.0), 10.0, "shortest inversion time", "0.02 to 0.5 s", "0.01 s"),
        ((0.6, 0.7, 0.9, 2.0), 10.0, "shortest inversion time", "0.02 to 0.5 s", "0.6 s"),
        ((0.05, 0.1, 0.2, 0.5), 10.0, "longest inversion time", "0.6 to 4.5 s", "0.5 s"),
        ((0.05, 0.3, 0.9, 6.0), 10.0, "longest inversion time", "0.6 to 4.5 s", "6 s"),
        ((0.05, 0.1, 0.3, 0.6), 0.8, "shortest repetition time", "0.9 to 15 s", "0.8 s"),
        (TIMES, (2.1, 5.0, 9.0, 20.0), "longest repetition time", "0.9 to 15 s", "20 s"),
    ],
)
def test_each_end_is_refused_with_what_to_do(
    times: tuple[float, ...], tr: float | tuple[float, ...], what: str, ends: str, value: str
) -> None:
    said = refusal(acquisition(times, tr))
    assert f"the {what} is {value}, outside the range {ends} that {NAME} was trained for" in said
    assert "--method ml" in said
    assert f"unweight train {NAME} --ti {' '.join(f'{ti:g}' for ti in sorted(times))} " in said


def test_an_untold_tr_is_refused() -> None:
    said = refusal(acquisition(tr=None))
    assert said.startswith("t1-posterior needs the repetition time, which is unknown")
    assert said.endswith("Give --tr, or use --method ml, which does not need it.")


def test_signed_data_are_taken() -> None:
    everything_else = acquisition(kind=SignalKind.SIGNED)
    RANGE.check(everything_else, NAME)


def test_data_without_inversion_times_are_refused() -> None:
    plain = Acquisition(signal=torch.ones(4, 1), protocol=protocol_from_values(echo_time=[0.01]))
    assert "t1-posterior needs inversion_time" in refusal(plain)


def test_round_trip() -> None:
    stored = json.loads(json.dumps(RANGE.to_plain()))
    assert range_from_plain({name: (low, high) for name, (low, high) in stored.items()}) == RANGE


@pytest.mark.parametrize(
    "values",
    [{}, {"repetition_time": (1.0, 2.0)}, {**RANGE.to_plain(), "shortest": (0.5, 0.1)}],
    ids=["nothing", "too little", "empty"],
)
def test_a_card_without_it_is_refused(values: dict[str, tuple[float, float]]) -> None:
    with pytest.raises(InputError, match="the card of the weights contains no range of protocols"):
        range_from_plain(values)


def test_messages() -> None:
    with pytest.raises(UsageError, match=r"ProtocolRange.longest from 4.5 to 0.6 is empty"):
        replace(RANGE, longest=(4.5, 0.6))
    with pytest.raises(UsageError, match=r"ProtocolRange.shortest from -0.1 to 0.6 is empty"):
        replace(RANGE, shortest=(-0.1, 0.6))
