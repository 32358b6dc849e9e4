import json
from collections.abc import Iterator

import pytest

from tests.learn.examinations import FLUID, GRADIENT, SPIN, T2W, examination, spin_echo, turbo
from unweight.core.errors import InputError, ProtocolError
from unweight.core.examination import WeightedImageSet
from unweight.core.protocol import protocol_from_values
from unweight.core.weighting import Readout, Weighting
from unweight.learn.weighted.protocol_range import WeightingRange, trained_range
from unweight.synth.protocols.prior import ContrastPrior

NAME = "maps"
RANGE = WeightingRange(
    {
        "field_strength": (1.5, 3.0),
        "T1w spin-echo repetition_time": (0.3, 1.0),
        "T1w spin-echo echo_time": (0.006, 0.025),
        "T1w mprage repetition_time": (1.4, 3.0),
        "T1w mprage echo_time": (0.0015, 0.005),
        "T1w mprage inversion_time": (0.7, 1.2),
        "T2w turbo-spin-echo repetition_time": (2.0, 9.0),
        "T2w turbo-spin-echo echo_time": (0.06, 0.15),
        "FLAIR turbo-spin-echo repetition_time": (5.0, 12.0),
        "FLAIR turbo-spin-echo echo_time": (0.06, 0.15),
        "FLAIR turbo-spin-echo inversion_time": (1.5, 3.0),
    }
)


def measured(*weightings: Weighting, field: float = 3.0) -> WeightedImageSet:
    made = examination(weightings or (SPIN, T2W, FLUID))
    return WeightedImageSet(images=made.images, mask=made.mask, field_strength=field)


def refusal(one: WeightedImageSet, by: WeightingRange = RANGE) -> str:
    with pytest.raises(ProtocolError) as refused:
        by.check(one, NAME)
    return str(refused.value)


@pytest.mark.parametrize(
    "accepted",
    [
        measured(),
        measured(GRADIENT, T2W, FLUID),
        measured(field=1.5),
        # What scanners call 1.5 and 3 T.
        measured(field=1.494),
        measured(field=2.89),
        # Five per cent are let by.
        measured(spin_echo(0.287, 0.02)),
        measured(spin_echo(1.04, 0.026)),
        measured(SPIN, turbo(9.4, 0.155)),
    ],
)
def test_what_lies_inside_is_accepted(accepted: WeightedImageSet) -> None:
    RANGE.check(accepted, NAME)


@pytest.mark.parametrize(
    ("refused", "message"),
    [
        (
            measured(spin_echo(2.0, 0.012)),
            "TR of the T1w (spin-echo) is 2 s; the weights of maps support 0.3 to 1 s. Check the value",
        ),
        (measured(spin_echo(0.25, 0.012)), "TR of the T1w (spin-echo) is 0.25 s"),
        (
            measured(spin_echo(0.6, 0.04)),
            "TE of the T1w (spin-echo) is 0.04 s; the weights of maps support 0.006 to 0.025 s",
        ),
        (
            measured(SPIN, turbo(5.0, 0.3)),
            "TE of the T2w (turbo-spin-echo) is 0.3 s; the weights of maps support 0.06 to 0.15",
        ),
        (measured(SPIN, T2W, turbo(9.0, 0.1, 0.9)), "TI of the FLAIR (turbo-spin-echo) is 0.9 s"),
        (measured(field=7.0), "maps was trained for 1.5 to 3 T, not for 7 T. Train it for this field"),
        (measured(field=0.55), "not for 0.55 T"),
        (measured(SPIN, T2W, turbo(9.0, 0.1)), "the FLAIR has no inversion_time. Check TI, and which"),
        (measured(SPIN, turbo(5.0, 0.1, 1.8)), "of the T2w"),
    ],
)
def test_what_lies_outside_is_refused_with_what_to_do(refused: WeightedImageSet, message: str) -> None:
    if message == "of the T2w":
        assert "the T2w should have no" in refusal(refused) and "inversion_time. Check TI" in refusal(
            refused
        )
    else:
        assert message in refusal(refused)


