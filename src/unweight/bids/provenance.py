"""Where maps come from and how they were made, as far as it may be told.

Sidecars of scanners name people, places and times. Only fields on a short list are copied from them,
and only if they look as they should.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import final

from unweight.bids.read import Series
from unweight.core.protocol import Protocol

COPIED_NUMBERS = (
    "MagneticFieldStrength",
    "EchoTime",
    "FlipAngle",
    "RepetitionTime",
    "RepetitionTimeExcitation",
    "RepetitionTimePreparation",
    "EchoTrainLength",
    "SliceThickness",
    "PixelBandwidth",
    "ParallelReductionFactorInPlane",
)
COPIED_WORDS = (
    "Manufacturer",
    "ManufacturersModelName",
    "MRAcquisitionType",
    "PulseSequenceType",
    "ScanningSequence",
    "SequenceVariant",
)
LONGEST_WORD = 64


@final
@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where maps come from and how they were made.

    Attributes:
        sources: BIDS URIs, or file names.
        algorithm: What was done, in a sentence.
        reference: Where the method is described.
        root: Root of the BIDS tree the sources lie in, if they lie in one.
        protocol: Timings of the volumes.
        acquired: Fields of the input's sidecars; those that name nobody are copied.
        settings: Configuration of the method, as plain values.
        skull_stripped: Whether the input shows the brain only.
        notes: What a careful reader should know, in sentences.
    """

    sources: tuple[str, ...]
    algorithm: str
    reference: str = ""
    root: Path | None = None
    protocol: Protocol | None = None
    acquired: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    settings: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    skull_stripped: bool = False
    notes: tuple[str, ...] = ()


def provenance_of(
    series: Series, *, algorithm: str, reference: str = "", settings: Mapping[str, object] | None = None
) -> Provenance:
    """Return the provenance of maps made from a series."""
    return Provenance(
        sources=series.sources,
        algorithm=algorithm,
        reference=reference,
        root=series.root,
        protocol=series.acquisition.protocol,
        acquired=series.sidecar,
        settings={} if settings is None else settings,
        skull_stripped=series.sidecar.get("SkullStripped") is True,
    )


def copied_fields(acquired: Mapping[str, object]) -> dict[str, object]:
    """Return those fields of a sidecar that may be copied: on the list, and of the right type."""
    copied: dict[str, object] = {}
    for name in COPIED_NUMBERS:
        value = acquired.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            copied[name] = value
    for name in COPIED_WORDS:
        value = acquired.get(name)
        if isinstance(value, str) and 0 < len(value) <= LONGEST_WORD:
            copied[name] = value
    return copied
