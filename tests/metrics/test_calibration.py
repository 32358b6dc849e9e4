import math

import pytest
import torch
from scipy.integrate import quad
from scipy.special import ndtr

from unweight.core.errors import UsageError
from unweight.core.seeding import seeded_generator
from unweight.metrics.calibration import (
    LEVELS,
    GaussianPrediction,
    calibration,
    coverage,
    ence,
    gaussian_crps,
    interval_coverage,
    interval_width,
    probability_transform,
    simulation_ranks,
    sparsification,
    uniformity,
)
from unweight.metrics.scores import Groups, ScoreContext, scores_by_group

N = 40_000


def prediction(factor: float = 1.0, n: int = N) -> GaussianPrediction:
    """Gaussian errors whose sd differs from voxel to voxel and is given wrong by a factor."""
    generator = seeded_generator(1)
    sd = 0.02 + 0.2 * torch.rand(n, generator=generator, dtype=torch.float64)
    truth = torch.randn(n, generator=generator, dtype=torch.float64)
    error = sd * torch.randn(n, generator=generator, dtype=torch.float64)
    return GaussianPrediction(mean=truth + error, sd=factor * sd, truth=truth)


@pytest.mark.parametrize("level", LEVELS)
def test_right_error_bars_cover_as_they_say(level: float) -> None:
    # Three standard errors of a share.
    assert coverage(prediction(), level) == pytest.approx(level, abs=3 * math.sqrt(level * (1 - level) / N))


def test_too_narrow_ones_cover_less() -> None:
    # Half the sd: the 95 % interval is ±0.98 true sd.
    expected = math.erf(0.5 * 1.959964 / math.sqrt(2))
    assert coverage(prediction(0.5), 0.95) == pytest.approx(expected, abs=0.008)


def test_given_ends_are_used_as_they_are() -> None:
    lower, upper = torch.tensor([0.0, 0.0, 2.0, math.nan]), torch.tensor([1.0, 1.0, 3.0, 1.0])
    assert interval_coverage(lower, upper, torch.tensor([0.5, 1.0, 1.0, 0.5])) == pytest.approx(2 / 3)


@pytest.mark.parametrize("factor", [0.5, 0.8, 2.0])
def test_ence_of_a_wrong_factor(factor: float) -> None:
    assert ence(prediction(factor)) == pytest.approx(abs(1 - 1 / factor), abs=0.02)


def test_ence_of_right_error_bars_is_what_chance_leaves() -> None:
    # E|1 − RMSE/RMV| of m = 2000 Gaussian errors in 20 bins: 1/√(πm) = 0.0126, ± its own spread.
    assert ence(prediction()) == pytest.approx(1 / math.sqrt(math.pi * N / 20), abs=0.007)


def test_ence_sees_bins_that_cancel_in_the_mean() -> None:
    sd = torch.tensor([1.0, 1.0, 2.0, 2.0], dtype=torch.float64)
    error = torch.tensor([2.0, -2.0, 1.0, -1.0], dtype=torch.float64)
    assert ence(GaussianPrediction(mean=error, sd=sd, truth=torch.zeros_like(sd)), n_bins=2) == 0.75


def test_ause_is_zero_if_the_sd_orders_the_errors() -> None:
    error = torch.linspace(0.01, 1.0, 500, dtype=torch.float64)
    curves = sparsification(GaussianPrediction(mean=error, sd=3 * error**2, truth=torch.zeros_like(error)))
    torch.testing.assert_close(curves.by_sd, curves.oracle)
    assert curves.ause == pytest.approx(0, abs=1e-12)
    # RMSE of errors uniform in 0…a is a/√3: what is left falls as 1 − removed.
    torch.testing.assert_close(curves.oracle, 1 - curves.removed, atol=0.02, rtol=0)


def test_an_sd_without_information_gives_a_flat_curve() -> None:
    error = torch.linspace(0.01, 1.0, 500, dtype=torch.float64)
    curves = sparsification(
        GaussianPrediction(mean=error, sd=torch.ones_like(error), truth=torch.zeros_like(error))
    )
    torch.testing.assert_close(curves.by_sd, torch.ones_like(curves.by_sd))
    # ∫ 1 − (1 − r) dr over 0…0.99
    assert curves.ause == pytest.approx(0.49, abs=0.01)


def test_no_error_at_all() -> None:
    same = torch.ones(10, dtype=torch.float64)
    assert sparsification(GaussianPrediction(mean=same, sd=same, truth=same)).ause == 0


@pytest.mark.parametrize(("mean", "sd", "truth"), [(0.0, 1.0, 0.3), (1.2, 0.1, 0.9), (-1.0, 2.0, 4.0)])
def test_crps_is_the_integral_it_stands_for(mean: float, sd: float, truth: float) -> None:
    below = quad(lambda x: ndtr((x - mean) / sd) ** 2, mean - 12 * sd, truth, points=[mean])[0]
    above = quad(lambda x: ndtr((mean - x) / sd) ** 2, truth, max(mean, truth) + 12 * sd)[0]
    one = (torch.tensor([value], dtype=torch.float64) for value in (mean, sd, truth))
    crps = gaussian_crps(GaussianPrediction(**dict(zip(("mean", "sd", "truth"), one, strict=True))))
    assert float(crps) == pytest.approx(below + above, rel=1e-6)


