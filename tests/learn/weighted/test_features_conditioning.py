import math

import pytest
import torch
from torch import Tensor

from tests.learn.examinations import FLUID, GRADIENT, SPIN, T2W, mprage, spin_echo, turbo
from unweight.core.protocol import protocol_from_values
from unweight.core.weighting import Readout, Weighting, completed
from unweight.learn.weighted.features import (
    FEATURES_EACH,
    FINGERPRINT,
    N_TOKEN,
    SPANS,
    fingerprint,
    ln_reference,
    name_tokens,
    reference_t1,
    tokens_of,
)

ALL = (SPIN, T2W, FLUID, GRADIENT)
NAMES = list(SPANS)


def rows_of(*weightings: Weighting) -> Tensor:
    return torch.stack([one.row() for one in weightings])[None]


def field(tesla: float = 3.0) -> Tensor:
    return torch.tensor([tesla], dtype=torch.float64)


def test_a_token_of_every_readout_is_finite_and_as_long_as_told() -> None:
    tokens = tokens_of(rows_of(*ALL), field())
    assert tokens.shape == (1, 4, N_TOKEN)
    assert bool(torch.isfinite(tokens).all())
    apart = torch.cdist(tokens[0], tokens[0]) + torch.eye(4)
    assert float(apart.min()) > 0.5


@pytest.mark.parametrize(
    ("weighting", "known"),
    [
        (SPIN, {"repetition_time": 0.6, "echo_time": 0.012}),
        (
            FLUID,
            {"repetition_time": 9.0, "echo_time": 0.1, "inversion_time": 2.5, "readout_time": 0.19},
        ),
        (
            GRADIENT,
            {
                "repetition_time": 2.3,
                "echo_time": 0.003,
                "inversion_time": 0.9,
                "flip_angle": math.radians(9),
                "train_duration": 176 * 0.0071,
            },
        ),
    ],
)
def test_each_number_is_described_by_its_logarithm_and_whether_it_is_known(
    weighting: Weighting, known: dict[str, float]
) -> None:
    """u = ln(x / lower) / ln(upper / lower), then waves, then 1; all 0 where it is not known."""
    token = tokens_of(rows_of(weighting), field())[0, 0]
    for place, (name, (low, high)) in enumerate(SPANS.items()):
        part = token[place * FEATURES_EACH : (place + 1) * FEATURES_EACH]
        value = (known | {"field_strength": 3.0}).get(name)
        if value is None:
            assert not part.any()
        else:
            assert float(part[0]) == pytest.approx(math.log(value / low) / math.log(high / low))
            assert float(part[-1]) == 1.0


def test_readout_and_inversion_are_told() -> None:
    kinds = tokens_of(rows_of(*ALL), field())[0, :, len(SPANS) * FEATURES_EACH :][:, :4]
    assert kinds.tolist() == [[1, 0, 0, 0], [0, 1, 0, 0], [0, 1, 0, 1], [0, 0, 1, 1]]


def test_a_missing_image_has_a_finite_token_of_the_field_alone() -> None:
    rows = rows_of(SPIN, T2W)
    rows[:, 1] = math.nan
    token = tokens_of(rows, field())[0, 1]
    start = NAMES.index("field_strength") * FEATURES_EACH
    assert bool(torch.isfinite(token).all())
    assert bool(token[start : start + FEATURES_EACH].any())
    token[start : start + FEATURES_EACH] = 0.0
    assert not token.any()


def test_fingerprint_of_a_spin_echo_by_hand() -> None:
    """ln of [1 − 2·E(TR − TE/2) + E(TR)]·exp(−TE/T2) of a water over that of an ordinary brain."""
    tr, te = 0.6, 0.012

    def signal(t1: float, t2: float) -> float:
        regained = 1 - 2 * math.exp(-(tr - te / 2) / t1) + math.exp(-tr / t1)
        return regained * math.exp(-te / t2)

    found = fingerprint(rows_of(spin_echo(tr, te)), field())[0, 0].tolist()
    expected = [math.log(signal(t1, t2) / signal(1.15, 0.085)) for t1, t2 in FINGERPRINT]
    assert found == pytest.approx(expected, abs=1e-6)


def test_what_changes_no_contrast_changes_no_fingerprint() -> None:
    """The flip angle of a turbo spin echo is a factor; so are a TR and a TE that nothing depends on."""
    timings = {"repetition_time": [5.0], "echo_time": [0.1], "readout_time": [0.19]}
    weak = Weighting(
        readout=Readout.TURBO_SPIN_ECHO, protocol=protocol_from_values(**timings, flip_angle=[1.0])
    )
    rows = rows_of(T2W, weak, turbo(5.0, 0.05))
    one, same, other = fingerprint(rows, field())[0]
    torch.testing.assert_close(one, same, atol=1e-6, rtol=0.0)
    assert float((one - other).abs().max()) > 0.2


def test_fluid_stands_out_as_each_contrast_shows_it() -> None:
    """Dark in T1w and FLAIR, bright in T2w."""
    fluid = fingerprint(rows_of(*ALL), field())[0, :, -1]
    assert float(fluid[0]) < -0.3 and float(fluid[1]) > 0.5 and float(fluid[2]) < -0.5
    assert float(fluid[3]) < -0.3
    assert float(fingerprint(rows_of(*ALL), field()).abs().max()) <= 4.0


def test_reference_t1_grows_with_the_field() -> None:
    """As B0 to the power 0.38, between grey (1.5 s) and white matter (0.85 s) at 3 T."""
    t1 = reference_t1(torch.tensor([1.5, 3.0], dtype=torch.float64)).tolist()
    assert t1 == pytest.approx([1.15 * 0.5**0.38, 1.15])
    assert 0.85 < t1[1] < 1.5 and 0.6 < t1[0] < 1.2


def test_reference_of_missing_images() -> None:
    rows = rows_of(SPIN, T2W)
    rows[:, 0] = math.nan
    found = ln_reference(rows, field())[0]
    assert bool(torch.isnan(found[0])) and bool(torch.isfinite(found[1]))
    # By hand: PD 0.77, T1 1.15 s, T2 85 ms.
    by_hand = 0.77 * (1 - math.exp(-(5.0 - 0.19) / 1.15)) * math.exp(-0.1 / 0.085)
    assert float(found[1]) == pytest.approx(math.log(by_hand), abs=1e-6)


def test_an_mprage_whose_train_is_not_told_is_completed_first() -> None:
    whole = completed(mprage())[0]
    told, assumed = tokens_of(rows_of(GRADIENT, whole), field())[0]
    assert bool(torch.isfinite(assumed).all())
    part = slice(-len(FINGERPRINT), None)
    torch.testing.assert_close(told[part], assumed[part], atol=0.06, rtol=0.0)


def test_name_tokens_tell_the_place_and_nothing_else() -> None:
    tokens = name_tokens(3, 2)
    assert tokens.shape == (2, 3, N_TOKEN)
    assert torch.equal(tokens[0, :, :3], torch.eye(3)) and not tokens[:, :, 3:].any()
    assert torch.equal(tokens[0], tokens[1])
