import math
from dataclasses import asdict

import pytest
import torch
from scipy.ndimage import gaussian_filter

from unweight.core.errors import UsageError
from unweight.core.seeding import seeded_generator
from unweight.metrics.susceptibility import (
    CHALLENGE_LABELS,
    FieldScores,
    SusceptibilityScores,
    challenge_labels,
    field_scores,
    slope_through_regions,
    susceptibility_scores,
)
from unweight.synth.tissue.materials import INDEX, MATERIALS

SHAPE = (34, 30, 28)
ORACLE_NAMES = {
    "nrmse": "nrmse",
    "nrmse_detrended": "nrmse_detrend",
    "correlation": "correlation",
    "xsim": "xsim",
    "coverage": "coverage",
    "hfen": "hfen",
    "nrmse_tissue": "nrmse_tissue",
    "nrmse_blood": "nrmse_blood",
    "nrmse_deep_grey": "nrmse_dgm",
    "deep_grey_linearity": "dgm_linearity",
    "calcification_moment": "calc_moment_dev",
    "calcification_streak": "calc_streak",
}


def smooth(seed: int, sd: float, shape: tuple[int, ...] = SHAPE) -> torch.Tensor:
    drawn = torch.randn(shape, generator=seeded_generator(seed, "phantom"), dtype=torch.float64)
    filtered = torch.from_numpy(gaussian_filter(drawn.numpy(), 1.5))
    return sd * filtered / filtered.std()


