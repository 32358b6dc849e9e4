"""What the card of weights says about an image, before a network is loaded."""

from pathlib import Path

import pytest

from unweight.bids.exam.choice import Fitness
from unweight.bids.series.weighted import GivenWeighting
from unweight.bids.sidecar import Sidecar
from unweight.learn.weighted.protocol_judge import judge_of

FLAIR = {"RepetitionTime": 9.0, "EchoTime": 0.1, "InversionTime": 2.5, "MagneticFieldStrength": 3}


def sidecar(**fields: object) -> Sidecar:
    return Sidecar(image=Path("x.nii"), fields=FLAIR | fields)


@pytest.mark.parametrize(
    ("method", "fields", "fitness"),
    [
        ("embedding", {}, Fitness.READY),
        ("embedding", {"EchoTime": 0.466}, Fitness.READY),
        ("embedding", {"EchoTime": 0.466, "MRAcquisitionType": "2D"}, Fitness.UNSUPPORTED),
        ("embedding", {"EchoTime": 0.9}, Fitness.UNSUPPORTED),
        ("embedding", {"MagneticFieldStrength": 7}, Fitness.UNSUPPORTED),
        ("embedding", {"InversionTime": None}, Fitness.INCOMPLETE),
        ("embedding", {"SeriesDescription": "mp2rage"}, Fitness.UNSUPPORTED),
        ("physics", {"EchoTime": 0.466}, Fitness.READY),
    ],
)
def test_ready_incomplete_or_unsupported(method: str, fields: dict[str, object], fitness: Fitness) -> None:
    assessment = judge_of({}, method)("FLAIR", sidecar(**fields))
    assert assessment.fitness is fitness
    assert bool(assessment.problem) == (fitness is not Fitness.READY)


def test_what_the_caller_gives_counts() -> None:
    bare = sidecar(InversionTime=None)
    assert judge_of({}, "embedding")("FLAIR", bare).options == "--flair-ti S"
    given = {"FLAIR": GivenWeighting(inversion_time=2.5)}
    assert judge_of(given, "embedding")("FLAIR", bare).fitness is Fitness.READY
    assert judge_of({}, "embedding", field=7.0)("FLAIR", sidecar()).fitness is Fitness.UNSUPPORTED
