"""`unweight evaluate maps`: methods for T1, T2 and PD side by side on simulated weighted images."""

import argparse
from contextlib import AbstractContextManager

from unweight.benchmark.core.overlap import check_cards
from unweight.benchmark.t1.heads import heads_for_test
from unweight.benchmark.weighted.figures import maps_figures
from unweight.benchmark.weighted.measures import loss_scores, scores_of
from unweight.benchmark.weighted.methods import MAPS_COMPARED, WEIGHTS, maps_methods, maps_without_weights
from unweight.benchmark.weighted.plan import MAPS_SETS, MapsPlan
from unweight.benchmark.weighted.scores import try_methods
from unweight.benchmark.weighted.tables import maps_tables
from unweight.cli.scored import show, write
from unweight.cli.terminal import console, progress
from unweight.core.estimator import Progress
from unweight.metrics.scores import Score


def run(arguments: argparse.Namespace) -> int:
    """Run, score, draw; the files are written when all is done."""
    screen = console(quiet=arguments.quiet)
    chosen = arguments.sets
    sets = MAPS_SETS if chosen is None else tuple(name for name in MAPS_SETS if name in chosen)
    plan = MapsPlan(sets=sets, heads=arguments.heads, quick=arguments.quick)
    absent = maps_without_weights(arguments.weights) if arguments.methods is None else ()
    if absent:
        screen.print(f"no weights for {', '.join(absent)}: left out")
    names = arguments.methods or tuple(name for name in MAPS_COMPARED if name not in absent)
    methods = maps_methods(names, arguments.weights)
    if plan.heads is not None:
        stored = {name: WEIGHTS[name] for name in methods if name in WEIGHTS}
        check_cards(tuple(heads_for_test(plan.heads)), stored, arguments.weights)
    scores: list[Score] = []
    figures: dict[str, bytes] = {}

    def watch(label: str) -> AbstractContextManager[Progress]:
        return progress(label, quiet=arguments.quiet)

    for maps_set in plan.maps_sets():
        tried = try_methods(maps_set, methods, watch)
        for one in tried.refusals:
            screen.print(f"{one.dataset}: {one.method} is left out: {one.reason}")
        found = scores_of(tried)
        scores += found
        figures |= maps_figures(tried, found)
    scores += loss_scores(scores)
    show(maps_tables(scores), screen)
    write(arguments.out, scores, figures, screen)
    return 0
