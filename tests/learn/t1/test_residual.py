import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from unweight.core.errors import UsageError
from unweight.core.seeding import seeded_generator
from unweight.diffusion.denoiser import concat_condition
from unweight.diffusion.samplers import ddim_contraction
from unweight.diffusion.schedule import cosine_schedule
from unweight.learn.t1.features import CHANNELS, PRESENT
from unweight.learn.t1.posterior_task import N_PARAMETERS, OUTPUTS, posterior_config, split_output
from unweight.learn.t1.residual import (
    CONDITIONS,
    FARTHEST,
    TIME_UNIT,
    ResidualDraws,
    ResidualTask,
    residual_config,
    residual_inputs,
)
from unweight.nets.time_unet import TimeUNet
from unweight.nets.unet import UNet

WHITE = TimeUNet(residual_config((8, 8)), generator=seeded_generator(0)).eval()
"""Untrained it says 0, the best velocity for white Gaussian residuals of unit variance:
x₀ is α·x on average and the noise σ·x, so v = α·σ·x − σ·α·x = 0."""
POSTERIOR = UNet(posterior_config((4, 4)), generator=seeded_generator(0)).eval()
SIZE = 24


def condition(size: int = SIZE) -> Tensor:
    return torch.randn(1, CONDITIONS, size, size, generator=seeded_generator(0, "condition"))


def learnt() -> TimeUNet:
    """Return a network whose split_output depends on what it is shown."""
    network = TimeUNet(residual_config((8, 8)), generator=seeded_generator(1)).eval()
    with torch.no_grad():
        network.unet.head.weight.normal_(0, 0.05, generator=seeded_generator(2))
    return network


def draws(network: TimeUNet = WHITE, **settings: object) -> ResidualDraws:
    return ResidualDraws(network=network, **settings)  # type: ignore[arg-type]


def task() -> ResidualTask:
    return ResidualTask(unet=WHITE, posterior=POSTERIOR)


def batch(size: int = 32, items: int = 4) -> dict[str, Tensor]:
    """Return slices on which all voxels are alike but for their truth, one scale off the fit on average."""
    channels = torch.zeros(items, len(CHANNELS), size, size)
    channels[:, PRESENT] = 1.0
    target = torch.randn(items, N_PARAMETERS, size, size, generator=seeded_generator(0, "target"))
    return {
        "channels": channels,
        "scale": torch.full_like(target, 0.1),
        "target": target,
        "weight": torch.ones(items, size, size),
    }


def loss(given: dict[str, Tensor], seed: int = 0) -> float:
    made = task()
    return float(made.loss(made.network, given, seeded_generator(seed)).detach())


@pytest.mark.parametrize("n_steps", [2, 4, 8])
def test_draws_of_white_residuals_are_white_and_of_unit_variance(n_steps: int) -> None:
    found = draws(n_draws=32, n_steps=n_steps)(condition(), 0)
    assert found.shape == (32, N_PARAMETERS, SIZE, SIZE)
    n = found.numel()
    assert float(found.var()) == pytest.approx(1.0, abs=4 * (2 / n) ** 0.5)
    assert float(found.mean()) == pytest.approx(0.0, abs=4 / n**0.5)
    for axis in range(4):
        assert float((found * found.roll(1, axis)).mean()) == pytest.approx(0.0, abs=4 / n**0.5)


@pytest.mark.parametrize("n_steps", [2, 4, 8])
def test_what_few_steps_lose_is_cos_to_the_k(n_steps: int) -> None:
    contraction = math.cos(math.pi / (2 * n_steps)) ** n_steps
    assert ddim_contraction(cosine_schedule(n_steps), 1.0) == pytest.approx(contraction)
    # Nothing else happens to the noise on the way, so all numbers of steps draw the same.
    torch.testing.assert_close(
        draws(n_steps=n_steps)(condition(), 0), draws(n_steps=16)(condition(), 0), rtol=1e-4, atol=1e-4
    )


def test_a_spread_found_in_calibration_scales_the_draws() -> None:
    one, wide = draws()(condition(), 0), draws(spread=1.25)(condition(), 0)
    torch.testing.assert_close(wide, 1.25 * one)


