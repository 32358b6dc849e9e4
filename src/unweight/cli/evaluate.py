"""`unweight evaluate`: methods side by side; a table of scores, and pictures.

What is estimated decides which benchmark runs. What only another one takes is refused.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict

import torch
from rich.console import Console

from unweight.benchmark.core.heads import check_heads
from unweight.benchmark.core.methods import without_weights
from unweight.benchmark.core.run import Dataset, MethodRefusal, Watch
from unweight.benchmark.core.scoring import DEFAULT_METRICS, MetricChoice, check_metrics
from unweight.benchmark.core.tables import TextTable, further_tables
from unweight.benchmark.qsm import scores as qsm_scores
from unweight.benchmark.qsm.figures import qsm_figures
from unweight.benchmark.qsm.heads import QSM_SETS, qsm_heads
from unweight.benchmark.qsm.tables import qsm_tables
from unweight.benchmark.t1 import methods as t1_methods
from unweight.benchmark.t1 import scores as t1_scores
from unweight.benchmark.t1.datasets import (
    REAL_BRAIN,
    REAL_PHANTOM,
    RealSeries,
    read_real,
    real_brain_set,
    real_phantom_set,
)
from unweight.benchmark.t1.figures import figures_of
from unweight.benchmark.t1.plan import N_SEEDS, QUICK_SEEDS, SETS, T1Plan
from unweight.benchmark.t1.stability import STABILITY, refusal_of_stability, stability_scores
from unweight.benchmark.t1.tables import tables
from unweight.benchmark.weighted import methods as weighted_methods
from unweight.benchmark.weighted import scores as weighted_scores
from unweight.benchmark.weighted.datasets import MAPS_SETS, WeightedPlan
from unweight.benchmark.weighted.figures import weighted_figures
from unweight.benchmark.weighted.tables import weighted_tables
from unweight.bids.nifti.grid import check_same_grid
from unweight.bids.nifti.label_image import read_label_image
from unweight.bids.nifti.volume import open_volume
from unweight.bids.series.mask import read_mask
from unweight.bids.series.overrides import NOTHING_GIVEN, ProtocolOverrides
from unweight.cli.learning_commands import EVALUATE
from unweight.cli.options import options_of
from unweight.cli.scored import (
    Benchmark,
    EvaluateOptions,
    Evaluation,
    SusceptibilityData,
    T1Data,
    report_missing,
    show,
    write,
)
from unweight.cli.terminal import console, progress
from unweight.core.acquisition import Acquisition
from unweight.core.errors import InputError, UsageError
from unweight.core.estimator import Estimator, Progress
from unweight.metrics.scores import Score, ScoreContext
from unweight.metrics.susceptibility import slope_through_regions, susceptibility_scores
from unweight.registry import benchmark, compared_names, datasets, load


def run(arguments: argparse.Namespace) -> int:
    """Check that the arguments belong together, and run the evaluation asked for."""
    options = options_of(EvaluateOptions, arguments)
    chosen = benchmark(options.what)
    _check_names("method", options, options.methods, compared_names(chosen.family))
    _check_names("set", options, options.sets, datasets(chosen.family))
    _check_kind(arguments)
    evaluated: Benchmark = load(chosen.benchmark)
    metrics = DEFAULT_METRICS
    if options.metrics is not None:
        metrics = MetricChoice(names=options.metrics)
        check_metrics(options.metrics, evaluated.metrics, evaluated.fed)
    screen = console(quiet=options.quiet)
    evaluation = evaluated(options, screen, metrics)
    further = [name for name in metrics.names or () if name not in evaluated.metrics]
    show((*evaluation.tables, *further_tables(evaluation.scores, further)), screen)
    write(options.out, evaluation.scores, evaluation.figures, screen)
    return 0


def _check_kind(arguments: argparse.Namespace) -> None:
    """Refuse options that only another evaluation takes."""
    wrong = [
        entry
        for entry in EVALUATE.arguments
        if entry.only and arguments.what not in entry.only and getattr(arguments, entry.dest) is not None
    ]
    if wrong:
        owner = wrong[0].only
        spelled = ", ".join(entry.names[-1] for entry in wrong if entry.only == owner)
        raise UsageError(
            f"{spelled} cannot be used with `evaluate {arguments.what}`",
            remedy=f"Omit {spelled}, or use {' or '.join(f'`evaluate {what}`' for what in owner)}.",
        )


def _check_names(
    kind: str, options: EvaluateOptions, names: tuple[str, ...] | None, known: tuple[str, ...]
) -> None:
    unknown = [name for name in names or () if name not in known]
    if unknown:
        raise UsageError(
            f"`evaluate {options.what}` has no {kind} called {', '.join(unknown)}",
            remedy=f"There are {', '.join(known)}.",
        )


def _watch(options: EvaluateOptions) -> Watch:
    def watch(label: str) -> AbstractContextManager[Progress]:
        return progress(label, quiet=options.quiet)

    return watch


def _report(refusals: Sequence[MethodRefusal], screen: Console) -> None:
    for refusal in refusals:
        screen.print(f"{refusal.dataset}: {refusal.method} is excluded: {refusal.reason}")


def evaluate_t1(options: EvaluateOptions, screen: Console, metrics: MetricChoice) -> Evaluation:
    """Score T1 from inversion recovery, on simulated and real data."""
    plan = _t1_plan(options)
    methods = t1_methods.t1_methods(
        options.methods, options.weights, n_draws=options.t1_data.draws, n_steps=options.t1_data.steps
    )
    if options.methods is None:
        report_missing(without_weights(t1_methods.FAMILY, options.weights), screen)
    check_heads(options.heads, t1_methods.FAMILY, methods, options.weights)
    scores: list[Score] = []
    figures: dict[str, bytes] = {}
    watch = _watch(options)
    for dataset in _t1_datasets(plan, _read_real(options.t1_data), options.t1_data.phantom_version):
        result = t1_scores.evaluate_dataset(dataset, methods, watch, metrics)
        _report(result.refusals, screen)
        scores += result.scores
        figures |= figures_of(result)
    if STABILITY in plan.sets:
        scores += metrics.scores(_stability(methods, watch, screen))
    return Evaluation(scores=scores, figures=figures, tables=tables(scores))


def _t1_plan(options: EvaluateOptions) -> T1Plan:
    """Check what was asked for."""
    if options.t1_data.phantom and options.t1_data.phantom_version is None:
        raise UsageError(
            "real phantoms need --phantom-version",
            remedy="Give 1 for serial numbers up to 0041, 2 from 0042 on.",
        )
    seeds = options.t1_data.seeds
    if seeds is None:
        seeds = QUICK_SEEDS if options.quick else N_SEEDS
    sets = options.chosen(SETS)
    if not (sets or options.t1_data.phantom or options.t1_data.brain):
        raise UsageError("no data to evaluate", remedy=f"Give --phantom, --brain, or --datasets {SETS[0]}.")
    return T1Plan(sets=sets, n_seeds=seeds, heads=options.heads, quick=options.quick)


def _read_real(data: T1Data) -> list[RealSeries]:
    """Read what the user gave, first of all, so that a wrong path does not cost an evaluation."""
    series: list[RealSeries] = []
    for folder in data.phantom or ():
        series += read_real(REAL_PHANTOM, [folder], NOTHING_GIVEN)
    if data.brain:
        given = ProtocolOverrides(inversion_time=data.ti, repetition_time=data.tr)
        series += read_real(REAL_BRAIN, data.brain, given)
    return series


def _t1_datasets(
    plan: T1Plan, real: Sequence[RealSeries], version: int | None
) -> Iterator[Dataset[Acquisition]]:
    """Make each set when its turn comes; real ones, which may turn out to be no phantom, first."""
    for series in real:
        if series.name.startswith(REAL_PHANTOM) and version is not None:
            yield real_phantom_set(series, version)
        else:
            yield real_brain_set(series)
    yield from plan.datasets()


def _stability(
    methods: Mapping[str, Estimator[Acquisition]], watch: Watch, screen: Console
) -> tuple[Score, ...]:
    """Check the method a user gets who names none."""
    name = t1_methods.default_method(tuple(methods))
    reason = refusal_of_stability(methods[name])
    if reason is not None:
        _report([MethodRefusal(method=name, dataset=STABILITY, reason=reason)], screen)
        return ()
    return stability_scores(name, methods[name], watch)


def evaluate_maps(options: EvaluateOptions, screen: Console, metrics: MetricChoice) -> Evaluation:
    """Score T1, T2 and PD on simulated weighted images."""
    plan = WeightedPlan(sets=options.chosen(MAPS_SETS), heads=options.heads, quick=options.quick)
    methods = weighted_methods.maps_methods(options.methods, options.weights)
    if options.methods is None:
        report_missing(without_weights(weighted_methods.FAMILY, options.weights), screen)
    check_heads(options.heads, weighted_methods.FAMILY, methods, options.weights)
    scores: list[Score] = []
    figures: dict[str, bytes] = {}
    for dataset in plan.datasets():
        result = weighted_scores.evaluate_dataset(dataset, methods, _watch(options), metrics)
        _report(result.benchmark.refusals, screen)
        scores += result.benchmark.scores
        figures |= weighted_figures(result)
    scores = list(metrics.scores([*scores, *weighted_scores.loss_scores(scores)]))
    return Evaluation(scores=scores, figures=figures, tables=weighted_tables(scores))


def evaluate_qsm(options: EvaluateOptions, screen: Console, metrics: MetricChoice) -> Evaluation:
    """Score a map that was given, or else all methods on simulated heads."""
    if options.susceptibility_data != SusceptibilityData():
        return _score_own_map(options.susceptibility_data, metrics)
    methods = tuple(options.methods or qsm_scores.pairs())
    scores: list[Score] = []
    figures: dict[str, bytes] = {}
    for head in qsm_heads(options.heads, options.chosen(QSM_SETS), quick=options.quick):
        screen.print(f"{head.name}, {head.dataset}: {len(methods)} ways from images to susceptibility")
        with progress(head.name, quiet=options.quiet) as report:
            result = qsm_scores.evaluate_head(head, methods, report, metrics)
        scores += result.scores
        figures |= qsm_figures(result)
    return Evaluation(scores=scores, figures=figures, tables=qsm_tables(scores))


def _score_own_map(data: SusceptibilityData, metrics: MetricChoice) -> Evaluation:
    if data.chi is None or data.truth is None or data.chi_mask is None:
        raise UsageError(
            "--chi, --truth and --chi-mask must be given together",
            remedy="Give all three; --chi-labels (numbers of the QSM challenge) is optional.",
        )
    chi, truth = open_volume(data.chi), open_volume(data.truth)
    check_same_grid([chi.grid, truth.grid])
    for volume in (chi, truth):
        if volume.data.ndim != 3:
            raise InputError(
                f"has {volume.data.ndim} dimensions instead of 3",
                remedy="Give a single 3D volume.",
                path=volume.grid.path,
            )
    mask = read_mask(data.chi_mask, chi.grid)
    if not bool((mask & torch.isfinite(chi.data) & torch.isfinite(truth.data)).any()):
        raise InputError(
            "the mask contains no voxel in which both maps have a value",
            remedy="Give the mask of these maps.",
            path=data.chi_mask,
        )
    labels = None
    if data.chi_labels is not None:
        image = read_label_image(data.chi_labels)
        check_same_grid([chi.grid, image.grid])
        labels = image.labels
    numbers: dict[str, float] = asdict(susceptibility_scores(chi.data, truth.data, mask, labels))
    if labels is not None:
        agreed = slope_through_regions(chi.data, truth.data, labels, mask)
        numbers |= {"slope": agreed.slope, "r": agreed.correlation, "mae": agreed.mean_absolute_error}
    subject = ScoreContext(method="given", dataset="given", parameter=qsm_scores.CHI, unit="ppm")
    scores = [
        *qsm_scores.scores_of(numbers, subject, int(mask.sum())),
        *qsm_scores.further_scores(chi.data, truth.data, mask, subject, metrics),
    ]
    scores = list(metrics.scores(scores))
    rows = [(score.metric, f"{score.value:.4g}", score.unit) for score in scores]
    table = TextTable(title=data.chi.name, columns=("metric", "value", "unit"), rows=rows)
    return Evaluation(scores=scores, figures={}, tables=[table])


T1 = Benchmark(run=evaluate_t1, metrics=t1_scores.METRICS, fed=t1_scores.FED)
MAPS = Benchmark(run=evaluate_maps, metrics=weighted_scores.METRICS, fed=weighted_scores.FED)
QSM = Benchmark(run=evaluate_qsm, metrics=qsm_scores.METRICS, fed=qsm_scores.FED)
