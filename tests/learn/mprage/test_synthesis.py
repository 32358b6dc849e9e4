"""Volumes made by networks whose answer is known."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor, nn

from unweight.core.errors import UsageError
from unweight.core.seeding import seeded_generator
from unweight.diffusion.denoiser import Prediction
from unweight.diffusion.schedule import NoiseSchedule
from unweight.learn.mprage.synthesis import (
    Diffusion,
    Planes,
    Regression,
    Residual,
    Synthesis,
    Synthesiser,
    axes_of,
    seconds_ahead,
)
from unweight.learn.mprage.tasks import ScheduleConfig, ShortSchedule
from unweight.learn.pairs import planes as planes_module
from unweight.learn.pairs.echo_channels import (
    CHI,
    EVERYTHING,
    LEVEL,
    MASK,
    N_CHANNELS,
    N_SLAB,
    R2STAR,
    Conditions,
)
from unweight.learn.pairs.pair import SPREAD, denormalise, normalise

SHAPE = (13, 16, 18)
ALL = list(Planes)
LOG_B = -2.5
SD = math.sqrt(2) * math.exp(LOG_B)  # as networks see it
UNIFORM = ScheduleConfig(ladder=ShortSchedule.UNIFORM).levels()


def brain() -> Tensor:
    """An ellipsoid that leaves slices empty at all ends."""
    axes = (torch.linspace(-1.3, 1.3, size) for size in SHAPE)
    x, y, z = torch.meshgrid(*axes, indexing="ij")
    return x**2 + y**2 + z**2 < 1


MASKED = brain()


def volume() -> Tensor:
    """Channels of noise, LEVEL between ±0.8, so that images are above 0."""
    channels = torch.randn(N_CHANNELS, *SHAPE, generator=seeded_generator(1))
    channels = (0.4 * channels).clamp(-0.8, 0.8) * MASKED
    channels[MASK] = MASKED.float()
    return channels


VOLUME = volume()
Answer = Callable[[Tensor], Tensor]


class Slow:
    """Takes a millisecond."""

    def __call__(self, channels: Tensor) -> Tensor:
        time.sleep(0.001)
        return channels[:, [LEVEL, LEVEL]]


class Stub(nn.Module):
    """A network of slabs that answers by a function of them, and counts."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.answer, self.here, self.n_calls = answer, nn.Parameter(torch.zeros(1)), 0
        self.shapes: list[tuple[int, ...]] = []

    def forward(self, channels: Tensor) -> Tensor:
        assert channels.shape[1] == N_SLAB
        self.n_calls += 1
        self.shapes.append(tuple(channels.shape[2:]))
        return self.answer(channels)


def level_with(log_b: float = LOG_B) -> Answer:
    """The image is LEVEL."""
    return lambda slab: torch.stack([slab[:, LEVEL], torch.full_like(slab[:, LEVEL], log_b)], dim=1)


def by_rows(slab: Tensor) -> Tensor:
    """Each plane says a tenth of the number of rows, which tells planes apart, and a scale of its own."""
    rows = torch.full_like(slab[:, :1], slab.shape[2] / 10 - 1)
    return torch.cat([rows, torch.full_like(rows, math.log(slab.shape[3] / 100))], dim=1)


@pytest.mark.parametrize("planes", [Planes.AXIAL, Planes.THREE])
def test_a_regression_that_says_a_channel_makes_it(planes: Planes) -> None:
    made = Regression(network=Stub(level_with()), planes=planes, spread=1.5)(VOLUME)
    torch.testing.assert_close(made.mean, denormalise(VOLUME[LEVEL]) * MASKED)
    torch.testing.assert_close(made.sd[MASKED], torch.full((int(MASKED.sum()),), 1.5 * SD * SPREAD))
    assert bool((made.mean[~MASKED] == 0).all()) and bool(made.sd[~MASKED].isnan().all())
    assert made.draws == ()


def test_planes_are_averaged_and_variances_too() -> None:
    """13, 16 and 18 along the axes: rows are 16, 13, 13 and columns 18, 18, 16."""
    three = Regression(network=Stub(by_rows))(VOLUME)
    assert three.mean[MASKED].unique().tolist() == pytest.approx([0.35 * (0.6 + 0.3 + 0.3) / 3 + 0.7])
    sd = 0.35 * math.sqrt(2 * (0.18**2 + 0.18**2 + 0.16**2) / 3)
    assert three.sd[MASKED].tolist() == pytest.approx([sd] * int(MASKED.sum()))
    axial = Regression(network=Stub(by_rows), planes=Planes.AXIAL)(VOLUME)
    assert axial.mean[MASKED].unique().tolist() == pytest.approx([0.35 * 0.3 + 0.7])
    assert axial.sd[MASKED].tolist() == pytest.approx([0.35 * math.sqrt(2) * 0.16] * int(MASKED.sum()))


