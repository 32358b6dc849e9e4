"""The two parts of a complex image, and what their sidecars state about each other.

Programs keep different fields beside magnitude and phase, and round them differently. What one part lacks
is taken from the other; what both give must agree, to what rounding explains.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from unweight.bids.series.overrides import GIVEN_LABELS, same_time
from unweight.bids.series.part import Entry
from unweight.bids.series.timeline import SAME_FIELD
from unweight.bids.sidecar import OWN, Sidecar
from unweight.core.errors import InputError
from unweight.core.protocol import PER_VOLUME, Protocol

# Fields of one meaning each; a part that has one of them needs none of the others.
SHARED = (*GIVEN_LABELS.values(), ("MagneticFieldStrength",), (OWN,), ("B0_dir",))
NOMINAL = 1e-3  # of two field strengths, a difference that is rounding


def completed(first: Sequence[Entry], second: Sequence[Entry]) -> tuple[list[Entry], list[Entry]]:
    """Return the files of both parts, each with the timing that only its partner has.

    Args:
        first: Files of one part.
        second: Files of the other, in the same order.
    """
    pairs = list(zip(first, second, strict=True))
    return (
        [replace(pair, sidecar=_completed(pair.sidecar, other.sidecar)) for pair, other in pairs],
        [replace(other, sidecar=_completed(other.sidecar, pair.sidecar)) for pair, other in pairs],
    )


def check_pair(first: Protocol, second: Protocol, path: Path) -> list[str]:
    """Refuse two parts that were not timed alike.

    Args:
        first: Of one part.
        second: Of the other.
        path: A file of the other, for the message.

    Returns:
        What a careful reader should know.

    Raises:
        InputError: A timing that both give differs by more than rounding.
    """
    if first.n_volumes != second.n_volumes:
        raise _apart(f"{second.n_volumes} volumes here and {first.n_volumes} in the other", path)
    for name in PER_VOLUME:
        item, other = getattr(first, name), getattr(second, name)
        if item is None or other is None:
            continue
        for volume, (a, b) in enumerate(zip(item.tolist(), other.tolist(), strict=True), start=1):
            if not same_time(a, b):
                raise _apart(f"{name} of volume {volume} is {b:g} here and {a:g} in the other", path)
    a, b = first.field_strength, second.field_strength
    if a is None or b is None or abs(a - b) <= NOMINAL * a:
        return []
    if abs(a - b) > SAME_FIELD * a:
        raise _apart(f"the field strength is {b:g} T here and {a:g} T in the other", path)
    return [f"the field strength is {a:g} T for one part and {b:g} T for the other; {a:g} T is used"]


def _completed(sidecar: Sidecar, other: Sidecar) -> Sidecar:
    fields, origins = dict(sidecar.fields), dict(sidecar.origins)
    for labels in SHARED:
        if any(fields.get(label) is not None for label in labels):
            continue
        for label in labels:
            if other.fields.get(label) is not None:
                fields[label], origins[label] = other.fields[label], other.origin(label)
    return replace(sidecar, fields=fields, origins=origins)


def _apart(difference: str, path: Path) -> InputError:
    return InputError(
        f"the two parts of the complex images differ in their timing: {difference}",
        remedy="Give both parts of one series.",
        path=path,
    )
