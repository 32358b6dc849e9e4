"""`unweight evaluate t1`: methods for T1 side by side on simulated and real data."""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager

from rich.console import Console

from unweight.benchmark.t1.figures import figures_of
from unweight.benchmark.t1.heads import heads_for_test
from unweight.benchmark.t1.methods import check_unseen, default_method, t1_methods, without_weights
from unweight.benchmark.t1.plan import N_SEEDS, QUICK_SEEDS, SETS, T1Plan
from unweight.benchmark.t1.real import (
    REAL_BRAIN,
    REAL_PHANTOM,
    RealSeries,
    read_real,
    real_brain_set,
    real_phantom_set,
)
from unweight.benchmark.t1.scores import Watch, evaluate_set
from unweight.benchmark.t1.sets import TrialSet
from unweight.benchmark.t1.stability import STABILITY, refusal_of_stability, stability_scores
from unweight.benchmark.t1.tables import tables
from unweight.bids.series.overrides import NOTHING_GIVEN, Given
from unweight.cli.scored import show, write
from unweight.cli.terminal import console, progress
from unweight.core.acquisition import Acquisition
from unweight.core.errors import UsageError
from unweight.core.estimator import Estimator, Progress
from unweight.metrics.scores import Score


def run(arguments: argparse.Namespace) -> int:
    """Read, run, score, draw; the files are written when all is done."""
    screen = console(quiet=arguments.quiet)
    plan = _plan(arguments)
    methods = t1_methods(
        arguments.methods, arguments.weights, n_draws=arguments.draws, n_steps=arguments.steps
    )
    absent = without_weights(arguments.weights) if arguments.methods is None else ()
    if absent:
        screen.print(f"no weights for {', '.join(absent)}: left out")
    if plan.heads is not None:
        check_unseen(tuple(heads_for_test(plan.heads)), tuple(methods), arguments.weights)
    scores: list[Score] = []
    figures: dict[str, bytes] = {}

    def watch(label: str) -> AbstractContextManager[Progress]:
        return progress(label, quiet=arguments.quiet)

    for trial_set in _sets(plan, _read(arguments), arguments.phantom_version):
        evaluated = evaluate_set(trial_set, methods, watch)
        for one in evaluated.refusals:
            screen.print(f"{one.dataset}: {one.method} is left out: {one.reason}")
        scores += evaluated.scores
        figures |= figures_of(evaluated)
    if STABILITY in plan.sets:
        scores += _stability(methods, watch, screen)
    show(tables(scores), screen)
    write(arguments.out, scores, figures, screen)
    return 0


def _plan(arguments: argparse.Namespace) -> T1Plan:
    """Check what was asked for."""
    if arguments.phantom and arguments.phantom_version is None:
        raise UsageError(
            "real phantoms need --phantom-version",
            remedy="Give 1 for serial numbers up to 0041, 2 from 0042 on.",
        )
    seeds = arguments.seeds
    if seeds is None:
        seeds = QUICK_SEEDS if arguments.quick else N_SEEDS
    sets = SETS if arguments.sets is None else tuple(name for name in SETS if name in arguments.sets)
    if not (sets or arguments.phantom or arguments.brain):
        raise UsageError("nothing to evaluate on", remedy=f"Give --phantom, --brain, or --sets {SETS[0]}.")
    return T1Plan(sets=sets, n_seeds=seeds, heads=arguments.heads, quick=arguments.quick)


def _read(arguments: argparse.Namespace) -> list[RealSeries]:
    """Read what the user gave, first of all, so that a wrong path does not cost an evaluation."""

    def times(values: list[float] | None) -> tuple[float, ...] | None:
        return None if values is None else tuple(values)

    series: list[RealSeries] = []
    for folder in arguments.phantom or ():
        series += read_real(REAL_PHANTOM, [folder], NOTHING_GIVEN)
    if arguments.brain:
        given = Given(inversion_time=times(arguments.ti), repetition_time=times(arguments.tr))
        series += read_real(REAL_BRAIN, arguments.brain, given)
    return series


def _sets(plan: T1Plan, real: Sequence[RealSeries], version: int | None) -> Iterator[TrialSet]:
    """Make each set when its turn comes; real ones, which may turn out to be no phantom, first."""
    for series in real:
        if series.name.startswith(REAL_PHANTOM) and version is not None:
            yield real_phantom_set(series, version)
        else:
            yield real_brain_set(series)
    yield from plan.trial_sets()


def _stability(
    methods: Mapping[str, Estimator[Acquisition]], watch: Watch, screen: Console
) -> tuple[Score, ...]:
    """Check the method a user gets who names none."""
    name = default_method(tuple(methods))
    reason = refusal_of_stability(methods[name])
    if reason is not None:
        screen.print(f"{STABILITY}: {name} is left out: {reason}")
        return ()
    return stability_scores(name, methods[name], watch)
