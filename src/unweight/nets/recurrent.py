"""The recurrent inference machine and its recurrent unit.

A gated recurrent unit applied to each pixel with shared weights.

    r = sigma(W_r x + U_r h),   z = sigma(W_z x + U_z h)
    n = tanh(W_n x + r (U_n h)),   h' = (1 − z) n + z h         each W and U with its own bias

K. Cho et al., Learning phrase representations using RNN encoder-decoder, EMNLP 2014, in the variant of
torch.nn.GRUCell (reset after the product). The maps are 1x1 convolutions, so no pixel sees another.

The recurrent inference machine: an optimiser whose steps are learned.

    (d_t, h_{t+1}) = cell(x_t, grad_t, h_t),   x_{t+1} = P(x_t + d_t),   h_0 = 0

P. Putzky and M. Welling, Recurrent inference machines for solving inverse problems, arXiv 1706.04008; the
cell is that of E. R. Sabidussi et al., Medical Image Analysis 74:102220, 2021:

    [x, grad] – conv3x3 – ReLU – GRU – conv3x3 – ReLU – conv3x3 – ReLU – GRU – conv1x1

with GRUs per pixel. P brings a state back to where it may be; it is left out unless it is given. What the
gradient is of, and how it is scaled, is up to the caller: the cell knows only that it has
gradient_channels channels. The last convolution starts at zero: untrained, it stands still.

RecurrentConfig(state_channels=3, gradient_channels=3) has 41,475 parameters.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from unweight.core.errors import UsageError
from unweight.nets.layers import check_channels, check_counts, check_widths, convolution, silence


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


class Hidden(NamedTuple):
    """The memory of the cell.

    Attributes:
        shallow: State of the first GRU.
        deep: State of the second.
    """

    shallow: Float[Tensor, "batch shallow height width"]
    deep: Float[Tensor, "batch deep height width"]


@final
@dataclass(frozen=True, kw_only=True)
class RecurrentConfig:
    """What a recurrent inference machine is made of.

    Attributes:
        state_channels: Channels of what is estimated.
        gradient_channels: Channels the caller gives at each step.
        widths: Channels after each of the three 3x3 convolutions; the GRUs have the first and the last.
        n_steps: How often the cell is applied.
    """

    state_channels: int
    gradient_channels: int
    widths: tuple[int, ...] = (36, 36, 36)
    n_steps: int = 6

    def __post_init__(self) -> None:
        check_counts(self, "state_channels", "gradient_channels", "n_steps")
        check_widths(self, self.widths)
        if len(self.widths) != 3:
            raise UsageError(
                f"RecurrentConfig.widths has {len(self.widths)} entries", remedy="The cell needs three."
            )


@final
class RecurrentCell(nn.Module):
    """One step: what to add to the state, and what to remember.

    Attributes:
        config: What it was built from.
        first: conv3x3 on state and gradient.
        shallow: First GRU.
        second: conv3x3.
        third: conv3x3.
        deep: Second GRU.
        head: conv1x1 to the increment.
    """

    def __init__(self, config: RecurrentConfig, *, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        n_in, (item, two, three) = config.state_channels + config.gradient_channels, config.widths
        self.first = convolution(n_in, item, generator=generator)
        self.shallow = PixelGRU(item, item, generator=generator)
        self.second = convolution(item, two, generator=generator)
        self.third = convolution(two, three, generator=generator)
        self.deep = PixelGRU(three, three, generator=generator)
        self.head = convolution(three, config.state_channels, size=1, generator=generator)
        silence(self.head)

    def blank(self, state: Float[Tensor, "batch state height width"]) -> Hidden:
        """Return the memory before the first step: zeros."""
        shape = (state.shape[0], *state.shape[2:])
        shallow, _, deep = (
            state.new_zeros(shape[0], width, *shape[1:]).contiguous(memory_format=torch.channels_last)
            for width in self.config.widths
        )
        return Hidden(shallow=shallow, deep=deep)

    def forward(
        self,
        state: Float[Tensor, "batch state height width"],
        gradient: Float[Tensor, "batch gradient height width"],
        hidden: Hidden,
    ) -> tuple[Float[Tensor, "batch state height width"], Hidden]:
        """Return the increment of the state and the new memory."""
        check_channels("RecurrentCell state", actual=state.shape[1], expected=self.config.state_channels)
        check_channels(
            "RecurrentCell gradient", actual=gradient.shape[1], expected=self.config.gradient_channels
        )
        both = torch.cat([state, gradient], dim=1).contiguous(memory_format=torch.channels_last)
        shallow = self.shallow(F.relu(self.first(both)), hidden.shallow)
        features = F.relu(self.third(F.relu(self.second(shallow))))
        deep = self.deep(features, hidden.deep)
        return self.head(deep), Hidden(shallow=shallow, deep=deep)


@final
class RecurrentInference(nn.Module):
    """The cell, unrolled.

    Attributes:
        config: What it was built from.
        cell: The cell, the same at every step.
    """

    def __init__(self, config: RecurrentConfig, *, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        self.cell = RecurrentCell(config, generator=generator)

    def forward(
        self,
        start: Float[Tensor, "batch state height width"],
        gradient_at: Callable[[Tensor], Tensor],
        project: Callable[[Tensor], Tensor] | None = None,
    ) -> Float[Tensor, "steps batch state height width"]:
        """Return the state after each step; training weighs them all, inference takes the last.

        Args:
            start: Where to begin.
            gradient_at: Gives the gradient (batch, gradient_channels, height, width) at a state. It is
                differentiated through if it keeps its graph.
            project: Brings the state back to where it may be after each step, as `torch.abs` does with
                what cannot be negative; None for nowhere.
        """
        state, hidden = start, self.cell.blank(start)
        states = []
        for _ in range(self.config.n_steps):
            increment, hidden = self.cell(state, gradient_at(state), hidden)
            state = state + increment if project is None else project(state + increment)
            states.append(state)
        return torch.stack(states)
