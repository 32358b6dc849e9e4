import math

import pytest
import torch

from tests.synth.protocols.test_standard import signal
from unweight.core.errors import UsageError
from unweight.core.seeding import seeded_generator
from unweight.core.weighting import Readout
from unweight.signals.timing import check_train
from unweight.signals.variable_train import equivalent_train
from unweight.synth.protocols.prior import (
    ContrastPrior,
    GradientEchoPrior,
    InversionPrior,
    draw_contrasts,
    draw_echoes,
    draw_inversions,
    with_drawn_design,
)
from unweight.synth.simulate_weighted import weighting_of

N_DRAWS = 600


def test_inversions_are_legal_and_wide() -> None:
    counts, repetition_times = set(), []
    for seed in range(N_DRAWS):
        scan = draw_inversions(InversionPrior(), seeded_generator(seed))
        check_train(scan.protocol, "test")
        times = scan.protocol.inversion_time
        assert bool((times.diff() > 0).all())
        assert 0.03 <= float(times[0]) <= 0.15 and 1.2 <= float(times[-1]) <= 4.0
        end = times + scan.protocol.readout_time
        assert bool((end < scan.protocol.repetition_time).all())
        assert bool(torch.isfinite(signal(scan)).all())
        assert (scan.train is None) == bool(scan.protocol.readout_time[0] == scan.protocol.echo_time[0])
        counts.add(len(times))
        repetition_times.append(float(scan.protocol.repetition_time[0]))
    assert counts == set(range(4, 13))
    assert 2.5 <= min(repetition_times) < 2.8 and 13 < max(repetition_times) <= 15


