import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.fit.acquisitions import SEVEN, TIMES, acquire, parameters
from unweight.core.acquisition import Acquisition, SignalKind
from unweight.core.maps import ParameterMaps, VoxelStatus
from unweight.core.protocol import protocol_from_values
from unweight.fit.inversion_recovery import InversionRecoveryFit
from unweight.fit.recovery_projection import recovery_timing
from unweight.learn.t1.features import (
    CHANNELS,
    LOG_SD,
    LOG_SD_SPREAD,
    LOG_T1,
    LOG_T1_SPREAD,
    N_PARTS,
    NODE_WIDTH,
    PRESENT,
    SCALES,
    UNFITTED,
    FitFeatures,
    fit_features,
    fit_twice,
    profile,
    profile_nodes,
)
from unweight.learn.t1.nuisances import USUAL_B

FIT = InversionRecoveryFit()
SIGMA = 0.02
FAILED = (VoxelStatus.MASKED, VoxelStatus.NO_SIGNAL)


def acquisition(count: int = 200, sigma: float = SIGMA, **settings: object) -> Acquisition:
    made = acquire(parameters(count, (0.1, 2.0)), sigma, complete=2.0)
    return replace(made, noise_sd=sigma, **settings)  # type: ignore[arg-type]


def features(of: Acquisition) -> FitFeatures:
    return fit_features(fit_twice(FIT, of))


def channel(found: FitFeatures, name: str) -> Tensor:
    return found.channels[..., CHANNELS.index(name)]


def beside(of: Acquisition, signal: Tensor) -> Acquisition:
    """Put voxels behind those of an acquisition."""
    return replace(of, signal=torch.cat([of.signal, signal.to(of.signal)]))


def test_shapes_names_and_dtype() -> None:
    assert len(CHANNELS) == len(set(CHANNELS)) == 33
    assert CHANNELS[PRESENT] == "there is signal"
    flat = acquisition(60)
    grid = replace(flat, signal=flat.signal.reshape(5, 4, 3, 7))
    found = features(grid)
    assert found.channels.shape == (5, 4, 3, 33)
    assert found.base.shape == found.scale.shape == (5, 4, 3, 3)
    assert found.present.all()
    assert {part.dtype for part in (found.channels, found.base, found.scale)} == {torch.float32}
    # Voxels in a list have no neighbours from which the noise about them, or a smooth B, could be found.
    apart = fit_features(fit_twice(replace(FIT, noise_window=0), grid)).channels.reshape(60, 33)
    own = [CHANNELS.index(name) for name in ("ln T1", "ln PD over noise", "ln misfit", "profile 3")]
    torch.testing.assert_close(apart[:, own], features(flat).channels[:, own])


def test_channels_say_what_the_fit_says() -> None:
    of = acquisition()
    fits, found = fit_twice(FIT, of), features(of)
    maps = fits.free
    t1, pd, b = maps.values.float().unbind(-1)
    torch.testing.assert_close(t1, FIT(of).value("T1").float())
    torch.testing.assert_close(found.base, torch.stack([t1.log(), pd.log(), b], dim=-1))
    torch.testing.assert_close(channel(found, "ln T1"), (t1.log() - LOG_T1) / LOG_T1_SPREAD)
    torch.testing.assert_close(channel(found, "ln PD over noise"), ((pd / SIGMA).log() - 4) / 1.5)
    torch.testing.assert_close(channel(found, "B"), 4 * (b - fits.nuisances.efficiency.float()))
    assert (channel(found, "fit stands") == 1).all() and (channel(found, "TR is known") == 1).all()
    # Where the likelihood has one narrow mode the scale is the Cramér–Rao bound.
    bound = maps.deviation("T1").float() / t1
    alike = (found.scale[:, 0] / bound.clamp(*SCALES[0]) - 1).abs() < 0.05
    assert float(alike.float().mean()) > 0.9
    assert (found.scale[:, 0] >= bound.clamp(*SCALES[0]) * (1 - 1e-6)).all()


def test_without_a_repetition_time_a_channel_says_so() -> None:
    of = acquisition(20, protocol=protocol_from_values(inversion_time=TIMES))
    assert (channel(features(of), "TR is known") == 0).all()


def test_the_profile_is_told_by_the_best_of_four_nodes() -> None:
    of = acquisition(40)
    single = of.signal.float()
    fits = fit_twice(FIT, of)
    timing = recovery_timing(fits.acquisition.protocol, fits.complete, single)
    nodes = profile_nodes(timing, SignalKind.MAGNITUDE)
    best = profile(single, nodes, SIGMA).reshape(N_PARTS, -1, 40).amax(1).T
    parts = features(of).channels[:, -N_PARTS:]
    torch.testing.assert_close(20 * parts, best)
    assert (parts.amax(-1) == 0).all() and float(parts.min()) == -1


