import pytest
import torch

from unweight.core.acquisition import Acquisition, SignalKind
from unweight.core.errors import ProtocolError, UsageError
from unweight.core.protocol import protocol_from_values
from unweight.learn.t1.protocols import TrainedProtocol

TRAINED = TrainedProtocol(inversion_time=(0.5, 0.05, 1.5), repetition_time=(8.0, 12.0), recipe="t1-resnet")


def acquisition(
    times: list[float], tr: float | None = 10.0, kind: SignalKind = SignalKind.MAGNITUDE
) -> Acquisition:
    protocol = protocol_from_values(
        inversion_time=times, repetition_time=None if tr is None else [tr] * len(times)
    )
    return Acquisition(signal=torch.ones(4, len(times)), protocol=protocol, kind=kind)


def test_any_order_is_brought_into_that_of_the_channels() -> None:
    assert TRAINED.order(acquisition([0.05, 0.5, 1.5])) == [1, 0, 2]
    assert TRAINED.order(acquisition([1.5, 0.5, 0.05])) == [1, 2, 0]


def test_one_per_cent_and_an_unknown_repetition_time_pass() -> None:
    assert TRAINED.order(acquisition([0.0504, 0.4955, 1.51], tr=None)) == [1, 0, 2]
    assert TRAINED.order(acquisition([0.05, 0.5, 1.5], tr=12.05)) == [1, 0, 2]


@pytest.mark.parametrize("times", [[0.05, 0.5, 1.6], [0.05, 0.5], [0.05, 0.5, 0.5, 1.5]])
def test_other_inversion_times_are_refused_with_what_to_do(times: list[float]) -> None:
    wanted = " ".join(f"{ti:g}" for ti in times)
    with pytest.raises(ProtocolError) as refusal:
        TRAINED.order(acquisition(times))
    message = str(refusal.value)
    assert "t1-resnet was trained for inversion times 0.5, 0.05, 1.5 s" in message
    assert f"unweight train t1-resnet --ti {wanted}" in message


def test_other_data_are_refused() -> None:
    with pytest.raises(ProtocolError, match=r"repetition times from 8 to 12 s.*2.5 s"):
        TRAINED.order(acquisition([0.05, 0.5, 1.5], tr=2.5))
    with pytest.raises(ProtocolError, match=r"magnitude volumes; these are signed"):
        TRAINED.order(acquisition([0.05, 0.5, 1.5], kind=SignalKind.SIGNED))
    plain = Acquisition(signal=torch.ones(4, 1), protocol=protocol_from_values(echo_time=[0.01]))
    with pytest.raises(ProtocolError, match="t1-resnet needs inversion_time"):
        TRAINED.order(plain)


def test_impossible_training_is_refused() -> None:
    with pytest.raises(UsageError, match="Give each time of an input channel once"):
        TrainedProtocol(inversion_time=(0.5, 0.5), repetition_time=(1.0, 2.0), recipe="t1-rim")
    with pytest.raises(UsageError, match="repetition times, 3 to 2 s, is invalid"):
        TrainedProtocol(inversion_time=(0.5,), repetition_time=(3.0, 2.0), recipe="t1-rim")
