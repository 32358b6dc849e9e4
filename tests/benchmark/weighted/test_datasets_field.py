import math

import pytest
import torch

from unweight.benchmark.weighted.datasets import BetweenFields
from unweight.core.errors import UsageError
from unweight.core.seeding import seeded_generator
from unweight.synth.tissue.materials import INDEX
from unweight.synth.tissue.prior import TissuePrior

PRIOR = TissuePrior(short=None)


def test_the_ends_are_the_prior_itself() -> None:
    between = BetweenFields(prior=PRIOR)
    for field in (1.5, 3.0):
        drawn = between.draw(seeded_generator(0), field)
        torch.testing.assert_close(drawn.values, PRIOR.draw(seeded_generator(0), field).values)
        assert drawn.field_strength == field


def test_half_way_in_the_logarithm_is_the_geometric_mean() -> None:
    field = math.sqrt(1.5 * 3.0)
    low, high = (PRIOR.draw(seeded_generator(3), end) for end in (1.5, 3.0))
    drawn = BetweenFields(prior=PRIOR).draw(seeded_generator(3), field)
    for name in ("T1", "T2"):
        ends = [one.value("white_matter", name) for one in (low, high)]
        assert drawn.value("white_matter", name) == pytest.approx(math.sqrt(ends[0] * ends[1]), rel=1e-5)
    assert drawn.value("csf", "PD") == 1.0
    # What does not depend on the field stays, negative susceptibility too.
    torch.testing.assert_close(drawn.values[:, [2, 4, 5]], high.values[:, [2, 4, 5]])
    assert (
        low.value("grey_matter", "T1") < drawn.value("grey_matter", "T1") < high.value("grey_matter", "T1")
    )
    assert torch.isfinite(drawn.values).all() and drawn.values.shape[0] == len(INDEX)


def test_beyond_the_ends_nothing_is_known() -> None:
    with pytest.raises(UsageError, match=r"no tissue at 7 T\. It can be interpolated from 1\.5 to 3 T"):
        BetweenFields(prior=PRIOR).draw(seeded_generator(0), 7.0)