@pytest.mark.parametrize("network", [WHITE, learnt()], ids=["white", "other"])
def test_a_draw_depends_on_seed_slice_and_number_only(network: TimeUNet) -> None:
    few = draws(network, n_draws=3)
    found = few(condition(), 0)
    assert torch.equal(few(condition(), 0), found)
    torch.testing.assert_close(replace(few, n_draws=5)(condition(), 0)[:3], found, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(few(condition(), 1), found)
    assert not torch.allclose(replace(few, seed=1)(condition(), 0), found)
    assert float((found[0] - found[1]).abs().mean()) > 0.1
    before = torch.random.get_rng_state()
    few(condition(), 0)
    assert torch.equal(before, torch.random.get_rng_state())


def test_draws_listen_to_their_condition() -> None:
    one = draws(learnt(), n_draws=2)
    assert not torch.allclose(one(condition(), 0), one(2 * condition(), 0), atol=1e-3)


def test_the_network_is_told_the_features_and_the_first_answer() -> None:
    generator = seeded_generator(0)
    channels = torch.randn(2, len(CHANNELS), 5, 4, generator=generator)
    correction = torch.full((2, N_PARAMETERS, 5, 4), 20.0)
    log_sd, noisy = (torch.randn(2, N_PARAMETERS, 5, 4, generator=generator) for _ in range(2))
    seen = residual_inputs(channels.half(), correction, log_sd)
    assert seen.shape == (2, CONDITIONS, 5, 4)
    torch.testing.assert_close(seen[:, : len(CHANNELS)], channels, rtol=1e-3, atol=1e-3)
    assert (seen[:, len(CHANNELS) : -N_PARAMETERS] == 2).all()
    assert torch.equal(seen[:, -N_PARAMETERS:], log_sd)
    assert (
        concat_condition(WHITE, time_unit=TIME_UNIT)(noisy, torch.tensor([0.1, 0.9]), seen).shape
        == noisy.shape
    )


def test_loss_of_knowing_nothing_is_the_variance_of_the_velocity() -> None:
    """v = α·ε − σ·x₀ has α² + σ²·var x₀: 1 at any level where the residual has unit variance."""
    given = batch()
    n = given["target"].numel()
    assert loss(given) == pytest.approx(1.0, abs=4 * (2 / n) ** 0.5)
    assert loss(given) == loss(given)
    assert loss(given) != loss(given, seed=1)


def test_the_residual_is_what_the_posterior_leaves_over_its_sd() -> None:
    """A posterior whose sd is e times too small makes the residual e times too large."""
    said = torch.zeros(1, OUTPUTS, 1, 1)
    said[:, :N_PARAMETERS] = 3.0
    said[:, N_PARAMETERS : 2 * N_PARAMETERS] = -1.0
    posterior = UNet(posterior_config((4, 4)), generator=seeded_generator(0)).eval()
    with torch.no_grad():
        assert posterior.head.bias is not None
        posterior.head.bias.copy_(said.expand(1, OUTPUTS, 2, 2).reshape(1, -1)[0])
    given = batch(items=64, size=16)
    with torch.no_grad():
        correction, log_sd = split_output(posterior(given["channels"]), given["channels"], given["scale"])
    assert float(correction.mean()) == pytest.approx(3.0, abs=1e-3)
    assert float(log_sd.mean()) == pytest.approx(-1.0, abs=1e-5)
    given["target"] = 3.0 + 0.5 * given["target"]
    made = ResidualTask(unet=WHITE, posterior=posterior)
    found = float(made.loss(WHITE, given, seeded_generator(0)).detach())
    # α² + σ²·(e/2)² over levels evenly spaced in angle: the mean of σ² is one half, of 64 items ± 0.044.
    variance = (math.e / 2) ** 2
    assert found == pytest.approx(0.5 + 0.5 * variance, abs=4 * 0.044 * abs(variance - 1) + 0.05)


def test_voxels_of_unknown_truth_do_not_count() -> None:
    given = batch()
    given["target"][:, :, 5:9] = torch.nan
    whole = loss(given)
    assert math.isfinite(whole)
    heavy = given["weight"].clone()
    heavy[:, 5:9] = 7.0
    assert loss(given | {"weight": heavy}) == whole
    given["target"][:] = torch.nan
    assert loss(given) == 0.0


def test_weights_and_far_residuals() -> None:
    given = batch()
    assert loss(given | {"weight": 0.5 * given["weight"]}) == pytest.approx(loss(given), rel=1e-5)
    half = given["weight"].clone()
    half[:, :, 16:] = 0.0
    cut = given["target"].clone()
    cut[..., 16:] = torch.nan
    assert loss(given | {"weight": half}) == pytest.approx(loss(given | {"target": cut}), rel=1e-5)
    far, at_the_end = (
        loss(given | {"target": torch.full_like(given["target"], one)}) for one in (1e4, FARTHEST)
    )
    assert far == pytest.approx(at_the_end, rel=1e-5)


def test_the_posterior_is_not_trained() -> None:
    made = ResidualTask(unet=learnt(), posterior=POSTERIOR)
    torch.autograd.backward(made.loss(made.network, batch(16, 2), seeded_generator(0)))
    assert all(one.grad is None for one in POSTERIOR.parameters())
    assert any(one.grad is not None and one.grad.any() for one in made.network.parameters())


@pytest.mark.parametrize("settings", [{"n_steps": 1}, {"n_draws": 0}])
def test_messages(settings: dict[str, int]) -> None:
    with pytest.raises(UsageError, match=r"Give at least one draw of at least two steps"):
        draws(**settings)
