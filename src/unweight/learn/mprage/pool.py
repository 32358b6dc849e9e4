"""Batches for networks that turn echoes into a T1w image: patches of slices, in three planes.

Half of the patches lie about a voxel of the brain drawn evenly, the others about one of deep grey matter,
where there is some. A batch is decided by its generator alone, as in `learn.training.pool`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil
from typing import final

import torch
from jaxtyping import Int
from torch import Tensor

from unweight.core.errors import UsageError
from unweight.learn.mprage.echo_channels import BESIDE, FLAGS, MASK, NEIGHBOURS
from unweight.learn.mprage.pair import Pair
from unweight.metrics.structures import DEEP, LABELS

DEEP_SHARE, MIRRORED = 0.5, 0.5
AROUND = (-2, -1, 0, 1, 2)  # slices of the target, the middle one among them
KEPT_PLACES = 20_000  # voxels of each brain that patches may lie about


@final
@dataclass(frozen=True, eq=False)
class PairPool:
    """Brains, and how patches are drawn from them.

    Attributes:
        pairs: The brains.
        patch: Voxels along each side of a patch.
        batch_size: Patches in a batch.
    """

    pairs: tuple[Pair, ...]
    patch: int
    batch_size: int

    def __post_init__(self) -> None:
        if not self.pairs:
            raise UsageError("there are no pairs to learn from")
        smallest = min(min(pair.target.shape) for pair in self.pairs)
        if not 0 < self.patch <= smallest:
            raise UsageError(
                f"patches of {self.patch} voxels do not fit into brains of {smallest}",
                remedy="Choose smaller patches.",
            )

    def __call__(self, generator: torch.Generator) -> dict[str, Tensor]:
        """Draw a batch: channels of slabs, target and labels of their middle slices, target around it."""
        share = torch.rand(self.batch_size, 7, generator=generator)
        parts = [self._patch(row) for row in share.tolist()]
        return {name: torch.stack([part[name] for part in parts]) for name in parts[0]}

    @cached_property
    def _places(self) -> list[tuple[Int[Tensor, "brain 3"], Int[Tensor, "deep 3"]]]:
        deep = torch.tensor([LABELS[name] for name in DEEP], dtype=torch.uint8)
        found = []
        for pair in self.pairs:
            brain = _some((pair.channels[MASK] > 0).nonzero())
            inner = _some(torch.isin(pair.labels, deep).nonzero())
            found.append((brain, inner if len(inner) else brain))
        return found

    def _patch(self, share: Sequence[float]) -> dict[str, Tensor]:
        """Return one patch; the numbers decide subject, place, plane and mirrors."""
        subject = int(share[0] * len(self.pairs))
        pair = self.pairs[subject]
        places = self._places[subject][1 if share[1] < DEEP_SHARE else 0]
        place = places[int(share[2] * len(places))].tolist()
        axis = int(share[3] * 3)
        first, second = (one for one in range(3) if one != axis)
        window: list[slice | int] = [0, 0, 0]
        for along, jitter in ((first, share[4]), (second, share[5])):
            start = place[along] - int(jitter * self.patch)
            start = min(max(0, start), pair.target.shape[along] - self.patch)
            window[along] = slice(start, start + self.patch)
        last = pair.target.shape[axis] - 1

        def cut(step: int) -> tuple[slice | int, ...]:
            window[axis] = min(max(0, place[axis] + step), last)
            return tuple(window)

        here = cut(0)
        channels = torch.cat(
            [
                pair.channels[:, *here],
                *(pair.channels[BESIDE, *cut(step)] for step in NEIGHBOURS),
                torch.ones(FLAGS, self.patch, self.patch, dtype=torch.float16),
            ]
        ).float()
        made = {
            "channels": channels,
            "target": pair.target[here].float()[None],
            "around": torch.stack([pair.target[cut(step)] for step in AROUND]).float(),
            "labels": pair.labels[here].float()[None],
        }
        if share[6] < MIRRORED and first == 0:  # left and right change places
            made = {name: one.flip(-2) for name, one in made.items()}
        return made


def _some(places: Int[Tensor, "voxels 3"]) -> Int[Tensor, "some 3"]:
    """Return at most so many places, evenly out of all."""
    return places[:: max(1, ceil(len(places) / KEPT_PLACES))]
