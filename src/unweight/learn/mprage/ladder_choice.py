"""Which of the two short ladders a Fast-DDPM is trained and sampled on, and what it says."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import final

from unweight.diffusion.denoiser import Prediction
from unweight.diffusion.schedule import Ladder, non_uniform_ladder, uniform_ladder


class ShortLadder(Enum):
    """The published ladders: eleven even steps, or ten that are denser at the noisy end."""

    UNIFORM = "uniform"
    NON_UNIFORM = "non-uniform"


LADDERS: dict[ShortLadder, Callable[[], Ladder]] = {
    ShortLadder.UNIFORM: uniform_ladder,
    ShortLadder.NON_UNIFORM: non_uniform_ladder,
}


@final
@dataclass(frozen=True, kw_only=True)
class LadderChoice:
    """How a Fast-DDPM goes down.

    Attributes:
        ladder: One of the two.
        prediction: What the network says; epsilon as published.
    """

    ladder: ShortLadder = ShortLadder.NON_UNIFORM
    prediction: Prediction = Prediction.VELOCITY

    def levels(self) -> Ladder:
        """Return the ladder."""
        return LADDERS[self.ladder]()
