"""Options of `unweight train`, and the recipe they ask for: a preset, and what they change in it."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, final

from unweight.bids.read import find_inputs
from unweight.bids.sidecar import Sidecar, read_sidecar, timing_of
from unweight.cli.options import Verbosity
from unweight.core.errors import ProtocolError, UsageError
from unweight.core.protocol import Protocol, protocol_from_values
from unweight.learn.t1.methods import for_protocol, protocol_of
from unweight.learn.training.execution import current_rank
from unweight.learn.training.recipe import Recipe
from unweight.learn.training.trainable import recipe_for

WARM_UP_SHARE = 0.25  # of a short training
CHECKS = 20  # at least so many in a training


@final
@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """Options of `unweight train`.

    Attributes:
        method: Name of the weights to train.
        out: Where weights, and trainings that are not complete, are kept.
        preset: Of the recipe.
        heads: Folder of BrainWeb heads; None for procedural heads.
        ti: Inversion times to train for [s]; None for those of the preset.
        tr: Their repetition time [s].
        readout_time: Their excitation to last echo [s].
        like: Images or sidecars from which these times are taken.
        minutes: Of the whole command, from which the numbers of samples and steps follow.
        steps: Of the training.
        slabs: To train on.
        bids: BIDS tree with MEGRE and T1w to train on in place of simulations.
        labels: Derivatives of it with labels.
        people: Simulated subjects for training and for validation.
        pairs: Where what is trained on is kept; None for a folder of the output.
        seed: Of all random numbers.
        base: Folder of the weights whose residual is trained.
        start: Folder of weights to start from, or `shipped`.
        compare_with: Folder of weights to compare with, or `shipped`.
        device: `auto`, `cpu` or `cuda`.
        precision: Of the losses.
        workers: Processes that simulate; None for one each core.
        verbosity: What is printed.
    """

    method: str
    out: Path
    preset: str = "cpu"
    heads: Path | None = None
    ti: tuple[float, ...] | None = None
    tr: float | None = None
    readout_time: float | None = None
    like: tuple[Path, ...] | None = None
    minutes: float | None = None
    steps: int | None = None
    slabs: int | None = None
    bids: Path | None = None
    labels: Path | None = None
    people: tuple[int, int] | None = None
    pairs: Path | None = None
    seed: int = 0
    base: Path | None = None
    start: str | None = None
    compare_with: str | None = None
    device: str = "auto"
    precision: str = "auto"
    workers: int | None = None
    verbosity: Verbosity = field(default_factory=Verbosity)

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 0:
            raise UsageError(f"--workers {self.workers} is not possible", remedy="Give 0 or more.")
        if self.minutes is not None and self.steps is not None:
            raise UsageError("--minutes and --steps cannot be combined", remedy="Give one of them.")
        if self.slabs is not None and self.slabs < 1:
            raise UsageError(f"--slabs {self.slabs} is not possible", remedy="Give at least 1.")


def recipe_from(options: TrainOptions) -> Recipe[Any, Any]:
    """Return the preset with what the command line changes."""
    if options.minutes is not None and (options.minutes <= 0 or current_rank().n > 1):
        raise UsageError(
            f"--minutes {options.minutes:g} for {current_rank().n} processes",
            remedy="Give minutes to a single process, and --steps to several.",
        )
    recipe = replace(recipe_for(options.method, options.preset), seed=options.seed)
    protocol = _protocol(options, recipe)
    if protocol is not None:
        times, repetition, readout = protocol
        n = len(times)
        protocol_from_values(
            inversion_time=times, repetition_time=[repetition] * n, readout_time=[readout] * n
        )
        recipe = for_protocol(recipe, times, repetition, readout)
    if options.slabs is not None:
        recipe = replace(recipe, n_slabs=options.slabs)
    return recipe if options.steps is None else with_steps(recipe, options.steps)


def with_steps(recipe: Recipe[Any, Any], n_steps: int) -> Recipe[Any, Any]:
    """Return the recipe with so many steps; a warm-up and pauses between checks that fit.

    Raises:
        UsageError: There are none.
    """
    if n_steps < 1:
        raise UsageError(f"--steps {n_steps} is not possible", remedy="Give at least 1.")
    plan = recipe.plan
    pause = max(1, n_steps // CHECKS)
    return replace(
        recipe,
        plan=replace(
            plan,
            n_steps=n_steps,
            warm_up=min(plan.warm_up, int(WARM_UP_SHARE * n_steps)),
            check_every=min(plan.check_every, pause),
            save_every=min(plan.save_every, pause),
        ),
    )


def _protocol(
    options: TrainOptions, recipe: Recipe[Any, Any]
) -> tuple[tuple[float, ...], float, float] | None:
    """Return inversion times, TR and readout to train for; None for those of the preset."""
    like = None if options.like is None else _protocol_like(options.like)
    if like is None and options.ti is None and options.tr is None and options.readout_time is None:
        return None
    if options.ti is not None:
        times = list(options.ti)
    elif like is not None:
        times = like.require("inversion_time", "train").tolist()
    else:
        times = list(protocol_of(recipe)[0])
    if not times:
        raise UsageError(f"{recipe.method} accepts any TR", remedy="Give the inversion times, --ti.")
    if len(set(times)) < len(times):
        raise UsageError(f"inversion times {times} contain duplicates", remedy="Give each once.")
    repetition = options.tr if options.tr is not None else _only(like, "repetition_time", "--tr")
    readout = options.readout_time
    if readout is None:
        readout = _only(like, "readout_time", "--readout-time")
    if repetition is None:
        if protocol_of(recipe)[0] and options.ti is None and like is None:
            repetition = protocol_of(recipe)[1]
        else:
            raise UsageError(
                "a network for one protocol needs its repetition time", remedy="Give --tr, in seconds."
            )
    return tuple(sorted(float(ti) for ti in times)), float(repetition), readout or 0.0


def _only(protocol: Protocol | None, name: str, option: str) -> float | None:
    """Return the one value that all volumes share; None if it is not known."""
    values = None if protocol is None else getattr(protocol, name)
    if values is None:
        return None
    low, high = float(values.min()), float(values.max())
    if high - low > 1e-3 * high:
        raise ProtocolError(
            f"{name} varies from {low:g} to {high:g} s; a network is trained for a single value",
            remedy=f"Give it with {option}.",
        )
    return high


def _protocol_like(paths: Sequence[Path]) -> Protocol:
    """Take timings from sidecars, or from images as `unweight t1` takes them."""
    if all(path.suffix == ".json" for path in paths):
        timings = [timing_of(Sidecar(image=path, fields=read_sidecar(path))) for path in paths]
        times = _known([timing.inversion_time for timing in timings])
        if times is None or len(times) < 2:
            raise ProtocolError(
                "these sidecars do not give all inversion times of a series",
                remedy="Give the sidecars of all its volumes, its images, or --ti.",
                path=paths[0],
            )
        return protocol_from_values(
            inversion_time=times,
            repetition_time=_known([timing.repetition_time for timing in timings]),
            readout_time=_known([timing.readout_time for timing in timings]),
        )
    return find_inputs(list(paths))[0].read().acquisition.protocol


def _known(values: list[float | None]) -> list[float] | None:
    """Return the values if there is one for each volume."""
    known = [value for value in values if value is not None]
    return known if len(known) == len(values) else None