def test_a_readout_that_was_not_trained() -> None:
    said = refusal(measured(turbo(0.6, 0.012)))
    assert said.startswith(
        "maps was not trained for a T1w turbo-spin-echo. Supported: FLAIR turbo-spin-echo, "
    )
    assert "T1w mprage, T1w spin-echo, T2w turbo-spin-echo" in said and "field_strength" not in said
    quick = Weighting(
        readout=Readout.SPIN_ECHO, protocol=protocol_from_values(repetition_time=[5.0], echo_time=[0.1])
    )
    assert "was not trained for a T2w spin-echo" in refusal(measured(SPIN, quick))


def test_a_card_that_does_not_tell() -> None:
    with pytest.raises(
        InputError, match="the card of the weights does not contain the range of field_strength"
    ):
        WeightingRange({}).check(measured(), NAME)
    partly = WeightingRange({"field_strength": (1.5, 3.0), "T1w spin-echo echo_time": (0.006, 0.025)})
    with pytest.raises(ProtocolError, match="the T1w should have no repetition_time"):
        partly.check(measured(), NAME)


def test_round_trip() -> None:
    stored = json.loads(json.dumps(RANGE.to_plain()))
    assert WeightingRange({key: (low, high) for key, (low, high) in stored.items()}) == RANGE


@pytest.fixture(scope="module")
def trained() -> Iterator[WeightingRange]:
    """The range of fewer draws than are made for a card."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("unweight.learn.weighted.protocol_range.N_DRAWS", 300)
        yield trained_range()


def test_trained_range_ends_inside_that_of_the_prior_and_reaches_almost_as_far(
    trained: WeightingRange,
) -> None:
    prior, ends = ContrastPrior(), trained.ends
    assert ends["field_strength"] == (1.5, 3.0)
    wanted = {
        "T1w spin-echo repetition_time": prior.t1w_repetition_time,
        "T1w spin-echo echo_time": prior.t1w_echo_time,
        "T1w turbo-spin-echo repetition_time": prior.t1w_repetition_time,
        "T1w turbo-spin-echo echo_time": (0.006, 0.012),
        "T2w turbo-spin-echo repetition_time": prior.t2w_repetition_time,
        "FLAIR turbo-spin-echo repetition_time": prior.flair_repetition_time,
    }
    for key, (low, high) in wanted.items():
        found = ends[key]
        assert low - 1e-6 <= found[0] < low * 1.12 and high * 0.9 < found[1] <= high + 1e-6
    # The echo at the centre of k-space is a whole one: TE lies up to half a spacing further out.
    for name in ("T2w", "FLAIR"):
        low, high = ends[f"{name} turbo-spin-echo echo_time"]
        half = prior.echo_spacing[1] / 2
        assert prior.long_echo_time[0] - half <= low < 1.1 * prior.long_echo_time[0]
        assert 0.95 * prior.long_echo_time[1] < high <= prior.long_echo_time[1] + half
    low, high = ends["FLAIR turbo-spin-echo inversion_time"]
    assert 1.4 < low < 1.7 and 2.7 < high < 3.1
    assert {key.rsplit(" ", 1)[0] for key in ends if key != "field_strength"} == {
        "T1w mprage",
        "T1w spin-echo",
        "T1w turbo-spin-echo",
        "T2w turbo-spin-echo",
        "FLAIR turbo-spin-echo",
    }


def test_trained_range_takes_the_usual(trained: WeightingRange) -> None:
    for weightings in ((SPIN, T2W, FLUID), (GRADIENT, T2W, FLUID), (turbo(0.6, 0.011), T2W, FLUID)):
        trained.check(measured(*weightings), NAME)
    assert "T2w" in refusal(measured(SPIN, turbo(1.0, 0.1)), trained)