@pytest.mark.parametrize("factor", [10.0, 0.1, 4096.0])
@pytest.mark.parametrize("told", [True, False])
def test_the_scale_of_the_images_cancels(factor: float, told: bool) -> None:
    one = acquisition()
    noise = SIGMA if told else None
    one = replace(one, signal=one.signal.float(), noise_sd=noise)
    other = replace(one, signal=factor * one.signal, noise_sd=None if noise is None else factor * noise)
    first, second = features(one), features(other)
    # Images in single precision: what rounding moves is far below the noise.
    torch.testing.assert_close(second.channels, first.channels, rtol=1e-3, atol=5e-3)
    torch.testing.assert_close(second.scale, first.scale, rtol=5e-3, atol=0)
    shift = second.base - first.base
    expected = torch.tensor([0.0, math.log(factor), 0.0]).expand_as(shift)
    torch.testing.assert_close(shift, expected, rtol=0, atol=1e-3)


def test_the_order_of_the_volumes_does_not_matter() -> None:
    one, order = acquisition(), [3, 0, 6, 1, 5, 2, 4]
    other = replace(one, signal=one.signal[:, order], protocol=SEVEN.select(order))
    first, second = features(one), features(other)
    torch.testing.assert_close(second.channels, first.channels, rtol=1e-3, atol=4e-3)
    torch.testing.assert_close(second.base, first.base, rtol=0, atol=1e-4)


@pytest.mark.parametrize("protocol", ["seven", "short TR"])
def test_slope_is_the_change_of_ln_t1_when_b_is_held_elsewhere(protocol: str) -> None:
    """Refits with B held a little higher and lower; at the optimum of noiseless data that is exact."""
    timing = SEVEN
    if protocol == "short TR":
        timing = protocol_from_values(inversion_time=[0.05, 0.4, 1.1, 2.0, 2.5], repetition_time=[2.55] * 5)
    theta = parameters(100, (0.15, 1.5))
    of = replace(acquire(theta, None, protocol=timing, kind=SignalKind.SIGNED), noise_sd=0.001)
    step, follows = 1e-3, replace(FIT, complete=None)
    held = [
        follows(replace(of, known={"B": theta[:, 2] + sign * step})).value("T1").log() for sign in (1, -1)
    ]
    slope = (held[0] - held[1]) / (2 * step)
    torch.testing.assert_close(
        2 * channel(features(of), "slope of ln T1 along B").double(), slope, rtol=2e-3, atol=2e-3
    )


def test_the_fit_with_b_held_stands_beside_the_free_one() -> None:
    of = acquisition()
    fits, found = fit_twice(FIT, of), features(of)
    known = {"B": fits.nuisances.efficiency}
    alike = replace(FIT, rician=False, complete=None)
    held = alike(replace(fits.acquisition, known=known, noise_sd=None))
    stands = ~held.failed
    assert float(stands.float().mean()) > 0.99
    log_t1 = held.value("T1").log().float()
    torch.testing.assert_close(
        channel(found, "ln T1 at the usual B")[stands], ((log_t1 - LOG_T1) / LOG_T1_SPREAD)[stands]
    )
    sd = (held.deviation("T1") / held.value("T1")).float()
    torch.testing.assert_close(
        channel(found, "ln sd of ln T1 at the usual B")[stands],
        ((sd.clamp(1e-3, 3.0).log() - LOG_SD) / LOG_SD_SPREAD)[stands],
    )
    assert float((held.deviation("T1") / FIT(of).deviation("T1")).nanmedian()) < 0.9
    steps = (log_t1 - found.base[:, 0]) / found.scale[:, 0]
    torch.testing.assert_close(
        channel(found, "shift of ln T1 to the usual B, in steps")[stands],
        steps.clamp(-4, 4)[stands],
        rtol=1e-3,
        atol=1e-3,
    )


def test_with_the_usual_b_in_truth_both_fits_agree() -> None:
    theta = parameters(100, (0.15, 1.5))
    theta[:, 2] = USUAL_B
    of = replace(acquire(theta, None, complete=2.0), noise_sd=0.001)
    found = features(of)
    both = channel(found, "ln T1 at the usual B") - channel(found, "ln T1")
    assert float(both.abs().quantile(0.95)) < 1e-3


def test_a_voxel_whose_fit_failed_has_the_mean_of_its_profile() -> None:
    """The same signal at every inversion time: no T1 in the believed range makes it."""
    of = beside(acquisition(), 0.5 * torch.ones(2, 7))
    assert FIT(of).failed[-2:].all()
    fits, found = fit_twice(FIT, of), features(of)
    single = of.signal[-2:].float()
    timing = recovery_timing(fits.acquisition.protocol, fits.complete, single)
    nodes = profile_nodes(timing, SignalKind.MAGNITUDE)
    mean = (torch.softmax(profile(single, nodes, SIGMA), dim=0) * nodes.log_t1[:, None]).sum(0)
    held_b = float(fits.nuisances.efficiency[-1])
    expected = torch.tensor([float(mean[0]), math.log(0.5), held_b]).expand(2, 3)
    torch.testing.assert_close(found.base[-2:], expected)
    widest = [min(one, high) for one, (_, high) in zip(UNFITTED, SCALES, strict=True)]
    torch.testing.assert_close(found.scale[-2:], torch.tensor(widest).expand(2, 3))
    assert (channel(found, "fit stands")[-2:] == 0).all()
    assert found.present[-2:].all()


