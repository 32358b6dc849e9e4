"""The published baseline, a conditional GAN, on weighted images: its loss, see `nets.pgan`."""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unweight.learn.training.task import Batch, Task
from unweight.learn.weighted.task import MIDDLE, N_MAPS, SPREAD, stacked
from unweight.nets.pgan import Pgan, adversarial_loss

PIXELS = 100.0  # λ


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class PganTask(Task):
    """A conditional GAN and its loss.

    Attributes:
        pgan: Generator and critic.
    """

    pgan: Pgan

    @property
    def network(self) -> nn.Module:
        """Both networks."""
        return self.pgan

    def loss(self, network: nn.Module, batch: Batch, generator: torch.Generator) -> Float[Tensor, ""]:
        """Return the loss of a batch: adversarial, and 100 times the mean absolute error."""
        target = batch["target"]
        known = torch.isfinite(target)
        spread, middle = (torch.tensor(one).to(target)[:, None, None] for one in (SPREAD, MIDDLE))
        truth = torch.where(known, (target.nan_to_num() - middle) / spread, 0.0)
        made, verdicts = network(stacked(batch), truth, known.to(truth))
        away = ((made[:, :N_MAPS].float() - truth).abs() * known).sum() / known.sum().clamp(min=1)
        loss: Tensor = adversarial_loss(verdicts) + PIXELS * away
        return loss
