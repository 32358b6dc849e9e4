import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from tests.fit.acquisitions import SEVEN, TIMES, acquire, parameters
from unweight.core.acquisition import Acquisition
from unweight.core.errors import ProtocolError, UsageError
from unweight.core.maps import VoxelStatus
from unweight.core.seeding import seeded_generator
from unweight.diffusion.samplers import ancestral_contraction
from unweight.diffusion.schedule import linear_schedule
from unweight.learn.t1.diffusor import (
    VELOCITY,
    DiffusionConfig,
    DiffusorTask,
    DrawnInference,
    Levels,
    MapScale,
    published_unet,
    small_unet,
)
from unweight.learn.t1.network_t1 import NetworkT1, scaled
from unweight.learn.t1.protocols import TrainedProtocol
from unweight.learn.training.trainable import recipe_for, recipe_from_plain
from unweight.nets.layers import count_parameters
from unweight.nets.time_unet import TimeUNet, TimeUNetConfig
from unweight.testing.check_estimator import check_estimator

TISSUE = (1.0, 0.8, 1.9)
SMALL = TimeUNetConfig(in_channels=10, out_channels=3, widths=(8, 8), attention_levels=(), space_to_depth=2)


class Gaussian(nn.Module):
    """The exact answer where the scaled maps are f(centre), give or take sd."""

    def __init__(self, centre: tuple[float, float, float] = TISSUE, sd: float = 0.02) -> None:
        super().__init__()
        self.mean = scaled(torch.tensor(centre))[:, None, None]
        self.sd, self.schedule = sd, linear_schedule()

    def forward(self, image: Tensor, time: Tensor) -> Tensor:
        level = self.schedule.at(time.round().long() + 1, image)
        alpha, sigma = level.along(image)
        noisy = image[:, :3]
        gain = alpha * self.sd**2 / (alpha**2 * self.sd**2 + sigma**2)
        clean = self.mean + gain * (noisy - alpha * self.mean)
        return (noisy - alpha * clean) / sigma


def estimator(network: nn.Module | None = None, n_steps: int = 10, n_draws: int = 3) -> NetworkT1:
    return NetworkT1(
        network=Gaussian() if network is None else network,
        trained=TrainedProtocol(inversion_time=TIMES, repetition_time=(8.0, 12.0), recipe="t1-diffusor"),
        inference=DrawnInference(n_draws=n_draws, n_steps=n_steps),
    )


def phantom(*shape: int) -> Acquisition:
    flat = acquire(parameters(torch.Size(shape).numel(), (0.3, 2.0)), 0.01)
    return Acquisition(signal=flat.signal.reshape(*shape, 7).float(), protocol=SEVEN, noise_sd=0.01)


def drawn(acquisition: Acquisition, by: NetworkT1) -> Tensor:
    draws = by(acquisition).draws
    assert draws is not None
    return draws


@pytest.mark.parametrize("shape", [(6, 5, 2), (5, 4), (9,)])
def test_the_contract(shape: tuple[int, ...]) -> None:
    """It holds although neighbours and intensities enter: a mask does not change what the network sees."""
    maps = check_estimator(estimator(), phantom(*shape))
    assert maps.usable.all() and maps.draws is not None
    assert maps.draws.shape == (3, *shape, 3)
    torch.testing.assert_close(maps.values, maps.draws.mean(0))
    torch.testing.assert_close(maps.std, maps.draws.std(0))
    assert maps.lower is not None and maps.upper is not None and maps.interval_level == 0.9
    torch.testing.assert_close(maps.upper - maps.lower, 2 * 1.645 * maps.std)


