import math

import pytest
import torch

from unweight.core.errors import ProtocolError
from unweight.core.protocol import PER_VOLUME, protocol_from_values
from unweight.core.weighting import READOUTS, Readout, Weighting, completed
from unweight.signals.weighted import COLUMN, N_TIMINGS, weighted_signal
from unweight.synth.protocols.standard import mprage, routine_contrasts
from unweight.synth.simulate_weighted import weighting_of


def weighting(readout: Readout, **timings: float) -> Weighting:
    return Weighting(
        readout=readout, protocol=protocol_from_values(**{name: [one] for name, one in timings.items()})
    )


def turbo(**timings: float) -> Weighting:
    return weighting(Readout.TURBO_SPIN_ECHO, **{"repetition_time": 5.0, "echo_time": 0.1, **timings})


def gradient(**timings: float) -> Weighting:
    known = {"repetition_time": 2.3, "echo_time": 0.003, "inversion_time": 0.9, "flip_angle": 0.157}
    return weighting(Readout.MPRAGE, **{**known, **timings})


def pauses(train: Weighting) -> tuple[float, float]:
    """Return what is left before and after the train of an MPRAGE."""
    spacing, length, centre, before, cycle = (
        train.time(name)
        for name in ("echo_spacing", "train_length", "centre_index", "inversion_time", "repetition_time")
    )
    assert spacing and length and centre is not None and before and cycle
    return before - centre * spacing, cycle - before - (length - centre) * spacing


def test_a_row_is_the_readout_then_each_timing_and_nan_where_unknown() -> None:
    row = turbo(readout_time=0.19).row()
    assert row.dtype == torch.float64 and len(row) == N_TIMINGS == 1 + len(PER_VOLUME)
    assert float(row[0]) == READOUTS.index(Readout.TURBO_SPIN_ECHO) == 1
    known = {"repetition_time": 5.0, "echo_time": 0.1, "readout_time": 0.19}
    for name in PER_VOLUME:
        value = float(row[COLUMN[name]])
        assert value == known[name] if name in known else math.isnan(value)


def test_times_and_inversion() -> None:
    fluid = turbo(inversion_time=2.5)
    assert fluid.inverts and not turbo().inverts
    assert fluid.time("inversion_time") == 2.5 and turbo().time("inversion_time") is None


def test_a_train_ends_at_twice_its_echo_time() -> None:
    whole, told = completed(turbo())
    assert whole.time("readout_time") == 0.2
    assert told == ("the echo train is assumed to end at twice the echo time, 0.2 s",)
    # In linear order the middle echo of 15, 12.5 ms apart, fills the centre: half a spacing is left.
    _, t2w, fluid = (weighting_of(scan) for scan in routine_contrasts())
    for one in (t2w, fluid):
        echo, end = one.time("echo_time"), one.time("readout_time")
        assert echo is not None and end is not None and abs(2 * echo - end) <= 0.0125 + 1e-9


def test_what_is_known_is_not_assumed() -> None:
    for one in (turbo(readout_time=0.15), weighting_of(mprage()), weighting_of(routine_contrasts()[0])):
        whole, told = completed(one)
        assert told == ()
        assert torch.equal(whole.row().nan_to_num(-1), one.row().nan_to_num(-1))


def test_the_usual_mprage_has_the_usual_train() -> None:
    """At TR 2.3 s, TI 0.9 s: as the published 176 excitations, the middle one at the centre."""
    whole, told = completed(gradient())
    assert whole.time("train_length") == 176 and whole.time("centre_index") == 88
    assert told == (
        "the echo spacing of the MPRAGE is assumed to be 7.5 ms",
        "the MPRAGE train is assumed to have 176 excitations in a train",
        "the centre of k-space of the MPRAGE is assumed at the middle excitation",
    )
    # The published train has 7.1 ms between them: grey over white matter is the same to 2 %, CSF to 4 %.
    t1, t2 = (torch.tensor(one, dtype=torch.float64) for one in ([0.85, 1.5, 4.3], [0.07, 0.1, 1.9]))
    one, other = (
        weighted_signal(t1, t2, torch.ones_like(t1), each.row()) for each in (whole, weighting_of(mprage()))
    )
    torch.testing.assert_close((one / one[0])[:2], (other / other[0])[:2], rtol=0.02, atol=0.0)
    torch.testing.assert_close(one / one[0], other / other[0], rtol=0.04, atol=0.0)


@pytest.mark.parametrize("inversion_time", [0.05, 0.25, 0.4, 0.7, 1.1, 1.6, 2.2])
@pytest.mark.parametrize("repetition_time", [1.7, 2.3, 3.5])
def test_a_train_always_fits_between_the_inversions(inversion_time: float, repetition_time: float) -> None:
    if inversion_time >= repetition_time:
        return
    one = gradient(inversion_time=inversion_time, repetition_time=repetition_time)
    whole, told = completed(one)
    assert min(pauses(whole)) >= 0.005 - 1e-9
    length = whole.time("train_length")
    assert length is not None and 2 <= length <= 176 and len(told) == 3


def test_given_parts_of_a_train_are_kept() -> None:
    whole, told = completed(gradient(echo_spacing=0.009, train_length=100.0))
    assert whole.time("centre_index") == 50 and whole.time("echo_spacing") == 0.009
    assert told == ("the centre of k-space of the MPRAGE is assumed at the middle excitation",)
    whole, told = completed(gradient(centre_index=40.0))
    assert whole.time("centre_index") == 40 and whole.time("train_length") == 80 and len(told) == 2
    # Excitations cannot be closer than it takes to read the echo.
    assert completed(gradient(echo_time=0.005))[0].time("echo_spacing") == 0.01


def test_a_repetition_time_from_excitation_to_excitation_is_refused() -> None:
    with pytest.raises(ProtocolError, match=r"inversion_time 0.9 s is not shorter than repetition_time"):
        gradient(repetition_time=0.007)
    with pytest.raises(ProtocolError, match=r"does not fit TI 0.9 s and TR 0.906 s") as refused:
        completed(gradient(repetition_time=0.906))
    assert "TR of an MPRAGE runs from inversion to inversion" in str(refused.value)


@pytest.mark.parametrize(
    ("timings", "message"),
    [
        ({"train_length": 400.0}, "train of 400 excitations 7.5 ms apart does not fit TI 0.9 s and TR 2.3"),
        ({"centre_index": 150.0}, "does not fit TI 0.9 s"),
        ({"inversion_time": 0.01}, "train of 0 excitations"),
    ],
)
def test_no_train_fits(timings: dict[str, float], message: str) -> None:
    with pytest.raises(ProtocolError, match=message):
        completed(gradient(**timings))


def test_messages() -> None:
    with pytest.raises(ProtocolError, match="a weighted image has one volume, not 2"):
        Weighting(
            readout=Readout.SPIN_ECHO,
            protocol=protocol_from_values(repetition_time=[0.5, 0.5], echo_time=[0.01, 0.02]),
        )
    with pytest.raises(ProtocolError, match="an image by spin-echo needs echo_time"):
        weighting(Readout.SPIN_ECHO, repetition_time=0.5)
    with pytest.raises(ProtocolError, match="an image by mprage needs inversion_time"):
        weighting(Readout.MPRAGE, repetition_time=2.3, echo_time=0.003, flip_angle=0.15)
