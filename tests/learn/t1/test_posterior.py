import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.fit.acquisitions import SEVEN, acquire, parameters
from tests.run.untrained import RANGES
from unweight.core.acquisition import Acquisition, SignalKind
from unweight.core.errors import InputError, ProtocolError
from unweight.core.maps import ParameterMaps, VoxelStatus
from unweight.core.protocol import protocol_from_values
from unweight.core.seeding import seeded_generator
from unweight.fit.inversion_recovery import InversionRecoveryFit
from unweight.learn.t1.features import fit_features, fit_twice
from unweight.learn.t1.posterior import PosteriorT1
from unweight.learn.t1.posterior_task import OWN, OWN_HELD, REACH, posterior_config
from unweight.learn.t1.protocols import range_from_plain
from unweight.learn.t1.residual import ResidualDraws, residual_config
from unweight.learn.training.conformal import GAUSSIAN, Conformal
from unweight.nets.time_unet import TimeUNet
from unweight.nets.unet import UNet
from unweight.testing.check_estimator import check_estimator
from unweight.testing.contract import ContractError

FIT = InversionRecoveryFit()
SIGMA = 0.02
FLAT = (0.9, 1.0, 1.92)


def network(*, moves: float = 0.0) -> UNet:
    """Return a tiny network that leaves all to the fits, or moves ln T1 by so many scales."""
    made = UNet(posterior_config((4, 4)), generator=seeded_generator(0)).eval()
    with torch.no_grad():
        assert made.head.bias is not None
        made.head.bias[:4] = moves  # of the first output, four pixels at a time
    return made


def opinionated() -> UNet:
    """Return a network whose answer depends on all it sees."""
    made = network()
    with torch.no_grad():
        made.head.weight.normal_(0, 0.03, generator=seeded_generator(1))
    return made


def estimator(of: UNet | None = None, **settings: object) -> PosteriorT1:
    made = PosteriorT1(
        network=network() if of is None else of,
        protocols=range_from_plain(RANGES),
        intervals=(Conformal(), Conformal(), Conformal()),
    )
    return replace(made, **settings)  # type: ignore[arg-type]


def phantom(*shape: int, sigma: float = SIGMA) -> Acquisition:
    """Return voxels of any T1, each beside any other."""
    flat = acquire(parameters(math.prod(shape), (0.2, 2.0)), sigma, complete=2.0)
    return Acquisition(signal=flat.signal.reshape(*shape, 7).float(), protocol=SEVEN, noise_sd=sigma)


def region(*shape: int, kind: SignalKind = SignalKind.MAGNITUDE) -> Acquisition:
    """Return voxels that are all alike."""
    theta = torch.tensor([FLAT], dtype=torch.float64).repeat(math.prod(shape), 1)
    signal = acquire(theta, SIGMA, kind=kind, complete=2.0).signal.reshape(*shape, 7).float()
    return Acquisition(signal=signal, protocol=SEVEN, kind=kind, noise_sd=SIGMA)


def same(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4, equal_nan=True)


def test_the_contract_where_neighbours_are_masked() -> None:
    """A voxel depends on its neighbours, and a little on what the held fit leaves over in all voxels."""
    gap = torch.ones(12, 6, dtype=torch.bool)
    gap[5:7] = False
    maps = estimator()(replace(phantom(12, 6), mask=gap))
    assert maps.failed[5:7].all() and not maps.failed[:5].any()
    half = torch.zeros_like(gap)
    half[:5] = True
    part = estimator()(replace(phantom(12, 6), mask=half))
    torch.testing.assert_close(part.values[:5, :, 0], maps.values[:5, :, 0], rtol=0.02, atol=0)
    with pytest.raises(ContractError, match="values depend on which other voxels there are"):
        check_estimator(estimator(), phantom(12, 6))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_maps_hold(dtype: torch.dtype) -> None:
    of = phantom(6, 5)
    of = replace(of, signal=of.signal.to(dtype), affine=2 * torch.eye(4))
    before = of.signal.clone()
    maps = estimator()(of)
    assert torch.equal(of.signal, before)
    assert maps.specs == estimator().parameters
    assert maps.values.shape == maps.std.shape == (6, 5, 3)
    assert maps.lower is not None and maps.upper is not None and maps.misfit is not None
    assert {one.dtype for one in (maps.values, maps.std, maps.lower, maps.upper, maps.misfit)} == {dtype}
    assert maps.interval_level == 0.9 and maps.noise_sd == SIGMA and maps.draws is None
    assert maps.affine is of.affine
    assert maps.notes["method"] == "t1-posterior" and maps.notes["likelihood"] == "Rician"
    again = estimator()(of)
    assert torch.equal(again.values.nan_to_num(), maps.values.nan_to_num())


