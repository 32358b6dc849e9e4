"""`--bids-filter-file`: which series of a tree a run may use, written as for fMRIPrep.

A JSON object of queries. The name of a query is a suffix in any case; each names entities, by their full
names or as in file names, and what their labels may be:

    {"t1w": {"session": "02", "acquisition": null},
     "megre": {"run": ["1", "2"], "reconstruction": "*"}}

A label, a list of labels, null (or `Query.NONE`) for images without the entity, `*` (or `Query.ANY`) for
any label. A query may repeat `datatype` and `suffix`. Series of a suffix without a query are all used.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import final

from unweight.bids.collection import LINKS, Collection
from unweight.bids.sidecar import read_sidecar
from unweight.core.errors import InputError

ENTITIES: Mapping[str, str] = MappingProxyType(
    {
        "subject": "sub",
        "session": "ses",
        "acquisition": "acq",
        "ceagent": "ce",
        "reconstruction": "rec",
        "direction": "dir",
        "run": "run",
        "mt": "mt",
        "chunk": "chunk",
    }
)
SAME = ("datatype", "suffix", "extension")  # what a query of fMRIPrep repeats
ABSENT, PRESENT, EITHER = "Query.NONE", "Query.ANY", "Query.OPTIONAL"
Labels = frozenset[str | None]  # None: without the entity


@final
@dataclass(frozen=True, kw_only=True)
class SeriesFilter:
    """Queries for the series of a tree.

    Attributes:
        queries: By suffix: for each entity the labels allowed; None for any label.
    """

    queries: Mapping[str, Mapping[str, Labels | None]]

    def keeps(self, series: Collection) -> bool:
        """Whether a run may use a series."""
        for entity, labels in self.queries.get(series.suffix, {}).items():
            label = series.entities.get(entity)
            plain = None if label is None else _plain(entity, label)
            if plain is None if labels is None else plain not in labels:
                return False
        return True


EVERYTHING = SeriesFilter(queries=MappingProxyType({}))


def read_filter(path: Path) -> SeriesFilter:
    """Read a file of queries.

    Raises:
        InputError: It is not JSON, or names a suffix, an entity or a value that is not known.
    """
    suffixes = {suffix.lower(): suffix for suffix in LINKS}
    queries: dict[str, dict[str, Labels | None]] = {}
    for name, query in read_sidecar(path).items():
        suffix = suffixes.get(name.lower())
        if suffix is None:
            raise InputError(
                f"has a query {name!r}, which is not a supported suffix",
                remedy=f"Suffixes are {', '.join(LINKS)}.",
                path=path,
            )
        if not isinstance(query, dict):
            raise InputError(f"query {name!r} is not an object {{…}}", remedy="Correct it.", path=path)
        queries[suffix] = {
            ENTITIES.get(entity, entity): labels
            for entity, value in query.items()
            if entity not in SAME and value != EITHER
            for labels in (_labels(f"{name}.{entity}", entity, value, path),)
        }
    return SeriesFilter(queries=queries)


def _labels(where: str, entity: str, value: object, path: Path) -> Labels | None:
    short = ENTITIES.get(entity, entity)
    if short not in ENTITIES.values():
        raise InputError(
            f"{where}: no entity of a series", remedy=f"Entities are {', '.join(ENTITIES)}.", path=path
        )
    values = value if isinstance(value, list) else [value]
    if values in (["*"], [PRESENT]):
        return None
    labels = [None if item in (None, ABSENT) else item for item in values]
    if not all(item is None or (isinstance(item, str | int) and item is not True) for item in labels):
        raise InputError(
            f"{where}: a label is neither text nor a number", remedy='Write labels as "01".', path=path
        )
    return frozenset(None if item is None else _plain(short, str(item)) for item in labels)


def _plain(entity: str, label: str) -> str:
    """Return a label without the prefix of its entity; numbers of runs without leading zeros."""
    text = label.removeprefix(f"{entity}-")
    return str(int(text)) if entity == "run" and text.isascii() and text.isdigit() else text