def test_an_image_alone_has_no_sd_and_none_is_below_0() -> None:
    made = Regression(network=Stub(lambda slab: 5 * slab[:, LEVEL : LEVEL + 1]), n_outputs=1)(VOLUME)
    assert bool(made.sd.isnan().all())
    torch.testing.assert_close(made.mean, denormalise(5 * VOLUME[LEVEL]).clamp(min=0) * MASKED)
    assert bool((made.mean[MASKED] == 0).any())


@pytest.mark.parametrize("told", [EVERYTHING, Conditions(r2star=False), Conditions(chi=False)])
def test_a_network_is_told_what_was_asked(told: Conditions) -> None:
    made = Regression(network=Stub(lambda slab: slab[:, [R2STAR, CHI]] + slab[:, [-2, -1]] / 8))(
        VOLUME, told
    )
    r2star = (VOLUME[R2STAR] + 1 / 8) * told.r2star
    torch.testing.assert_close(made.mean, denormalise(r2star).clamp(min=0) * MASKED)
    made = Regression(network=Stub(lambda slab: slab[:, CHI : CHI + 1]), n_outputs=1)(VOLUME, told)
    torch.testing.assert_close(made.mean, denormalise(VOLUME[CHI] * told.chi) * MASKED)


@dataclass
class Levels:
    """α and σ by the time a network is told."""

    schedule: NoiseSchedule | None

    def __call__(self, told: Tensor) -> tuple[Tensor, Tensor]:
        if self.schedule is None:
            turn = math.pi / 2 * told.double() / 1000
            return turn.cos(), turn.sin()
        indices = (self.schedule.time[None] - told[:, None]).abs().argmin(1)
        return self.schedule.alpha[indices], self.schedule.sigma[indices]


class Denoises(nn.Module):
    """A denoiser of slices that knows the clean image from what it is denormalise beside."""

    def __init__(
        self,
        clean: Answer | None,
        schedule: NoiseSchedule | None = None,
        said: Prediction = Prediction.VELOCITY,
    ) -> None:
        super().__init__()
        self.clean, self.levels, self.said = clean, Levels(schedule), said
        self.here = nn.Parameter(torch.zeros(1))
        self.shown: list[Tensor] = []
        self.times: list[float] = []

    @property
    def n_calls(self) -> int:
        return len(self.times)

    def forward(self, image: Tensor, told: Tensor) -> Tensor:
        noisy, beside = image[:, :1], image[:, 1:]
        self.shown.append(image)
        self.times.append(float(told[0]))
        assert told.unique().numel() == 1
        if self.clean is None:  # of white noise, whose velocity is 0 on average
            return torch.zeros_like(noisy)
        alpha, sigma = (one.to(noisy)[:, None, None, None] for one in self.levels(told))
        clean = self.clean(beside)
        noise = (noisy - alpha * clean) / sigma
        return noise if self.said is Prediction.EPSILON else alpha * noise - sigma * clean


def level(beside: Tensor) -> Tensor:
    return beside[:, LEVEL : LEVEL + 1]


def diffusion(clean: Answer | None = level, **settings: object) -> tuple[Diffusion, Denoises]:
    said = Prediction(settings.get("prediction", Prediction.VELOCITY))
    network = Denoises(clean, UNIFORM, said)
    chosen = {"prediction": said, **settings}
    return Diffusion(network=network, schedule=UNIFORM, **chosen), network  # type: ignore[arg-type]


@pytest.mark.parametrize("prediction", [Prediction.VELOCITY, Prediction.EPSILON])
@pytest.mark.parametrize("planes", ALL)
def test_a_perfect_denoiser_makes_the_volume(planes: Planes, prediction: Prediction) -> None:
    made = diffusion(planes=planes, prediction=prediction)[0](VOLUME)
    # From ε the error is that of single precision times σ/α = 157.
    near = 1e-3 if prediction is Prediction.EPSILON else 1e-5
    torch.testing.assert_close(made.mean, denormalise(VOLUME[LEVEL]) * MASKED, rtol=0, atol=near)
    assert len(made.draws) == 1 and torch.equal(made.draws[0], made.mean)
    assert bool(made.sd.isnan().all())


def white(seed: int, n_draws: int = 1, planes: Planes = Planes.ALTERNATE, spread: float = 1.0) -> Synthesis:
    return diffusion(None, seed=seed, n_draws=n_draws, planes=planes, spread=spread)[0](VOLUME)


