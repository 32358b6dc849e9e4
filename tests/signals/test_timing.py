import pytest
import torch

from unweight.core.errors import ProtocolError
from unweight.core.protocol import protocol_from_values
from unweight.signals.timing import check_train, refuse_where


def test_nothing_wrong_passes() -> None:
    refuse_where(torch.tensor([False, False]), "wrong", remedy="")


def test_the_first_wrong_volume_is_named() -> None:
    with pytest.raises(ProtocolError, match=r"^the echo is late \(volume 2\)\. Mend it\.$"):
        refuse_where(torch.tensor([False, True, True]), "the echo is late", remedy="Mend it.")


def test_a_train_that_fits_passes() -> None:
    check_train(protocol_from_values(readout_time=[0.3], echo_time=[0.1], repetition_time=[4.0]), "X")
    check_train(protocol_from_values(readout_time=[3 * 0.1], echo_time=[0.3]), "X")
    check_train(protocol_from_values(echo_time=[0.3]), "X")


def test_a_train_that_ends_before_its_echo_is_refused() -> None:
    protocol = protocol_from_values(readout_time=[0.3, 0.05], echo_time=[0.1, 0.1])
    with pytest.raises(ProtocolError, match=r"X: readout_time is shorter than echo_time \(volume 2\)"):
        check_train(protocol, "X")


@pytest.mark.parametrize("inversion_time", [None, [2.5]])
def test_a_train_that_outlasts_the_repetition_is_refused(inversion_time) -> None:
    late = 4.0 if inversion_time is None else 1.5
    protocol = protocol_from_values(
        readout_time=[late], inversion_time=inversion_time, repetition_time=[4.0]
    )
    with pytest.raises(ProtocolError, match="the readout is not over when the next repetition starts"):
        check_train(protocol, "X")
