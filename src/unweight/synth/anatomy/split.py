"""Which heads are for training, validation and test: decided by the name, once and for all."""

import hashlib
import math
from collections.abc import Iterable

from unweight.core.errors import UsageError

PARTS = ("train", "validation", "test")


def split_subjects(
    names: Iterable[str], shares: tuple[float, float, float] = (0.7, 0.15, 0.15)
) -> dict[str, tuple[str, ...]]:
    """Split subjects so that no head is in two parts, the same way on every machine and in any order.

    The subjects are ranked by the SHA-256 of their names and the ranking is cut: the sizes are as near
    to the shares as whole heads allow. Another list of names can move a head to another part; keep the
    list fixed within a study.

    Args:
        names: Subjects; each counts once.
        shares: Of training, validation and test; they add up to 1.

    Returns:
        The names in each of `train`, `validation` and `test`, sorted.

    Raises:
        UsageError: The shares do not add up to 1, or are negative.
    """
    if min(shares) < 0 or not math.isclose(sum(shares), 1.0, abs_tol=1e-6):
        raise UsageError(f"shares {shares} do not add up to 1", remedy="Give three that do.")
    ranked = sorted(set(names), key=lambda name: (hashlib.sha256(name.encode()).hexdigest(), name))
    first = round(shares[0] * len(ranked))
    second = round((shares[0] + shares[1]) * len(ranked))
    cuts = (0, first, second, len(ranked))
    return {
        part: tuple(sorted(ranked[begin:end]))
        for part, begin, end in zip(PARTS, cuts, cuts[1:], strict=False)
    }
