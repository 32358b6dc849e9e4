"""A gated recurrent unit applied to each pixel with shared weights.

    r = sigma(W_r x + U_r h),   z = sigma(W_z x + U_z h)
    n = tanh(W_n x + r (U_n h)),   h' = (1 − z) n + z h         each W and U with its own bias

K. Cho et al., Learning phrase representations using RNN encoder-decoder, EMNLP 2014, in the variant of
torch.nn.GRUCell (reset after the product). The maps are 1x1 convolutions, so no pixel sees another.
"""

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unweight.nets.layers import convolution


@final
class PixelGRU(nn.Module):
    """One step of memory at each pixel.

    Attributes:
        from_input: W_r, W_z, W_n, one above the other.
        from_hidden: U_r, U_z, U_n.
    """

    def __init__(self, n_in: int, n_hidden: int, *, generator: torch.Generator) -> None:
        super().__init__()
        self.from_input = convolution(n_in, 3 * n_hidden, size=1, generator=generator)
        self.from_hidden = convolution(n_hidden, 3 * n_hidden, size=1, generator=generator)

    def forward(
        self,
        image: Float[Tensor, "batch channels height width"],
        hidden: Float[Tensor, "batch hidden height width"],
    ) -> Float[Tensor, "batch hidden height width"]:
        """Return the new hidden state, which is also the output."""
        input_reset, input_update, input_new = self.from_input(image).chunk(3, dim=1)
        hidden_reset, hidden_update, hidden_new = self.from_hidden(hidden).chunk(3, dim=1)
        reset = torch.sigmoid(input_reset + hidden_reset)
        update = torch.sigmoid(input_update + hidden_update)
        new = torch.tanh(input_new + reset * hidden_new)
        return new + update * (hidden - new)
