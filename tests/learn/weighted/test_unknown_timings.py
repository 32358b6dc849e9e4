"""Maps of images with a train of low angles: intervals that include its design, and long trains."""

import math
from dataclasses import replace

import pytest
import torch

from tests.learn.examinations import ANY_TIMINGS, FLUID, GRADIENT, T2W, examination
from unweight.core.examination import WeightedImageSet
from unweight.core.protocol import protocol_from_values
from unweight.core.weighting import Readout, Weighting
from unweight.learn.training.conformal import LEVEL
from unweight.learn.training.trainable import load_estimator
from unweight.learn.weighted.estimator import LONGEST_TRAIN, WeightedMaps
from unweight.learn.weighted.physics_maps import PhysicsMaps
from unweight.learn.weighted.protocol_range import LOW_ANGLES, WeightingRange
from unweight.learn.weighted.unknown_timings import (
    UNIFORM_SD,
    reach_of_design,
    reach_of_timings,
    with_uniform,
)
from unweight.signals.variable_train import equivalent_train
from unweight.signals.weighted import weighted_signal

NOMINAL = 0.475


def low_angles(repetition_time: float = 6.0, echo_time: float | None = None) -> Weighting:
    train = equivalent_train(NOMINAL)
    return Weighting(
        readout=Readout.TURBO_SPIN_ECHO,
        protocol=protocol_from_values(
            repetition_time=[repetition_time],
            echo_time=[echo_time or train.echo_time],
            readout_time=[2 * NOMINAL],
            nominal_echo_time=[NOMINAL],
            train_shape=[train.shape],
        ),
    )


def without_trains() -> WeightedMaps:
    """Return the shipped network as if its training had not contained trains of low angles."""
    estimator, _ = load_estimator("maps")
    assert isinstance(estimator, WeightedMaps)
    return replace(estimator, weightings=WeightingRange(ANY_TIMINGS))


def ln_values(measured: WeightedImageSet) -> torch.Tensor:
    """T2 proportional to the signal of T2w, T1 and PD of no image: sensitivities that are known."""
    t2w = next(image.signal for image in measured.images if image.name == "T2w")[measured.inside]
    ln_t2 = (t2w / 1000).clamp(min=1e-3).log() - 2.5
    return torch.stack([torch.zeros_like(ln_t2), ln_t2, torch.zeros_like(ln_t2)], dim=-1)


def test_nothing_is_added_without_a_train_of_low_angles() -> None:
    measured = examination((GRADIENT, T2W, FLUID))
    assert reach_of_design(measured, ln_values).tolist() == [0, 0, 0]
    widths = torch.rand(4, 3)
    assert with_uniform(widths, torch.zeros(3)) is widths


def test_the_range_of_the_design_is_at_least_that_of_the_echo_time() -> None:
    train = equivalent_train(NOMINAL)
    reach = reach_of_design(examination((GRADIENT, low_angles(), FLUID)), ln_values)
    assert reach[0] == reach[2] == 0
    assert float(reach[1]) >= math.log(train.highest / train.lowest) / 2 - 1e-6


def test_errors_add_in_quadrature() -> None:
    wider = with_uniform(torch.tensor([[3.0, 1.0, 2.0]]), torch.tensor([4.0, 0.0, 1.5]))
    torch.testing.assert_close(wider, torch.tensor([[5.0, 1.0, 2.5]]))


@pytest.mark.parametrize("method", ["network", "physics"])
def test_intervals_of_t2_include_the_design(method: str) -> None:
    estimator = without_trains() if method == "network" else PhysicsMaps()
    measured = examination((GRADIENT, low_angles(), FLUID))
    maps = estimator(measured)
    assert maps.lower is not None and maps.upper is not None and maps.std is not None
    train = equivalent_train(NOMINAL)
    half = math.log(train.highest / train.lowest) / 2
    width = (maps.upper / maps.lower).log()[..., 1][measured.inside]
    spread = (maps.std / maps.values)[..., 1][measured.inside]
    assert bool((width >= 2 * LEVEL * half * (1 - 1e-4)).all())
    assert bool((spread >= UNIFORM_SD * half * (1 - 1e-4)).all())


def test_long_trains_are_presented_as_shorter_ones_with_the_same_signal() -> None:
    estimator = without_trains()
    measured = examination((GRADIENT, low_angles(), FLUID))
    image = next(image for image in estimator._presented(measured).images if image.name == "T2w")
    assert image.weighting.time("readout_time") == pytest.approx(LONGEST_TRAIN)
    t1, t2, pd = (torch.tensor(value, dtype=torch.float64) for value in (1.3, 0.09, 0.8))
    before, after = low_angles().row(), image.weighting.row()
    assert float(weighted_signal(t1, t2, pd, after)) == pytest.approx(
        float(weighted_signal(t1, t2, pd, before))
    )
    short = examination((GRADIENT, T2W, FLUID))
    assert [one.weighting for one in estimator._presented(short).images] == [
        one.weighting for one in short.images
    ]


def test_nothing_is_added_if_the_training_contained_such_trains() -> None:
    """Then the network estimates the error itself, and gets the train as it is."""
    known = {key.replace("turbo-spin-echo", LOW_ANGLES): ends for key, ends in ANY_TIMINGS.items()}
    plain = without_trains()
    estimator = replace(plain, weightings=WeightingRange(ANY_TIMINGS | known))
    measured = examination((GRADIENT, low_angles(), FLUID))
    image = next(image for image in estimator._presented(measured).images if image.name == "T2w")
    assert image.weighting.time("readout_time") == pytest.approx(2 * NOMINAL)
    wide, narrow = plain(measured), estimator(measured)
    assert wide.std is not None and narrow.std is not None
    train = equivalent_train(NOMINAL)
    half = math.log(train.highest / train.lowest) / 2
    spread = (narrow.std / narrow.values)[..., 1][measured.inside]
    assert float(spread.median()) < UNIFORM_SD * half


def test_the_range_of_an_assumed_time_between_inversions_is_added() -> None:
    """With ln S of T1w as ln T1, its half range is known to be positive, and those of T2 and PD to be 0."""
    cycles = (1.8, 3.0)
    protocol = GRADIENT.protocol
    others = tuple(
        replace(protocol, repetition_time=torch.tensor([cycle], dtype=torch.float64)) for cycle in cycles
    )
    assumed = replace(GRADIENT, alternatives=others)

    def ln_signal(measured: WeightedImageSet) -> torch.Tensor:
        t1w = next(image.signal for image in measured.images if image.name == "T1w")[measured.inside]
        return torch.stack(
            [t1w.clamp(min=1e-6).log(), torch.zeros_like(t1w), torch.zeros_like(t1w)], dim=-1
        )

    assert reach_of_timings(examination((GRADIENT, T2W, FLUID)), ln_signal).tolist() == [0, 0, 0]
    measured = examination((assumed, T2W, FLUID))
    reach = reach_of_timings(measured, ln_signal)
    assert reach[1] == reach[2] == 0 and reach[0] > 0.01
    widened, known = PhysicsMaps()(measured), PhysicsMaps()(examination((GRADIENT, T2W, FLUID)))
    assert widened.std is not None and known.std is not None
    inside = measured.inside
    assert bool((widened.std[inside][:, 0] >= known.std[inside][:, 0]).all())
    assert float((widened.std[inside] / known.std[inside]).median(0).values[0]) > 1.001
    torch.testing.assert_close(widened.values, known.values, equal_nan=True)
