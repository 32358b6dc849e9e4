"""T1w images made of echoes by trained networks, over a whole volume.

    regression   ŷ and the scale b of its error, mean over planes; sd = √2·b
    diffusion    DDIM down the schedule the network was trained on; at each level the clean volume is what
                 the planes give for it, all three or one after the other, so that a draw hangs together
    residual     ŷ + sd·r:  the mean takes E[r], which the network predicts from pure noise, and draws take
                 r = E[r] + c·(DDIM of a few steps − E[r]), c making up for the spread few steps lose

Alternating planes: S. Lee et al., Improving 3D imaging with pre-trained perpendicular 2D diffusion models,
ICCV 2023.
"""

import math
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from unweight.core.errors import MissingValuesError, UsageError
from unweight.core.estimator import Progress
from unweight.core.seeding import seeded_generator
from unweight.diffusion.denoiser import Denoiser, Prediction, concat_condition
from unweight.diffusion.level import ItemNoise
from unweight.diffusion.samplers import Ddim, variance_correction
from unweight.diffusion.schedule import NoiseSchedule, cosine_schedule
from unweight.learn.mprage.tasks import (
    N_ANSWERS,
    TIME_UNIT,
    laplace_std,
    residual_inputs,
    split_output,
)
from unweight.learn.pairs.echo_channels import EVERYTHING, MASK, Conditions, slabs_of
from unweight.learn.pairs.pair import SPREAD, denormalise
from unweight.learn.pairs.planes import (
    AXIAL,
    THREE,
    Count,
    PlanarDenoiser,
    Planes,
    axes_of,
    chunks,
    n_batches,
    over_planes,
    slices_of,
)
from unweight.learn.pairs.scan_range import N_FEATURES, NEEDED
from unweight.nets.conditioned_unet import ConditionedUNet

Volume = Float[Tensor, "x y z"]
LOWEST = 0.0


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Synthesis:
    """A T1w image made of echoes, white matter at 1; 0 outside the brain.

    Attributes:
        mean: The estimate.
        sd: Its standard deviation, NaN where a method has none.
        draws: Single draws, where the method makes some.
    """

    mean: Volume
    sd: Volume
    draws: tuple[Volume, ...] = ()


class Synthesiser(ABC):
    """Makes a T1w image of the channels of a volume."""

    @abstractmethod
    def __call__(
        self,
        channels: Float[Tensor, "7 x y z"],
        conditions: Conditions = EVERYTHING,
        progress: Progress | None = None,
    ) -> Synthesis:
        """Make it.

        Args:
            channels: As `learn.pairs.echo_channels` makes them.
            conditions: Which of R2* and χ the network gets as input.
            progress: Called with the batches done and all of them.
        """

    @abstractmethod
    def n_calls(self, mask: Bool[Tensor, "x y z"]) -> int:
        """Return how many batches it asks for."""

    @abstractmethod
    def once(self, channels: Float[Tensor, "7 x y z"]) -> None:
        """Ask for one batch in the middle, to see how long that takes."""


