"""A denoiser of volumes made of one of slices: at each level it is asked in some of three planes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from unweight.core.estimator import Progress
from unweight.diffusion.denoiser import Denoiser, Network, NetworkDenoiser, Prediction
from unweight.diffusion.level import NoiseLevel
from unweight.diffusion.schedule import Ladder
from unweight.learn.mprage.planes import AXIAL, THREE, over_planes


class Planes(Enum):
    """In which planes a network sees the volume."""

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
        ladder: By whose levels planes take turns.
        planes: In which it is asked.
        mask: Where it is asked.
        condition: Of slices, by axis and numbers.
        outside: What is clean outside the mask.
        count: Told of each batch.
    """

    network: Network
    prediction: Prediction
    ladder: Ladder
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
        rung = int((self.ladder.time - float(level.time[0])).abs().argmin())
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

        clean = over_planes(self.mask, axes_of(self.planes, rung), 1, ask)[0].to(volume)
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
    found = volume.index_select(axis, torch.tensor(list(some), device=volume.device))
    return found.movedim(axis, 0)[:, None] if volume.ndim == 3 else found
