"""`unweight evaluate mprage`: T1w images made of echoes against true ones, on simulated and real people."""

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

from torch import Tensor

from unweight.benchmark.mprage.figures import age_figure, gain_figure, way_figure
from unweight.benchmark.mprage.methods import (
    ABLATED,
    CONDITIONS,
    DRAWN_WAYS,
    STRUCTURES,
    WEIGHTS,
    external_segmenter,
    own_segmenter,
    told_name,
    ways_of,
    weights_of,
)
from unweight.benchmark.mprage.people import (
    N_HEALTHY,
    N_OTHERS,
    N_QUICK,
    T1W_SETS,
    heads_of_tests,
    people_of,
)
from unweight.benchmark.mprage.real import RealT1w, look_at, seen_by
from unweight.benchmark.mprage.records import TRUTH, Make, RecordBook, Segment, measure_person
from unweight.benchmark.mprage.scores import FEWEST, biology, biology_scores, gains, image_scores
from unweight.benchmark.mprage.tables import GAINED, biology_tables, gain_table, t1w_tables
from unweight.benchmark.t1.heads import heads_for_test
from unweight.benchmark.t1.tables import TextTable
from unweight.cli.device import device_for
from unweight.cli.scored import show, write
from unweight.cli.terminal import Course, console, course
from unweight.cli.training_time import n_cores
from unweight.core.errors import UsageError
from unweight.learn.pairs.pair import Pair, load_pair
from unweight.learn.pairs.real_pair import real_pair
from unweight.learn.pairs.real_subjects import contents_of, paired_subjects
from unweight.learn.training.weights import load_weights

HEALTHY, REAL = "healthy", "real"
BOOK, KEPT = "records.jsonl", "people"
N_WHOLLY = 8  # people of whom all ways are measured; of the others only the first one, for age and sex
OWN = "own"
MEASURES = ("cnr white-grey", "cnr putamen-pallidum", "sharpness")


def run(arguments: argparse.Namespace) -> int:
    """Measure every way on every person, and show what comes of it."""
    if arguments.people is not None and arguments.people < 1:
        raise UsageError(f"{arguments.people} people", remedy="Ask for at least one.")
    screen = console(quiet=arguments.quiet)
    device = device_for("auto")
    ways = ways_of(arguments.methods, arguments.weights, device)
    work = _Work(
        ways=ways,
        weights={name: weights_of(name, arguments.weights) for name in ways},
        own=None if arguments.segmenter not in (None, OWN) else own_segmenter(arguments.weights, device),
        external=arguments.segmenter,
        book=RecordBook(path=arguments.out / BOOK, about=_about(arguments)).open(),
        people=_folder(arguments),
    )
    real = None if arguments.t1w is None else _look(arguments.t1w, work)
    figures: dict[str, bytes] = {}
    with course(quiet=arguments.quiet) as shown:
        for dataset, pairs, count in _people(arguments, shown):
            figures |= work.measure(dataset, pairs, count, shown)
    records = [one for one in work.book.records.values() if one.weights == work.weights.get(one.way, "")]
    scores = image_scores(records)
    tables = list(t1w_tables(scores))
    told = {condition: told_name(condition) for condition in CONDITIONS}
    for dataset in dict.fromkeys(one.dataset for one in records):
        some = [one for one in records if one.dataset == dataset]
        if ABLATED in ways and any(one.way == told[condition] for one in some for condition in told):
            for measure in GAINED:
                found = gains(some, told, dataset, measure)
                tables += [gain_table(found, dataset, measure)] if found else []
                if found and measure == "psnr":
                    figures[f"mprage_{dataset}_conditions.png"] = gain_figure(
                        found, f"{dataset}: what R2* and susceptibility add to PSNR [dB]"
                    )
        aged = sum(one.way == TRUTH and "age" in one.about for one in some)
        if aged >= FEWEST:
            effects = biology(some, dataset)
            scores += biology_scores(effects, dataset)
            tables += biology_tables(effects, dataset)
            picture = age_figure(some, [next(iter(ways))], f"{dataset}: age")
            if picture is not None:
                figures[f"mprage_{dataset}_age.png"] = picture
    if real is not None:
        tables.append(_beside(real, work))
    show(tables, screen)
    write(arguments.out, scores, figures, screen)
    return 0


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class _Work:
    """What is measured with, and what was found so far."""

    ways: Mapping[str, Make]
    weights: Mapping[str, str]
    own: Segment | None
    external: str | None
    book: RecordBook
    people: Path

    def segment_for(self, pair: Pair) -> Segment:
        """Return what finds structures in the images of a person."""
        if self.own is not None:
            return self.own
        return external_segmenter(str(self.external), pair.voxel_mm)

    def measure(self, dataset: str, pairs: Iterator[Pair], count: int, shown: Course) -> dict[str, bytes]:
        """Measure the people of a set, and return pictures of the first."""
        bar = shown.bar(f"{dataset}: people measured")
        figures: dict[str, bytes] = {}
        for number, pair in enumerate(pairs):
            wholly = number < N_WHOLLY
            chosen = {
                name: make for name, make in self.ways.items() if wholly or name == next(iter(self.ways))
            }
            missing = {
                name: make
                for name, make in chosen.items()
                if not self.book.has(dataset, pair.name, name, self.weights[name])
            }
            there: dict[str, Tensor] = {}
            if missing or not self.book.has(dataset, pair.name, TRUTH):
                measured = measure_person(
                    dataset,
                    pair,
                    missing,
                    self.segment_for(pair),
                    wholly=(TRUTH, *WEIGHTS, *DRAWN_WAYS) if wholly else (),
                )
                made = list(measured)
                self.book.add(
                    replace(record, weights=self.weights.get(record.way, "")) for record, _ in made
                )
                there = {record.way: image for record, image in made}
            if number == 0:
                images = {TRUTH: pair.target.float()} | {
                    name: there[name] if name in there else make(pair)
                    for name, make in chosen.items()
                    if name in WEIGHTS
                }
                figures[f"mprage_{dataset}.png"] = way_figure(images, pair, f"{dataset}: {pair.name}")
            bar(number + 1, count)
        return figures


