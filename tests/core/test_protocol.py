import math

import pytest
import torch

from unweight.core.errors import ProtocolError
from unweight.core.protocol import Protocol, protocol_from_values


def test_values_are_kept_in_order() -> None:
    protocol = protocol_from_values(inversion_time=[0.4, 0.05], repetition_time=[2.0, 2.5])
    assert protocol.n_volumes == 2
    assert protocol.require("inversion_time", "x").tolist() == [0.4, 0.05]
    assert protocol.as_dict() == {"repetition_time": [2.0, 2.5], "inversion_time": [0.4, 0.05]}


def test_select_reorders_every_timing() -> None:
    protocol = protocol_from_values(inversion_time=[0.4, 0.05], repetition_time=[2.0, 2.5])
    picked = protocol.select([1, 0])
    assert picked.as_dict() == {"repetition_time": [2.5, 2.0], "inversion_time": [0.05, 0.4]}


@pytest.mark.parametrize(
    ("timings", "message"),
    [
        ({"inversion_time": [50.0, 400.0]}, "inversion_time 400 s looks like milliseconds"),
        ({"echo_time": [12.0]}, "echo_time 12 s looks like milliseconds"),
        ({"repetition_time": [2550.0]}, "repetition_time 2550 s looks like milliseconds"),
        ({"inversion_time": [0.1, math.nan]}, "inversion_time is not finite"),
        ({"inversion_time": [-0.1]}, "inversion_time cannot be -0.1"),
        ({"repetition_time": [0.0]}, "repetition_time cannot be 0"),
        ({"inversion_time": []}, "inversion_time has no values"),
        ({"inversion_time": [0.1], "echo_time": [0.01, 0.02]}, "disagree about the number of volumes"),
        ({"inversion_time": [3.0], "repetition_time": [2.5]}, "is not shorter than repetition_time 2.5 s"),
        ({}, "without any timing"),
    ],
)
def test_impossible_timings_are_refused(timings: dict[str, list[float]], message: str) -> None:
    with pytest.raises(ProtocolError, match=message):
        protocol_from_values(**timings)


def test_unknown_timing_is_refused() -> None:
    with pytest.raises(ProtocolError, match="unknown timing inversion_times"):
        protocol_from_values(inversion_times=[0.1])


def test_missing_timing_names_who_needs_it() -> None:
    protocol = Protocol(echo_time=torch.tensor([0.01]))
    with pytest.raises(ProtocolError, match="Barral needs inversion_time, which this protocol does not"):
        protocol.require("inversion_time", "Barral")


def test_timings_of_voxels_stand_before_the_volumes() -> None:
    protocol = Protocol(
        flip_angle=torch.tensor([[0.1, 0.3], [0.2, 0.4], [0.3, 0.5]]),
        repetition_time=torch.tensor([0.02, 0.03]),
    )
    assert protocol.n_volumes == 2
    assert protocol.voxels == (3,)
    part = protocol.at(torch.tensor([2, 0]))
    assert part.voxels == (2,)
    assert torch.equal(part.require("flip_angle", "x"), torch.tensor([[0.3, 0.5], [0.1, 0.3]]))
    assert torch.equal(part.require("repetition_time", "x")[1], torch.tensor([0.02, 0.03]))
    assert torch.equal(protocol.select([1]).require("flip_angle", "x")[:, 0], torch.tensor([0.3, 0.4, 0.5]))
    with pytest.raises(ProtocolError, match="cannot be listed"):
        protocol.as_dict()


def test_one_protocol_for_all_voxels_is_that_of_any() -> None:
    protocol = protocol_from_values(echo_time=[0.01, 0.02])
    assert protocol.voxels == ()
    assert protocol.at(slice(2)) is protocol


def test_voxels_of_timings_must_fit() -> None:
    with pytest.raises(ProtocolError, match="differ in their voxels"):
        Protocol(flip_angle=torch.rand(3, 2), echo_time=torch.rand(4, 2) / 10)


def test_an_impossible_timing_of_one_voxel_is_refused() -> None:
    with pytest.raises(ProtocolError, match=r"3 s is not shorter than repetition_time 2.5 s \(volume 2\)"):
        Protocol(
            inversion_time=torch.tensor([[0.1, 2.0], [0.1, 3.0]]), repetition_time=torch.tensor([2.5, 2.5])
        )
