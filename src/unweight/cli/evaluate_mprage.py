"""`unweight evaluate mprage`: synthetic T1w images against true ones, on simulated and real subjects."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

from rich.console import Console
from torch import Tensor

from unweight.benchmark.core.run import no_progress
from unweight.benchmark.core.scoring import MetricChoice
from unweight.benchmark.core.tables import TextTable
from unweight.benchmark.mprage.figures import age_figure, draw_gains, method_figure
from unweight.benchmark.mprage.methods import (
    DRAWN_METHODS,
    STRUCTURES,
    WEIGHTS,
    ablated,
    external_segmenter,
    own_segmenter,
    synthesis_methods,
    weights_of,
)
from unweight.benchmark.mprage.records import (
    FED,
    METRICS,
    TRUTH,
    ResultsFile,
    SegmentFn,
    SubjectRecord,
    SynthesisFn,
    measure_subject,
)
from unweight.benchmark.mprage.scores import FEWEST, biology, biology_scores, gains, image_scores
from unweight.benchmark.mprage.subjects import (
    HEALTHY,
    N_HEALTHY,
    N_OTHERS,
    N_QUICK,
    T1W_SETS,
    ImageLevels,
    cohort_heads,
    cohort_subjects,
    measure_image,
    measure_on_grid,
)
from unweight.benchmark.mprage.tables import GAINED, biology_tables, gain_table, t1w_tables
from unweight.cli.process import n_cores
from unweight.cli.scored import Benchmark, EvaluateOptions, Evaluation
from unweight.cli.terminal import Course, course
from unweight.core.errors import UsageError
from unweight.heads.source import TEST, BrainwebHeads
from unweight.learn.pairs.pair import Pair, load_pair
from unweight.learn.pairs.real_pair import real_pair
from unweight.learn.pairs.real_subjects import contents_of, paired_subjects
from unweight.learn.training.weights import load_weights
from unweight.mapping.device import device_for

REAL = "real"
RESULTS, KEPT = "records.jsonl", "people"
N_ALL_METHODS = 8  # subjects of whom all methods are measured; of others the first one, for age and sex
OWN = "own"
MEASURES = ("cnr white-grey", "cnr putamen-pallidum", "sharpness")


def evaluate_mprage(options: EvaluateOptions, screen: Console, metrics: MetricChoice) -> Evaluation:
    """Measure every method on every subject, and summarise."""
    if options.t1w_data.people is not None and options.t1w_data.people < 1:
        raise UsageError(
            f"--n-subjects {options.t1w_data.people} is not possible", remedy="Give at least 1."
        )
    device = device_for("auto")
    methods = synthesis_methods(options.methods, options.weights, device)
    work = _Work(
        methods=methods,
        weights={name: weights_of(name, options.weights) for name in methods},
        own=None
        if options.t1w_data.segmenter not in (None, OWN)
        else own_segmenter(options.weights, device),
        external=options.t1w_data.segmenter,
        results=ResultsFile(path=options.out / RESULTS, about=_about(options, metrics)).open(),
        subjects=_folder(options),
        metrics=metrics,
    )
    real = None if options.t1w_data.t1w is None else _real_levels(options.t1w_data.t1w, work)
    figures: dict[str, bytes] = {}
    with course(quiet=options.quiet) as displayed:
        for dataset, pairs, count in _datasets(options, displayed):
            figures |= work.measure(dataset, pairs, count, displayed)
    records = [
        record
        for record in work.results.records.values()
        if record.weights == work.weights.get(record.method, "")
    ]
    scores = image_scores(records, metrics)
    tables = list(t1w_tables(scores))
    for dataset in dict.fromkeys(record.dataset for record in records):
        some = [record for record in records if record.dataset == dataset]
        more, drawn = _ablation(some, dataset, ablated(methods))
        tables += more
        figures |= drawn
        if sum(record.method == TRUTH and "age" in record.about for record in some) >= FEWEST:
            effects = biology(some, dataset)
            scores += metrics.scores(biology_scores(effects, dataset))
            tables += biology_tables(effects, dataset)
            picture = age_figure(some, [next(iter(methods))], f"{dataset}: age")
            if picture is not None:
                figures[f"mprage_{dataset}_age.png"] = picture
    if real is not None:
        tables.append(_level_table(real, work))
    return Evaluation(scores=scores, figures=figures, tables=tables)


def _ablation(
    records: Sequence[SubjectRecord], dataset: str, ablations: Mapping[str, str]
) -> tuple[list[TextTable], dict[str, bytes]]:
    """Return what R2* and susceptibility add, as tables and as a picture."""
    tables: list[TextTable] = []
    figures: dict[str, bytes] = {}
    if any(record.method in ablations.values() for record in records):
        for measure in GAINED:
            listed = gains(records, ablations, dataset, measure)
            tables += [gain_table(listed, dataset, measure)] if listed else []
            if listed and measure == "psnr":
                figures[f"mprage_{dataset}_conditions.png"] = draw_gains(
                    listed, f"{dataset}: what R2* and susceptibility add to PSNR [dB]"
                )
    return tables, figures


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class _Work:
    """What subjects are measured with, and the results so far."""

    methods: Mapping[str, SynthesisFn]
    weights: Mapping[str, str]
    own: SegmentFn | None
    external: str | None
    results: ResultsFile
    subjects: Path
    metrics: MetricChoice

    def segment_for(self, pair: Pair) -> SegmentFn:
        """Return what finds structures in the images of a subject."""
        if self.own is not None:
            return self.own
        return external_segmenter(str(self.external), pair.voxel_mm)

    def measure(
        self, dataset: str, pairs: Iterator[Pair], count: int, displayed: Course
    ) -> dict[str, bytes]:
        """Measure the subjects of a set, and return pictures of the first."""
        bar = displayed.bar(f"{dataset}: people measured")
        figures: dict[str, bytes] = {}
        for number, pair in enumerate(pairs):
            all_methods = number < N_ALL_METHODS
            chosen = {
                name: function
                for name, function in self.methods.items()
                if all_methods or name == next(iter(self.methods))
            }
            images = self._measure_subject(dataset, pair, chosen, all_methods=all_methods)
            if number == 0:
                drawn = {TRUTH: pair.target.float()} | {
                    name: images[name] if name in images else function(pair)
                    for name, function in chosen.items()
                    if name in WEIGHTS
                }
                figures[f"mprage_{dataset}.png"] = method_figure(drawn, pair, f"{dataset}: {pair.name}")
            bar(number + 1, count)
        return figures

    def _measure_subject(
        self, dataset: str, pair: Pair, chosen: Mapping[str, SynthesisFn], *, all_methods: bool
    ) -> dict[str, Tensor]:
        """Measure what is not yet in the results, and return the images."""
        missing = {
            name: function
            for name, function in chosen.items()
            if not self.results.has(dataset, pair.name, name, self.weights[name])
        }
        if not missing and self.results.has(dataset, pair.name, TRUTH):
            return {}
        measured = list(
            measure_subject(
                dataset,
                pair,
                missing,
                self.segment_for(pair),
                no_progress,
                all_measures=(TRUTH, *WEIGHTS, *DRAWN_METHODS) if all_methods else (),
                metrics=self.metrics,
            )
        )
        self.results.add(
            replace(record, weights=self.weights.get(record.method, "")) for record, _ in measured
        )
        return {record.method: image for record, image in measured}


def _about(options: EvaluateOptions, metrics: MetricChoice) -> dict[str, object]:
    """Return what all records rest on: what finds structures, the subjects, and metrics if chosen."""
    segmenter = options.t1w_data.segmenter or OWN
    if segmenter == OWN:
        segmenter = load_weights(STRUCTURES, options.weights)[1].sha256
    about: dict[str, object] = {
        "segmenter": segmenter,
        "quick": options.quick,
        "bids": None if options.t1w_data.bids is None else _contents(options.t1w_data.bids),
        "heads": None if options.heads is None else sorted(BrainwebHeads(options.heads).subjects(TEST)),
    }
    return about if metrics.names is None else about | {"metrics": sorted(metrics.names)}


def _contents(tree: Path) -> list[str]:
    return [contents_of(subject) for subject in paired_subjects([tree]).subjects]


def _datasets(options: EvaluateOptions, displayed: Course) -> Iterator[tuple[str, Iterator[Pair], int]]:
    """Give each set with its subjects, simulated as they are needed."""
    chosen = options.sets
    datasets = [name for name in T1W_SETS if chosen is None or name in chosen]
    if options.t1w_data.bids is not None:
        paired = paired_subjects([options.t1w_data.bids])
        for left in paired.left_out:
            displayed.line(f"left out: {left.label} {left.reason}")
        for remark in paired.remarks:
            displayed.line(remark)
        yield REAL, (real_pair(subject) for subject in paired.subjects), len(paired.subjects)
        if chosen is None:
            return
    if not datasets:
        return
    heads = cohort_heads(options.heads, quick=options.quick)
    n_workers = options.t1w_data.workers if options.t1w_data.workers is not None else n_cores()
    for dataset in datasets:
        count = _count(options, dataset)
        paths = cohort_subjects(
            dataset,
            heads,
            _folder(options),
            n=count,
            quick=options.quick,
            n_workers=n_workers if n_workers > 1 else 0,
            progress=displayed.bar(f"{dataset}: subjects simulated"),
        )
        yield dataset, (load_pair(path) for path in paths), len(paths)


def _folder(options: EvaluateOptions) -> Path:
    """Return where simulated people are kept."""
    kept = options.t1w_data.pairs
    return options.out / KEPT if kept is None else kept


def _count(options: EvaluateOptions, dataset: str) -> int:
    if options.t1w_data.people is not None:
        return options.t1w_data.people
    if options.quick:
        return N_QUICK
    return N_HEALTHY if dataset == HEALTHY else N_OTHERS


def _real_levels(path: Path, work: _Work) -> ImageLevels:
    """Return levels and structures of a real image."""
    if work.own is None:
        raise UsageError("--t1w requires the segmenter `own`", remedy="Leave --segmenter out.")
    return measure_image(path, work.own)


def _level_table(real: ImageLevels, work: _Work) -> TextTable:
    """Return levels of a real image beside those of a true image that was simulated."""
    images = {"real": real}
    simulated = _simulated_levels(work)
    if simulated is not None:
        images["simulated"] = simulated
    names = list(dict.fromkeys(name for image in images.values() for name in image.level))
    rows = [
        (
            label,
            *(f"{image.level[name]:.2f}" if name in image.level else "n/a" for name in names),
            *(f"{image.measures.get(name, float('nan')):.2f}" for name in MEASURES),
        )
        for label, image in images.items()
    ]
    return TextTable(
        title="median of each structure over white matter, contrast to noise, sharpness",
        columns=("image", *(name.replace("_", " ") for name in names), *MEASURES),
        rows=rows,
    )


def _simulated_levels(work: _Work) -> ImageLevels | None:
    """Return the same of the first simulated subject that was kept."""
    paths = sorted((work.subjects / "test").glob("*.safetensors"))
    if not paths or work.own is None:
        return None
    pair = load_pair(paths[0])
    return measure_on_grid(work.own, pair.target.float(), pair.channels[-1] > 0, pair.voxel_mm)


MPRAGE = Benchmark(run=evaluate_mprage, metrics=METRICS, fed=FED)
