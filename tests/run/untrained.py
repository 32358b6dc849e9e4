"""Weights of tiny networks that have learnt nothing, to see that an evaluation runs with all methods."""

from pathlib import Path

from tests.learn.lessons import tiny
from unweight.learn.assemble import task_of
from unweight.learn.card import Card
from unweight.learn.conformal import Conformal
from unweight.learn.recipe import DIFFUSOR, POSTERIOR
from unweight.learn.weights import save_weights
from unweight.run.t1_methods import WEIGHTS

RANGES = {
    "n_inversions": (4.0, 12.0),
    "shortest": (0.02, 0.5),
    "longest": (0.6, 4.5),
    "repetition_time": (0.9, 15.0),
}


def write_untrained(
    folder: Path, names: tuple[str, ...] = tuple(WEIGHTS.values()), trained_on: str = "Nothing."
) -> Path:
    """Write weights and cards under these names, and return the folder."""
    for name in names:
        recipe = tiny(name)
        calibration = {"relative_sd": [0.1, 0.1, 0.05]}
        if name == POSTERIOR:
            calibration = {one: Conformal().to_plain() for one in ("T1", "PD", "B")}
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
            ranges=RANGES if name == POSTERIOR else {"repetition_time": (10.0, 10.0)},
            calibration=calibration,
            metrics={},
            seconds=0.0,
        )
        save_weights(folder, task_of(recipe).network.state_dict(), card)
    return folder
