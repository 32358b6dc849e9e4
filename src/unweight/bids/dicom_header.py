"""The few facts of a DICOM file that decide which files may be converted together.

dcm2niix stacks the volumes of a series whose inversion times differ and keeps the first time only, so
such a series must be taken apart before. Only the elements up to the number of frames are looked at
(DICOM PS3.5, section 7); a file that cannot be understood has no facts, and stays with the others.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import final

PREAMBLE, MAGIC = 128, b"DICM"
LOOKED_AT = 2**20
SYNTAX, INVERSION_TIME, SERIES, FRAMES = 0x00020010, 0x00180082, 0x0020000E, 0x00280008
WANTED = {INVERSION_TIME, SERIES, FRAMES}
IMPLICIT, DEFLATED, BIG_ENDIAN = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"
# Value representations whose length takes four bytes, after two that are empty.
LONG = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
UNDEFINED = 0xFFFFFFFF
ITEM_END, SEQUENCE_END = 0xFFFEE00D, 0xFFFEE0DD
DEEPEST = 16


@final
@dataclass(frozen=True, kw_only=True)
class DicomFacts:
    """What one file says.

    Attributes:
        series: UID of the series.
        inversion_time: As it is written [ms]; empty without one.
    """

    series: str
    inversion_time: str


def dicom_facts(path: Path) -> DicomFacts | None:
    """Return the facts of a file, or None if it is not DICOM, or has no series."""
    try:
        with path.open("rb") as file:
            content = file.read(LOOKED_AT)
        if content[PREAMBLE : PREAMBLE + len(MAGIC)] != MAGIC:
            return None
        found = _values(content)
    except (OSError, struct.error, ValueError, RecursionError):
        return None
    if SERIES not in found:
        return None
    return DicomFacts(series=found[SERIES], inversion_time=found.get(INVERSION_TIME, ""))


def _values(content: bytes) -> dict[int, str]:
    """Return the wanted elements as text."""
    found: dict[int, str] = {}
    syntax, start = "", PREAMBLE + len(MAGIC)
    for tag, value, end in _elements(content, start, implicit=False):
        if tag >> 16 != 0x0002:
            break
        start = end
        if tag == SYNTAX:
            syntax = _text(value)
    if syntax in (DEFLATED, BIG_ENDIAN):
        return found
    for tag, value, _ in _elements(content, start, implicit=syntax == IMPLICIT):
        if tag > FRAMES:
            break
        if tag in WANTED:
            found[tag] = _text(value)
    return found


def _text(value: bytes) -> str:
    return value.decode("ascii", errors="replace").strip(" \0")


def _elements(content: bytes, start: int, *, implicit: bool) -> Iterator[tuple[int, bytes, int]]:
    """Give the elements from a position on: tag, value, and where the next begins."""
    while start + 8 <= len(content):
        tag, begin, length = _element_head(content, start, implicit=implicit)
        end = _skip(content, begin, implicit=implicit) if length == UNDEFINED else begin + length
        yield tag, content[begin:end] if tag in WANTED or tag == SYNTAX else b"", end
        start = end


def _element_head(content: bytes, start: int, *, implicit: bool) -> tuple[int, int, int]:
    """Return the tag of an element, where its value begins, and its length."""
    group, number = struct.unpack_from("<HH", content, start)
    tag = group << 16 | number
    if implicit or group == 0xFFFE:
        return tag, start + 8, struct.unpack_from("<I", content, start + 4)[0]
    if content[start + 4 : start + 6] in LONG:
        return tag, start + 12, struct.unpack_from("<I", content, start + 8)[0]
    return tag, start + 8, struct.unpack_from("<H", content, start + 6)[0]


def _skip(content: bytes, start: int, *, implicit: bool, depth: int = 0) -> int:
    """Return where a sequence or an item of undefined length ends."""
    if depth > DEEPEST:
        raise ValueError("nested too deeply")
    while start + 8 <= len(content):
        tag, begin, length = _element_head(content, start, implicit=implicit)
        if tag in (ITEM_END, SEQUENCE_END):
            return begin
        if length == UNDEFINED:
            start = _skip(content, begin, implicit=implicit, depth=depth + 1)
        else:
            start = begin + length
    raise ValueError("ends within a sequence")
