"""T1, PD and B from weighted images by a residual network: the published ResNet baseline.

The network sees the images of one slice and says the tanh-scaled maps; it is trained on their mean square
error over voxels with water. One evaluation, no uncertainty of its own: standard deviations are the
relative errors found in validation, one number per map.

References: S. Wang et al., qMRI Diffusor, arXiv 2407.16477; the network, E. R. Sabidussi et al., Medical
Image Analysis 74:102220, 2021 (`nets.resnet`). As published, its batch normalisation uses the content of
the image; that is `Normalisation.BATCH`. The default here, per pixel, does not.
"""

import math
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unweight.core.acquisition import Acquisition
from unweight.core.errors import UsageError
from unweight.core.estimator import Estimator, Progress
from unweight.core.maps import ParameterMaps
from unweight.core.parameter import ParameterSpec
from unweight.learn.t1.intensity import SPECS, Estimate, enter, home_of, leave
from unweight.learn.t1.protocol_match import TrainedProtocol
from unweight.learn.t1.tanh_scaling import scaled, unscaled
from unweight.learn.training.task import Batch, Task
from unweight.nets.resnet import ResNet

RECIPE = "t1-resnet"


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
@dataclass(frozen=True, kw_only=True, eq=False)
class RegressionT1(Estimator[Acquisition]):
    """Maps of T1, PD and B in one evaluation per slice.

    Attributes:
        network: The trained network, one channel per inversion time.
        inversion_time: What it was trained on; only these are accepted [s].
        repetition_time: Shortest and longest TR that fit [s].
        relative_sd: Standard deviation of (T1, PD, B) over their value, from validation.
    """

    network: ResNet
    inversion_time: tuple[float, ...]
    repetition_time: tuple[float, float]
    relative_sd: tuple[float, float, float]

    def __post_init__(self) -> None:
        check_relative_sd(self.relative_sd)
        channels = self.network.config.in_channels
        if channels != len(self.trained.inversion_time) or self.network.config.out_channels != len(SPECS):
            raise UsageError(
                f"a network from {channels} images to {self.network.config.out_channels} maps does not fit "
                f"{len(self.inversion_time)} inversion times and {len(SPECS)} maps",
                remedy="Give the inversion times it was trained on.",
            )

    @property
    def trained(self) -> TrainedProtocol:
        """The protocol it was trained on."""
        return TrainedProtocol(
            inversion_time=self.inversion_time, repetition_time=self.repetition_time, recipe=RECIPE
        )

    @property
    def parameters(self) -> tuple[ParameterSpec, ...]:
        """T1, PD and B."""
        return SPECS

    def accept(self, acquisition: Acquisition) -> None:
        """Return if these are magnitude volumes of the trained protocol.

        Raises:
            ProtocolError: Otherwise.
        """
        self.trained.order(acquisition)

    def __call__(self, acquisition: Acquisition, progress: Progress | None = None) -> ParameterMaps:
        """Evaluate the network on every slice with a voxel to estimate, one slice at a time."""
        entered = enter(acquisition, self.trained.order(acquisition))
        images = entered.images.to(home_of(self.network))
        values = torch.full((len(images), len(SPECS), *images.shape[2:]), math.nan, dtype=torch.float64)
        with torch.no_grad():
            for done, index in enumerate(entered.wanted, start=1):
                values[index] = unscaled(self.network(images[index : index + 1])[0].double()).cpu()
                if progress is not None:
                    progress(done * values[0, 0].numel(), len(entered.wanted) * values[0, 0].numel())
        estimate = Estimate(values=values, std=values.abs() * relative(self.relative_sd))
        return leave(acquisition, entered, estimate, {"method": RECIPE})


def masked_square_error(
    found: Float[Tensor, "*batch maps x y"], truth: Float[Tensor, "batch maps x y"]
) -> Float[Tensor, ""]:
    """Return the mean square error over all entries whose truth is a number; 0 where there is none.

    Args:
        found: Estimates; leading axes beyond the truth's, such as steps, are averaged over.
        truth: True maps, NaN where they do not count.
    """
    known = torch.isfinite(truth)
    square = (found - truth.nan_to_num()) ** 2 * known
    repeats = square.numel() // truth.numel()
    return square.sum() / (known.sum().clamp(min=1) * repeats)


def check_relative_sd(relative_sd: tuple[float, float, float]) -> None:
    """Return if these can be relative standard deviations.

    Raises:
        UsageError: One is negative or not finite.
    """
    if not all(0 <= sd < math.inf for sd in relative_sd):
        raise UsageError(
            f"relative_sd is {relative_sd}", remedy="Give three numbers, 0.05 for five per cent."
        )


def relative(relative_sd: tuple[float, float, float]) -> Float[Tensor, "3 1 1"]:
    """Return the numbers beside maps of shape (slices, 3, x, y)."""
    return torch.tensor(relative_sd, dtype=torch.float64)[:, None, None]