def test_untrained_it_is_the_mean_of_the_fits_around_by_inverse_variance() -> None:
    of = region(9, 9)
    fits = fit_twice(FIT, of)
    features = fit_features(fits)
    free, scale = features.base[..., 0], features.scale[..., 0]
    held, held_sd = fits.held.value("T1").log(), fits.held.deviation("T1") / fits.held.value("T1")
    maps = estimator()(of)
    for x, y in ((4, 4), (0, 0), (2, 7)):
        near = (slice(max(0, x - 2), x + 3), slice(max(0, y - 2), y + 3))
        assert near[0].stop - 4 <= REACH
        own = torch.zeros(9, 9)
        own[x, y] = OWN
        weights = torch.stack([own[near].exp() / scale[near] ** 2, math.exp(OWN_HELD) / held_sd[near] ** 2])
        mean = (weights * torch.stack([free[near], held[near]])).sum() / weights.sum()
        assert float(maps.value("T1")[x, y].log()) == pytest.approx(float(mean), abs=1e-4)
    pd = fits.free.value("PD") * fits.noise_scale
    torch.testing.assert_close(maps.value("PD"), pd, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(maps.value("B"), fits.free.value("B"), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(maps.deviation("T1"), scale * maps.value("T1"), rtol=1e-3, atol=0)


def test_where_all_are_alike_it_is_nearer_to_the_truth_than_the_fit() -> None:
    of = region(24, 24)
    maps, fitted = estimator()(of), FIT(of)
    spread, before = ((one.value("T1") - FLAT[0]).square().mean().sqrt() for one in (maps, fitted))
    # e³ for the voxel, one for each of 24 others: √((20² + 24)/44²) of the spread is left.
    assert float(spread / before) == pytest.approx((20.1**2 + 24) ** 0.5 / 44.1, rel=0.15)
    assert maps.usable.float().mean() > 0.99


def test_intervals_lie_around_the_value_and_std_is_their_width() -> None:
    factors = (1.0, 1.5, 2.0, 2.5, 3.0, 3.5)
    wide = replace(Conformal(), factors=factors)
    of = phantom(8, 8)
    plain, maps = estimator()(of), estimator(intervals=(wide, Conformal(), Conformal()))(of)
    assert maps.lower is not None and maps.upper is not None and plain.upper is not None
    valued = ~maps.failed
    assert ((maps.lower < maps.values) & (maps.values < maps.upper))[valued].all()
    free = [
        torch.cat([one[..., :2].log(), one[..., 2:]], dim=-1)
        for one in (maps.lower, maps.values, maps.upper)
    ]
    same(free[2] - free[1], free[1] - free[0])
    unit = torch.cat([maps.values[..., :2], torch.ones(8, 8, 1)], dim=-1)
    torch.testing.assert_close(maps.std, (free[2] - free[0]) / 2 / 1.645 * unit, rtol=1e-3, atol=1e-6)
    bins = torch.bucketize(maps.value("T1").contiguous(), torch.tensor(wide.edges))
    ratio = maps.deviation("T1") / plain.deviation("T1")
    same(ratio, torch.tensor(factors)[bins] / GAUSSIAN)
    same(maps.deviation("B"), plain.deviation("B"))


def test_intervals_of_single_voxels_hold() -> None:
    """A network that shuts the neighbours out gives the fit, whose error reaches its bound."""
    alone = network()
    with torch.no_grad():
        assert alone.head.bias is not None
        alone.head.bias[24:] = -40.0
        alone.head.bias[24 + 4 * 12 : 28 + 4 * 12] = 0.0
    theta = parameters(1600, (0.3, 1.8))
    of = replace(phantom(1600), signal=acquire(theta, SIGMA, complete=2.0).signal.float())
    maps = estimator(alone)(of)
    assert maps.lower is not None and maps.upper is not None
    truth, t1 = theta[:, 0].float(), FIT(of).value("T1")
    torch.testing.assert_close(maps.value("T1"), t1, rtol=1e-3, atol=0)
    inside = (maps.lower[:, 0] <= truth) & (truth <= maps.upper[:, 0])
    # 90 % ± 0.75 % of 1600; the narrowest scale, 1 % of T1, is wider than the bound of some.
    assert 0.87 < float(inside.double().mean()) < 0.96


@pytest.mark.parametrize("moves", [-10.0, 10.0])
def test_what_the_data_cannot_mean_is_implausible(moves: float) -> None:
    of = region(10, 10)
    good, moved = estimator()(of), estimator(network(moves=moves))(of)
    assert good.misfit is not None
    assert float(good.misfit.median()) == pytest.approx(0.9, abs=0.15)  # chi-square of 4 to 5 over 5
    assert good.usable.float().mean() > 0.98
    assert (moved.status == VoxelStatus.IMPLAUSIBLE).float().mean() > 0.95
    assert float((moved.value("T1") / good.value("T1")).log().median() * moves) > 0
    assert torch.isfinite(moved.values).all()


def test_misfit_grows_with_the_square_of_the_step() -> None:
    """Two standard deviations off ln T1, either way, add 4 to chi-square, with five degrees of freedom."""
    misfits = [estimator(network(moves=moves))(region(20, 20)).misfit for moves in (-2.0, 0.0, 2.0)]
    below, at, above = (one.mean() for one in misfits if one is not None)
    assert float((below + above) / 2 - at) == pytest.approx(4 / 5, rel=0.15)


def test_signed_data_are_judged_with_their_signs() -> None:
    one, other = region(10, 10, kind=SignalKind.SIGNED), region(10, 10)
    assert float(one.signal.min()) < 0
    maps = estimator()(one)
    assert maps.misfit is not None
    assert maps.usable.float().mean() > 0.98
    assert float(maps.misfit.median()) == pytest.approx(0.9, abs=0.15)
    ratio = maps.value("T1").median() / estimator()(other).value("T1").median()
    assert float(ratio) == pytest.approx(1.0, abs=0.02)


def test_beyond_the_believed_range_there_is_no_value() -> None:
    maps = estimator(network(moves=400.0))(region(6, 6))
    assert maps.count() == {VoxelStatus.OUT_OF_RANGE: 36}
    assert maps.lower is not None and maps.upper is not None
    assert all(bool(torch.isnan(one).all()) for one in (maps.values, maps.std, maps.lower, maps.upper))


def test_masked_empty_and_saturated_voxels() -> None:
    of = phantom(8, 8)
    signal, mask = of.signal.clone(), torch.ones(8, 8, dtype=torch.bool)
    mask[0], signal[1], signal[2, 0] = False, 0.0, torch.nan
    saturated = torch.zeros(8, 8, dtype=torch.bool)
    saturated[7, 7] = True
    maps = estimator()(replace(of, signal=signal, mask=mask, saturated=saturated))
    assert (maps.status[0] == VoxelStatus.MASKED).all()
    assert (maps.status[1] == VoxelStatus.NO_SIGNAL).all()
    assert maps.status[2, 0] == VoxelStatus.MASKED
    assert maps.status[7, 7] == VoxelStatus.SATURATED
    assert torch.equal(torch.isnan(maps.values).all(-1), maps.failed)
    assert maps.failed.sum() == 17
    assert bool(torch.isfinite(maps.values[7, 7]).all())


def test_nothing_but_zeros_is_no_signal() -> None:
    for noise in (None, 0.02):
        maps = estimator()(Acquisition(signal=torch.zeros(5, 4, 7), protocol=SEVEN, noise_sd=noise))
        assert maps.count() == {VoxelStatus.NO_SIGNAL: 20}


def test_pathological_voxels_do_not_reach_their_neighbours() -> None:
    """Far from them the maps are the same, and nowhere does a value become NaN without saying so."""
    of = phantom(40, 40)
    spoiled = of.signal.clone()
    spoiled[0, 0], spoiled[0, 2], spoiled[2, 0] = 1.0, 65535.0, torch.arange(7.0, 0.0, -1.0)
    maps, clean = estimator()(replace(of, signal=spoiled)), estimator()(of)
    assert torch.equal(torch.isnan(maps.values).any(-1), maps.failed)
    # Beyond the window in which the noise about a voxel is found.
    torch.testing.assert_close(maps.values[12:, 12:], clean.values[12:, 12:], rtol=3e-3, atol=1e-3)


@pytest.mark.parametrize("told", [True, False])
def test_the_order_of_the_volumes_does_not_matter(told: bool) -> None:
    of, order = replace(phantom(10, 10), noise_sd=SIGMA if told else None), [3, 0, 6, 1, 5, 2, 4]
    other = replace(of, signal=of.signal[..., order], protocol=SEVEN.select(order))
    one, two = (estimator(opinionated())(each) for each in (of, other))
    torch.testing.assert_close(one.value("T1"), two.value("T1"), rtol=1e-4, atol=0, equal_nan=True)


@pytest.mark.parametrize("factor", [0.1, 10.0, 4096.0])
@pytest.mark.parametrize("told", [True, False])
def test_the_unit_of_the_input_does_not_matter(factor: float, told: bool) -> None:
    of = replace(phantom(10, 10), noise_sd=SIGMA if told else None)
    other = replace(of, signal=factor * of.signal, noise_sd=factor * SIGMA if told else None)
    one, two = (estimator(opinionated())(each) for each in (of, other))
    both = ~one.failed & ~two.failed
    assert torch.equal(one.failed, two.failed)
    for name, unit in (("T1", 1.0), ("PD", factor), ("B", 1.0)):
        ratio = two.value(name)[both] / (unit * one.value(name)[both])
        assert float((ratio - 1).abs().max()) < 1e-3


def test_lists_and_volumes_are_taken_slice_by_slice() -> None:
    of = phantom(9, 8, 3)
    whole = estimator(opinionated())(of)
    assert whole.values.shape == (9, 8, 3, 3)
    for index in range(3):
        one = estimator(opinionated())(replace(of, signal=of.signal[:, :, index]))
        # To a per cent: the noise of the fit with B held is found from all slices.
        torch.testing.assert_close(whole.values[:, :, index], one.values, rtol=0.02, atol=0.01)
        torch.testing.assert_close(whole.std[:, :, index], one.std, rtol=0.05, atol=0.01)
    column = phantom(40)
    maps = estimator(opinionated())(column)
    assert maps.values.shape == (40, 3)
    alone = estimator(opinionated(), fit=replace(FIT, noise_window=0))
    image = alone(replace(column, signal=column.signal[:, None]))
    same(maps.values, image.values[:, 0])


def test_threads_do_not_matter_and_stay_as_they_were() -> None:
    of, before = phantom(12, 10, 3), torch.get_num_threads()
    try:
        maps: list[ParameterMaps] = []
        for count in (1, 2):
            torch.set_num_threads(count)
            maps.append(estimator(opinionated())(of))
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(before)
    assert torch.equal(maps[0].values.nan_to_num(), maps[1].values.nan_to_num())


def drawing(n_draws: int = 3) -> ResidualDraws:
    """Draws of a network that has learnt nothing, which are white; but it looks at its neighbours."""
    white = TimeUNet(residual_config((4, 4)), generator=seeded_generator(0)).eval()
    return ResidualDraws(network=white, n_draws=n_draws)


def test_draws_scatter_around_the_value_as_far_as_std_says() -> None:
    of = region(16, 16)
    maps = estimator(draws=drawing(40))(of)
    assert maps.draws is not None and maps.draws.shape == (40, 16, 16, 3)
    plain = estimator()(of)
    assert torch.equal(plain.values, maps.values)
    away = (maps.draws[..., 0].log() - maps.value("T1").log()) * maps.value("T1") / maps.deviation("T1")
    n = away.numel()
    assert float(away.var()) == pytest.approx(1.0, abs=4 * (2 / n) ** 0.5)
    assert float(away.mean()) == pytest.approx(0.0, abs=4 / n**0.5)


def test_draws_have_values_wherever_the_maps_have() -> None:
    of = phantom(12, 10)
    mask = torch.ones(12, 10, dtype=torch.bool)
    mask[:3] = False
    curious = drawing()
    with torch.no_grad():
        curious.network.unet.head.weight.normal_(0, 0.05, generator=seeded_generator(2))
    maps = estimator(draws=curious)(replace(of, mask=mask))
    assert maps.draws is not None
    assert torch.equal(torch.isnan(maps.draws).any(-1), maps.failed.expand(3, -1, -1))


def test_progress_reaches_the_end() -> None:
    seen: list[tuple[int, int]] = []
    estimator()(phantom(10, 10), lambda done, total: seen.append((done, total)))
    assert seen[-1] == (100, 100)


def test_messages() -> None:
    of = phantom(4, 4)
    with pytest.raises(ProtocolError, match=r"not trained with a given one.*--method ml"):
        estimator()(replace(of, known={"B": torch.full((4, 4), 1.9)}))
    far = protocol_from_values(inversion_time=[0.05, 0.1, 0.2, 0.3], repetition_time=[10.0] * 4)
    with pytest.raises(ProtocolError, match=r"longest inversion time is 0\.3 s"):
        estimator()(Acquisition(signal=of.signal[..., :4], protocol=far))
    with pytest.raises(ProtocolError, match="3 different inversion times cannot determine 3 parameters"):
        estimator()(Acquisition(signal=of.signal[..., :3], protocol=SEVEN.select([0, 3, 6])))
    with pytest.raises(InputError, match="no voxel to process"):
        estimator()(replace(of, mask=torch.zeros(4, 4, dtype=torch.bool)))