def test_the_seed_decides_a_draw() -> None:
    before = torch.random.get_rng_state()
    made = white(3, n_draws=2)
    assert torch.equal(before, torch.random.get_rng_state())
    again, other, more = white(3, n_draws=2), white(4, n_draws=2), white(3, n_draws=3)
    for number in range(2):
        assert torch.equal(made.draws[number], again.draws[number])
        assert torch.equal(made.draws[number], more.draws[number])
        assert not torch.equal(made.draws[number], other.draws[number])
    assert float((made.draws[0] - made.draws[1])[MASKED].abs().mean()) > 0.02


def test_the_estimate_is_the_mean_of_the_draws_and_the_sd_theirs() -> None:
    """Where no draw is cut off at 0, for there the mean of what is denormalise is another."""
    one = white(3, n_draws=4, spread=1.5)
    whole = torch.stack(one.draws)
    kept = MASKED & (whole > 0).all(0)
    assert float(kept.sum()) > 0.7 * float(MASKED.sum())
    torch.testing.assert_close(one.mean[kept], whole.mean(0)[kept])
    torch.testing.assert_close(one.sd[kept], 1.5 * whole.std(0)[kept])
    assert bool((whole[:, ~MASKED] == 0).all()) and bool(one.sd[~MASKED].isnan().all())


def axis_of(image: Tensor) -> int:
    """Return the axis across slices by their shape."""
    (axis,) = [one for one in range(3) if tuple(SHAPE[:one] + SHAPE[one + 1 :]) == tuple(image.shape[2:])]
    return axis


def test_planes_take_turns_and_the_last_is_axial() -> None:
    synthesise, network = diffusion(None)
    synthesise(VOLUME)
    assert network.times == UNIFORM.time[1:].flip(0).tolist()
    found = [axis_of(image) for image in network.shown]
    assert found[::-1] == ([2, 0, 1] * 4)[: UNIFORM.n_steps]
    for planes, axes in ((Planes.AXIAL, [2]), (Planes.THREE, [0, 1, 2])):
        synthesise, network = diffusion(None, planes=planes)
        synthesise(VOLUME)
        assert [axis_of(image) for image in network.shown] == axes * UNIFORM.n_steps


def test_outside_the_brain_a_network_is_shown_what_it_was_trained_with() -> None:
    """The target is 0 there, and noise of σ = 0.01 is left at the last step."""
    synthesise, network = diffusion(None)
    synthesise(VOLUME)
    outside = network.shown[-1][:, 0][network.shown[-1][:, 1 + MASK] == 0]
    assert float((outside - normalise(torch.zeros(()))).abs().max()) < 0.1
    assert float(outside.std()) == pytest.approx(0.01, rel=0.1)


def about(rest: Answer) -> Answer:
    """A residual found from the slab, the regression's image and scale beside it as they should be."""

    def asked(beside: Tensor) -> Tensor:
        assert beside.shape[1] == N_SLAB + 2
        inside = beside[:, MASK] > 0
        torch.testing.assert_close(beside[:, -2][inside], beside[:, LEVEL][inside])
        torch.testing.assert_close(beside[:, -1][inside], torch.full_like(beside[:, -1][inside], LOG_B))
        return rest(beside)

    return asked


def r2star(beside: Tensor) -> Tensor:
    return beside[:, R2STAR : R2STAR + 1]


def residual(rest: Answer | None = r2star, **settings: object) -> tuple[Residual, Stub, Denoises]:
    base, network = Stub(level_with()), Denoises(None if rest is None else about(rest))
    return Residual(base=base, network=network, **settings), base, network  # type: ignore[arg-type]


@pytest.mark.parametrize("planes", ALL)
def test_the_mean_is_what_the_regression_says_and_what_it_leaves_on_average(planes: Planes) -> None:
    made = residual(planes=planes, spread=1.5)[0](VOLUME)
    expected = denormalise(VOLUME[LEVEL] + SD * VOLUME[R2STAR])
    torch.testing.assert_close(made.mean, expected * MASKED, rtol=0, atol=1e-6)
    torch.testing.assert_close(made.sd[MASKED], torch.full((int(MASKED.sum()),), 1.5 * SD * SPREAD))
    assert made.draws == () and bool(made.sd[~MASKED].isnan().all())


@pytest.mark.parametrize("planes", ALL)
def test_a_residual_that_is_certain_is_the_same_in_every_draw(planes: Planes) -> None:
    made = residual(planes=planes, n_draws=2)[0](VOLUME)
    for draw in made.draws:
        torch.testing.assert_close(draw, made.mean, rtol=0, atol=1e-5)
    assert float(made.sd[MASKED].max()) < 1e-5


