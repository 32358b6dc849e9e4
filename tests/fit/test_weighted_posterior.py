import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from unweight.fit.weighted_posterior import WeightedPosterior, WeightedVoxelPosterior, moments
from unweight.signals.weighted import N_TIMINGS, weighted_signal
from unweight.synth.protocols.standard import mprage, routine_contrasts
from unweight.synth.simulate_weighted import weighting_of

SPIN, T2W, FLUID = (weighting_of(scan).row() for scan in routine_contrasts())
CONTRASTS = {
    "spin echo": torch.stack([SPIN, T2W, FLUID]),
    "MPRAGE": torch.stack([weighting_of(mprage()).row(), T2W, FLUID]),
}
# White and grey matter, tumour: T1, T2 [s] and PD of waters that the priors of p and r hold for.
TISSUES = torch.tensor([[0.85, 0.07, 0.7], [1.5, 0.1, 0.83], [2.1, 0.155, 0.88]], dtype=torch.float64)
FINE = WeightedPosterior(n_grid=400)
EXACT = WeightedPosterior(n_grid=8000, slack=1e-4)
FIELDS = ("ln_t1", "ln_t1_sd", "r2", "r2_sd", "ln_pd", "ln_pd_sd", "misfit")


def images(theta: Tensor, rows: Tensor, snr: float = 1e6) -> tuple[Tensor, Tensor]:
    """Return ln S and the relative noise of one batch of voxels."""
    signal = weighted_signal(*(one[:, None] for one in theta.unbind(-1)), rows).T[None]
    return signal.log(), signal.amax(-1, keepdim=True) / snr / signal


def posterior(
    of: tuple[Tensor, Tensor], rows: Tensor, by: WeightedPosterior = FINE, there: list[bool] | None = None
) -> WeightedVoxelPosterior:
    present = torch.tensor([there or [True] * len(rows)])
    return by(*of, rows[None], present)


def same(one: WeightedVoxelPosterior, other: WeightedVoxelPosterior, **tolerance: float) -> None:
    for name in FIELDS:
        torch.testing.assert_close(getattr(one, name), getattr(other, name), **tolerance)


@pytest.mark.parametrize("t1w", CONTRASTS)
def test_three_images_of_known_gain_determine_three_maps(t1w: str) -> None:
    rows = CONTRASTS[t1w]
    found = posterior(images(TISSUES, rows), rows, EXACT)
    estimate = torch.stack([found.ln_t1.exp(), 1 / found.r2, found.ln_pd.exp()], dim=-1)[0]
    torch.testing.assert_close(estimate, TISSUES, rtol=2e-3, atol=0.0)
    for sd in (found.ln_t1_sd, found.ln_pd_sd, found.r2_sd * TISSUES[:, 1]):
        assert float(sd.max()) < 5e-3


def brute_force(
    ln_signal: Tensor, ln_sd: Tensor, rows: Tensor, by: WeightedPosterior
) -> list[tuple[float, float]]:
    """Return mean and sd of ln T1, 1/T2 and ln PD by midpoints over a box; the priors as documented."""
    axes = [
        low + (high - low) * (torch.arange(count, dtype=torch.float64) + 0.5) / count
        for low, high, count in ((math.log(0.15), math.log(6.0), 250), (-1.6, 0.8, 100), (0.0, 26.0, 100))
    ]
    ln_t1, p, r = axes[0][:, None, None], axes[1][:, None], axes[2]
    t1 = ln_t1.exp()
    spread = torch.clamp(0.8 * 11 / t1, min=2.0)
    level = -0.5 * ((p + torch.log(0.89 + 0.47 / t1)) / 0.15) ** 2
    level = level - 0.5 * ((r - 11 / t1) / spread) ** 2 - spread.log()
    undecayed, unit = torch.full_like(t1, math.inf), torch.ones_like(t1)
    for index, row in enumerate(rows):
        ln_unit = weighted_signal(t1, undecayed, unit, row).log()
        away = ln_signal[0, index, 0] - (ln_unit + p - row[2] * r)
        level = level - 0.5 * away**2 / (ln_sd[0, index, 0] ** 2 + by.slack**2)
    weight = torch.softmax(level.flatten(), 0).reshape(level.shape)
    found = []
    for values in (ln_t1, r, p):
        mean = float((weight * values).sum())
        found.append((mean, math.sqrt(float((weight * (values - mean) ** 2).sum()))))
    return found


@pytest.mark.parametrize("tissue", range(3))
@pytest.mark.parametrize("t1w", CONTRASTS)
def test_it_is_the_posterior_of_brute_force(t1w: str, tissue: int) -> None:
    rows = CONTRASTS[t1w]
    of = images(TISSUES[tissue : tissue + 1], rows, snr=30.0)
    found, expected = posterior(of, rows), brute_force(*of, rows, FINE)
    for (name, sd), (true_mean, true_sd) in zip(
        (("ln_t1", "ln_t1_sd"), ("r2", "r2_sd"), ("ln_pd", "ln_pd_sd")), expected, strict=True
    ):
        assert float(getattr(found, name)) == pytest.approx(true_mean, abs=0.01 * true_sd)
        assert float(getattr(found, sd)) == pytest.approx(true_sd, rel=0.01)


