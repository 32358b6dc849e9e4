"""Tensors whose last axes differ in length, stacked: what is missing is NaN."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad


def stack_ragged(tensors: Sequence[Float[Tensor, "..."]]) -> Float[Tensor, "..."]:
    """Stack along a new first axis; shorter last axes are filled with NaN; scalars stay as they are."""
    longest = max(tensor.shape[-1] if tensor.ndim else 1 for tensor in tensors)
    return torch.stack(
        [
            pad(tensor, (0, longest - tensor.shape[-1]), value=torch.nan) if tensor.ndim else tensor
            for tensor in tensors
        ]
    )
