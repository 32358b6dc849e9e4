"""T1, PD and B from weighted images by a residual network: the published ResNet baseline.

The network predicts the tanh-scaled maps from the images of one slice; it is trained on their mean square
error over voxels with water. One evaluation, no uncertainty of its own: standard deviations are the
relative errors found in validation, one number per map.

References: S. Wang et al., qMRI Diffusor, arXiv 2407.16477; the network, E. R. Sabidussi et al., Medical
Image Analysis 74:102220, 2021 (`nets.resnet`). As published, its batch normalisation uses the content of
the image; that is `Normalisation.BATCH`. The default here, per pixel, does not.
"""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unweight.core.errors import UsageError
from unweight.core.estimator import Progress
from unweight.learn.t1.network_t1 import (
    SPECS,
    Estimate,
    NormalisedSlices,
    SliceInference,
    check_relative_sd,
    masked_square_error,
    point_estimate,
    scaled,
    unscaled,
)
from unweight.learn.training.trainable import Batch, Task
from unweight.nets.resnet import ResNet


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class RegressionTask(Task):
    """Mean square error of the scaled maps. A batch holds `signal` and `truth`, channels first.

    Attributes:
        resnet: The network to train.
    """

    resnet: ResNet

    @property
    def network(self) -> nn.Module:
        """The residual network."""
        return self.resnet

    def loss(self, network: nn.Module, batch: Batch, generator: torch.Generator) -> Float[Tensor, ""]:
        """Return the loss; voxels whose truth is NaN do not count."""
        predicted = network(batch["signal"])
        return masked_square_error(predicted.to(batch["truth"].dtype), scaled(batch["truth"]))


@final
@dataclass(frozen=True, kw_only=True)
class RegressionInference(SliceInference):
    """One evaluation per slice.

    Attributes:
        relative_sd: Standard deviation of (T1, PD, B) over their value, from validation.
    """

    relative_sd: tuple[float, float, float]

    def __post_init__(self) -> None:
        check_relative_sd(self.relative_sd)

    def check(self, network: nn.Module, n_images: int) -> None:
        """Return if the network takes so many images and gives three maps."""
        if not isinstance(network, ResNet):
            raise UsageError(f"a {type(network).__name__} is no residual network")
        config = network.config
        if (config.in_channels, config.out_channels) != (n_images, len(SPECS)):
            raise UsageError(
                f"a network from {config.in_channels} images to {config.out_channels} maps does not fit "
                f"{n_images} inversion times and {len(SPECS)} maps",
                remedy="Give the inversion times it was trained on.",
            )

    def __call__(
        self,
        network: nn.Module,
        slices: NormalisedSlices,
        inversion_time: Float[Tensor, " channels"],
        progress: Progress | None,
    ) -> Estimate:
        """Evaluate the network on one slice at a time."""

        def infer(images: Tensor) -> Tensor:
            return unscaled(network(images)[0].double())

        return point_estimate(network, slices, self.relative_sd, infer, progress)

    def n_evaluations(self, network: nn.Module) -> int:
        """Return 1."""
        return 1

    def drawing(self, n_draws: int | None, n_steps: int | None) -> SliceInference:
        """Return itself: there is nothing to draw."""
        return self

    def notes(self) -> dict[str, str | float | int]:
        """Return nothing."""
        return {}