def test_contrasts_are_legal_and_wide() -> None:
    fields, models, fluid = set(), set(), []
    for seed in range(N_DRAWS):
        scans = draw_contrasts(ContrastPrior(), seeded_generator(seed))
        assert [scan.name for scan in scans] == ["T1w", "T2w", "FLAIR"]
        assert len({scan.protocol.field_strength for scan in scans}) == 1
        made = [signal(scan) for scan in scans]
        assert all(bool(torch.isfinite(image).all()) for image in made)
        # The model of a fast spin echo accepts the echo that fills the centre as one of its train.
        for scan in scans[1:]:
            echo = float(scan.protocol.echo_time[0]) / scan.train.echo_spacing
            assert echo == pytest.approx(round(echo)) and 1 <= round(echo) <= scan.train.n_echoes
        fields.add(scans[0].protocol.field_strength)
        models.add(type(scans[0].model).__name__)
        fluid.append(float(made[2][2, 0].abs() / made[2][1, 0]))
        assert made[0][0, 0] > made[0][2, 0]
    assert fields == {1.5, 3.0} and models == {"SpinEcho", "Mprage"}
    assert sorted(fluid)[N_DRAWS // 2] < 0.5


def test_some_spin_echoes_have_a_short_train() -> None:
    """Of 2 to 4 echoes, the first at the centre; about as often as asked for."""
    trains = []
    for seed in range(N_DRAWS):
        t1w = draw_contrasts(ContrastPrior(mprage=0.0), seeded_generator(seed))[0]
        if t1w.train is None:
            assert t1w.protocol.readout_time is None
            continue
        trains.append(t1w.train)
        assert float(t1w.protocol.echo_time[0]) == pytest.approx(t1w.train.echo_spacing)
        assert float(t1w.protocol.readout_time[0]) == pytest.approx(t1w.train.duration)
        assert 0.3 <= float(t1w.protocol.repetition_time[0]) <= 1.0
    assert {train.n_echoes for train in trains} == {2, 3, 4}
    assert all(0.006 <= train.echo_spacing <= 0.012 for train in trains)
    # Four standard deviations of 600 draws.
    assert len(trains) / N_DRAWS == pytest.approx(0.3, abs=0.075)
    never = ContrastPrior(mprage=0.0, t1w_fast=0.0)
    assert all(draw_contrasts(never, seeded_generator(seed))[0].train is None for seed in range(50))


def test_trains_of_low_angles_are_legal_and_as_frequent_as_asked_for() -> None:
    prior, counts = ContrastPrior(low_angles=0.3), {"T2w": 0, "FLAIR": 0}
    for seed in range(N_DRAWS):
        for scan in draw_contrasts(prior, seeded_generator(seed))[1:]:
            nominal = scan.protocol.nominal_echo_time
            if nominal is None:
                assert scan.train is not None
                continue
            counts[scan.name] += 1
            design = equivalent_train(float(nominal[0]))
            assert float(scan.protocol.echo_time[0]) == pytest.approx(design.echo_time)
            assert float(scan.protocol.readout_time[0]) == pytest.approx(2 * float(nominal[0]))
            assert weighting_of(scan).readout is Readout.TURBO_SPIN_ECHO
            made = signal(scan)
            assert bool(torch.isfinite(made).all())
    # Four standard deviations of 600 draws.
    for count in counts.values():
        assert count / N_DRAWS == pytest.approx(0.3, abs=0.075)


def test_designs_are_drawn_between_the_ends() -> None:
    always = ContrastPrior(low_angles=1.0)
    _, t2w, flair = draw_contrasts(always, seeded_generator(0))
    for scan in (t2w, flair):
        design = equivalent_train(float(scan.protocol.nominal_echo_time[0]))
        drawn = [
            float(with_drawn_design(scan, seeded_generator(seed)).protocol.echo_time[0])
            for seed in range(200)
        ]
        assert design.lowest <= min(drawn) < 1.05 * design.lowest
        assert 0.95 * design.highest < max(drawn) <= design.highest
    plain = draw_contrasts(ContrastPrior(), seeded_generator(0))[1]
    assert with_drawn_design(plain, seeded_generator(0)) is plain


def test_protocols_without_trains_of_low_angles_are_as_before() -> None:
    """The test sets of networks are drawn with it: the first draw, to six digits."""
    t1w, t2w, flair = draw_contrasts(ContrastPrior(), seeded_generator(0))
    assert [round(float(scan.protocol.repetition_time[0]), 6) for scan in (t1w, t2w, flair)] == [
        2.080938,
        6.083191,
        9.011845,
    ]


def test_gradient_echoes_are_legal_and_wide() -> None:
    counts, kinds = set(), set()
    for seed in range(N_DRAWS):
        scan = draw_echoes(GradientEchoPrior(), seeded_generator(seed))
        times = scan.protocol.echo_time
        assert float(times[-1]) <= 0.06 + 1e-9
        torch.testing.assert_close(times.diff(), times.diff()[:1].expand(len(times) - 1))
        assert bool(torch.isfinite(signal(scan).abs()).all())
        counts.add(len(times))
        kinds.add(scan.bipolar)
    assert counts == set(range(3, 13)) and kinds == {True, False}


def test_same_seed_same_scan() -> None:
    for draw, prior in ((draw_inversions, InversionPrior()), (draw_echoes, GradientEchoPrior())):
        first, again, other = (draw(prior, seeded_generator(seed)) for seed in (1, 1, 2))
        assert first.protocol.as_dict() == again.protocol.as_dict() != other.protocol.as_dict()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: InversionPrior(n_inversions=(1, 3)), "from 1 to 3 inversion times"),
        (lambda: InversionPrior(shortest=(0.1, 2.0)), "overlap"),
        (lambda: InversionPrior(repetition_time=(2.5, 4.0)), "Raise the upper end of repetition_time"),
        (lambda: GradientEchoPrior(n_echoes=(0, 3)), "from 0 to 3 echoes"),
        (lambda: GradientEchoPrior(n_echoes=(3, 60)), "60 echoes do not fit into 0.06 s"),
    ],
)
def test_impossible_priors_are_refused(make, message) -> None:
    with pytest.raises(UsageError, match=message):
        make()


def test_flip_angles_are_in_radians() -> None:
    angles = [
        float(draw_echoes(GradientEchoPrior(), seeded_generator(s)).protocol.flip_angle[0])
        for s in range(50)
    ]
    assert math.radians(6) <= min(angles) and max(angles) <= math.radians(30)
