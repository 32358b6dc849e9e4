"""What the registry holds: one frozen record for each method, pipeline, model, metric, data set, quantity.

A target is a name to import when it is needed: `module:attribute`.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import final

OF_MAP = "unit of the map"
# Of one core and of memory, for each voxel of each image, of the fit of any model.
FIT_NANOSECONDS, FIT_BYTES = 8000.0, 330.0


@final
@dataclass(frozen=True, kw_only=True)
class Demand:
    """Memory that a command takes at the most while it computes.

    Attributes:
        voxel: Of each voxel of the grid [byte].
        value: Of each voxel of each image [byte].
        least: Of any series [byte].
    """

    voxel: float
    value: float = 0.0
    least: float = 48 * 2**20

    def bytes(self, voxels: int, volumes: int) -> float:
        """Return it for a grid and a number of images."""
        return self.least + voxels * (self.voxel + self.value * volumes)


# Of the fit of any model.
FIT_DEMAND = Demand(voxel=1100.0, value=20.0, least=2**29)


@final
@dataclass(frozen=True, kw_only=True)
class Method:
    """One method, classical or learned.

    Attributes:
        name: As `--method` and `--methods` take it.
        family: Which methods it belongs to; a pipeline names the family of its methods.
        summary: For the help of `--method`; methods in a row with the same summary share it.
        target: A class or function for a classical method; for a learned one, what loads it by the name
            of its weights.
        weights: Name of its weights, under which `train` trains it; empty for a classical method.
        algorithm: What it does, for sidecars.
        reference: Where it is described.
        stage: Of a pipeline of several stages; empty if there is one stage.
        trainable: Target of its `TrainableMethod`.
        card: Summary in the card of its weights.
        base: Name of the weights that it needs beside its own.
        usage: Command that uses its weights, where that is not `--method NAME`.
        weights_option: Option of that command that takes the folder of its weights.
        offered: Whether `--method` offers it.
        compared: Whether a benchmark includes it where it is not asked for.
        rank: Orders the methods of a benchmark; those of one rank stay in the order of the list.
        draws: Whether `--draws` goes with it.
        demand: Memory it takes where that differs from its pipeline.
        shipped: Whether its weights come with the package; others are trained first, and need `--weights`.
        substitute: The method that an external program takes in its place; empty for the same name.
        score: Score of its card by which weights are compared, with its sign: `-rmse_ln_t1`, `+psnr`.
    """

    name: str
    family: str
    summary: str
    target: str
    weights: str = ""
    algorithm: str = ""
    reference: str = ""
    stage: str = ""
    trainable: str = ""
    card: str = ""
    base: str = ""
    usage: str = ""
    weights_option: str = "--weights"
    offered: bool = True
    compared: bool = True
    rank: int = 0
    draws: bool = False
    demand: Demand | None = None
    shipped: bool = True
    substitute: str = ""
    score: str = ""

    @property
    def learned(self) -> bool:
        """Whether it needs weights."""
        return bool(self.weights)


@final
@dataclass(frozen=True, kw_only=True)
class Reuse:
    """A map of an earlier pipeline that a pipeline takes, in a run, instead of computing the same.

    Attributes:
        command: The pipeline that computes it: the first image of its set is the map.
        option: Of the later command, which takes the map.
        nanoseconds: Of one core that are saved, for each voxel of each image.
        shared: Options of both commands that change the map; a map computed with other values of these, or
            with other options than these, is not taken.
        indifferent: Options of the earlier command that do not change the map.
        excluded_by: Options of the later command with which it takes no map.
    """

    command: str
    option: str
    nanoseconds: float
    shared: tuple[str, ...] = ()
    indifferent: tuple[str, ...] = ()
    excluded_by: tuple[str, ...] = ()


@final
@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """One command that makes maps or images of the series in a BIDS tree.

    Attributes:
        command: Its name.
        family: Of its methods.
        suffixes: Of the series it takes.
        first: Suffix and description of the first image it writes, whose sidecar completes the set.
        plan: Target of the function that plans it: (pipeline, root, visit) to steps and refusals.
        fewest: Images of a series.
        without_phase: Options with which it takes magnitudes alone; empty if it cannot.
        nanoseconds: Of one core, for each voxel of each image.
        bytes: Of memory of the process, likewise.
        demand: Memory of one series while it is computed, beside its images.
        title: Of its sets on a page.
        short: The same in the navigation of a page; empty for the title.
        marks: Suffixes that tell its sets from others with the same first image.
        n_faces: Maps shown at the head of a page.
        synthetic: Whether it writes an image that was not measured.
        caveats: What its results must not be used for, in sentences.
        reuses: Maps of earlier pipelines that it takes in a run.
        segmented: Whether a run can segment the first map: tissues differ in it.
        on_request: Whether a run plans it only where it is asked for.
        page: Page of the documentation that explains it.
        benchmark: Target of its benchmark; empty if there is none.
        compares: What the benchmark compares, for help.
    """

    command: str
    family: str
    suffixes: tuple[str, ...]
    first: tuple[str, str]
    plan: str
    fewest: int = 1
    without_phase: tuple[str, ...] = ()
    nanoseconds: float
    bytes: float
    demand: Demand
    title: str
    short: str = ""
    marks: tuple[str, ...] = ()
    n_faces: int = 1
    synthetic: bool = False
    caveats: tuple[str, ...] = ()
    reuses: tuple[Reuse, ...] = ()
    segmented: bool = False
    on_request: bool = False
    page: str = ""
    benchmark: str = ""
    compares: str = ""


@final
@dataclass(frozen=True, kw_only=True)
class FamilyBenchmark:
    """A benchmark of methods that belong to no pipeline.

    Attributes:
        command: Its name.
        family: Of the methods.
        benchmark: Target of the benchmark.
        compares: What the benchmark compares, for help.
    """

    command: str
    family: str
    benchmark: str
    compares: str


@final
@dataclass(frozen=True, kw_only=True)
class Model:
    """One signal model, which `unweight fit NAME` fits and `unweight simulate --model NAME` simulates.

    Attributes:
        name: Of the model.
        target: Its class, or an instance of it.
        summary: One line.
        suffixes: Of the series it describes; the simulator writes the first.
        command: Under which `unweight run` plans its fit to the series of its suffixes, a command of its
            own; empty if it does not.
        maps: Suffixes of its parameters, the first map first; needed for a command.
        b1_map: Suffix of the B1 map that `unweight run` looks for in `fmap`; empty if it takes none.
        fewest: Images of a series.
        title: Of its maps on a page.
        reference: Where it is described.
        caveats: What its maps must not be used for, in sentences.
    """

    name: str
    target: str
    summary: str
    suffixes: tuple[str, ...] = ()
    command: str = ""
    maps: tuple[str, ...] = ()
    b1_map: str = ""
    fewest: int = 2
    title: str = ""
    reference: str = ""
    caveats: tuple[str, ...] = ()

    @property
    def pipeline(self) -> Pipeline:
        """The pipeline of its command."""
        return Pipeline(
            command=self.command,
            family="fit",
            suffixes=self.suffixes,
            first=(self.maps[0], ""),
            plan="unweight.run.plan:plan_fit",
            fewest=self.fewest,
            nanoseconds=FIT_NANOSECONDS,
            bytes=FIT_BYTES,
            demand=FIT_DEMAND,
            title=self.title or self.summary,
            marks=self.maps[1:],
            caveats=self.caveats,
            segmented=self.maps[0] == "T1map",
            page="fit.md",
        )


class Inputs(StrEnum):
    """What a metric is computed from (`registry.metrics`)."""

    IMAGE = "image"
    VOXELS = "voxels"
    LABELS = "labels"


@final
@dataclass(frozen=True, kw_only=True)
class Metric:
    """One metric of benchmarks.

    Attributes:
        name: In tables of scores, and as `--metrics` takes it.
        inputs: What it is computed from; all benchmarks that have it can score the metric.
        target: A pure function, whose parameters are named after the inputs. It gives a number, or several
            by name.
        item: Which number, where the function gives several.
        unit: SI unit; `1` for ratios; `OF_MAP` for that of the map.
    """

    name: str
    inputs: Inputs
    target: str
    item: str = ""
    unit: str = "1"


@final
@dataclass(frozen=True, kw_only=True)
class DatasetName:
    """One set of simulated data of a benchmark.

    Attributes:
        name: As `--sets` takes it.
        family: Whose methods are compared on it.
        target: What makes it; empty where the benchmark itself knows.
        n_draws: Draws of tissue and protocol for each head, of each disease where it has several; 0 if its
            target draws none.
    """

    name: str
    family: str
    target: str = ""
    n_draws: int = 0


@final
@dataclass(frozen=True, kw_only=True)
class Quantity:
    """One kind of map, and how it is shown.

    Attributes:
        suffix: Of its files.
        name: Of the parameter.
        symbol: As it is written in text.
        words: What it is.
        step: In which it is shown [its unit]; 0 if that depends on the values.
        sd_step: The same for its standard deviation.
        colours: Name of its colour map.
        relaxation: Whether the scale for relaxation times and rates applies.
        window: The range shown; None for that of the values.
    """

    suffix: str
    name: str
    symbol: str
    words: str = ""
    step: float = 0.0
    sd_step: float = 0.0
    colours: str = "batlow"
    relaxation: bool = False
    window: tuple[float, float] | None = None


@final
@dataclass(frozen=True, kw_only=True)
class Records:
    """Records of this package, or of one that adds to it."""

    methods: tuple[Method, ...] = ()
    pipelines: tuple[Pipeline, ...] = ()
    models: tuple[Model, ...] = ()
    metrics: tuple[Metric, ...] = ()
    datasets: tuple[DatasetName, ...] = ()
    quantities: tuple[Quantity, ...] = ()