def _about(arguments: argparse.Namespace) -> dict[str, object]:
    """Return what all records rest on: what finds structures, and the people."""
    segmenter = arguments.segmenter or OWN
    if segmenter == OWN:
        segmenter = load_weights(STRUCTURES, arguments.weights)[1].sha256
    return {
        "segmenter": segmenter,
        "quick": bool(arguments.quick),
        "bids": None if arguments.bids is None else _contents(arguments.bids),
        "heads": None if arguments.heads is None else sorted(heads_for_test(arguments.heads)),
    }


def _contents(tree: Path) -> list[str]:
    return [contents_of(one) for one in paired_subjects([tree]).subjects]


def _people(arguments: argparse.Namespace, shown: Course) -> Iterator[tuple[str, Iterator[Pair], int]]:
    """Give each set with its people, simulated as they are needed."""
    chosen = arguments.sets
    datasets = [name for name in T1W_SETS if chosen is None or name in chosen]
    if arguments.bids is not None:
        found = paired_subjects([arguments.bids])
        for left in found.left_out:
            shown.line(f"left out: {left.label} {left.reason}")
        for remark in found.remarks:
            shown.line(remark)
        yield REAL, (real_pair(one) for one in found.subjects), len(found.subjects)
        if chosen is None:
            return
    if not datasets:
        return
    heads = heads_of_tests(arguments.heads, quick=arguments.quick)
    n_workers = arguments.workers if arguments.workers is not None else n_cores()
    for dataset in datasets:
        count = _count(arguments, dataset)
        paths = people_of(
            dataset,
            heads,
            _folder(arguments),
            n=count,
            quick=arguments.quick,
            n_workers=n_workers if n_workers > 1 else 0,
            progress=shown.bar(f"{dataset}: people made"),
        )
        yield dataset, (load_pair(path) for path in paths), len(paths)


def _folder(arguments: argparse.Namespace) -> Path:
    """Return where simulated people are kept."""
    kept: Path | None = arguments.pairs
    return arguments.out / KEPT if kept is None else kept


def _count(arguments: argparse.Namespace, dataset: str) -> int:
    if arguments.people is not None:
        return int(arguments.people)
    if arguments.quick:
        return N_QUICK
    return N_HEALTHY if dataset == HEALTHY else N_OTHERS


def _look(path: Path, work: _Work) -> RealT1w:
    """Return what a real image shows."""
    if work.own is None:
        raise UsageError("--t1w is looked at by the own segmenter", remedy="Leave --segmenter out.")
    return look_at(path, work.own)


def _beside(real: RealT1w, work: _Work) -> TextTable:
    """Return levels of a real image beside those of a true image that was simulated."""
    seen = {"real": real}
    simulated = _simulated(work)
    if simulated is not None:
        seen["simulated"] = simulated
    names = list(dict.fromkeys(name for one in seen.values() for name in one.level))
    rows = [
        (
            which,
            *(f"{one.level[name]:.2f}" if name in one.level else "n/a" for name in names),
            *(f"{one.measures.get(name, float('nan')):.2f}" for name in MEASURES),
        )
        for which, one in seen.items()
    ]
    return TextTable(
        title="median of each structure over white matter, contrast to noise, sharpness",
        columns=("image", *(name.replace("_", " ") for name in names), *MEASURES),
        rows=rows,
    )


def _simulated(work: _Work) -> RealT1w | None:
    """Return the same of the first simulated person that was kept."""
    paths = sorted((work.people / "test").glob("*.safetensors"))
    if not paths or work.own is None:
        return None
    pair = load_pair(paths[0])
    return seen_by(work.own, pair.target.float(), pair.channels[-1] > 0, pair.voxel_mm)