def seconds_ahead(synthesise: Synthesiser, channels: Float[Tensor, "7 x y z"]) -> float:
    """Return about how long it will take, by the time one batch takes [s]."""
    synthesise.once(channels)
    began = time.perf_counter()
    synthesise.once(channels)
    return (time.perf_counter() - began) * synthesise.n_calls(channels[MASK] > 0)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Regression(Synthesiser):
    """One pass.

    Attributes:
        network: From slabs to image and, if it has two outputs, ln b.
        n_outputs: 2, or 1 for the image alone.
        spread: Factor on the standard deviation, found in calibration.
        planes: All three, or the axial one; one pass has no steps to take them by turns.
    """

    network: nn.Module
    n_outputs: int = N_ANSWERS
    spread: float = 1.0
    planes: Planes = Planes.THREE

    def __post_init__(self) -> None:
        if self.planes is Planes.ALTERNATE:
            raise UsageError(
                "planes can alternate only between the steps of a diffusion model",
                remedy="Use Planes.THREE or Planes.AXIAL.",
            )

    def __call__(
        self,
        channels: Float[Tensor, "7 x y z"],
        conditions: Conditions = EVERYTHING,
        progress: Progress | None = None,
    ) -> Synthesis:
        """Ask for every slice once in each plane."""
        axes = axes_of(self.planes)
        mask = channels[MASK] > 0
        count = Count(self.n_calls(mask), progress)

        def ask(axis: int, some: list[int]) -> Tensor:
            slabs = _slabs(channels, axis, some, conditions, self.network)
            output = count.done(self.network(slabs, *_scan(self.network, conditions, slabs)))
            if self.n_outputs == 1:
                return output[:, :1].float()
            image, log_scale = split_output(output)
            return torch.cat([image, laplace_std(log_scale).square()], dim=1)

        with torch.no_grad():
            values = over_planes(mask, axes, self.n_outputs, ask).to(channels.device)
        sd = values[1].sqrt() * SPREAD * self.spread if self.n_outputs > 1 else None
        return _synthesis(values[0], sd, mask)

    def n_calls(self, mask: Bool[Tensor, "x y z"]) -> int:
        """Return the batches of all planes."""
        return n_batches(mask, axes_of(self.planes))

    def once(self, channels: Float[Tensor, "7 x y z"]) -> None:
        """Ask for the middle."""
        with torch.no_grad():
            slabs = _slabs(channels, 2, _middle(channels), EVERYTHING, self.network)
            any_scan = Conditions(scan=(0.0,) * N_FEATURES)
            self.network(slabs, *_scan(self.network, any_scan, slabs))


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Diffusion(Synthesiser):
    """Draws of a Fast-DDPM; the estimate is their mean.

    Attributes:
        network: Of a noisy image and its slab.
        schedule: The one it was trained on.
        prediction: What it says.
        n_draws: How many.
        planes: At each step.
        seed: Of the noise.
        spread: Factor on the standard deviation of the draws.
    """

    network: nn.Module
    schedule: NoiseSchedule
    prediction: Prediction
    n_draws: int = 1
    planes: Planes = Planes.ALTERNATE
    seed: int = 0
    spread: float = 1.0

    def __post_init__(self) -> None:
        _check_draws(self.n_draws, 1)

    def __call__(
        self,
        channels: Float[Tensor, "7 x y z"],
        conditions: Conditions = EVERYTHING,
        progress: Progress | None = None,
    ) -> Synthesis:
        """Draw volumes."""
        mask = channels[MASK] > 0
        count = Count(self.n_calls(mask), progress)

        def condition(axis: int, some: list[int]) -> Tensor:
            return _slabs(channels, axis, some, conditions, self.network)

        denoiser = PlanarDenoiser(
            network=concat_condition(self.network),
            prediction=self.prediction,
            schedule=self.schedule,
            planes=self.planes,
            mask=mask,
            condition=condition,
            outside=-2.0,
            count=count,
        )
        drawn = [
            _drawn(denoiser, self.schedule, _noise(mask, self.seed, draw)) for draw in range(self.n_draws)
        ]
        return _of_draws(drawn, mask, self.spread)

    def n_calls(self, mask: Bool[Tensor, "x y z"]) -> int:
        """Return the batches of all steps of all draws."""
        return self.n_draws * sum(n_batches(mask, axes) for axes in _walk(self.planes, self.schedule))

    def once(self, channels: Float[Tensor, "7 x y z"]) -> None:
        """Ask for the middle, of pure noise."""
        slabs = _slabs(channels, 2, _middle(channels), EVERYTHING, self.network)
        with torch.no_grad():
            time_of_noise = self.schedule.time[-1:].to(slabs).expand(len(slabs))
            concat_condition(self.network)(slabs[:, :1], time_of_noise, slabs)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Residual(Synthesiser):
    """Regression, corrected by diffusion of its residual; draws if they are asked for.

    Attributes:
        base: The regression.
        network: Of the noisy residual, the slab and what the regression said.
        n_draws: How many; the standard deviation is that of the regression where there are fewer than 2.
        n_steps: Of each draw.
        planes: Of the mean, always all three but for AXIAL; of the steps of draws as they say.
        seed: Of the noise.
        spread: Factor on the standard deviation, found in calibration.
    """

    base: nn.Module
    network: nn.Module
    n_draws: int = 0
    n_steps: int = 4
    planes: Planes = Planes.ALTERNATE
    seed: int = 0
    spread: float = 1.0

    def __post_init__(self) -> None:
        _check_draws(self.n_draws, 0)
        if self.n_steps < 2:
            raise UsageError(f"draws of {self.n_steps} steps", remedy="Give at least 2.")

    def __call__(
        self,
        channels: Float[Tensor, "7 x y z"],
        conditions: Conditions = EVERYTHING,
        progress: Progress | None = None,
    ) -> Synthesis:
        """Make the mean, then the draws."""
        mask = channels[MASK] > 0
        axes = self._axes
        schedule = cosine_schedule(self.n_steps)
        count = Count(self.n_calls(mask), progress)
        pure = cosine_schedule(1)
        start = _noise(mask, self.seed, -1).normal()[0, 0]

        def ask(axis: int, some: list[int]) -> Tensor:
            slabs = _slabs(channels, axis, some, conditions, self.base)
            image, log_scale = split_output(count.done(self.base(slabs)))
            level = pure.at(torch.ones(len(some), dtype=torch.long), image)
            noisy = slices_of(start, axis, some).to(image)
            condition = residual_inputs(slabs, image, log_scale)
            velocity = count.done(
                concat_condition(self.network, time_unit=TIME_UNIT)(noisy, level.time, condition)
            ).float()
            middle = Prediction.VELOCITY.clean(velocity, noisy, level)
            sd = laplace_std(log_scale)
            return torch.cat([image + sd * middle, sd.square(), image, log_scale, middle], dim=1)

        with torch.no_grad():
            mean, square, image, log_scale, middle = over_planes(mask, axes, 5, ask).to(channels.device)
        sd = square.sqrt()
        if self.n_draws < 1:
            return _synthesis(mean, sd * SPREAD * self.spread, mask)
        values = torch.stack([image, log_scale])

        def condition(axis: int, some: list[int]) -> Tensor:
            slabs = _slabs(channels, axis, some, conditions, self.network)
            answer = slices_of(values, axis + 1, some).movedim(axis + 1, 0).to(slabs)
            return torch.cat([slabs, answer], dim=1)

        denoiser = PlanarDenoiser(
            network=concat_condition(self.network, time_unit=TIME_UNIT),
            prediction=Prediction.VELOCITY,
            schedule=schedule,
            planes=self.planes,
            mask=mask,
            condition=condition,
            count=count,
        )
        wider = math.sqrt(variance_correction(schedule))
        drawn = []
        for draw in range(self.n_draws):
            volume = _drawn(denoiser, schedule, _noise(mask, self.seed, draw))
            drawn.append(mean + sd * wider * self.spread * (volume - middle))
        images = _images(drawn, mask)
        if self.n_draws == 1:
            return _synthesis(mean, sd * SPREAD * self.spread, mask, images)
        spread = torch.stack(drawn).std(0) * SPREAD
        return _synthesis(mean, spread, mask, images)

    def n_calls(self, mask: Bool[Tensor, "x y z"]) -> int:
        """Return the batches of both networks for the mean, and of the steps of all draws."""
        steps = _walk(self.planes, cosine_schedule(self.n_steps))
        return 2 * n_batches(mask, self._axes) + self.n_draws * sum(n_batches(mask, step) for step in steps)

    def once(self, channels: Float[Tensor, "7 x y z"]) -> None:
        """Ask the regression for the middle; both take about as long."""
        with torch.no_grad():
            self.base(_slabs(channels, 2, _middle(channels), EVERYTHING, self.base))

    @property
    def _axes(self) -> tuple[int, ...]:
        """Across the slices that the mean is made of."""
        return AXIAL if self.planes is Planes.AXIAL else THREE