def test_two_modes_widen_the_scale() -> None:
    """Four volumes, short T1, much noise: the curvature at one mode knows nothing of the other."""
    four = protocol_from_values(inversion_time=[0.05, 0.4, 1.1, 2.5], repetition_time=[2.55] * 4)
    theta = parameters(200, (0.05, 0.3))
    of = replace(acquire(theta, 0.05, protocol=four, complete=2.0), noise_sd=0.05)
    maps, found = FIT(of), features(of)
    told = channel(found, "other polarity as good") == 1
    assert torch.equal(told, maps.status == VoxelStatus.POLARITY_AMBIGUOUS)
    stands = ~maps.failed
    single = of.signal.float()
    fits = fit_twice(FIT, of)
    nodes = profile_nodes(
        recovery_timing(fits.acquisition.protocol, fits.complete, single), SignalKind.MAGNITUDE
    )
    weight = torch.softmax(profile(single, nodes, 0.05), dim=0)
    mean = (weight * nodes.log_t1[:, None]).sum(0)
    width = (weight * (nodes.log_t1[:, None] - mean) ** 2).sum(0).sqrt()
    bound = (maps.deviation("T1") / maps.value("T1")).float()
    wide = (bound**2 + (width - NODE_WIDTH).clamp(min=0) ** 2).sqrt().clamp(*SCALES[0])
    torch.testing.assert_close(found.scale[stands, 0], wide[stands], rtol=1e-3, atol=0)
    assert float((found.scale[stands, 0] / bound[stands]).max()) > 3


def test_where_there_is_nothing_there_are_zeros() -> None:
    of = beside(acquisition(40), torch.zeros(3, 7))
    mask = torch.ones(43, dtype=torch.bool)
    mask[:5] = False
    found = features(replace(of, mask=mask))
    nothing = ~mask
    nothing[-3:] = True
    assert torch.equal(found.present, ~nothing)
    assert torch.equal(channel(found, "there is signal"), (~nothing).float())
    for part in (found.channels, found.base, found.scale):
        assert not part[nothing].any()
        assert part[~nothing].any()


def pathological() -> dict[str, Tensor]:
    many = acquisition().signal
    spiked = many[:7].clone()
    spiked[torch.arange(7), torch.arange(7)] = 5.0
    return {
        "zeros beside": torch.zeros(5, 7),
        "constant": torch.tensor([[0.05], [1.0], [40.0]]).expand(3, 7),
        "saturated": torch.full((5, 7), 65535.0),
        "saturated at the end": torch.minimum(2e5 * many[:20], torch.tensor(65535.0).double()),
        "huge": 1e6 * many[:20],
        "tiny": 1e-6 * many[:20],
        "one volume bright": spiked,
        "one volume only": torch.eye(7),
        "falling": torch.linspace(2.0, 0.1, 7)[None],
        "rising": torch.linspace(0.1, 2.0, 7)[None],
        "not finite": torch.tensor([[torch.inf] * 7, [torch.nan] * 7]),
    }


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("name", pathological())
def test_nothing_is_ever_nan(name: str, told: bool) -> None:
    of = beside(acquisition(), pathological()[name])
    found = features(replace(of, noise_sd=SIGMA if told else None))
    for part in (found.channels, found.base, found.scale):
        assert bool(torch.isfinite(part).all())
    assert float(found.channels.abs().max()) < 20


@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("told", [True, False])
def test_nothing_but_one_value_has_features_too(value: float, told: bool) -> None:
    of = Acquisition(signal=torch.full((5, 7), value), protocol=SEVEN, noise_sd=SIGMA if told else None)
    found = features(of)
    assert found.present.tolist() == [value > 0] * 5
    assert bool(torch.isfinite(found.channels).all() and torch.isfinite(found.base).all())


def test_a_voxel_knows_of_the_others_only_what_the_held_fit_leaves_over() -> None:
    # The noise of the fit with B held and the nuisances are found from all voxels; the rest is its own.
    of = acquisition(100)
    some = features(Acquisition(signal=of.signal[40:50], protocol=SEVEN, noise_sd=SIGMA))
    own = [
        index
        for index, name in enumerate(CHANNELS)
        if "usual B" not in name and name != "B" and not name.startswith("profile")
    ]
    whole = features(of).channels[40:50]
    torch.testing.assert_close(some.channels[:, own], whole[:, own], rtol=1e-3, atol=1e-3)


def test_failures_of_the_fit_that_still_show_signal_are_present() -> None:
    of = acquisition(8)
    maps = FIT(of)
    for status in VoxelStatus:
        if status.failed:
            told = ParameterMaps(
                specs=maps.specs,
                values=torch.full_like(maps.values, torch.nan),
                std=torch.full_like(maps.std, torch.nan),
                status=torch.full_like(maps.status, int(status)),
                noise_sd=SIGMA,
            )
            found = fit_features(replace(fit_twice(FIT, of), free=told, held=told))
            assert bool(found.present.all()) == (status not in FAILED)
            assert bool(torch.isfinite(found.channels).all())
