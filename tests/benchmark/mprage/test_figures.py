"""What is drawn of an evaluation of T1w images: the right slices, people and structures."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.image import imread
from torch import Tensor

from unweight.benchmark.mprage import figures as t1w_figures
from unweight.benchmark.mprage.figures import AGEING, age_figure, draw_gains, method_figure
from unweight.benchmark.mprage.records import TRUTH, SubjectRecord
from unweight.benchmark.mprage.scores import Gain
from unweight.core.seeding import seeded_generator
from unweight.learn.pairs.echo_channels import MASK, N_CHANNELS
from unweight.learn.pairs.pair import Pair, half
from unweight.metrics.structures import LABELS
from unweight.report.page import DPI, WIDTH

SHAPE = (20, 24, 18)
HEIGHT, DEPTH = 11, 7  # where most of the deep nuclei lies, along z and y


def person() -> Pair:
    labels = torch.full(SHAPE, LABELS["white_matter"], dtype=torch.uint8)
    labels[4:16, DEPTH, 5:12] = LABELS["caudate"]
    labels[4:16, 3:20, HEIGHT] = LABELS["thalamus"]
    # Large, but not deep.
    labels[:, 15, :3] = LABELS["csf"]
    channels = torch.zeros(N_CHANNELS, *SHAPE)
    channels[MASK] = 1.0
    return Pair(
        channels=half(channels),
        target=half(torch.ones(SHAPE)),
        labels=labels,
        voxel_mm=(1.0, 1.0, 1.0),
        name="one",
        about={},
    )


def images(*names: str) -> dict[str, Tensor]:
    return {
        name: torch.rand(SHAPE, generator=seeded_generator(number)) for number, name in enumerate(names)
    }


def wide(png: bytes | None) -> int:
    assert png is not None
    return int(imread(io.BytesIO(png)).shape[1])


def record(name: str, way: str, age: float | None, volume: float = 1.0) -> SubjectRecord:
    return SubjectRecord(
        dataset="healthy",
        subject=name,
        method=way,
        about={} if age is None else {"age": age},
        image={},
        volume_ml=dict.fromkeys(AGEING, volume),
        dice={},
        dice_labels={},
        hd95_mm={},
        psnr={},
        seconds=0.0,
    )


def test_slices_with_most_of_the_deep_nuclei(monkeypatch: pytest.MonkeyPatch) -> None:
    """Patient right on the left, front and top up; all ways cut alike."""
    drawn: list[Sequence[Mapping[str, Any]]] = []

    def keep(planes: Sequence[Mapping[str, Any]], title: str) -> bytes:
        drawn.append(planes)
        return title.encode()

    monkeypatch.setattr(t1w_figures, "draw_images", keep)
    given = images(TRUTH, "unet")
    assert method_figure(given, person(), "a title") == b"a title"
    axial, coronal = drawn[0]
    assert list(axial) == list(coronal) == [TRUTH, "unet"]
    for name, image in given.items():
        values = image.double().numpy()
        np.testing.assert_array_equal(axial[name], values[:, :, HEIGHT].T[::-1, ::-1])
        np.testing.assert_array_equal(coronal[name], values[:, DEPTH, :].T[::-1, ::-1])


@pytest.mark.parametrize("n", [1, 3, 6])
def test_picture_of_ways(n: int) -> None:
    """No narrower columns than of five ways on a page."""
    drawn = method_figure(images(*(f"way {one}" for one in range(n))), person(), "healthy: one")
    assert wide(drawn) == pytest.approx(WIDTH * DPI * max(1.0, n / 5), abs=1)


def test_picture_of_gains() -> None:
    found = [
        Gain(structure=name, condition=condition, mean=0.01, lower=-0.01, upper=0.02, n=9)
        for name in ("putamen", "thalamus")
        for condition in ("+ QSM", "+ both")
    ]
    assert wide(draw_gains(found, "healthy")) == round(WIDTH * DPI)


def test_picture_of_ages() -> None:
    records = [
        record(name, way, 30.0 + 10 * number, 2.0 + number)
        for number, name in enumerate("abc")
        for way in (TRUTH, "unet")
    ]
    assert wide(age_figure(records, ["unet"], "healthy: age")) == round(WIDTH * DPI)


def test_only_people_of_whom_all_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[Any, Any]] = []

    def keep(age: Any, volumes: Any, title: str) -> bytes:
        drawn.append((age, volumes))
        return title.encode()

    monkeypatch.setattr(t1w_figures, "draw_ages", keep)
    records = [
        record("b", "unet", 40.0, 5.0),
        record("b", TRUTH, 40.0, 4.0),
        record("a", TRUTH, 70.0, 2.0),
        record("a", "unet", 70.0, 3.0),
        record("a", "unet: alone", 70.0, 9.0),
        record("c", TRUTH, 50.0),  # nothing was made of this one
        record("d", TRUTH, None),
        record("d", "unet", None),
    ]
    assert age_figure(records, ["unet", "never made"], "title") == b"title"
    ((age, volumes),) = drawn
    assert age == [70.0, 40.0]
    assert list(volumes) == list(AGEING)
    assert all(one == {TRUTH: [2.0, 4.0], "unet": [3.0, 5.0]} for one in volumes.values())


@pytest.mark.parametrize(
    "records",
    [
        [],
        [record(name, way, None) for name in "abc" for way in (TRUTH, "unet")],
        [record(name, "unet", 40.0) for name in "abc"],
        [record("a", way, 40.0) for way in (TRUTH, "unet")],
        [record("a", TRUTH, 40.0), record("b", TRUTH, 50.0), record("b", "unet", 50.0)],
    ],
    ids=["nobody", "no ages", "no truth", "one person", "one in both"],
)
def test_no_picture_without_ages(records: list[SubjectRecord]) -> None:
    assert age_figure(records, ["unet"], "title") is None
