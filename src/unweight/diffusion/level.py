"""Noise levels, the forward process, and reproducible noise.

How noisy each item of a batch is: x = α x₀ + σ ε, with α² + σ² = 1.

The forward process: noise is added to a clean sample.

    q(x_t | x₀) = N(α_t x₀, σ_t² 1)

Reference: Ho, Jain, Abbeel, NeurIPS 2020 (arXiv 2006.11239), equation 4.

Noise with one generator for each item, so that an item is the same in any batch.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unweight.core.errors import UsageError
from unweight.core.seeding import seeded_generator


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class NoiseLevel:
    """One level for each item, single precision or better.

    Attributes:
        alpha: Share of the clean sample, 1 (clean) to 0 (noise only).
        sigma: Standard deviation of the noise, 0 to 1.
        time: The input of a network in place of both; its scale is that of the schedule.
    """

    alpha: Float[Tensor, " batch"]
    sigma: Float[Tensor, " batch"]
    time: Float[Tensor, " batch"]

    def along(self, sample: Float[Tensor, "batch *rest"]) -> tuple[Tensor, Tensor]:
        """Return α and σ with as many axes as the sample, ready to multiply it."""
        shape = (-1, *(1,) * (sample.ndim - 1))
        return self.alpha.reshape(shape), self.sigma.reshape(shape)


def diffuse(
    clean: Float[Tensor, "batch channels *space"],
    noise: Float[Tensor, "batch channels *space"],
    level: NoiseLevel,
) -> Float[Tensor, "batch channels *space"]:
    """Return the clean sample with this standard normal noise at this level."""
    alpha, sigma = level.along(clean)
    return (alpha * clean + sigma * noise).to(clean)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class ItemNoise:
    """Where a sampler takes its randomness from. Each draw moves the generators on.

    Attributes:
        generators: One for each item of the batch, all on one device.
        shape: Channels and space of an item.
        dtype: Precision of what is drawn, and so of the samples.
    """

    generators: tuple[torch.Generator, ...]
    shape: tuple[int, ...]
    dtype: torch.dtype = torch.float32

    def __post_init__(self) -> None:
        if not self.generators:
            raise UsageError("a batch has at least one item, and a generator for each")
        if len({generator.device for generator in self.generators}) > 1:
            raise UsageError("the generators of a batch must be on one device")
        if len({id(generator) for generator in self.generators}) < len(self.generators):
            raise UsageError(
                "two items share a generator, so that each would depend on the other",
                remedy="Make one for each item, as item_noise does.",
            )

    def normal(self) -> Float[Tensor, "batch channels *space"]:
        """Return standard normal noise for every item."""
        return torch.stack(
            [
                torch.randn(self.shape, generator=generator, dtype=self.dtype, device=generator.device)
                for generator in self.generators
            ]
        )

    def integers(self, first: int, last: int) -> Int[Tensor, " batch"]:
        """Return a number from first to last, both included, for every item."""
        return torch.cat(
            [
                torch.randint(first, last + 1, (1,), generator=generator, device=generator.device)
                for generator in self.generators
            ]
        )


def item_noise(
    seed: int,
    items: Iterable[int],
    shape: tuple[int, ...],
    dtype: torch.dtype = torch.float32,
    device: torch.device | None = None,
) -> ItemNoise:
    """Return fresh noise for these items of all that will ever be sampled with this seed.

    Args:
        seed: The same seed and item give the same sample.
        items: Numbers of the items; a second batch goes on where the first ended.
        shape: Channels and space of an item.
        dtype: Precision of the samples.
        device: Where to draw; the CPU and a GPU give different numbers.
    """
    generators = tuple(seeded_generator(seed, "diffusion", item, device=device) for item in items)
    return ItemNoise(generators=generators, shape=shape, dtype=dtype)
