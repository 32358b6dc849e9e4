"""The scores of susceptibility mapping that can be read at a glance, as tables of text."""

import math
from collections.abc import Sequence

from unweight.benchmark.qsm.scores import STRUCTURES
from unweight.benchmark.t1.tables import TextTable
from unweight.metrics.scores import Score

ABSENT = "n/a"
FIELD_COLUMNS = ("stage", "method", "NRMSE %", "r", "XSIM", "kept %", "s")
CHI_COLUMNS = (
    *("method", "NRMSE %", "detrended %", "XSIM", "HFEN %", "nuclei: slope", "r", "MAE ppb"),
    *("kept %", "s"),
)
Key = tuple[str, str, str, str]


def qsm_tables(scores: Sequence[Score]) -> tuple[TextTable, ...]:
    """Return the tables of each set, means over its heads: R2*, fields, susceptibility and its regions."""
    made: list[TextTable] = []
    for dataset in dict.fromkeys(one.dataset.split()[0] for one in scores):
        value = _means([one for one in scores if one.dataset.split()[0] == dataset])
        made += [_decay(value, dataset), _fields(value, dataset), _chi(value, dataset)]
        made.append(_regions(value, dataset))
    return tuple(one for one in made if one.rows)


def _means(scores: Sequence[Score]) -> dict[Key, float]:
    collected: dict[Key, list[float]] = {}
    for one in scores:
        collected.setdefault((one.parameter, one.method, one.group, one.metric), []).append(one.value)
    return {key: sum(values) / len(values) for key, values in collected.items()}


def _methods(value: dict[Key, float], parameter: str) -> list[str]:
    return list(dict.fromkeys(method for name, method, _, _ in value if name == parameter))


def _number(value: dict[Key, float], key: Key, digits: int, factor: float = 1.0) -> str:
    found = value.get(key, math.nan)
    return ABSENT if math.isnan(found) else f"{factor * found:.{digits}f}"


def _decay(value: dict[Key, float], dataset: str) -> TextTable:
    rows = [
        (
            method,
            *(_number(value, ("R2star", method, one, "bias"), 2) for one in STRUCTURES),
            _number(value, ("R2star", method, "brain", "seconds"), 2),
        )
        for method in _methods(value, "R2star")
    ]
    return TextTable(
        title=f"{dataset}: bias of R2* in pure voxels [1/s]",
        columns=("method", *STRUCTURES, "s"),
        rows=rows,
    )


def _fields(value: dict[Key, float], dataset: str) -> TextTable:
    rows = []
    for stage in ("total field", "local field"):
        for method in _methods(value, stage):
            at = (stage, method, "brain")
            rows.append(
                (
                    stage,
                    method,
                    _number(value, (*at, "nrmse"), 1),
                    _number(value, (*at, "correlation"), 3),
                    _number(value, (*at, "xsim"), 3),
                    _number(value, (*at, "kept"), 0, 100.0),
                    _number(value, (*at, "seconds"), 1),
                )
            )
    return TextTable(title=f"{dataset}: each stage alone", columns=FIELD_COLUMNS, rows=rows)


def _chi(value: dict[Key, float], dataset: str) -> TextTable:
    rows = []
    for method in _methods(value, "Chi"):
        at = ("Chi", method, "brain")
        rows.append(
            (
                method,
                _number(value, (*at, "nrmse"), 1),
                _number(value, (*at, "nrmse_detrended"), 1),
                _number(value, (*at, "xsim"), 3),
                _number(value, (*at, "hfen"), 1),
                _number(value, (*at, "slope"), 3),
                _number(value, (*at, "r"), 4),
                _number(value, (*at, "mae"), 1, 1000.0),
                _number(value, (*at, "kept"), 0, 100.0),
                _number(value, (*at, "seconds"), 1),
            )
        )
    return TextTable(title=f"{dataset}: susceptibility", columns=CHI_COLUMNS, rows=rows)


def _regions(value: dict[Key, float], dataset: str) -> TextTable:
    methods = _methods(value, "Chi")
    if not methods:
        return TextTable(title="", columns=(), rows=[])
    truth = [_number(value, ("Chi", methods[0], one, "true"), 0, 1000.0) for one in STRUCTURES]
    rows = [("truth", *truth)]
    for method in methods:
        means = (_number(value, ("Chi", method, one, "mean"), 0, 1000.0) for one in STRUCTURES)
        rows.append((method, *means))
    return TextTable(
        title=f"{dataset}: mean susceptibility of structures, relative to the brain [ppb]",
        columns=("method", *STRUCTURES),
        rows=rows,
    )