def test_all_steps_draw_from_a_known_posterior() -> None:
    sd = 0.05
    # At B = 1.9 such an sd reaches the clip; at 1.2 it does not.
    maps = estimator(Gaussian((1.0, 0.8, 1.2), sd=sd), n_steps=1000, n_draws=8)(phantom(8, 8))
    t1, deviation = maps.value("T1"), maps.deviation("T1")
    # To first order T1 = 1 s, give or take cosh²(1)/2 sd; its curvature, tanh(1), adds half the variance.
    spread = math.cosh(1.0) ** 2 / 2 * sd
    expected = spread * ancestral_contraction(linear_schedule(), sd)
    n_values = 64 * 8
    assert float(t1.mean()) == pytest.approx(1 + math.tanh(1.0) * spread**2, abs=4 * spread / n_values**0.5)
    assert float(deviation.square().mean().sqrt()) == pytest.approx(expected, rel=4 / (2 * n_values) ** 0.5)


def test_a_network_gives_maps() -> None:
    net = TimeUNet(SMALL, generator=seeded_generator(0))
    maps = estimator(net, n_steps=4)(phantom(7, 6, 2))
    assert maps.values.shape == (7, 6, 2, 3)
    assert not maps.usable.all()  # untrained: it ends at the clip somewhere
    assert maps.notes["steps"] == 4


def test_draws_depend_on_the_seed_the_slice_and_their_number_only() -> None:
    acquisition, net = phantom(6, 5, 3), TimeUNet(SMALL, generator=seeded_generator(0))
    base = estimator(net, n_steps=5)
    draws = drawn(acquisition, base)
    assert torch.equal(drawn(acquisition, base).nan_to_num(), draws.nan_to_num())
    assert not torch.equal(
        drawn(
            acquisition, replace(base, inference=DrawnInference(n_draws=3, n_steps=5, seed=1))
        ).nan_to_num(),
        draws.nan_to_num(),
    )
    mask = torch.zeros(6, 5, 3, dtype=torch.bool)
    mask[..., 1] = True
    middle = Acquisition(signal=acquisition.signal, protocol=SEVEN, mask=mask, noise_sd=0.01)
    assert torch.equal(drawn(middle, base)[:, :, :, 1].nan_to_num(), draws[:, :, :, 1].nan_to_num())
    exact = estimator()
    few = drawn(acquisition, exact)
    assert (few[:, :, :, 0] - few[:, :, :, 1]).abs().max() > 1e-3
    torch.testing.assert_close(drawn(acquisition, exact.drawing(n_draws=5))[:3], few)
    torch.testing.assert_close(
        drawn(acquisition, replace(exact, inference=DrawnInference(n_draws=3, n_steps=10, n_at_once=1))),
        few,
    )


def test_the_order_of_the_volumes_does_not_matter() -> None:
    acquisition, order = phantom(6, 5), [3, 0, 6, 2, 5, 1, 4]
    shuffled = Acquisition(
        signal=acquisition.signal[..., order], protocol=SEVEN.select(order), noise_sd=0.01
    )
    net = TimeUNet(SMALL, generator=seeded_generator(0))
    assert torch.equal(
        drawn(acquisition, estimator(net)).nan_to_num(), drawn(shuffled, estimator(net)).nan_to_num()
    )


def test_draws_at_the_clip_are_marked_and_without_others_no_value() -> None:
    """With f(9.5 s) half of the draws end at the clip; beyond 1, all of them."""
    half = estimator(Gaussian((9.5, 0.8, 1.5)), n_draws=8)(phantom(8, 8))
    stopped = half.status == VoxelStatus.AT_LIMIT
    # Of eight draws none or all are there in one voxel of 128.
    assert stopped.float().mean() > 0.9
    assert (half.value("T1")[stopped] < 10).all()
    beyond = Gaussian()
    beyond.mean[0] = 1.2
    assert estimator(beyond)(phantom(6, 5)).count() == {VoxelStatus.OUT_OF_RANGE: 30}


def test_presets() -> None:
    net = TimeUNet(small_unet(7), generator=seeded_generator(0))
    assert count_parameters(net) == 1_060_140
    assert published_unet(7) == TimeUNetConfig(in_channels=10, out_channels=3)


