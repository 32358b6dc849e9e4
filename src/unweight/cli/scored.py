"""What all evaluations share: their options; and the tables, pictures and scores they write."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

from rich.console import Console

from unweight.benchmark.core.scoring import MetricChoice
from unweight.benchmark.core.tables import TextTable
from unweight.cli.options import Verbosity
from unweight.cli.terminal import table
from unweight.files.atomic import write_together
from unweight.files.text_files import write_table
from unweight.metrics.scores import Score, scores_table
from unweight.registry.records import Inputs

SCORES = "scores.tsv"


@final
@dataclass(frozen=True, kw_only=True)
class T1Data:
    """Real data to evaluate T1 on, and settings of `evaluate t1` alone.

    Attributes:
        phantom: Series of real system phantoms.
        phantom_version: Of them, 1 or 2.
        brain: A real series of a brain.
        ti: Inversion times of it [s].
        tr: Repetition times of it [s].
        seeds: Noise seeds of the phantom and of small structures.
        draws: Of the diffusor; None as its card says.
        steps: Of each draw; None as its card says.
    """

    phantom: tuple[Path, ...] | None = None
    phantom_version: int | None = None
    brain: tuple[Path, ...] | None = None
    ti: tuple[float, ...] | None = None
    tr: tuple[float, ...] | None = None
    seeds: int | None = None
    draws: int | None = None
    steps: int | None = None


@final
@dataclass(frozen=True, kw_only=True)
class SusceptibilityData:
    """A susceptibility map of the user, and what it is scored against.

    Attributes:
        chi: The map [ppm].
        truth: The true map [ppm].
        chi_mask: Where it is scored.
        chi_labels: Labels of the QSM challenge.
    """

    chi: Path | None = None
    truth: Path | None = None
    chi_mask: Path | None = None
    chi_labels: Path | None = None


@final
@dataclass(frozen=True, kw_only=True)
class T1wData:
    """Subjects and images on which T1w synthesis is evaluated.

    Attributes:
        people: Simulated subjects of each set; None for the default of each.
        pairs: Where simulated subjects are kept; None for a folder of the output.
        bids: A tree with MEGRE and T1w.
        t1w: A real T1w image.
        segmenter: What finds structures; None for the own network.
        workers: Processes that simulate; None for one each core.
    """

    people: int | None = None
    pairs: Path | None = None
    bids: Path | None = None
    t1w: Path | None = None
    segmenter: str | None = None
    workers: int | None = None


@final
@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """Options of `unweight evaluate`.

    Attributes:
        what: Command whose methods are compared.
        out: Where scores and pictures are written.
        methods: By name; None for all that there are weights for.
        weights: Folder of weights; None for those of the package.
        sets: Simulated data sets; None for all.
        metrics: By name; None for those of the evaluation.
        heads: Folder of BrainWeb heads; None for procedural heads.
        quick: One head, few slices, one seed.
        t1_data: Of `t1` alone.
        susceptibility_data: Of `qsm` alone.
        t1w_data: Of `mprage` alone.
        verbosity: What is printed.
    """

    what: str
    out: Path
    methods: tuple[str, ...] | None = None
    weights: Path | None = None
    sets: tuple[str, ...] | None = None
    metrics: tuple[str, ...] | None = None
    heads: Path | None = None
    quick: bool = False
    t1_data: T1Data = field(default_factory=T1Data)
    susceptibility_data: SusceptibilityData = field(default_factory=SusceptibilityData)
    t1w_data: T1wData = field(default_factory=T1wData)
    verbosity: Verbosity = field(default_factory=Verbosity)

    @property
    def quiet(self) -> bool:
        """Whether only errors are printed."""
        return self.verbosity.quiet

    def chosen(self, sets: tuple[str, ...]) -> tuple[str, ...]:
        """Return those of the data sets that were asked for, in their own order."""
        return sets if self.sets is None else tuple(name for name in sets if name in self.sets)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation:
    """What an evaluation gives.

    Attributes:
        scores: All of them.
        figures: Pictures by file name.
        tables: To be read at a glance.
    """

    scores: Sequence[Score]
    figures: Mapping[str, bytes]
    tables: Sequence[TextTable]


@final
@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """One of the evaluations.

    Attributes:
        run: From options to scores, pictures and tables.
        metrics: Those it scores by default.
        fed: What it has for metrics of the registry.
    """

    run: Callable[[EvaluateOptions, Console, MetricChoice], Evaluation]
    metrics: tuple[str, ...]
    fed: tuple[Inputs, ...]

    def __call__(self, options: EvaluateOptions, screen: Console, metrics: MetricChoice) -> Evaluation:
        """Run it."""
        return self.run(options, screen, metrics)


def report_missing(absent: Sequence[str], screen: Console) -> None:
    """Print which methods have no weights, if there are any."""
    if absent:
        screen.print(f"no weights for {', '.join(absent)}: left out")


def write(out: Path, scores: Sequence[Score], figures: Mapping[str, bytes], screen: Console) -> None:
    """Write the pictures, then the table: it is the mark that all is there."""
    columns, rows = scores_table(scores)
    if figures:
        write_together((out / name, content) for name, content in figures.items())
    write_table(out / SCORES, rows, columns)
    for name in (*figures, SCORES):
        screen.print(str(out / name))


def show(tables: Sequence[TextTable], screen: Console) -> None:
    """Print the tables that can be read at a glance."""
    for each in tables:
        screen.print()
        screen.print(table(each.columns, each.rows, each.title))