def head() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the truth, the labels and the mask: every label of the challenge, in blocks."""
    labels = torch.full(SHAPE, 8)
    for place, number in enumerate((1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 13, 14, 15)):
        x, y = 3 + 7 * (place % 4), 2 + 7 * (place // 4)
        labels[x : x + 5, y : y + 5, 4:9] = number
    labels[16, :, 20] = 11
    labels[24:27, 20:23, 16:18] = 16
    truth = smooth(0, 0.02) + 0.02 * labels * (labels < 7)
    truth[labels == 11] = 0.3
    truth[labels == 16] = -2.5
    mask = torch.ones(SHAPE, dtype=torch.bool)
    mask[:3] = mask[:, -2:] = mask[..., :3] = False
    return truth, labels, mask


def estimate(truth: torch.Tensor) -> torch.Tensor:
    """A scaled and noisy truth with a streak, voxels that failed and an eroded rim."""
    found = 0.8 * truth + 0.05 + smooth(1, 0.03)
    found[20:30, 18:26, 10:14] -= 0.06
    found[torch.rand(SHAPE, generator=seeded_generator(2, "phantom")) < 0.01] = math.nan
    found[10, 10, 10] = math.inf
    found[3:5] = 0.0
    return found


def close(scores: FieldScores | SusceptibilityScores, expected: dict[str, float]) -> None:
    for name, value in asdict(scores).items():
        if ORACLE_NAMES[name] in expected:
            assert value == pytest.approx(expected[ORACLE_NAMES[name]], abs=1e-6, nan_ok=True), name
        else:
            assert math.isnan(value), name


def oracle(
    found: torch.Tensor, truth: torch.Tensor, mask: torch.Tensor, **more: object
) -> dict[str, float]:
    benchmark = pytest.importorskip("qsm_ci.qsm_eval", reason="the benchmark's own scorer is not installed")
    numbers, _ = benchmark.score_arrays(found.numpy(), truth.numpy(), mask.numpy(), **more)
    return dict(numbers)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_scores_are_those_of_the_benchmark(dtype: torch.dtype) -> None:
    truth, labels, mask = head()
    # The benchmark computes in the precision it is given; here it is double in any case.
    found, truth = estimate(truth).to(dtype), truth.to(dtype)
    wide = found.double(), truth.double(), mask
    close(field_scores(found, truth, mask), oracle(*wide, kind="field"))
    close(susceptibility_scores(found, truth, mask), oracle(*wide, kind="chi"))
    with_labels = susceptibility_scores(found, truth, mask, labels)
    close(with_labels, oracle(*wide, kind="chi", seg=labels.numpy()))
    assert all(math.isfinite(value) for value in asdict(with_labels).values())
    assert 0.5 < with_labels.coverage < 0.99


@pytest.mark.parametrize(
    "damage",
    [
        lambda found, labels: (torch.zeros_like(found), labels),
        lambda found, labels: (torch.full_like(found, math.nan), labels),
        lambda found, labels: (found.clamp_min(0.0), labels),  # the calcification is not found
        lambda found, labels: (found - 9.0, labels),  # no threshold leaves its surroundings above
        lambda found, labels: (found, labels.where(labels != 16, 8)),
        lambda found, labels: (found, labels.where(labels > 6, 8)),
        lambda found, labels: (found, labels.where((labels > 6) | (labels == 3), 8)),
        lambda found, labels: (found, labels.where(labels != 11, 8)),
        lambda found, labels: (found, torch.where(torch.arange(28) > 24, 16, 8).expand(SHAPE)),
        lambda found, labels: (found, torch.full_like(labels, 16)),
    ],
)
def test_what_is_undefined_is_so_in_the_benchmark(damage) -> None:
    truth, labels, mask = head()
    found, labels = damage(estimate(truth), labels)
    expected = oracle(found, truth, mask, kind="chi", seg=labels.numpy())
    close(susceptibility_scores(found, truth, mask, labels), expected)


def test_identical_maps_are_perfect() -> None:
    truth, labels, mask = head()
    scores = susceptibility_scores(truth, truth, mask, labels)
    ones = {"correlation", "xsim", "coverage"}
    for name, value in asdict(scores).items():
        if name != "calcification_streak":  # in the rim the truth explains the estimate up to rounding
            assert value == pytest.approx(1.0 if name in ones else 0.0, abs=1e-9), name
    assert scores.calcification_streak < 1e-9
    agreement = slope_through_regions(truth, truth, labels, mask)
    assert asdict(agreement) == pytest.approx(
        {"slope": 1.0, "correlation": 1.0, "mean_absolute_error": 0.0}
    )


def test_nrmse_and_correlation_by_hand() -> None:
    """Truth −1.5, −0.5, 0.5, 1.5 about its mean, norm √5; the error 1, −1, −1, 1 stands upright on it."""
    truth = torch.tensor([1.0, 2.0, 3.0, 4.0, 900.0], dtype=torch.float64).reshape(1, 1, 5) / 100
    error = torch.tensor([1.0, -1.0, -1.0, 1.0, 0.0], dtype=torch.float64).reshape(1, 1, 5) / 100
    mask = torch.tensor([True, True, True, True, False]).reshape(1, 1, 5)
    scores = field_scores(truth + error + 0.7, truth, mask)
    assert scores.nrmse == pytest.approx(100 * 2 / math.sqrt(5))
    assert scores.nrmse_detrended == pytest.approx(100 * 2 / math.sqrt(5))
    assert scores.correlation == pytest.approx(math.sqrt(5) / 3)
    scaled = field_scores(3 * truth + 0.7, truth, mask)
    assert (scaled.nrmse, scaled.nrmse_detrended) == pytest.approx((200.0, 0.0))
    assert field_scores(-truth, truth, mask).correlation == pytest.approx(-1.0)


def test_xsim_of_constant_maps_and_hfen_of_a_scaled_one() -> None:
    truth, _, _ = head()
    mask = torch.ones(SHAPE, dtype=torch.bool)
    a, b = 0.02, 0.05
    scores = field_scores(torch.full(SHAPE, a), torch.full(SHAPE, b), mask)
    assert scores.xsim == pytest.approx((2 * a * b + 1e-4) / (a**2 + b**2 + 1e-4), abs=1e-6)
    assert math.isnan(scores.nrmse) and scores.correlation == 0.0
    assert susceptibility_scores(0.7 * truth, truth, mask).hfen == pytest.approx(30.0)


def test_calcification_by_hand() -> None:
    """Two voxels of −2, found as −1.5 and −0.5, in a chequerboard of ±0.095 that x does not explain."""
    x, y, z = torch.meshgrid(*(torch.arange(24),) * 3, indexing="ij")
    found = 0.095 * (1.0 - 2.0 * ((x + y + z) % 2)).double()
    truth, labels = torch.zeros_like(found), torch.zeros_like(x)
    labels[11:13, 11, 11] = 16
    truth[labels == 16] = -2.0
    found[11, 11, 11], found[12, 11, 11] = -1.5, -0.5
    scores = susceptibility_scores(found, truth, truth == truth, labels)
    assert scores.calcification_moment == pytest.approx(4.0 - 2.0)
    assert scores.calcification_streak == pytest.approx(0.095)  # over the mean of −1


def test_a_hole_counts_as_zero_and_is_told() -> None:
    truth, _, mask = head()
    found = truth.clone()
    found[10:15] = math.nan
    share = float(mask[10:15].sum() / mask.sum())
    scores = field_scores(found, truth, mask)
    assert scores.coverage == pytest.approx(1 - share)
    assert scores == field_scores(found.nan_to_num(0.0), truth, mask)
    assert scores.nrmse > 10


def test_what_lies_outside_the_mask_does_not_count() -> None:
    truth, labels, mask = head()
    found = estimate(truth)
    elsewhere = found.where(mask, 7.0), truth.where(mask, math.nan), mask, labels
    assert susceptibility_scores(*elsewhere) == susceptibility_scores(found, truth, mask, labels)


def test_regions_by_hand() -> None:
    """Means of the nuclei 0.1, 0.2 and 0.3, found with slope 0.5; a shift of the whole map is no error."""
    truth, labels = torch.zeros(4, 4, 4, dtype=torch.float64), torch.full((4, 4, 4), 8)
    for place, number in enumerate((1, 4, 6)):
        labels[place, :2] = number
        truth[place, :2] = 0.1 * (place + 1)
    found = 0.5 * truth + 5.0
    found[0, 0, 0] = math.nan  # as good as not there
    truth[3, 3, 3], labels[3, 3, 3] = 99.0, 13  # bone is no part of the reference
    agreement = slope_through_regions(found, truth, labels)
    mean = float(truth[(labels == 8) | (labels < 7)].sum()) / 63
    mean = (mean * 63 - 0.1) / 62  # without the voxel that has no estimate
    expected = sum(abs(0.5 * (value - mean)) for value in (0.1, 0.2, 0.3)) / 3
    assert agreement.slope == pytest.approx(0.5)
    assert agreement.correlation == pytest.approx(1.0)
    assert agreement.mean_absolute_error == pytest.approx(expected)
    single = slope_through_regions(found, truth, labels.where(labels != 4, 8).where(labels != 6, 8))
    assert math.isnan(single.slope) and math.isnan(single.correlation)
    assert single.mean_absolute_error > 0
    none = slope_through_regions(found, truth, torch.full_like(labels, 8))
    assert math.isnan(none.mean_absolute_error)


def test_materials_get_the_numbers_of_the_challenge() -> None:
    materials = torch.arange(len(MATERIALS), dtype=torch.uint8).reshape(2, -1)
    numbers = challenge_labels(materials)
    assert numbers.shape == materials.shape
    for name, index in INDEX.items():
        assert int(numbers.flatten()[index]) == CHALLENGE_LABELS.get(name, 0)
    nuclei = ("caudate", "pallidum", "putamen", "red_nucleus", "dentate", "substantia_nigra")
    assert [CHALLENGE_LABELS[name] for name in nuclei] == [1, 2, 3, 4, 5, 6]
    assert (CHALLENGE_LABELS["vessel"], CHALLENGE_LABELS["calcification"]) == (11, 16)


def test_labels_of_any_whole_number_type_will_do() -> None:
    truth, labels, mask = head()
    found = estimate(truth)
    expected = susceptibility_scores(found, truth, mask, labels)
    assert susceptibility_scores(found, truth, mask, labels.to(torch.uint8)) == expected
    assert slope_through_regions(found, truth, labels.to(torch.uint8)) == slope_through_regions(
        found, truth, labels
    )


def test_messages() -> None:
    truth, labels, mask = head()
    with pytest.raises(UsageError, match="the map has 34x30x28 voxels, but the truth 34x30x27"):
        field_scores(truth, truth[..., 1:], mask)
    with pytest.raises(UsageError, match="but the mask 34x30x27"):
        susceptibility_scores(truth, truth, mask[..., 1:])
    with pytest.raises(UsageError, match="but the labels 34x30x27"):
        susceptibility_scores(truth, truth, mask, labels[..., 1:])
    with pytest.raises(UsageError, match="but the labels 34x30x27"):
        slope_through_regions(truth, truth, labels[..., 1:], mask)
    with pytest.raises(UsageError, match="the mask contains no voxel"):
        field_scores(truth, truth, torch.zeros_like(mask))
    with pytest.raises(UsageError, match="the mask contains no voxel"):
        slope_through_regions(truth, truth, torch.zeros_like(labels))
    truth[10, 10, 10] = math.nan
    with pytest.raises(UsageError, match="the truth has no value in 1 of"):
        field_scores(truth, truth, mask)
    with pytest.raises(UsageError, match="materials go from 0 to 24"):
        challenge_labels(torch.tensor([0, 24]))
