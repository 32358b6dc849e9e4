"""A pool of prepared slabs in memory, from which batches of turned and mirrored patches are drawn.

A batch is decided by its generator alone, so that training can stop anywhere and go on as if it had not.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from unweight.core.errors import UsageError


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class SlabPool:
    """Slabs, and how patches are drawn from them.

    Attributes:
        slabs: Tensors (slabs, channels, x, y) or (slabs, x, y) by name, all on one grid.
        patch: Voxels along each side of a patch.
        batch_size: Patches in a batch.
        whole: Names of tensors that belong to a slab as a whole, and have no grid.
    """

    slabs: Mapping[str, Tensor]
    patch: int
    batch_size: int
    whole: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        shapes = {(len(slab), *slab.shape[-2:]) for slab in self._gridded.values()}
        if len(shapes) != 1:
            raise UsageError(f"slabs on different grids: {sorted(shapes)}")
        if not 0 < self.patch <= min(next(iter(shapes))[1:]):
            raise UsageError(
                f"patches of {self.patch} voxels do not fit into slabs of {next(iter(shapes))[1:]}",
                remedy="Choose smaller patches or larger slabs.",
            )

    def __len__(self) -> int:
        return len(next(iter(self.slabs.values())))

    def __call__(self, generator: torch.Generator) -> dict[str, Float[Tensor, "batch ..."]]:
        """Draw a batch, in single precision."""
        height, width = next(iter(self._gridded.values())).shape[-2:]
        ends = torch.tensor([len(self), height - self.patch + 1, width - self.patch + 1, 4, 2])
        share = torch.rand(self.batch_size, 5, generator=generator)
        places = (share * ends).long().tolist()
        batch = {
            name: torch.stack([self._patch(slabs, *place) for place in places]).float()
            for name, slabs in self._gridded.items()
        }
        chosen = [place[0] for place in places]
        return batch | {name: self.slabs[name][chosen].float() for name in self.whole}

    @property
    def _gridded(self) -> dict[str, Tensor]:
        return {name: slabs for name, slabs in self.slabs.items() if name not in self.whole}

    def _patch(self, slabs: Tensor, slab: int, x: int, y: int, turns: int, mirrored: int) -> Tensor:
        window = slabs[slab, ..., x : x + self.patch, y : y + self.patch]
        window = window.flip(-1) if mirrored else window
        return torch.rot90(window, turns, (-2, -1))
