"""Recipes: all that is needed to train a network again, as plain values.

A recipe is written into the card of the weights it led to. Its plan says how long and how fast to train:
linear warm-up, then half a cosine down to a fraction of the rate,

    rate(k) = r (k + 1) / w                                        for k < w
    rate(k) = r (f + (1 - f) (1 + cos(π (k - w) / (n - 1 - w))) / 2)  for k ≥ w

with `r` the learning rate, `w` the steps of the warm-up, `n` all steps and `f` the final fraction
(Loshchilov and Hutter, SGDR, ICLR 2017, without restarts).
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from math import cos, inf, pi
from types import MappingProxyType
from typing import Any, Generic, TypeVar, final

from unweight.core.errors import UsageError

PRESETS = ("cpu", "gpu", "paper")
SampleConfig = TypeVar("SampleConfig")
NetworkConfig = TypeVar("NetworkConfig")


@final
@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """What the optimiser does at each step.

    Attributes:
        n_steps: Steps in all.
        batch_size: Samples in a batch, for each process.
        learning_rate: Rate of AdamW after the warm-up.
        warm_up: Steps of the linear warm-up; fewer than `n_steps`.
        final_rate: Fraction of the rate that is left at the last step, 0 to 1.
        weight_decay: Decay of AdamW, on parameters with two axes or more.
        clip: Largest norm of the gradient over all parameters.
        ema_decay: Decay of the moving average of the weights.
        bfloat16: Whether the loss may be computed under autocast to bfloat16, where that is faster.
        check_every: Steps between checks.
        save_every: Steps between snapshots.
    """

    n_steps: int
    batch_size: int
    learning_rate: float = 1e-3
    warm_up: int = 200
    final_rate: float = 0.01
    weight_decay: float = 0.01
    clip: float = 1.0
    ema_decay: float = 0.999
    bfloat16: bool = False
    check_every: int = 500
    save_every: int = 500

    def __post_init__(self) -> None:
        for name in ("n_steps", "batch_size", "check_every", "save_every"):
            self._require(name, getattr(self, name) >= 1, "Give a whole number of at least 1.")
        self._require("warm_up", 0 <= self.warm_up < self.n_steps, f"It lies in 0 to {self.n_steps - 1}.")
        self._require("learning_rate", 0 < self.learning_rate < inf, "Give a positive number.")
        self._require("final_rate", 0 <= self.final_rate <= 1, "It is a fraction, 0 to 1.")
        self._require("weight_decay", 0 <= self.weight_decay < inf, "Give 0 or a positive number.")
        self._require("clip", self.clip > 0, "Give a positive number.")
        self._require("ema_decay", 0 <= self.ema_decay < 1, "It lies in 0 to 1, without 1.")

    def rate(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0."""
        if step < self.warm_up:
            return self.learning_rate * (step + 1) / self.warm_up
        done = min(1.0, (step - self.warm_up) / max(1, self.n_steps - 1 - self.warm_up))
        return self.learning_rate * (self.final_rate + (1 - self.final_rate) * (1 + cos(pi * done)) / 2)

    def decay(self, step: int) -> float:
        """Return the decay of the moving average at a step, counted from 0: short memory at first."""
        return min(self.ema_decay, (1 + step) / (10 + step))

    def _require(self, name: str, holds: bool, remedy: str) -> None:
        if not holds:
            raise UsageError(f"TrainingPlan.{name} is {getattr(self, name)!r}", remedy=remedy)


@final
@dataclass(frozen=True, kw_only=True)
class Recipe(Generic[SampleConfig, NetworkConfig]):
    """One training.

    Attributes:
        method: Name of what is trained.
        preset: What the recipe was derived from.
        seed: Of samples, starting weights and batches.
        slabs: How slabs, or pairs of whole heads, are simulated; a dataclass of plain values.
        n_slabs: How many are simulated before the training; they are used again and again.
        patch: Voxels along each side of what the network gets at a time.
        network: Configuration of the network.
        plan: How long, how fast.
        schedule: Noise schedule of a diffusion network that is trained for one; `descent` in cards.
    """

    method: str
    preset: str
    seed: int = 0
    slabs: SampleConfig
    n_slabs: int
    patch: int
    network: NetworkConfig
    plan: TrainingPlan
    schedule: Any = None

    def to_plain(self) -> dict[str, Any]:
        """Return the recipe as JSON values."""
        values = dict(plain_values(dataclasses.asdict(self)))
        values["slabs"] = plain_values(without_newer(self.slabs))
        values["network"] = plain_values(without_newer(self.network))
        schedule = values.pop("schedule")
        return values if schedule is None else {**values, "descent": schedule}


NEWER = MappingProxyType({"newer": True})  # metadata of fields that earlier releases did not have


def without_newer(config: Any) -> dict[str, Any]:
    """Return the fields of a configuration, without newer ones that have their default.

    What earlier releases wrote of the same configuration then is the same.
    """
    values = dataclasses.asdict(config)
    for field in dataclasses.fields(config):
        if field.metadata.get("newer") and values[field.name] == field.default:
            del values[field.name]
    return values


def plain_values(value: Any) -> Any:
    """Return JSON values: tuples as lists, enumerations as their values."""
    if isinstance(value, Mapping):
        return {str(name): plain_values(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain_values(item) for item in value]
    return getattr(value, "value", value)


def config_from_plain(kind: type[Any], values: Mapping[str, Any]) -> Any:
    """Build a configuration from JSON values: lists become tuples, enumerations go by their values.

    Raises:
        TypeError: There is a value of an unknown name.
    """
    fields = {field.name: field for field in dataclasses.fields(kind)}
    arguments: dict[str, Any] = {}
    for name, value in values.items():
        if name not in fields:
            raise TypeError(f"{kind.__name__} has no {name}")
        wanted = fields[name].type
        if isinstance(value, Mapping) and isinstance(wanted, type):
            arguments[name] = config_from_plain(wanted, value)
        elif isinstance(value, list):
            arguments[name] = tuple(value)
        elif isinstance(value, str) and isinstance(wanted, type):
            arguments[name] = wanted(value)
        else:
            arguments[name] = value
    return kind(**arguments)
