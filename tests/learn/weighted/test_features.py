import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.learn.examinations import FLUID, GRADIENT, NAMES, SPIN, T2W, WATERS, examination, truth
from unweight.core.errors import InputError
from unweight.core.examination import WeightedImageSet
from unweight.core.weighting import Weighting
from unweight.learn.weighted.features import (
    LEVELS,
    PHYSICS,
    WeightedFeatures,
    anchors_of,
    features_of,
    ln_reference,
)
from unweight.learn.weighted.slabs import rows_of

MEASURED = examination()
INSIDE = MEASURED.inside
# What is small beside what it is the difference of, in single precision: the sd where it is narrow.
SINGLE = {"rtol": 0.01, "atol": 0.01}


def signals_of(of: WeightedImageSet) -> Tensor:
    return torch.stack([one.signal for one in of.images])


def features(
    signals: Tensor, rows: Tensor, inside: Tensor = INSIDE, present: list[bool] | None = None
) -> WeightedFeatures:
    there = torch.tensor(present or [True] * len(signals))
    known = signals if present is None else signals.nan_to_num(1.0)
    anchors = anchors_of(known, inside)
    return features_of(signals.movedim(-1, 0), inside.movedim(-1, 0), anchors, rows, 3.0, there)


ROWS = rows_of(MEASURED).float()


def test_anchors_are_median_and_95th_percentile_of_the_brain() -> None:
    """Of 1 to 1001: 501 and 951; outside the brain nothing counts."""
    image = torch.full((2, 40, 40), 1e6)
    inside = torch.zeros(40, 40, dtype=torch.bool)
    inside.view(-1)[:1001] = True
    image[:, inside] = torch.arange(1.0, 1002.0)
    image[1] *= 7
    found = anchors_of(image, inside)
    assert found.median.tolist() == [501.0, 7 * 501.0]
    torch.testing.assert_close(found.bright, torch.tensor([951.0, 7 * 951.0]))
    expected = torch.tensor([math.log((1 + 1000 * level) / 501) for level in LEVELS])
    torch.testing.assert_close(found.levels, expected.expand(2, -1), rtol=1e-5, atol=1e-5)


def test_levels_of_dark_and_bright_voxels_have_ends() -> None:
    image = torch.ones(1, 100, 10)
    image[:, :30], image[:, 60:] = 0.0, 1e4
    found = anchors_of(image, torch.ones(100, 10, dtype=torch.bool)).levels
    assert float(found.min()) == -4.0 and float(found.max()) == 2.0


def test_large_images_are_thinned() -> None:
    """Every so many voxels are ranked; half of them are 1, half 3."""
    image = torch.ones(1, 2_500_000)
    image[:, 1_250_001:] = 3.0
    found = anchors_of(image, torch.ones(2_500_000, dtype=torch.bool))
    assert float(found.median) in (1.0, 3.0) and float(found.bright) == 3.0


