"""The scores of susceptibility mapping that can be read at a glance, as tables of text."""

from collections.abc import Sequence

from unweight.benchmark.core.tables import Column, Row, ScoreIndex, TextTable, filled, headings, index_of
from unweight.benchmark.qsm.scores import BRAIN, CHI, LOCAL_FIELD, R2STAR, STRUCTURES, TOTAL_FIELD
from unweight.metrics.scores import Score

RELAXATION = (
    *(Column(heading=name, metric="bias", digits=2, group=name) for name in STRUCTURES),
    Column(heading="s", metric="seconds", digits=2),
)
FIELDS = (
    Column(heading="NRMSE %", metric="nrmse", digits=1),
    Column(heading="r", metric="correlation", digits=3),
    Column(heading="XSIM", metric="xsim", digits=3),
    Column(heading="kept %", metric="kept", digits=0, factor=100),
    Column(heading="s", metric="seconds", digits=1),
)
SUSCEPTIBILITY = (
    Column(heading="NRMSE %", metric="nrmse", digits=1),
    Column(heading="detrended %", metric="nrmse_detrended", digits=1),
    Column(heading="XSIM", metric="xsim", digits=3),
    Column(heading="HFEN %", metric="hfen", digits=1),
    Column(heading="nuclei: slope", metric="slope", digits=3),
    Column(heading="r", metric="r", digits=4),
    Column(heading="MAE ppb", metric="mae", digits=1, factor=1000),
    Column(heading="kept %", metric="kept", digits=0, factor=100),
    Column(heading="s", metric="seconds", digits=1),
)
MEANS, TRUE_MEANS = (
    tuple(Column(heading=name, metric=metric, digits=0, factor=1000, group=name) for name in STRUCTURES)
    for metric in ("mean", "true")
)
FIELD_COLUMNS = ("stage", "method", *headings(FIELDS))
CHI_COLUMNS = ("method", *headings(SUSCEPTIBILITY))


def qsm_tables(scores: Sequence[Score]) -> tuple[TextTable, ...]:
    """Return the tables of each set, means over its heads: R2*, fields, susceptibility and its regions."""
    index = index_of(scores, lambda name: name.split()[0])
    return filled(
        table
        for dataset in index.datasets()
        for table in (
            TextTable(
                title=f"{dataset}: bias of R2* in pure voxels [1/s]",
                columns=("method", *headings(RELAXATION)),
                rows=[(row.method, *index.cells(row, RELAXATION)) for row in _rows(index, dataset, R2STAR)],
            ),
            TextTable(
                title=f"{dataset}: each stage with true input",
                columns=FIELD_COLUMNS,
                rows=[
                    (stage, row.method, *index.cells(row, FIELDS))
                    for stage in (TOTAL_FIELD, LOCAL_FIELD)
                    for row in _rows(index, dataset, stage)
                ],
            ),
            TextTable(
                title=f"{dataset}: susceptibility",
                columns=CHI_COLUMNS,
                rows=[
                    (row.method, *index.cells(row, SUSCEPTIBILITY)) for row in _rows(index, dataset, CHI)
                ],
            ),
            _regions(index, dataset),
        )
    )


def _rows(index: ScoreIndex, dataset: str, parameter: str) -> list[Row]:
    """Return a row for each method of one stage."""
    return [
        Row(dataset=dataset, method=method, parameter=parameter, group=BRAIN)
        for method in index.methods(dataset, parameter)
    ]


def _regions(index: ScoreIndex, dataset: str) -> TextTable:
    rows = _rows(index, dataset, CHI)
    cells = [("truth", *index.cells(rows[0], TRUE_MEANS))] if rows else []
    return TextTable(
        title=f"{dataset}: mean susceptibility of structures, relative to the brain [ppb]",
        columns=("method", *STRUCTURES),
        rows=[*cells, *((row.method, *index.cells(row, MEANS)) for row in rows)],
    )
