"""The scores of T1w images that can be read at a glance, as tables of text."""

import math
from collections.abc import Sequence

from unweight.benchmark.core.tables import (
    Column,
    Row,
    ScoreIndex,
    TextTable,
    filled,
    headings,
    index_of,
    number,
)
from unweight.benchmark.mprage.records import TRUTH
from unweight.benchmark.mprage.scores import SCORED_STRUCTURES, Biology, Gain
from unweight.metrics.scores import ABSENT, Score
from unweight.metrics.structures import DEEP, TISSUES

LIKENESS = (
    Column(heading="PSNR dB", metric="psnr", digits=2),
    Column(heading="SSIM", metric="ssim", digits=4),
    Column(heading="MS-SSIM", metric="ms-ssim", digits=4),
    Column(heading="GMSD", metric="gmsd", digits=4),
    Column(heading="HaarPSI", metric="haarpsi", digits=4),
    Column(heading="FSIM", metric="fsim", digits=4),
    Column(heading="sharpness", metric="sharpness", digits=3),
    Column(heading="HFEN", metric="hfen", digits=3),
    Column(heading="slice jumps", metric="slice jumps", digits=3),
    Column(heading="CNR WM-GM", metric="cnr white-grey", digits=2),
    Column(heading="CNR put-pall", metric="cnr putamen-pallidum", digits=2),
    Column(heading="s", metric="seconds", digits=1),
)
STRUCTURE_TABLES = (
    ("dice", "Dice with the segmentation of the true image"),
    ("dice of labels", "Dice with the true labels"),
    ("hd95", "HD95 [mm]"),
    ("volume error", "relative error of volume"),
)
ALWAYS = "psnr"


def t1w_tables(scores: Sequence[Score]) -> tuple[TextTable, ...]:
    """Return likeness and overlap of each set."""
    index = index_of(scores)
    tables: list[TextTable] = []
    for dataset in index.datasets():
        counts = {
            score.method: score.n
            for score in scores
            if (score.dataset, score.metric, score.group) == (dataset, ALWAYS, "brain")
        }
        tables.append(_likeness(index, dataset, counts))
        tables += [_structures(index, dataset, metric, title) for metric, title in STRUCTURE_TABLES]
    return filled(tables)


GAINED = {
    "dice": ("Dice with the segmentation of the true image [0.01]", 100.0),
    "dice_labels": ("Dice with the true labels [0.01]", 100.0),
    "psnr": ("PSNR in each structure [dB]", 1.0),
}


def gain_table(gains: Sequence[Gain], dataset: str, measure: str = "dice") -> TextTable:
    """Return what R2* and susceptibility add to one measure."""
    title, factor = GAINED[measure]
    conditions = list(dict.fromkeys(gain.condition for gain in gains))
    cell = {
        (gain.structure, gain.condition): f"{factor * gain.mean:+.2f} ({factor * gain.lower:+.2f} to "
        f"{factor * gain.upper:+.2f})"
        for gain in gains
    }
    structures = list(dict.fromkeys(gain.structure for gain in gains))
    return TextTable(
        title=f"{dataset}: change relative to magnitude only: {title}, 95 % over subjects",
        columns=("structure", *conditions),
        rows=[
            (name, *(cell.get((name, condition), ABSENT) for condition in conditions))
            for name in structures
        ],
    )


def biology_tables(listed: Sequence[Biology], dataset: str) -> tuple[TextTable, ...]:
    """Return the effects of age and sex on volumes of true and synthetic images, one table each."""
    tables = []
    for name in ("age", "sex"):
        rows = []
        for each in listed:
            effect = each.effects.age if name == "age" else each.effects.sex
            kept = each.age_preserved if name == "age" else each.sex_preserved
            rows.append(
                (
                    each.method,
                    each.structure,
                    _interval(effect.true.estimate, effect.true.lower, effect.true.upper),
                    _interval(effect.synthetic.estimate, effect.synthetic.lower, effect.synthetic.upper),
                    _ratio(effect.exists, effect.ratio.estimate),
                    f"{effect.interaction.p:.3f}",
                    {None: "no effect", True: "yes", False: "NO"}[kept],
                    f"{each.agreement.concordance.estimate:.3f}",
                    f"{each.agreement.relative.bias:+.1f}",
                )
            )
        unit = "% a year" if name == "age" else "%, men less women"
        tables.append(
            TextTable(
                title=f"{dataset}: {name} on volumes [{unit}]",
                columns=(
                    *("way", "structure", "true", "synthetic", "ratio", "interaction p", "kept", "CCC"),
                    "bias %",
                ),
                rows=rows,
            )
        )
    return tuple(tables)


def _likeness(index: ScoreIndex, dataset: str, counts: dict[str, int]) -> TextTable:
    rows = []
    for method in index.methods(dataset):
        cells = index.cells(_row(dataset, method, "brain"), LIKENESS)
        if any(cell != ABSENT for cell in cells):
            rows.append((method, str(counts.get(method, 0)) if method != TRUTH else "", *cells))
    return TextTable(
        title=f"{dataset}: similarity to the true image, means over subjects",
        columns=("way", "n", *headings(LIKENESS)),
        rows=rows,
    )


def _structures(index: ScoreIndex, dataset: str, metric: str, title: str) -> TextTable:
    digits, overlap = 2 if metric == "hd95" else 3, metric.startswith("dice")
    rows = []
    for method in index.methods(dataset):
        values = {name: index.value(_row(dataset, method, name), metric) for name in SCORED_STRUCTURES}
        if all(math.isnan(value) for value in values.values()):
            continue
        means = [_mean([values[name] for name in group]) for group in (TISSUES, DEEP) if overlap]
        rows.append((method, *(number(value, digits) for value in (*values.values(), *means))))
    columns = ("way", *(name.replace("_", " ") for name in SCORED_STRUCTURES))
    return TextTable(
        title=f"{dataset}: {title}",
        columns=(*columns, "tissues", "deep grey") if overlap else columns,
        rows=rows,
    )


def _row(dataset: str, method: str, group: str) -> Row:
    return Row(dataset=dataset, method=method, parameter="T1w", group=group)


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def _interval(estimate: float, lower: float, upper: float) -> str:
    return f"{estimate:+.3f} ({lower:+.3f} to {upper:+.3f})"


def _ratio(exists: bool, ratio: float) -> str:
    return f"{ratio:.2f}" if exists else ABSENT
