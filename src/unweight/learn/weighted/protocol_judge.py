"""Whether the weights of a method were trained for an image, from their card alone."""

from collections.abc import Mapping
from pathlib import Path

from unweight.bids.exam.choice import Fitness, Judge, Judgement, by_timings
from unweight.bids.series.weighted import GivenWeighting, weighting_from
from unweight.bids.sidecar import Sidecar
from unweight.core.errors import InputError
from unweight.learn.training.weights import card_of
from unweight.learn.weighted.protocol_range import WeightingRange
from unweight.registry import method

FAMILY = "weighted"


def judge_of(
    given: Mapping[str, GivenWeighting], name: str, folder: Path | None = None, field: float | None = None
) -> Judge:
    """Return a judge by the range of timings on the card of a method's weights.

    A method without weights supports every readout that has a model.

    Args:
        given: What the caller says of each contrast.
        name: Of the method, in the registry.
        folder: Of the weights; None for those of the package.
        field: Field strength [T]; None for what sidecars tell.

    Raises:
        InputError: There are no such weights.
    """
    by_timing = by_timings(given)
    weights = method(name, FAMILY).weights
    if not weights:
        return by_timing
    card = card_of(weights, folder)
    ranges = WeightingRange(card.ranges)

    def judge(contrast: str, sidecar: Sidecar) -> Judgement:
        timed = by_timing(contrast, sidecar)
        if timed.fitness is not Fitness.READY:
            return timed
        weighting = weighting_from(contrast, sidecar, given.get(contrast, GivenWeighting()))
        try:
            ranges.check_image(contrast, weighting, card.name)
            strength = field or weighting.protocol.field_strength
            if strength is not None:
                ranges.check_field(strength, card.name)
        except InputError as error:
            return Judgement(fitness=Fitness.UNSUPPORTED, problem=error.problem)
        return timed

    return judge