def _walk(planes: Planes, schedule: NoiseSchedule) -> list[tuple[int, ...]]:
    return [axes_of(planes, step) for step in range(1, schedule.n_steps + 1)]


def _drawn(denoiser: Denoiser, schedule: NoiseSchedule, noise: ItemNoise) -> Volume:
    with torch.no_grad():
        return Ddim(schedule=schedule)(denoiser, noise, None)[0, 0]


def _noise(mask: Tensor, seed: int, draw: int) -> ItemNoise:
    generator = seeded_generator(seed, "t1w", draw, device=mask.device)
    return ItemNoise(generators=(generator,), shape=(1, *mask.shape))


def _slabs(
    channels: Tensor, axis: int, some: list[int], conditions: Conditions, network: nn.Module
) -> Tensor:
    home = next(network.parameters()).device
    return slabs_of(channels, axis, some, conditions).to(home)


def _scan(network: nn.Module, conditions: Conditions, slabs: Tensor) -> tuple[Tensor, ...]:
    """Return the features of the scan for each slab, where the network takes them.

    Raises:
        MissingValuesError: It takes them, and the scan is not known.
    """
    if not isinstance(network, ConditionedUNet):
        return ()
    if conditions.scan is None:
        raise MissingValuesError(tuple(NEEDED.values()))
    return (torch.tensor(conditions.scan).to(slabs).expand(len(slabs), -1),)


def _middle(channels: Tensor) -> list[int]:
    """Return the axial slices of a batch in the middle."""
    batches = chunks(torch.ones_like(channels[MASK], dtype=torch.bool), 2)
    return batches[len(batches) // 2]


def _of_draws(drawn: list[Volume], mask: Tensor, spread: float) -> Synthesis:
    whole = torch.stack(drawn)
    sd = whole.std(0) * SPREAD * spread if len(drawn) > 1 else None
    return _synthesis(whole.mean(0), sd, mask, _images(drawn, mask))


def _images(drawn: list[Volume], mask: Tensor) -> tuple[Volume, ...]:
    """Return draws as intensities, 0 outside the mask."""
    return tuple(denormalise(item).clamp(min=LOWEST) * mask for item in drawn)


def _synthesis(mean: Volume, sd: Volume | None, mask: Tensor, draws: tuple[Volume, ...] = ()) -> Synthesis:
    unknown = torch.full_like(mean, math.nan)
    return Synthesis(
        mean=denormalise(mean).clamp(min=LOWEST) * mask,
        sd=unknown if sd is None else torch.where(mask, sd, unknown),
        draws=draws,
    )


def _check_draws(n_draws: int, least: int) -> None:
    if n_draws < least:
        raise UsageError(f"--draws {n_draws} is not possible", remedy=f"Give at least {least}.")
