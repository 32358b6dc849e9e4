"""A network that segments structures of T1w images, the same for measured and synthesised ones.

    loss = cross-entropy + mean over structures of (1 − Dice),   Dice = 2·Σ p·q/(Σ p + Σ q)

(F. Milletari et al., V-Net, 3DV 2016.) It sees a slice with two on either side and the mask. So that it
knows no scanner by heart, gain, gamma, noise and sharpness of what it learns from are varied.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from unweight.core.errors import InputError, UsageError
from unweight.core.estimator import Estimator
from unweight.learn.pairs.cohort import CohortRecipe
from unweight.learn.pairs.echo_channels import MASK
from unweight.learn.pairs.pair import Pair, normalise
from unweight.learn.pairs.pair_data import AROUND, PairData, PairMethod, central_slices, cohort_presets
from unweight.learn.pairs.planes import AXIAL, THREE, over_planes
from unweight.learn.training.model_card import NOT_A_MEDICAL_DEVICE, Card, CardText
from unweight.learn.training.recipe import Recipe
from unweight.learn.training.trainable import (
    Assessment,
    BaseNetwork,
    Batch,
    RecipeTypes,
    Samples,
    Task,
    Validator,
)
from unweight.metrics.segmentation import label_overlaps
from unweight.metrics.structures import DEEP, LABELS, STRUCTURES, TISSUES
from unweight.nets.unet import UNet, UNetConfig
from unweight.registry import trained_method

USE = "Comparison of different images of the same subjects, for research. "
StructureRecipe = Recipe[CohortRecipe, UNetConfig]
N_SEEN = len(AROUND) + 1
GAIN, GAMMA, NOISE, BLUR = 0.1, 0.15, 0.04, 0.5
SMALLEST = 1e-6


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class StructureTask(Task):
    """Labels of T1w images.

    Attributes:
        unet: The network to train.
    """

    unet: UNet

    @property
    def network(self) -> nn.Module:
        """The network."""
        return self.unet

    def loss(self, network: nn.Module, batch: Batch, generator: torch.Generator) -> Float[Tensor, ""]:
        """Return the loss of a batch of `PairPool`."""
        inside = batch["channels"][:, MASK : MASK + 1]
        images = varied(batch["around"], generator)
        logits = network(torch.cat([normalise(images), inside], dim=1)).float()
        labels = batch["labels"][:, 0].long()
        weight = inside[:, 0]
        entropy = (F.cross_entropy(logits, labels, reduction="none") * weight).sum()
        share = logits.softmax(1) * inside
        truth = F.one_hot(labels, len(STRUCTURES)).movedim(-1, 1) * inside
        common = (share * truth).sum((0, 2, 3))[1:]
        whole = (share + truth).sum((0, 2, 3))[1:]
        dice = (2 * common + 1) / (whole + 1)
        total: Tensor = entropy / weight.sum().clamp(min=1) + 1 - dice.mean()
        return total


def varied(
    images: Float[Tensor, "batch slices x y"], generator: torch.Generator
) -> Float[Tensor, "batch slices x y"]:
    """Return images as other scanners might give them."""
    drawn = torch.rand(len(images), 4, generator=generator).to(images)
    shape = (-1, 1, 1, 1)
    gain = 1 + GAIN * (2 * drawn[:, 0] - 1)
    gamma = torch.exp(GAMMA * (2 * drawn[:, 1] - 1))
    changed = gain.reshape(shape) * images.clamp(min=SMALLEST) ** gamma.reshape(shape)
    soft = F.avg_pool2d(changed, 3, 1, 1, count_include_pad=False)
    share = torch.where(drawn[:, 2] < BLUR, drawn[:, 2] / BLUR, 0.0).reshape(shape)
    noise = torch.randn(images.shape, generator=generator).to(images)
    return torch.lerp(changed, soft, share) + NOISE * drawn[:, 3].reshape(shape) * noise


def structure_config(widths: tuple[int, ...]) -> UNetConfig:
    """Return the network of structures."""
    return UNetConfig(in_channels=N_SEEN, out_channels=len(STRUCTURES), widths=widths)


def find_structures(
    network: nn.Module,
    image: Float[Tensor, "x y z"],
    mask: Float[Tensor, "x y z"],
    *,
    axial: bool = False,
) -> Float[Tensor, "structures x y z"]:
    """Return the probability of each structure, the mean over three planes; 0 outside the mask.

    Args:
        network: Trained.
        image: T1w without bias field, white matter at 1.
        mask: The brain.
        axial: Whether to look at axial slices only.
    """
    inside = mask > 0
    home = next(network.parameters()).device

    def ask(axis: int, some: list[int]) -> Tensor:
        last = image.shape[axis] - 1
        columns = [
            image.index_select(
                axis, torch.tensor([min(max(0, item + step), last) for item in some], device=image.device)
            )
            for step in AROUND
        ]
        near = torch.stack([column.movedim(axis, 0) for column in columns], dim=1).float()
        here = mask.index_select(axis, torch.tensor(some, device=mask.device)).movedim(axis, 0)[:, None]
        logits: Tensor = network(torch.cat([normalise(near), here.to(near)], dim=1).to(home))
        return logits.float().softmax(1)

    with torch.no_grad():
        return over_planes(inside, AXIAL if axial else THREE, len(STRUCTURES), ask)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class StructureValidator(Validator):
    """Compares structures with labels.

    Attributes:
        pairs: For validation.
    """

    pairs: tuple[Pair, ...]

    def check(self, network: nn.Module) -> dict[str, float]:
        """Return mean Dice over a few axial slices."""
        return self._overlaps(network.eval(), tuple(map(central_slices, self.pairs)), axial=True)

    def assess(self, network: nn.Module, calibration: Samples | None) -> Assessment:
        """Return mean Dice over whole brains."""
        return Assessment(calibration={}, metrics=self._overlaps(network, self.pairs, axial=False))

    def _overlaps(self, network: nn.Module, pairs: tuple[Pair, ...], *, axial: bool) -> dict[str, float]:
        """Return mean Dice of tissues and of deep grey matter."""
        counts = torch.zeros(2, len(LABELS), dtype=torch.float64)
        for pair in pairs:
            mask = pair.channels[MASK].float()
            share = find_structures(network, pair.target.float(), mask, axial=axial)
            # Voxels outside the brain are background, which counts in neither mean.
            labels = (share.argmax(0) * (mask > 0)).byte()
            counts += torch.stack(label_overlaps(labels, pair.labels, len(LABELS)))
        dice = counts[0] / counts[1].clamp(min=1)
        return {
            "dice_tissues": float(dice[[LABELS[name] for name in TISSUES]].mean()),
            "dice_deep": float(dice[[LABELS[name] for name in DEEP]].mean()),
        }


@final
@dataclass(frozen=True, kw_only=True)
class StructureMethod(PairMethod[UNetConfig]):
    """Segmentation of structures of the brain."""

    types: RecipeTypes
    presets: Mapping[str, StructureRecipe]
    needs_labels: bool = True

    def check(self, recipe: StructureRecipe) -> None:
        """Return: nothing but its types can be wrong."""

    def network(self, recipe: StructureRecipe, generator: torch.Generator) -> UNet:
        """Return a U-Net."""
        return UNet(recipe.network, generator=generator)

    def task(self, network: nn.Module, recipe: StructureRecipe, base: BaseNetwork | None) -> Task:
        """Return cross-entropy and Dice."""
        if not isinstance(network, UNet):
            raise UsageError(f"a {type(network).__name__} segments nothing")
        return StructureTask(unet=network)

    def validator(
        self, recipe: StructureRecipe, data: PairData, base: BaseNetwork | None
    ) -> StructureValidator:
        """Return what compares structures with labels."""
        return StructureValidator(pairs=data.validation)

    def card_text(self, recipe: StructureRecipe, data: PairData) -> CardText:
        """Return the words of its card, and the voxels it was trained for."""
        return CardText(
            summary=trained_method(recipe.method).card,
            intended_use=f"{USE}{NOT_A_MEDICAL_DEVICE}",
            limits=f"{data.limits}{NOT_A_MEDICAL_DEVICE}",
            trained_on=data.description(recipe.slabs),
            ranges={"voxel_mm": data.voxel_mm},
        )

    def estimator(self, network: nn.Module, card: Card, folder: Path | None) -> Estimator[Any]:
        """Raise an error: it segments images, and estimates no maps."""
        raise InputError(
            f"{card.name} segments images and makes no maps", remedy="Use `unweight evaluate mprage`."
        )


STRUCTURE_METHOD = StructureMethod(
    types=RecipeTypes(slabs=CohortRecipe, network=UNetConfig),
    presets=cohort_presets("structures", lambda widths: structure_config(widths[:3]), 3000),
)