def test_the_unit_of_an_image_does_not_matter() -> None:
    signals = signals_of(MEASURED)
    one = features(signals, ROWS)
    for factors in ((1000.0, 1.0, 1.0), (1e-3, 1e3, 17.0)):
        other = features(signals * torch.tensor(factors)[:, None, None, None], ROWS)
        torch.testing.assert_close(one.images, other.images, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(one.physics, other.physics, **SINGLE)


def test_the_order_of_the_images_does_not_matter() -> None:
    order = [2, 0, 1]
    one, other = features(signals_of(MEASURED), ROWS), features(signals_of(MEASURED)[order], ROWS[order])
    torch.testing.assert_close(one.images[:, order], other.images)
    torch.testing.assert_close(one.physics, other.physics, **SINGLE)


def test_an_image_is_right_but_for_one_number() -> None:
    """ln S over the median, plus that of an ordinary brain: the gain is gone, the contrast is not."""
    found = features(signals_of(MEASURED), ROWS).images.movedim(0, -1)
    reference = ln_reference(ROWS[None].double(), torch.tensor([3.0]).double())[0]
    for place, image in enumerate(MEASURED.images):
        left = (found[place] - image.signal.log())[INSIDE]
        assert float(left.std()) < 1e-3
        median = image.signal[INSIDE].median()
        assert float(left.mean()) == pytest.approx(float(reference[place] - median.log()), abs=1e-3)
        assert not found[place][~INSIDE].any()


@pytest.mark.parametrize("t1w", [SPIN, GRADIENT])
def test_what_each_voxel_says_holds_its_truth(t1w: Weighting) -> None:
    """Within 3.5 sd, for the gain is only that of an ordinary brain; and tissues come in their order."""
    measured = examination((t1w, T2W, FLUID))
    found = features(signals_of(measured), rows_of(measured).float()).posterior
    maps = truth().movedim(2, 0)
    ln_t1 = []
    for t1, *_ in sorted(WATERS):
        here = INSIDE.movedim(-1, 0) & (maps[..., 0] == t1)
        ln_t1.append(float(found.ln_t1[here].mean()))
        if t1 < 2:
            away = (found.ln_t1 - math.log(t1)).abs() / found.ln_t1_sd
            assert float(away[here].max()) < 3.5
    assert ln_t1 == sorted(ln_t1)


def test_physics_is_of_the_order_of_one_and_zero_outside() -> None:
    found = features(signals_of(MEASURED), ROWS).physics
    inside = INSIDE.movedim(-1, 0)
    assert found.shape == (2, len(PHYSICS), 24, 20)
    assert bool(torch.isfinite(found).all()) and float(found.abs().max()) < 6
    assert torch.equal(found[:, PHYSICS.index("inside")] > 0.5, inside)
    assert not found.movedim(1, -1)[~inside].any()


@pytest.mark.parametrize("missing", range(3))
def test_a_missing_image_has_no_influence(missing: int) -> None:
    there = [index != missing for index in range(3)]
    kept = [index for index in range(3) if index != missing]
    signals, rows = signals_of(MEASURED), ROWS.clone()
    alone = features(signals[kept], ROWS[kept])
    rows[missing] = math.nan
    for junk in (0.0, 1.0, 1e5):
        signals[missing] = junk
        known = signals.clone()
        known[missing] = 1.0
        anchors = anchors_of(known, INSIDE)
        found = features_of(
            signals.movedim(-1, 0), INSIDE.movedim(-1, 0), anchors, rows, 3.0, torch.tensor(there)
        )
        assert not found.images[:, missing].any()
        torch.testing.assert_close(found.images[:, kept], alone.images)
        torch.testing.assert_close(found.physics, alone.physics, **SINGLE)


def test_voxels_without_signal_are_finite() -> None:
    signals = signals_of(MEASURED)
    signals[:, 5:7, 5:7] = 0.0
    signals[1, 10, 10] = 1e7
    found = features(signals, ROWS)
    assert bool(torch.isfinite(found.images).all()) and bool(torch.isfinite(found.physics).all())
    reference = ln_reference(ROWS[None], torch.tensor([3.0]))[0, :, None, None]
    away = found.images - torch.where(found.images != 0, reference, 0.0)
    assert float(away.min()) >= -4.001 and float(away.max()) <= 2.001


def test_slices_go_by_themselves_once_the_anchors_are_known() -> None:
    signals, anchors = signals_of(MEASURED), anchors_of(signals_of(MEASURED), INSIDE)
    whole = features(signals, ROWS)
    there = torch.ones(3, dtype=torch.bool)
    for index in range(2):
        alone = features_of(signals[None, ..., index], INSIDE[None, ..., index], anchors, ROWS, 3.0, there)
        torch.testing.assert_close(alone.physics[0], whole.physics[index], **SINGLE)
        torch.testing.assert_close(alone.images[0], whole.images[index])


def test_an_image_that_is_empty_in_half_of_the_brain_is_refused() -> None:
    signals = signals_of(MEASURED)
    signals[1] = 0.0
    with pytest.raises(InputError, match=r"the T2w has no signal in half of the brain. Check the image"):
        anchors_of(signals, INSIDE, NAMES)
    with pytest.raises(InputError, match="the image 2 has no signal in half of the brain"):
        anchors_of(signals, INSIDE)


def test_the_field_is_part_of_what_an_ordinary_brain_is() -> None:
    low = replace(MEASURED, field_strength=1.5)
    anchors = anchors_of(signals_of(low), INSIDE)
    planes, inside = signals_of(low).movedim(-1, 0), INSIDE.movedim(-1, 0)
    there = torch.ones(3, dtype=torch.bool)
    one, other = (
        features_of(planes, inside, anchors, ROWS, field, there).images[0, :, 12, 10]
        for field in (1.5, 3.0)
    )
    fields = torch.tensor([1.5, 3.0])
    expected = ln_reference(ROWS.expand(2, -1, -1), fields)
    torch.testing.assert_close(one - other, expected[0] - expected[1], rtol=1e-3, atol=1e-3)