def test_without_images_it_is_the_prior() -> None:
    """ln T1 is even from end to end: its sd is its width over √12."""
    rows = torch.full((3, N_TIMINGS), math.nan, dtype=torch.float64)
    empty = torch.full((1, 3, 2), math.nan, dtype=torch.float64)
    found = posterior((empty, empty), rows, FINE, [False] * 3)
    ends = [math.log(end) for end in FINE.t1]
    torch.testing.assert_close(found.ln_t1, torch.full((1, 2), sum(ends) / 2, dtype=torch.float64))
    # A grid of n points with its ends is a little wider, by √((n + 1)/(n − 1)).
    assert float(found.ln_t1_sd[0, 0]) == pytest.approx((ends[1] - ends[0]) / math.sqrt(12), rel=0.004)
    assert float(found.misfit.max()) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_a_missing_image_has_no_influence(missing: int) -> None:
    rows = CONTRASTS["spin echo"]
    ln_signal, ln_sd = images(TISSUES, rows, snr=50.0)
    kept = [index for index in range(3) if index != missing]
    alone = posterior((ln_signal[:, kept], ln_sd[:, kept]), rows[kept])
    there = [index != missing for index in range(3)]
    for junk in (math.nan, math.inf, -1e9, 0.0):
        holed, holed_sd, holed_rows = ln_signal.clone(), ln_sd.clone(), rows.clone()
        holed[:, missing], holed_sd[:, missing], holed_rows[missing] = junk, junk, math.nan
        same(posterior((holed, holed_sd), holed_rows, FINE, there), alone)


def test_two_images_with_the_same_echo_time_still_give_an_answer() -> None:
    rows = torch.stack([T2W, FLUID])
    assert float(rows[0, 2]) == float(rows[1, 2])
    found = posterior(images(TISSUES, rows, snr=50.0), rows, WeightedPosterior())
    for name in FIELDS:
        assert bool(torch.isfinite(getattr(found, name)).all())
    # What one echo time cannot tell stays as wide as the prior lets it be.
    assert float((found.r2_sd / found.r2).min()) > 0.1


def test_an_image_without_signal_says_nothing() -> None:
    rows = CONTRASTS["spin echo"]
    ln_signal, ln_sd = images(TISSUES, rows, snr=50.0)
    dark, unsure = ln_signal.clone(), ln_sd.clone()
    dark[:, 2], unsure[:, 2] = -14.0, math.inf
    alone = posterior((ln_signal[:, :2], ln_sd[:, :2]), rows[:2])
    same(posterior((dark, unsure), rows), alone, rtol=1e-3, atol=1e-3)


def test_what_contradicts_water_is_told_by_the_misfit() -> None:
    rows = CONTRASTS["spin echo"]
    ln_signal, ln_sd = images(TISSUES, rows, snr=100.0)
    wrong = ln_signal + torch.tensor([0.0, 0.0, 1.5], dtype=torch.float64)[None, :, None]
    assert float(posterior((ln_signal, ln_sd), rows).misfit.max()) < 1.0
    assert float(posterior((wrong, ln_sd), rows).misfit.min()) > 3.0


def test_single_precision_suffices_and_shapes_are_kept() -> None:
    rows = CONTRASTS["MPRAGE"]
    ln_signal, ln_sd = images(TISSUES[:2].repeat(3, 1), rows, snr=50.0)
    double = posterior((ln_signal, ln_sd), rows)
    single = posterior((ln_signal.float(), ln_sd.float()), rows.float())
    assert single.ln_t1.dtype == torch.float32
    for name in FIELDS[:-1]:
        torch.testing.assert_close(
            getattr(single, name), getattr(double, name).float(), rtol=2e-3, atol=2e-3
        )
    plane = posterior((ln_signal.reshape(1, 3, 2, 3), ln_sd.reshape(1, 3, 2, 3)), rows)
    assert plane.ln_t1.shape == (1, 2, 3)
    torch.testing.assert_close(plane.ln_t1.flatten(), double.ln_t1.flatten())


def test_each_examination_of_a_batch_has_its_own_protocol() -> None:
    both = [images(TISSUES, rows, snr=50.0) for rows in CONTRASTS.values()]
    batch = tuple(torch.cat(parts) for parts in zip(*both, strict=True))
    rows = torch.stack(list(CONTRASTS.values()))
    found = FINE(batch[0], batch[1], rows, torch.ones(2, 3, dtype=torch.bool))
    for index, of in enumerate(both):
        alone = posterior(of, rows[index])
        torch.testing.assert_close(found.ln_t1[index], alone.ln_t1[0])


def test_moments_of_a_mixture() -> None:
    """Of N(−1, 1) and N(1, 1) in equal shares: mean 0, variance 2."""
    half = torch.tensor([0.5, 0.5], dtype=torch.float64)
    mean, sd = moments(half, torch.tensor([-1.0, 1.0]).double(), torch.ones(2).double())
    assert float(mean) == 0.0 and float(sd) == pytest.approx(math.sqrt(2))


def test_a_wider_prior_widens_the_answer() -> None:
    rows = CONTRASTS["spin echo"]
    of = images(TISSUES, rows, snr=30.0)
    tight, wide = (posterior(of, rows, replace(FINE, pd_spread=spread)) for spread in (0.05, 0.3))
    assert bool((tight.ln_t1_sd < wide.ln_t1_sd).all()) and bool((tight.ln_pd_sd < wide.ln_pd_sd).all())