def test_width_is_that_of_the_interval_of_t1() -> None:
    sd = torch.full((5,), 0.05, dtype=torch.float64)
    width = interval_width(GaussianPrediction(mean=sd, sd=sd, truth=sd), 0.9)
    assert width == pytest.approx(math.exp(1.644854 * 0.05) - math.exp(-1.644854 * 0.05), abs=1e-6)
    linear = GaussianPrediction(mean=sd, sd=sd, truth=sd, positive=False)
    assert interval_width(linear, 0.9) == pytest.approx(2 * 1.644854 * 0.05, abs=1e-6)


def test_all_metrics_with_voxels_left_out() -> None:
    full = prediction(n=400)
    mean = full.mean.clone()
    mean[:100] = math.nan
    holes = GaussianPrediction(mean=mean, sd=full.sd, truth=full.truth)
    groups = Groups(names=("all", "nobody"), index=torch.zeros(400, dtype=torch.int64))
    scores = scores_by_group(
        lambda voxels: calibration(holes, selection=voxels),
        groups,
        ScoreContext(method="a", dataset="x"),
        {},
    )
    first = {s.metric: s for s in scores if s.group == "all"}
    expected = calibration(GaussianPrediction(mean=mean[100:], sd=full.sd[100:], truth=full.truth[100:]))
    assert first["missing"].value == 0.25 and first["ence"].n == 300
    for metric in ("coverage_50", "coverage_95", "ence", "ause", "crps", "width_90"):
        assert first[metric].value == pytest.approx(expected[metric])
    assert all(math.isnan(s.value) and s.n == 0 for s in scores if s.group == "nobody")
    assert {s.unit for s in scores} == {"1"}


def test_messages() -> None:
    ones = torch.ones(2)
    with pytest.raises(UsageError, match=r"1 of 2 standard deviations are not positive\. Give NaN"):
        GaussianPrediction(mean=ones, sd=torch.tensor([0.0, 1.0]), truth=ones)
    with pytest.raises(UsageError, match="between 0 and 1, found 90"):
        coverage(prediction(n=4), 90)
    with pytest.raises(UsageError, match="no voxel has an estimate"):
        sparsification(GaussianPrediction(mean=math.nan * ones, sd=ones, truth=ones))


def test_stated_over_error_is_the_factor_by_which_the_sd_is_wrong() -> None:
    error = torch.randn(20000, generator=seeded_generator(5), dtype=torch.float64)
    truth = torch.zeros_like(error)
    for factor in (0.5, 1.0, 3.0):
        told = GaussianPrediction(mean=0.1 * error, sd=torch.full_like(error, 0.1 * factor), truth=truth)
        assert calibration(told)["sd_over_error"] == pytest.approx(factor, rel=0.02)


def test_winkler_score_of_a_normal_law() -> None:
    """2zσ + (2/α)·2σ[φ(z) − z(1 − Φ(z))] for a right σ; wider and narrower intervals score worse."""
    sigma, z = 0.1, 1.6448536
    density = math.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    expected = sigma * (2 * z + 20 * 2 * (density - 0.05 * z))
    error = sigma * torch.randn(200000, generator=seeded_generator(6), dtype=torch.float64)
    scores = [
        calibration(
            GaussianPrediction(
                mean=error, sd=torch.full_like(error, factor * sigma), truth=torch.zeros_like(error)
            )
        )["winkler_90"]
        for factor in (0.7, 1.0, 1.5)
    ]
    assert scores[1] == pytest.approx(expected, rel=0.01)
    assert scores[1] < scores[0] and scores[1] < scores[2]


def test_right_predictions_have_uniform_transforms() -> None:
    assert uniformity(probability_transform(prediction())) < 1.63 / math.sqrt(N)  # 1 % level


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_transforms_of_wrong_sd_are_not_uniform(factor: float) -> None:
    # sup over z of |Φ(z) − Φ(z/f)|, the distribution of Φ(Z/f) against the uniform one.
    z = torch.linspace(0, 5, 5001, dtype=torch.float64)
    expected = float((torch.special.ndtr(z) - torch.special.ndtr(z / factor)).abs().amax())
    found = uniformity(probability_transform(prediction(factor)))
    assert found == pytest.approx(expected, abs=1.63 / math.sqrt(N))


def test_shifted_predictions_move_the_transforms_to_one_end() -> None:
    some = prediction(n=1000)
    low = GaussianPrediction(mean=some.mean - 3 * some.sd, sd=some.sd, truth=some.truth)
    assert float(probability_transform(low).mean()) > 0.9


def test_ranks_among_draws_of_the_same_law() -> None:
    generator = seeded_generator(3)
    values = torch.randn(10, N, generator=generator, dtype=torch.float64)
    ranks = simulation_ranks(values[1:], values[0])
    counts = torch.bincount(ranks, minlength=10)
    assert counts.tolist() == pytest.approx([N / 10] * 10, abs=4 * math.sqrt(0.09 * N))


def test_ranks_leave_out_voxels_without_a_number() -> None:
    draws = torch.tensor([[0.0, 0.0, math.nan], [2.0, 0.0, 0.0]])
    assert simulation_ranks(draws, torch.tensor([1.0, math.nan, 1.0])).tolist() == [1]


def test_distance_of_three_values_from_the_uniform_law() -> None:
    assert uniformity(torch.tensor([0.1, 0.2, 0.9])) == pytest.approx(2 / 3 - 0.2)


@pytest.mark.parametrize("values", [[], [0.5, 1.2]])
def test_what_is_no_distribution_function_is_refused(values: list[float]) -> None:
    with pytest.raises(UsageError):
        uniformity(torch.tensor(values))
