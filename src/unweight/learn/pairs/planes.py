"""Volumes through networks of slices, in one plane or in three.

Outputs of a network of slices for neighbouring slices need not fit together. In another plane it is the
rows that need not; the mean over three planes is smooth in all directions, and each error counts a third.
A denoiser of slices becomes one of volumes: at each level it is evaluated in some of the three planes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unweight.core.errors import UsageError
from unweight.core.estimator import Progress
from unweight.diffusion.denoiser import Denoiser, Network, NetworkDenoiser, Prediction
from unweight.diffusion.level import NoiseLevel
from unweight.diffusion.schedule import NoiseSchedule

Ask = Callable[[int, list[int]], Tensor]
"""Given an axis and slices across it, returns (slices, outputs, rows, columns)."""
AXIAL, THREE = (2,), (0, 1, 2)
PIXELS_AT_ONCE = 2**16


def over_planes(
    mask: Bool[Tensor, "x y z"], axes: Sequence[int], n_outputs: int, ask: Ask
) -> Float[Tensor, "outputs x y z"]:
    """Return the mean over planes of the output of a network for each slice that holds some of the mask.

    Args:
        mask: The voxels wanted; what is returned outside it is 0.
        axes: Across the slices of each plane.
        n_outputs: Channels that `ask` returns.
        ask: The network.

    Raises:
        UsageError: There is no plane.
    """
    if not axes or not set(axes) <= {0, 1, 2}:
        raise UsageError(f"no planes: {axes}", remedy="Give some of 0, 1 and 2.")
    total = torch.zeros(n_outputs, *mask.shape, device=mask.device)
    for axis in axes:
        across = total.movedim(axis + 1, 1)  # a view: what is added here is added there
        for some in chunks(mask, axis):
            values = ask(axis, some)
            across[:, some] += values.movedim(0, 1).to(total)
    return total * mask / len(axes)


def chunks(mask: Bool[Tensor, "x y z"], axis: int) -> list[list[int]]:
    """Return the slices across an axis that hold some of the mask, as many together as fit."""
    others = [index for index in range(3) if index != axis]
    wanted = mask.any(others[1]).any(others[0]).nonzero()[:, 0].tolist()
    pixels = mask.shape[others[0]] * mask.shape[others[1]]
    size = max(1, PIXELS_AT_ONCE // max(1, pixels))
    return [wanted[first : first + size] for first in range(0, len(wanted), size)]


def n_batches(mask: Bool[Tensor, "x y z"], axes: Sequence[int]) -> int:
    """Return how many times `over_planes` asks."""
    return sum(len(chunks(mask, axis)) for axis in axes)


class Planes(Enum):
    """The planes in which a network is applied to the volume."""

    AXIAL = "axial"
    ALTERNATE = "alternate"
    THREE = "three"


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class PlanarDenoiser(Denoiser):
    """A denoiser of volumes made of one of slices.

    Attributes:
        network: Of slices.
        prediction: What it says.
        schedule: By whose levels planes take turns.
        planes: In which it is asked.
        mask: Where it is asked.
        condition: Of slices, by axis and numbers.
        outside: What is clean outside the mask.
        count: Called after each batch.
    """

    network: Network
    prediction: Prediction
    schedule: NoiseSchedule
    planes: Planes
    mask: Tensor
    condition: Callable[[int, list[int]], Tensor]
    outside: float = 0.0
    count: "Count" = field(default_factory=lambda: Count(1, None))

    def __call__(
        self, noisy: Tensor, level: NoiseLevel, condition: Float[Tensor, "batch *condition"] | None
    ) -> Tensor:
        """Return the clean volume, the mean of what the planes of this level say."""
        volume = noisy[0, 0]
        index = int((self.schedule.time - float(level.time[0])).abs().argmin())
        slices = NetworkDenoiser(network=self.network, prediction=self.prediction)

        def ask(axis: int, some: list[int]) -> Tensor:
            condition = self.condition(axis, some)  # it lies where the network does
            here = NoiseLevel(
                alpha=level.alpha.expand(len(some)).to(condition.device),
                sigma=level.sigma.expand(len(some)).to(condition.device),
                time=level.time.expand(len(some)).to(condition.device),
            )
            noisy_slices = slices_of(volume, axis, some).to(condition.device)
            return self.count.done(slices(noisy_slices, here, condition))

        clean = over_planes(self.mask, axes_of(self.planes, index), 1, ask)[0].to(volume)
        return torch.where(self.mask, clean, torch.full_like(clean, self.outside))[None, None]


@final
class Count:
    """Turns batches into progress."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self._total, self._progress, self._done = max(1, total), progress, 0

    def done(self, output: Tensor) -> Tensor:
        """Count a batch and hand on its output."""
        self._done += 1
        if self._progress is not None:
            self._progress(min(self._done, self._total), self._total)
        return output


def axes_of(planes: Planes, step: int = 0) -> tuple[int, ...]:
    """Return the axes across the slices that are asked for at one step."""
    if planes is Planes.AXIAL:
        return AXIAL
    return (THREE[(step + 1) % 3],) if planes is Planes.ALTERNATE else THREE


def slices_of(volume: Tensor, axis: int, some: Sequence[int]) -> Tensor:
    """Return slices of a volume as a batch of one channel, or of channels left where they are."""
    index_select = volume.index_select(axis, torch.tensor(list(some), device=volume.device))
    return index_select.movedim(axis, 0)[:, None] if volume.ndim == 3 else index_select
