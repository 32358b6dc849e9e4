"""What an evaluation of T1w images draws."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from unweight.benchmark.mprage.plots import Bar, draw_ages, draw_gains, draw_ways
from unweight.benchmark.mprage.records import TRUTH, Record
from unweight.benchmark.mprage.scores import Gain
from unweight.learn.pairs.pair import Pair
from unweight.metrics.structures import DEEP, LABELS

AGEING = ("caudate", "putamen", "pallidum", "thalamus")


def way_figure(images: Mapping[str, Float[Tensor, "x y z"]], pair: Pair, title: str) -> bytes:
    """Return a picture of an axial and a coronal slice through the deep nuclei.

    Args:
        images: By way, the true one first.
        pair: Of the person.
        title: Title of the picture.
    """
    deep = np.isin(pair.labels.numpy(), [LABELS[name] for name in DEEP])
    return draw_ways([_cut(images, deep, axes) for axes in ((0, 1, 2), (0, 2, 1))], title)


def _cut(
    images: Mapping[str, Float[Tensor, "x y z"]], deep: NDArray[np.bool_], axes: tuple[int, ...]
) -> dict[str, NDArray[np.floating[Any]]]:
    """Return the slice across the last axis with most of the deep nuclei, as radiologists see it."""
    counts = deep.transpose(axes).sum((0, 1))
    most = int(counts.argmax()) if counts.any() else len(counts) // 2
    return {
        name: np.rot90(image.double().numpy().transpose(axes)[::-1, :, most])
        for name, image in images.items()
    }


def gain_figure(gains: Sequence[Gain], title: str) -> bytes:
    """Return a picture of what conditions add."""
    bars = [
        Bar(
            structure=one.structure,
            condition=one.condition,
            mean=one.mean,
            lower=one.lower,
            upper=one.upper,
        )
        for one in gains
    ]
    return draw_gains(bars, title)


def age_figure(records: Sequence[Record], ways: Sequence[str], title: str) -> bytes | None:
    """Return a picture of volumes against age, true and made; None where nobody's age is known."""
    by_way: dict[str, dict[str, Record]] = {}
    for one in records:
        if one.way in (TRUTH, *ways) and "age" in one.about:
            by_way.setdefault(one.way, {})[one.person] = one
    if TRUTH not in by_way:
        return None
    shown = [way for way in (TRUTH, *ways) if way in by_way]
    people = sorted(set.intersection(*(set(by_way[way]) for way in shown)))
    age = [float(str(by_way[TRUTH][person].about["age"])) for person in people]
    if len(set(age)) < 2:
        return None
    volumes = {
        structure: {way: [by_way[way][person].volume_ml[structure] for person in people] for way in shown}
        for structure in AGEING
    }
    return draw_ages(age, volumes, title)