@pytest.mark.parametrize("n_steps", [2, 4, 8])
def test_a_white_residual_has_unit_variance_however_few_the_steps(n_steps: int) -> None:
    """Steps lose cos(π/2K)^K of it, which is made up for: ±4 standard errors of a variance."""
    made = residual(None, n_draws=3, n_steps=n_steps)[0](VOLUME)
    torch.testing.assert_close(made.mean, denormalise(VOLUME[LEVEL]) * MASKED)
    away = (torch.stack(made.draws) - made.mean)[:, MASKED] / (SD * SPREAD)
    n = away.numel()
    assert float(away.mean()) == pytest.approx(0, abs=4 / n**0.5)
    assert float(away.var()) == pytest.approx(1, abs=4 * (2 / n) ** 0.5)
    torch.testing.assert_close(made.sd[MASKED], torch.stack(made.draws).std(0)[MASKED])
    wider = residual(None, n_draws=3, n_steps=n_steps, spread=1.5)[0](VOLUME)
    torch.testing.assert_close(wider.sd[MASKED], 1.5 * made.sd[MASKED])


def test_one_draw_has_the_sd_of_the_regression() -> None:
    none, one, two = (residual(None, n_draws=n)[0](VOLUME) for n in (0, 1, 2))
    torch.testing.assert_close(one.sd, none.sd, equal_nan=True)
    assert torch.equal(one.draws[0], two.draws[0]) and torch.equal(one.mean, two.mean)
    other = residual(None, n_draws=1, seed=1)[0](VOLUME)
    assert not torch.equal(other.draws[0], one.draws[0])


def known(kind: str, planes: Planes) -> tuple[Synthesiser, Callable[[], int]]:
    """Return a way, and how often its networks were asked."""
    if kind == "regression":
        network = Stub(level_with())
        made = Regression(network=network, planes=Planes.THREE if planes is Planes.ALTERNATE else planes)
        return made, lambda: network.n_calls
    if kind == "diffusion":
        drawn, denoiser = diffusion(planes=planes, n_draws=2)
        return drawn, lambda: denoiser.n_calls
    n_draws = 2 if kind == "draws" else 0
    corrected, base, rest = residual(planes=planes, n_draws=n_draws)
    return corrected, lambda: base.n_calls + rest.n_calls


KINDS = ["regression", "diffusion", "residual", "draws"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("planes", ALL)
def test_calls_are_as_many_as_were_said(kind: str, planes: Planes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planes_module, "PIXELS_AT_ONCE", 1700)  # seven slices, and less than all
    synthesise, asked = known(kind, planes)
    told: list[tuple[int, int]] = []
    expected = synthesise.n_calls(MASKED)
    synthesise(VOLUME, EVERYTHING, lambda done, total: told.append((done, total)))
    assert asked() == expected > 1
    assert told == [(done, expected) for done in range(1, expected + 1)]


@pytest.mark.parametrize("kind", KINDS)
def test_batches_do_not_change_the_image(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = known(kind, Planes.ALTERNATE)[0](VOLUME)
    monkeypatch.setattr(planes_module, "PIXELS_AT_ONCE", 700)
    torch.testing.assert_close(known(kind, Planes.ALTERNATE)[0](VOLUME).mean, whole.mean)


def test_seconds_ahead_are_those_of_one_batch_times_all() -> None:
    slow = Stub(Slow())
    made = Regression(network=slow)
    ahead = seconds_ahead(made, VOLUME)
    assert ahead >= 0.001 * made.n_calls(MASKED) and slow.n_calls == 2
    for synthesise in (diffusion(n_draws=2)[0], Residual(base=slow, network=Denoises(None), n_draws=1)):
        assert seconds_ahead(synthesise, VOLUME) > 0
    assert seconds_ahead(Residual(base=slow, network=Denoises(None)), VOLUME) >= 0.006


def test_planes_by_step() -> None:
    assert [axes_of(Planes.ALTERNATE, step) for step in range(1, 7)] == [(2,), (0,), (1,)] * 2
    assert axes_of(Planes.AXIAL, 3) == (2,) and axes_of(Planes.THREE, 3) == (0, 1, 2)


def test_what_makes_no_draws_is_refused() -> None:
    with pytest.raises(UsageError, match=r"--draws 0.*at least 1"):
        diffusion(n_draws=0)
    with pytest.raises(UsageError, match=r"--draws -1.*at least 0"):
        residual(n_draws=-1)
    with pytest.raises(UsageError, match=r"draws of 1 steps\. Give at least 2"):
        replace(residual()[0], n_steps=1)
