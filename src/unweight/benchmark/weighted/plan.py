"""Which simulated sets an evaluation of maps has, and how large they are."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import final

from unweight.benchmark.weighted.heads import MapsHead, brainweb_heads, procedural_heads
from unweight.benchmark.weighted.sets import (
    FIELD,
    INTERNAL,
    LESIONED,
    PROTOCOLS,
    MapsSet,
    field_set,
    internal_set,
    lesions_set,
    protocols_set,
)
from unweight.core.errors import UsageError

MAPS_SETS = (INTERNAL, PROTOCOLS, FIELD, LESIONED)
MAKERS = {INTERNAL: internal_set, PROTOCOLS: protocols_set, FIELD: field_set, LESIONED: lesions_set}
N_DRAWS = {INTERNAL: 8, PROTOCOLS: 8, FIELD: 3, LESIONED: 4}  # of each head; of lesions, of each disease
N_HEADS, N_SLICES = 2, 8
QUICK_HEADS, QUICK_DRAWS, QUICK_SLICES = 1, 1, 2


@final
@dataclass(frozen=True, kw_only=True)
class MapsPlan:
    """The extent of an evaluation.

    Attributes:
        sets: Some of MAPS_SETS.
        heads: Folder of BrainWeb heads, of which the test part is used; None for procedural heads.
        quick: One head, two slices, one draw.
    """

    sets: tuple[str, ...] = MAPS_SETS
    heads: Path | None = None
    quick: bool = False

    def __post_init__(self) -> None:
        unknown = [name for name in self.sets if name not in MAPS_SETS]
        if unknown or not self.sets:
            raise UsageError(
                f"no set called {', '.join(unknown)}" if unknown else "nothing to evaluate on",
                remedy=f"There are {', '.join(MAPS_SETS)}.",
            )

    def maps_sets(self) -> Iterator[MapsSet]:
        """Make the sets, each when it is asked for."""
        heads = self._heads()
        for name in self.sets:
            n_draws = QUICK_DRAWS if self.quick else N_DRAWS[name]
            yield MAKERS[name](heads, n_draws, QUICK_SLICES if self.quick else N_SLICES)

    def _heads(self) -> tuple[MapsHead, ...]:
        n_heads = QUICK_HEADS if self.quick else N_HEADS
        return procedural_heads(n_heads) if self.heads is None else brainweb_heads(self.heads, n_heads)
