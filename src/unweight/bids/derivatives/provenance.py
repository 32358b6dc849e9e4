"""Where maps come from and how they were made, as far as it may be recorded.

Sidecars of scanners name people, places and times. Only fields on a short list are copied from them,
and only if they hold what such a field can: numbers in range, words that are known.
"""

import re
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import final

from unweight.bids.nifti.grid import Placement
from unweight.bids.read import Series
from unweight.core.protocol import Protocol

# Fields that may be copied, and the largest number that each can sensibly hold: dates are larger.
COPIED_NUMBERS = {
    "MagneticFieldStrength": 25.0,
    "EchoTime": 1.0,
    "InversionTime": 20.0,
    "FlipAngle": 360.0,
    "RepetitionTime": 60.0,
    "RepetitionTimeExcitation": 60.0,
    "RepetitionTimePreparation": 60.0,
    "EchoTrainLength": 4096.0,
    "SliceThickness": 1000.0,
    "PixelBandwidth": 1e6,
    "ParallelReductionFactorInPlane": 64.0,
}
# Of text only words are copied that are known, for any other can be a name.
MAKER_WORDS = (
    "siemens healthineers healthcare ge gehc philips canon toshiba hitachi fujifilm bruker biospin united "
    "imaging uih agilent varian hyperfine esaote neusoft medical systems mr technologies inc gmbh ag"
)
CODES = "se ir gr ep rm none sk mtc ss trss sp mp osp oso"
SEQUENCE_WORDS = CODES + (
    " spin gradient echo recalled inversion recovery turbo fast multi planar steady state spoiled "
    "refocused mprage mp2rage spgr ssfp bssfp flash tfl gre tse fse epi megre mese mpm vfa"
)
COPIED_WORDS = {
    "Manufacturer": frozenset(MAKER_WORDS.split()),
    "MRAcquisitionType": frozenset(("1d", "2d", "3d")),
    "PulseSequenceType": frozenset(SEQUENCE_WORDS.split()),
    "ScanningSequence": frozenset(CODES.split()),
    "SequenceVariant": frozenset(CODES.split()),
}
LONGEST_WORD = 64
BETWEEN = re.compile(r"[ _,.\\/-]+")


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
        placement: Where the header of the input places the voxels, which maps keep.
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
    placement: Placement | None = None


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
        placement=series.placement,
    )


def copied_fields(acquired: Mapping[str, object]) -> dict[str, object]:
    """Return those fields of a sidecar that may be copied: on the list, and of the right type."""
    copied: dict[str, object] = {}
    for name, largest in COPIED_NUMBERS.items():
        value = acquired.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= largest:
            copied[name] = value
    for name, known in COPIED_WORDS.items():
        value = acquired.get(name)
        if isinstance(value, str) and 0 < len(value) <= LONGEST_WORD and _is_of(value, known):
            copied[name] = value
    return copied


def _is_of(text: str, known: Set[str]) -> bool:
    """Whether a text holds known words and nothing else."""
    words = [word for word in BETWEEN.split(text.lower()) if word]
    return bool(words) and set(words) <= known
