from itertools import pairwise

import pytest

from unweight.diffusion.samplers import transitions
from unweight.diffusion.schedule import cosine_schedule


def test_the_walk_goes_from_noise_to_clean_without_a_gap() -> None:
    steps = list(transitions(cosine_schedule(3)))
    assert [step.index for step in steps] == [3, 2, 1]
    assert (steps[0].alpha, steps[0].sigma) == (0, 1)
    assert (steps[-1].next_alpha, steps[-1].next_sigma) == (1, 0)
    for one, following in pairwise(steps):
        assert (one.next_alpha, one.next_sigma) == (following.alpha, following.sigma)
    assert steps[1].alpha == pytest.approx(0.5)
