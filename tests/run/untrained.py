"""Weights of tiny networks that have learnt nothing, to see that an evaluation runs with all methods."""

from pathlib import Path

from tests.learn.examinations import ANY_TIMINGS
from tests.learn.lessons import tiny
from tests.learn.names import DIFFUSOR, FROM_WEIGHTED, POSTERIOR
from unweight.learn.training.conformal import Conformal
from unweight.learn.training.model_card import Card
from unweight.learn.training.trainable import new_task
from unweight.learn.training.weights import save_weights
from unweight.registry import compared

RANGES = {
    "n_inversions": (4.0, 12.0),
    "shortest": (0.02, 0.5),
    "longest": (0.6, 4.5),
    "repetition_time": (0.9, 15.0),
}


def write_untrained(
    folder: Path,
    names: tuple[str, ...] = tuple(item.weights for item in compared("t1") if item.learned),
    trained_on: str = "Nothing.",
) -> Path:
    """Write weights and cards under these names, and return the folder."""
    for name in names:
        recipe = tiny(name)
        calibration = {"relative_sd": [0.1, 0.1, 0.05]}
        if name == POSTERIOR:
            calibration = {one: Conformal().to_plain() for one in ("T1", "PD", "B")}
        elif name in FROM_WEIGHTED:
            whole = Conformal(edges=(), factors=(1.6,))
            calibration = {one: whole.to_plain() for one in ("T1", "T2", "PD")}
        elif name == DIFFUSOR:
            calibration = {"n_steps": 2, "n_draws": 2}
        card = Card(
            name=name,
            version=1,
            summary="Untrained.",
            intended_use="Tests.",
            limits="It knows nothing.",
            preset=recipe.preset,
            trained_on=trained_on,
            seed=0,
            recipe=recipe.to_plain(),
            ranges=ranges_of(name),
            calibration=calibration,
            metrics={},
            seconds=0.0,
        )
        save_weights(folder, new_task(recipe).network.state_dict(), card)
    return folder


def ranges_of(name: str) -> dict[str, tuple[float, float]]:
    """Return the ranges of a card."""
    if name in FROM_WEIGHTED:
        return dict(ANY_TIMINGS)
    return RANGES if name == POSTERIOR else {"repetition_time": (10.0, 10.0)}