def test_progress_counts_to_the_end() -> None:
    seen: list[tuple[int, int]] = []
    estimator(n_steps=5)(phantom(6, 5, 2), lambda done, total: seen.append((done, total)))
    assert len(seen) == 10
    assert seen[-1] == (60, 60) and seen == sorted(seen)


def test_without_water_all_maps_are_f_of_zero() -> None:
    truth = torch.tensor(TISSUE).reshape(1, 3, 1, 1).repeat(1, 1, 1, 2)
    truth[0, 0, 0, 1] = torch.nan
    clean = MapScale.TANH.scale(truth)
    torch.testing.assert_close(clean[..., 0, 0], scaled(torch.tensor([TISSUE])))
    assert (clean[..., 0, 1] == -1).all()


def test_the_loss_repeats_and_a_few_steps_lower_it() -> None:
    theta = parameters(64, (0.3, 2.0)).float()
    truth = theta.T.reshape(1, 3, 8, 8).repeat(4, 1, 1, 1)
    truth[:, :, :2] = torch.nan
    signal = acquire(theta.double(), 0.01).signal.float().T.reshape(1, 7, 8, 8).repeat(4, 1, 1, 1)
    batch = {"signal": signal, "truth": truth}
    task = DiffusorTask(unet=TimeUNet(SMALL, generator=seeded_generator(0)))
    optimiser = torch.optim.Adam(task.network.parameters(), lr=1e-2)
    first = task.loss(task.network, batch, seeded_generator(3))
    assert torch.equal(first, task.loss(task.network, batch, seeded_generator(3)))
    # A network that says nothing is wrong by the noise: variance one.
    assert float(first.detach()) == pytest.approx(1, abs=4 * (2 / truth.numel()) ** 0.5)
    generator = seeded_generator(0)
    for _ in range(150):
        optimiser.zero_grad()
        torch.autograd.backward(task.loss(task.network, batch, generator))
        optimiser.step()
    last = task.loss(task.network, batch, seeded_generator(3))
    assert float(last.detach()) < 0.7 * float(first.detach())


def test_messages() -> None:
    other = SEVEN.select([0, 1, 2, 3])
    with pytest.raises(ProtocolError, match=r"unweight train t1-diffusor --ti 0.05 0.1 0.25 0.5 --tr TR"):
        estimator()(Acquisition(signal=torch.ones(4, 4), protocol=other))
    with pytest.raises(UsageError, match="Give at least 2 draws"):
        estimator(n_draws=1)
    with pytest.raises(UsageError, match="a schedule of 1000 steps gives 1 to 1000, not 2000"):
        estimator(n_steps=2000)


class GaussianVelocity(nn.Module):
    """The exact velocity on the cosine schedule where the scaled maps are f(centre), give or take sd."""

    def __init__(self, centre: tuple[float, float, float] = TISSUE, sd: float = 0.05) -> None:
        super().__init__()
        self.mean = MapScale.LOGARITHM.scale(torch.tensor(centre).reshape(3, 1, 1))
        self.sd = sd

    def forward(self, image: Tensor, time: Tensor) -> Tensor:
        angle = (time / 1000 * math.pi / 2)[:, None, None, None]
        alpha, sigma = torch.cos(angle), torch.sin(angle)
        noisy = image[:, :3]
        gain = alpha * self.sd**2 / (alpha**2 * self.sd**2 + sigma**2)
        clean = self.mean + gain * (noisy - alpha * self.mean)
        return (alpha * noisy - clean) / sigma


def velocity_estimator(network: nn.Module, n_steps: int = 16, n_draws: int = 8) -> NetworkT1:
    inference = DrawnInference(n_draws=n_draws, n_steps=n_steps, config=VELOCITY)
    return replace(estimator(network), inference=inference)


