"""The scores of T1w images that can be read at a glance, as tables of text."""

import math
from collections.abc import Sequence

from unweight.benchmark.mprage.records import TRUTH
from unweight.benchmark.mprage.scores import FOUND, Biology, Gain
from unweight.benchmark.t1.tables import TextTable
from unweight.metrics.scores import Score
from unweight.metrics.structures import DEEP, TISSUES

ABSENT = "n/a"
LIKENESS = (
    ("psnr", "PSNR dB", 2),
    ("ssim", "SSIM", 4),
    ("ms-ssim", "MS-SSIM", 4),
    ("gmsd", "GMSD", 4),
    ("haarpsi", "HaarPSI", 4),
    ("fsim", "FSIM", 4),
    ("sharpness", "sharpness", 3),
    ("hfen", "HFEN", 3),
    ("slice jumps", "slice jumps", 3),
    ("cnr white-grey", "CNR WM-GM", 2),
    ("cnr putamen-pallidum", "CNR put-pall", 2),
    ("seconds", "s", 1),
)
ALWAYS = "psnr"


def t1w_tables(scores: Sequence[Score]) -> tuple[TextTable, ...]:
    """Return likeness and overlap of each set."""
    made = []
    for dataset in dict.fromkeys(one.dataset for one in scores):
        value = {(one.method, one.group, one.metric): one.value for one in scores if one.dataset == dataset}
        counts = {
            one.method: one.n
            for one in scores
            if one.dataset == dataset and one.metric == ALWAYS and one.group == "brain"
        }
        ways = list(dict.fromkeys(one.method for one in scores if one.dataset == dataset))
        made.append(_likeness(value, ways, counts, dataset))
        for metric, title in (
            ("dice", "Dice with what is found in the true image"),
            ("dice of labels", "Dice with what people are made of"),
            ("hd95", "HD95 [mm]"),
            ("volume error", "relative error of volume"),
        ):
            made.append(_structures(value, ways, (metric, title, dataset)))
    return tuple(one for one in made if one.rows)


GAINED = {
    "dice": ("Dice with what is found in the true image [0.01]", 100.0),
    "dice_labels": ("Dice with what people are made of [0.01]", 100.0),
    "psnr": ("PSNR in each structure [dB]", 1.0),
}


def gain_table(gains: Sequence[Gain], dataset: str, measure: str = "dice") -> TextTable:
    """Return what R2* and susceptibility add to one measure."""
    title, factor = GAINED[measure]
    conditions = list(dict.fromkeys(one.condition for one in gains))
    cell = {
        (one.structure, one.condition): f"{factor * one.mean:+.2f} ({factor * one.lower:+.2f} to "
        f"{factor * one.upper:+.2f})"
        for one in gains
    }
    structures = list(dict.fromkeys(one.structure for one in gains))
    return TextTable(
        title=f"{dataset}: change against magnitudes alone: {title}, 95 % over people",
        columns=("structure", *conditions),
        rows=[(name, *(cell.get((name, told), ABSENT) for told in conditions)) for name in structures],
    )


def biology_tables(found: Sequence[Biology], dataset: str) -> tuple[TextTable, ...]:
    """Return the effects of age and sex on volumes of true and made images, one table each."""
    made = []
    for name in ("age", "sex"):
        rows = []
        for one in found:
            effect = one.effects.age if name == "age" else one.effects.sex
            kept = one.age_preserved if name == "age" else one.sex_preserved
            rows.append(
                (
                    one.way,
                    one.structure,
                    _interval(effect.true.estimate, effect.true.lower, effect.true.upper),
                    _interval(effect.synthetic.estimate, effect.synthetic.lower, effect.synthetic.upper),
                    _ratio(effect.exists, effect.ratio.estimate),
                    f"{effect.interaction.p:.3f}",
                    {None: "no effect", True: "yes", False: "NO"}[kept],
                    f"{one.agreement.concordance.estimate:.3f}",
                    f"{one.agreement.relative.bias:+.1f}",
                )
            )
        unit = "% a year" if name == "age" else "%, men less women"
        made.append(
            TextTable(
                title=f"{dataset}: {name} on volumes [{unit}]",
                columns=(
                    *("way", "structure", "true", "made", "ratio", "interaction p", "kept", "CCC"),
                    "bias %",
                ),
                rows=rows,
            )
        )
    return tuple(made)


def _likeness(
    value: dict[tuple[str, str, str], float], ways: Sequence[str], counts: dict[str, int], dataset: str
) -> TextTable:
    rows = []
    for way in ways:
        cells = [_number(value.get((way, "brain", name), math.nan), digits) for name, _, digits in LIKENESS]
        if any(cell != ABSENT for cell in cells):
            rows.append((way, str(counts.get(way, 0)) if way != TRUTH else "", *cells))
    return TextTable(
        title=f"{dataset}: likeness to the true image, means over people",
        columns=("way", "n", *(label for _, label, _ in LIKENESS)),
        rows=rows,
    )


def _structures(
    value: dict[tuple[str, str, str], float], ways: Sequence[str], what: tuple[str, str, str]
) -> TextTable:
    metric, title, dataset = what
    rows = []
    for way in ways:
        numbers = [value.get((way, name, metric), math.nan) for name in FOUND]
        if all(math.isnan(one) for one in numbers):
            continue
        digits = 2 if metric == "hd95" else 3
        cells = [_number(one, digits) for one in numbers]
        if metric.startswith("dice"):
            for group in (TISSUES, DEEP):
                cells.append(
                    _number(_mean([value.get((way, name, metric), math.nan) for name in group]), 3)
                )
        rows.append((way, *cells))
    columns = ("way", *(name.replace("_", " ") for name in FOUND))
    if metric.startswith("dice"):
        columns = (*columns, "tissues", "deep grey")
    return TextTable(title=f"{dataset}: {title}", columns=columns, rows=rows)


def _mean(values: Sequence[float]) -> float:
    known = [one for one in values if not math.isnan(one)]
    return sum(known) / len(known) if known else math.nan


def _number(value: float, digits: int) -> str:
    return ABSENT if math.isnan(value) else f"{value:.{digits}f}"


def _interval(estimate: float, lower: float, upper: float) -> str:
    return f"{estimate:+.3f} ({lower:+.3f} to {upper:+.3f})"


def _ratio(exists: bool, ratio: float) -> str:
    return f"{ratio:.2f}" if exists else ABSENT
