import hashlib
import math

import pytest

from unweight.core.protocol import protocol_from_values
from unweight.core.weighting import Readout, Weighting
from unweight.synth.protocols.prior import is_held_out

STEP = 0.1


def image(tr: float, te: float, ti: float | None = None, readout: Readout = Readout.SPIN_ECHO) -> Weighting:
    return Weighting(
        readout=readout,
        protocol=protocol_from_values(
            repetition_time=[tr],
            echo_time=[te],
            inversion_time=None if ti is None else [ti],
            flip_angle=[0.15] if readout is Readout.MPRAGE else None,
        ),
    )


def middle(cell: int) -> float:
    """Return the time in the middle of a cell."""
    return math.exp(STEP * (cell + 0.5))


@pytest.mark.parametrize(
    ("held_out", "weighting"),
    [
        # By hand: exp(1.6) < 5 < exp(1.7), exp(−2.4) < 0.1 < exp(−2.3); the SHA-256 of
        # "turbo-spin-echo|16|-24|-" begins with 044578fadf8b311a, backwards 0x1a318bdffa784504, a multiple
        # of ten; and so on.
        (True, image(5.0, 0.1, readout=Readout.TURBO_SPIN_ECHO)),
        (False, image(5.0, 0.1)),
        (False, image(9.0, 0.1, 2.5, Readout.TURBO_SPIN_ECHO)),
        (True, image(9.0, 0.1, 2.5, Readout.MPRAGE)),
        (False, image(0.6, 0.012)),
        (True, image(2.0, 0.003, 0.9, Readout.TURBO_SPIN_ECHO)),
    ],
)
def test_the_split_is_the_same_for_ever(held_out: bool, weighting: Weighting) -> None:
    assert is_held_out(weighting) is held_out


def test_by_hand() -> None:
    start = hashlib.sha256(b"turbo-spin-echo|16|-24|-").hexdigest()[:16]
    assert start == "044578fadf8b311a"
    assert 0x1A318BDFFA784504 % 10 == 0


def test_one_cell_in_ten() -> None:
    """Of 1600 cells; the standard deviation of the share is 0.75 %."""
    cells = [is_held_out(image(middle(tr), middle(te))) for tr in range(0, 40) for te in range(-60, -40)]
    cells += [
        is_held_out(image(middle(tr), middle(te), middle(ti), Readout.TURBO_SPIN_ECHO))
        for tr in range(18, 26)
        for te in range(-26, -16)
        for ti in range(5, 15)
    ]
    assert len(cells) == 1600
    assert sum(cells) / len(cells) == pytest.approx(0.1, abs=0.02)


def test_a_cell_is_ten_per_cent_wide_in_each_time() -> None:
    for tr in range(-10, 25):
        for shift in (0.96, 1.04):
            assert is_held_out(image(shift * middle(tr), middle(-45))) is is_held_out(
                image(middle(tr), middle(-45))
            )
            assert is_held_out(image(middle(20), shift * middle(tr - 30))) is is_held_out(
                image(middle(20), middle(tr - 30))
            )


def test_timings_a_third_apart_are_decided_apart() -> None:
    """Were they in one cell they would be decided alike; of two cells 18 % are not."""
    pairs = [
        (is_held_out(image(tr, middle(te))), is_held_out(image(1.3 * tr, middle(te))))
        for tr in (0.3 * 1.01**step for step in range(50))
        for te in range(-50, -40)
    ]
    apart = sum(one is not other for one, other in pairs) / len(pairs)
    assert apart == pytest.approx(0.18, abs=0.05)


def test_other_timings_do_not_matter() -> None:
    one = image(2.3, 0.003, 0.9, Readout.MPRAGE)
    protocol = protocol_from_values(
        repetition_time=[2.3], echo_time=[0.003], inversion_time=[0.9], flip_angle=[0.1], field_strength=1.5
    )
    assert is_held_out(Weighting(readout=Readout.MPRAGE, protocol=protocol)) is is_held_out(one)