@pytest.mark.parametrize("n_steps", [16, 200])
@pytest.mark.parametrize("sd", [0.02, 0.1])
def test_velocity_draws_from_a_known_posterior_of_ln_t1(sd: float, n_steps: int) -> None:
    """Second-order steps in ln(α/σ) keep the spread of any posterior to 5 %, in as few as 16 steps."""
    maps = velocity_estimator(GaussianVelocity(sd=sd), n_steps)(phantom(8, 8))
    expected = sd
    log_t1, relative = maps.value("T1").log(), maps.deviation("T1") / maps.value("T1")
    n_values = 64 * 8
    assert float(log_t1.mean()) == pytest.approx(0.0, abs=4 * sd / n_values**0.5)
    assert float(relative.square().mean().sqrt()) == pytest.approx(
        expected, rel=0.05 + 4 / (2 * n_values) ** 0.5
    )
    assert float(maps.deviation("B").mean()) == pytest.approx(expected / 4, rel=0.1)


def test_maps_scaled_by_the_logarithm_come_back() -> None:
    truth = torch.tensor([[0.03, 0.9, 4.5], [0.0, 0.7, 2.0], [1.2, 1.7, 2.0]]).reshape(3, 1, 3)
    scale = MapScale.LOGARITHM
    torch.testing.assert_close(scale.unscale(scale.scale(truth)), truth, rtol=1e-5, atol=1e-5)
    # A relative error of 1 % is 0.01 for any T1.
    step = scale.scale(truth * torch.tensor([1.01, 1, 1]).reshape(3, 1, 1)) - scale.scale(truth)
    torch.testing.assert_close(step[0], torch.full((1, 3), math.log(1.01)), rtol=1e-3, atol=1e-6)
    truth[1, 0, 1] = math.nan
    assert scale.scale(truth)[:, 0, 1].tolist() == pytest.approx([-1.5, -1.05, -1.0])


def test_draws_at_the_end_of_the_clip_are_not_averaged() -> None:
    drawn = torch.zeros(5, 1, 3, 1, 3, dtype=torch.float64)
    drawn[:, 0, 0, 0] = torch.tensor(
        [[0.1, 4.0, 0.1], [-0.1, 4.0, 4.0], [0.1, 4.0, 4.0], [-0.1, 0.0, 4.0], [-0.1, 0.0, 4.0]]
    ).double()
    estimate = MapScale.LOGARITHM.summarise(drawn)
    assert estimate.at_limit is not None and estimate.draws is not None
    assert estimate.at_limit.flatten().tolist() == [False, True, True]
    logs = torch.tensor([0.1, -0.1, 0.1, -0.1, -0.1], dtype=torch.float64)
    spread = float(logs.std())
    assert float(estimate.values[0, 0, 0, 0]) == pytest.approx(0.9 * math.exp(float(logs.mean())))
    assert float(estimate.std[0, 0, 0, 0]) == pytest.approx(float(estimate.values[0, 0, 0, 0]) * spread)
    one_off = drawn.clone()
    one_off[0, 0, 0, 0, 0] = 4.0
    limited = MapScale.LOGARITHM.summarise(one_off)
    assert limited.at_limit is not None and not bool(limited.at_limit[0, 0, 0])
    assert float(limited.values[0, 0, 0, 0]) == pytest.approx(0.9 * math.exp((-0.1 + 0.1 - 0.1 - 0.1) / 4))


def test_a_card_without_a_schedule_is_of_the_published_one() -> None:
    recipe = recipe_for("t1-diffusor", "paper")
    plain = recipe.to_plain()
    assert plain.pop("descent") == {"levels": "linear", "prediction": "epsilon", "scale": "tanh"}
    assert recipe_from_plain(plain).schedule == DiffusionConfig()
    assert recipe_for("t1-diffusor", "cpu").schedule == VELOCITY
    assert recipe_from_plain(recipe_for("t1-diffusor", "cpu").to_plain()).schedule == VELOCITY


def test_schedules_have_up_to_a_thousand_steps() -> None:
    for levels in Levels:
        assert levels.schedule(1000).n_steps == 1000
        with pytest.raises(UsageError):
            levels.schedule(1001)
