"""Losses of networks whose answer is known, against what can be computed by hand."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor, nn

from tests.learn.lessons import narrow
from unweight.core.seeding import seeded_generator
from unweight.diffusion.denoiser import Prediction
from unweight.diffusion.schedule import NoiseSchedule, non_uniform_schedule, uniform_schedule
from unweight.learn.mprage.tasks import (
    EchoDiffusionTask,
    EchoGanTask,
    EchoRegressionTask,
    EchoResidualTask,
    denoising_config,
    drop_conditions,
    laplace_std,
    published_config,
    regression_config,
    split_output,
)
from unweight.learn.pairs.echo_channels import CHI, MASK, N_SLAB, R2STAR, hidden_with
from unweight.learn.pairs.pair import denormalise, normalise
from unweight.learn.training.trainable import Batch, Task
from unweight.nets.pgan import Pgan, PganConfig
from unweight.nets.time_unet import TimeUNet
from unweight.nets.unet import UNet

SIZE, ITEMS = 16, 4
UNET = UNet(regression_config((8, 8)), generator=seeded_generator(0))
TIME_UNET = TimeUNet(denoising_config((8, 8)), generator=seeded_generator(0))
REGRESSION = EchoRegressionTask(unet=UNET)
SAID, LOG_B = 0.4, -1.0


def batch(items: int = ITEMS, inside: Tensor | None = None, seed: int = 1) -> dict[str, Tensor]:
    """A batch of noise; the mask is everywhere unless given."""
    generator = seeded_generator(seed)
    channels = torch.randn(items, N_SLAB, SIZE, SIZE, generator=generator)
    channels[:, -2:] = 1.0
    channels[:, MASK] = 1.0 if inside is None else inside
    target = torch.rand(items, 1, SIZE, SIZE, generator=generator) * channels[:, MASK : MASK + 1]
    return {"channels": channels, "target": target}


def half() -> Tensor:
    inside = torch.zeros(SIZE, SIZE)
    inside[:, :9] = 1.0
    return inside


class Says(nn.Module):
    """Answers the same whatever it is denormalise."""

    def __init__(self, answer: Tensor) -> None:
        super().__init__()
        self.answer = nn.Parameter(answer.clone())

    def forward(self, channels: Tensor) -> Tensor:
        return self.answer


def says(of: Batch, error: Tensor | float = 0.0, log_scale: float = 0.0) -> Says:
    """A regression that is wrong by so much, as networks see it."""
    image = normalise(of["target"]) + error
    return Says(torch.cat([image, torch.full_like(image, log_scale)], dim=1))


def loss(task: Task, network: nn.Module, of: Batch, seed: int = 0) -> float:
    return float(task.loss(network, of, seeded_generator(seed)).detach())


def test_intensities_as_networks_see_them() -> None:
    assert normalise(torch.tensor([0.7, 1.05, 0.0])).tolist() == pytest.approx([0.0, 1.0, -2.0])
    torch.testing.assert_close(denormalise(normalise(torch.linspace(0, 2, 9))), torch.linspace(0, 2, 9))


def test_the_scale_has_ends() -> None:
    said = torch.tensor([0.3, -9.0])[None, :, None, None], torch.tensor([0.3, 9.0])[None, :, None, None]
    assert [float(split_output(one)[1]) for one in said] == [-5.0, 1.5]
    assert float(split_output(said[0])[0]) == pytest.approx(0.3)


@pytest.mark.parametrize(("log_scale", "expected"), [(0.0, 0.0), (-2.0, -0.2), (-5.0, -0.5), (-50.0, -0.5)])
def test_the_loss_of_the_truth_is_a_tenth_of_ln_b(log_scale: float, expected: float) -> None:
    of = batch()
    assert loss(REGRESSION, says(of, log_scale=log_scale), of) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("log_scale", [-1.0, 0.0, 0.7])
def test_the_loss_of_an_even_error(log_scale: float) -> None:
    """c + 0.1·(ln b + c/b): an even error has no gradient."""
    of = batch()
    expected = 0.3 + 0.1 * (log_scale + 0.3 * math.exp(-log_scale))
    assert loss(REGRESSION, says(of, -0.3, log_scale), of) == pytest.approx(expected, rel=1e-5)


def test_the_loss_of_a_ramp() -> None:
    """mean |away| and a tenth of both slopes; ln b of 0 adds a tenth of mean |away|."""
    of = batch()
    rows, columns = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    ramp = 0.02 * rows - 0.05 * columns
    expected = 1.1 * float(ramp.abs().mean()) + 0.1 * (0.02 + 0.05)
    assert loss(REGRESSION, says(of, ramp), of) == pytest.approx(expected, rel=1e-5)


def slopes(of: Batch, error: float, log_scale: float) -> tuple[Tensor, Tensor]:
    """Return the gradients with respect to image and ln b."""
    network = says(of, error, log_scale)
    torch.autograd.backward(REGRESSION.loss(network, of, seeded_generator(0)))
    assert network.answer.grad is not None
    return network.answer.grad[:, :1], network.answer.grad[:, 1:]


@pytest.mark.parametrize("log_scale", [-3.0, 0.7, 1.4])
def test_the_scale_does_not_move_the_image(log_scale: float) -> None:
    """All voxels together are moved as by mean |y − ŷ| alone, differences cancelling, whatever b."""
    image, _ = slopes(batch(), 0.3, log_scale)
    assert torch.equal(image, slopes(batch(), 0.3, 0.0)[0])
    assert float(image.sum()) == pytest.approx(1.0, abs=1e-5)


def test_the_best_scale_is_the_mean_error() -> None:
    """0.1·(1 − c/b) over the voxels: 0 at b = c; none beyond the ends."""
    of = batch()
    n = of["target"].numel()
    for log_scale in (math.log(0.3), 0.0, -2.0):
        _, scale = slopes(of, 0.3, log_scale)
        wanted = 0.1 * (1 - 0.3 * math.exp(-log_scale)) / n
        torch.testing.assert_close(scale, torch.full_like(scale, wanted), rtol=1e-4, atol=1e-9)
    assert not slopes(of, 0.3, -6.0)[1].any() and not slopes(of, 0.3, 2.0)[1].any()


def test_nothing_outside_the_mask_moves_a_regression() -> None:
    """Edges included: the step of the error from inside to outside is no gradient."""
    of = batch(inside=half())
    error = torch.full((ITEMS, 1, SIZE, SIZE), 0.3)
    inside = loss(REGRESSION, says(of, error), of)
    assert inside == pytest.approx(0.33, rel=1e-5)
    error[..., 9:] = 50.0
    assert loss(REGRESSION, says(of, error), of) == inside
    nothing = batch(inside=torch.zeros(SIZE, SIZE))
    assert loss(REGRESSION, says(nothing, 3.0), nothing) == 0.0


def test_conditions_are_hidden_from_one_patch_in_four_each() -> None:
    channels = torch.ones(4000, N_SLAB, 1, 1)
    made = drop_conditions(channels, seeded_generator(0))
    assert torch.equal(made, drop_conditions(channels, seeded_generator(0)))
    assert not torch.equal(made, drop_conditions(channels, seeded_generator(1)))
    told = []
    for column, place in enumerate((R2STAR, CHI)):
        places = hidden_with(place, column)
        told.append(made[:, place, 0, 0])
        assert bool((made[:, places, 0, 0] == told[-1][:, None]).all())
    both = [place for column, one in enumerate((R2STAR, CHI)) for place in hidden_with(one, column)]
    others = [place for place in range(N_SLAB) if place not in both]
    assert bool((made[:, others] == 1).all())
    # Four standard errors of a share of 4000.
    r2star, chi = told
    assert float(r2star.mean()) == pytest.approx(0.75, abs=0.028)
    assert float(chi.mean()) == pytest.approx(0.75, abs=0.028)
    assert float((r2star * chi).mean()) == pytest.approx(0.75**2, abs=0.032)


class Hears(nn.Module):
    """Keeps what it is denormalise, and what time it is."""

    def __init__(self, answer: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.answer, self.shown, self.time = answer, torch.empty(0), torch.empty(0)

    def forward(self, image: Tensor, time: Tensor) -> Tensor:
        self.shown, self.time = image, time
        return self.answer(image[:, :1], time)


def nothing(noisy: Tensor, time: Tensor) -> Tensor:
    return torch.zeros_like(noisy)


class Shown(nn.Module):
    def __init__(self, n_outputs: int) -> None:
        super().__init__()
        self.n_outputs, self.shown = n_outputs, torch.empty(0)

    def forward(self, channels: Tensor, *judged: Tensor) -> object:
        self.shown = channels
        made = channels[:, : self.n_outputs]
        return (made, (made, made, made)) if judged else made


def hidden(of: Batch, seed: int) -> Tensor:
    return drop_conditions(of["channels"], seeded_generator(seed))


def test_every_network_is_shown_what_the_generator_left() -> None:
    of = batch(12)
    expected = hidden(of, 3)
    assert not torch.equal(expected, of["channels"])
    regression, adversarial = Shown(2), Shown(1)
    loss(REGRESSION, regression, of, 3)
    loss(gan(), adversarial, of, 3)
    denoiser, residual = Hears(nothing), Hears(nothing)
    loss(diffusion(), denoiser, of, 3)
    loss(residual_task(), residual, of, 3)
    for found in (regression.shown, adversarial.shown, denoiser.shown[:, 1:], residual.shown[:, 1:-2]):
        torch.testing.assert_close(found, expected)
    # Beside the slab, what the regression said.
    assert residual.shown[:, -2:].flatten(2)[..., 0].unique(dim=0).tolist() == [
        pytest.approx([SAID, LOG_B], abs=1e-6)
    ]


def gan() -> EchoGanTask:
    config = PganConfig(generator=regression_config((8, 8), 1), n_judged=1, critic=(4, 8))
    return EchoGanTask(pgan=Pgan(config, generator=seeded_generator(0)))


@dataclass
class Verdicts:
    fooled: float = 1.0
    true: float = 1.0
    false: float = 0.0


class Judges(nn.Module):
    """A pair of networks that makes given images and says given things of them."""

    def __init__(self, made: Tensor, verdicts: Verdicts) -> None:
        super().__init__()
        self.made, self.verdicts, self.truth, self.counts = made, verdicts, made, made

    def forward(self, channels: Tensor, truth: Tensor, counts: Tensor) -> object:
        self.truth, self.counts = truth, counts
        said = self.verdicts
        return self.made, tuple(
            torch.full((2, 1, 2, 2), one) for one in (said.fooled, said.true, said.false)
        )


@pytest.mark.parametrize(
    ("verdicts", "adversarial"),
    [(Verdicts(), 0.0), (Verdicts(fooled=0.0), 1.0), (Verdicts(true=0.0), 0.5), (Verdicts(false=1.0), 0.5)],
)
@pytest.mark.parametrize("error", [0.0, 0.02])
def test_what_generator_and_critic_pay(verdicts: Verdicts, adversarial: float, error: float) -> None:
    """(D − 1)² for the generator, half of both squares for the critic, and 100·mean |y − ŷ|."""
    of = batch(inside=half())
    wrong = normalise(of["target"]) + error
    wrong[..., 9:] = 7.0
    network = Judges(wrong, verdicts)
    assert loss(gan(), network, of) == pytest.approx(adversarial + 100 * error, abs=1e-4)
    # The critic judges nothing outside the mask.
    torch.testing.assert_close(network.truth, normalise(of["target"]) * half())
    assert torch.equal(network.counts, of["channels"][:, MASK : MASK + 1])


def test_real_networks_are_trained_adversarially() -> None:
    task = gan()
    with torch.no_grad():
        task.pgan.generator.head.weight.normal_(0, 0.05, generator=seeded_generator(2))
    torch.autograd.backward(task.loss(task.network, batch(), seeded_generator(0)))
    for network in (task.pgan.generator, task.pgan.critic):
        assert any(one.grad is not None and bool(one.grad.any()) for one in network.parameters())


def diffusion(
    schedule: NoiseSchedule | None = None, said: Prediction = Prediction.VELOCITY
) -> EchoDiffusionTask:
    return EchoDiffusionTask(unet=TIME_UNET, schedule=schedule or non_uniform_schedule(), prediction=said)


@dataclass
class Knows:
    """The answer of a denoiser that knows the clean image."""

    clean: Tensor
    said: Prediction
    levels: Callable[[Tensor], tuple[Tensor, Tensor]]
    error: Tensor = field(default_factory=lambda: torch.zeros(()))

    def __call__(self, noisy: Tensor, time: Tensor) -> Tensor:
        alpha, sigma = (one.to(noisy)[:, None, None, None] for one in self.levels(time))
        noise = (noisy - alpha * self.clean) / sigma
        answer = noise if self.said is Prediction.EPSILON else alpha * noise - sigma * self.clean
        return answer + self.error


def short(time: Tensor) -> tuple[Tensor, Tensor]:
    schedule = non_uniform_schedule()
    indices = (schedule.time[None] - time[:, None]).abs().argmin(1)
    return schedule.alpha[indices], schedule.sigma[indices]


def angle(time: Tensor) -> tuple[Tensor, Tensor]:
    """The levels of a residual are told in thousandths of a right angle."""
    turn = math.pi / 2 * time.double() / 1000
    return turn.cos(), turn.sin()


@pytest.mark.parametrize("said", [Prediction.VELOCITY, Prediction.EPSILON])
def test_who_knows_the_image_pays_nothing_and_all_of_the_patch_counts(said: Prediction) -> None:
    of = batch(12, inside=half())
    knows = Knows(normalise(of["target"]), said, short)
    assert loss(diffusion(said=said), Hears(knows), of) < 1e-6
    knows.error = torch.zeros(SIZE, SIZE)
    knows.error[:, 12:] = 2.0  # a quarter of the patch, outside the mask
    assert loss(diffusion(said=said), Hears(knows), of) == pytest.approx(1.0, rel=1e-3)


@pytest.mark.parametrize("schedule", [uniform_schedule(), non_uniform_schedule()], ids=["uniform", "other"])
def test_only_the_levels_of_the_schedule_are_trained(schedule: NoiseSchedule) -> None:
    heard = Hears(nothing)
    loss(diffusion(schedule), heard, batch(300))
    assert sorted(set(heard.time.tolist())) == schedule.time[1:].tolist()


def test_noise_is_decided_by_the_generator() -> None:
    of = batch()
    assert loss(diffusion(), Hears(nothing), of) == loss(diffusion(), Hears(nothing), of)
    assert loss(diffusion(), Hears(nothing), of) != loss(diffusion(), Hears(nothing), of, 1)


def residual_task() -> EchoResidualTask:
    """A regression that says SAID, with ln b LOG_B, of everything."""
    base = UNet(regression_config((8, 8)), generator=seeded_generator(0)).eval()
    with torch.no_grad():
        assert base.head.bias is not None
        base.head.bias.copy_(torch.tensor([SAID] * 4 + [LOG_B] * 4))
    unet = TimeUNet(denoising_config((8, 8), n_said=2), generator=seeded_generator(0))
    return EchoResidualTask(unet=unet, base=base)


def test_a_perfect_base_leaves_nothing() -> None:
    of = batch(16)
    of["target"] = denormalise(torch.full_like(of["target"], SAID))
    nothing_left = Knows(torch.zeros_like(of["target"]), Prediction.VELOCITY, angle)
    assert loss(residual_task(), Hears(nothing_left), of) < 1e-6
    other = Knows(torch.full_like(of["target"], 0.5), Prediction.VELOCITY, angle)
    assert loss(residual_task(), Hears(other), of) > 0.2


@pytest.mark.parametrize(("away", "residual"), [(0.1, 0.1), (-0.4, -0.4), (50.0, 6.0), (-50.0, -6.0)])
def test_the_residual_is_the_error_over_the_sd_of_a_laplace_law(away: float, residual: float) -> None:
    sd = math.sqrt(2) * math.exp(LOG_B)
    assert float(laplace_std(torch.tensor(LOG_B))) == pytest.approx(sd)
    of = batch(16)
    of["target"] = denormalise(torch.full_like(of["target"], SAID + sd * away))
    knows = Knows(torch.full_like(of["target"], residual), Prediction.VELOCITY, angle)
    assert loss(residual_task(), Hears(knows), of) < 1e-5


def test_one_residual_in_eight_is_pure_noise() -> None:
    heard = Hears(nothing)
    loss(residual_task(), heard, batch(64))
    assert heard.time[::8].tolist() == [1000.0] * 8
    others = heard.time.reshape(8, 8)[:, 1:]
    assert float(others.min()) >= 0.999 and len(others.unique()) > 40
    # Evenly in angle: mean of 56, three standard errors.
    assert float(others.mean()) == pytest.approx(500, abs=3 * 289 / 56**0.5)


def test_nothing_outside_the_mask_moves_a_residual() -> None:
    of = batch(16, inside=half())
    clean = (normalise(of["target"]) - SAID) / (math.sqrt(2) * math.exp(LOG_B)) * half()
    knows = Knows(clean, Prediction.VELOCITY, angle)
    assert loss(residual_task(), Hears(knows), of) < 1e-5
    knows.error = torch.where(half() > 0, 0.0, 9.0)
    assert loss(residual_task(), Hears(knows), of) < 1e-5
    other = {**of, "target": torch.where(half() > 0, of["target"], 3.0)}
    assert loss(residual_task(), Hears(knows), other) < 1e-5
    knows.error = torch.full((), 0.5)
    assert loss(residual_task(), Hears(knows), of) == pytest.approx(0.25, rel=1e-3)


def test_the_base_is_not_trained() -> None:
    task = residual_task()
    torch.autograd.backward(task.loss(task.network, batch(), seeded_generator(0)))
    assert all(one.grad is None for one in task.base.parameters())
    assert any(one.grad is not None and bool(one.grad.any()) for one in task.unet.parameters())


def test_networks_take_slab_and_noisy_image() -> None:
    assert (REGRESSION.unet.config.in_channels, REGRESSION.unet.config.out_channels) == (N_SLAB, 2)
    assert denoising_config((8, 8), n_said=2).in_channels == 1 + N_SLAB + 2
    assert narrow(denoising_config((32, 64))) == denoising_config((8, 8))
    # Fast-DDPM: 128·(1, 1, 2, 2, 4, 4), two blocks, attention at 16 of 256 pixels.
    assert published_config().widths == tuple(128 * one for one in (1, 1, 2, 2, 4, 4))
    assert 256 // 2 ** published_config().attention_levels[0] == 16
