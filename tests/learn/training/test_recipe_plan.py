from dataclasses import replace

import pytest

from unweight.core.errors import UsageError
from unweight.learn.training.recipe import TrainingPlan

PLAN = TrainingPlan(n_steps=1001, batch_size=4, learning_rate=0.1, warm_up=0, final_rate=0.0)


def test_rate_is_half_a_cosine() -> None:
    assert PLAN.rate(0) == pytest.approx(0.1)
    assert PLAN.rate(250) == pytest.approx(0.1 * (1 + 2**-0.5) / 2)
    assert PLAN.rate(500) == pytest.approx(0.05)
    assert PLAN.rate(1000) == pytest.approx(0.0)
    assert replace(PLAN, final_rate=0.01).rate(1000) == pytest.approx(0.001)


def test_rate_rises_linearly_first() -> None:
    plan = replace(PLAN, warm_up=10)
    assert [plan.rate(step) for step in range(10)] == pytest.approx([0.01 * n for n in range(1, 11)])
    assert plan.rate(10) == pytest.approx(0.1)


def test_warm_up_may_fill_all_but_the_last_step() -> None:
    plan = TrainingPlan(n_steps=3, batch_size=1, warm_up=2)
    assert [plan.rate(step) for step in range(3)] == pytest.approx([0.0005, 0.001, 0.001])


def test_average_forgets_quickly_at_first() -> None:
    assert PLAN.decay(0) == pytest.approx(0.1)
    assert PLAN.decay(90) == pytest.approx(0.91)
    assert PLAN.decay(100_000) == 0.999


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_steps", 0),
        ("batch_size", 0),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("warm_up", 1001),
        ("warm_up", -1),
        ("final_rate", 1.5),
        ("weight_decay", -0.1),
        ("clip", 0.0),
        ("ema_decay", 1.0),
        ("check_every", 0),
        ("save_every", 0),
    ],
)
def test_impossible_plan_is_refused(name: str, value: float) -> None:
    with pytest.raises(UsageError, match=f"TrainingPlan.{name} is "):
        replace(PLAN, **{name: value})
