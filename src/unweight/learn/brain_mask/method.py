"""Training of the network that finds brains: labels, contrasts, loss, scores and card.

    L = mean w·h(f − d/10 mm) + 1 − Dice(σ(−f·10 mm/1 mm), d < 0)

with d the true signed distance cut off at ± 10 mm, h the Huber loss, and w five times larger within 5 mm of
the surface. Only voxels in the field of view count.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from unweight.core.errors import InputError, UsageError
from unweight.core.estimator import Estimator
from unweight.core.seeding import seeded_generator
from unweight.learn.brain_mask.network import SCALE_MM
from unweight.learn.labelled_heads.data import HeadData, HeadMethod, HeadRecipe
from unweight.learn.labelled_heads.images import normalised
from unweight.learn.training.model_card import NOT_A_MEDICAL_DEVICE, Card, CardText
from unweight.learn.training.recipe import Recipe, TrainingPlan
from unweight.learn.training.trainable import (
    Assessment,
    BaseNetwork,
    Batch,
    RecipeTypes,
    Samples,
    Task,
    Validator,
)
from unweight.nets.volume_unet import VolumeUNet, VolumeUNetConfig
from unweight.registry import trained_method
from unweight.synth.anatomy.head_parts import LabelledHead
from unweight.synth.any_contrast import AnyContrast, ContrastSample, draw_images

MaskRecipe = HeadRecipe
NEAR_MM, NEAR_WEIGHT, SOFT_MM = 5.0, 4.0, 1.0
N_CHECKED, N_ASSESSED = 4, 24
N_TOGETHER = 2  # images of one acquisition in a batch
SMALLEST_SHARE = 0.05  # of the field of view that a brain fills in an image that is scored
USE = "Brain masks of MR images of the head, for research. "
LIMITS = (
    "Trained on simulated images only; the face, the neck and lesions are geometric bodies, and children, "
    "large malformations and animals are not among the heads. "
)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class MaskTask(Task):
    """Signed distances of images of any contrast.

    Attributes:
        unet: The network to train.
    """

    unet: VolumeUNet

    @property
    def network(self) -> nn.Module:
        """The network."""
        return self.unet

    def loss(self, network: nn.Module, batch: Batch, generator: torch.Generator) -> Float[Tensor, ""]:
        """Return the loss of a batch of `MaskBatches`."""
        output = network(batch["image"]).float()
        true = batch["distance"] / SCALE_MM
        weight = batch["visible"] * (1 + NEAR_WEIGHT * (batch["distance"].abs() < NEAR_MM))
        error = F.huber_loss(output, true.clamp(-1, 1), reduction="none", delta=0.2) * 5
        share = torch.sigmoid(-output * (SCALE_MM / SOFT_MM)) * batch["visible"]
        inside = (true < 0) * batch["visible"]
        both, either = (share * inside).sum((1, 2, 3, 4)), (share + inside).sum((1, 2, 3, 4))
        dice = (2 * both + 100) / (either + 100)
        total: Tensor = (error * weight).sum() / weight.sum().clamp(min=1) + 1 - dice.mean()
        return total


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class MaskBatches:
    """Draws images of heads.

    Attributes:
        heads: Whose.
        recipe: Size of patches and batches, and what is drawn.
    """

    heads: tuple[LabelledHead, ...]
    recipe: MaskRecipe

    def __call__(self, generator: torch.Generator) -> dict[str, Tensor]:
        """Return images, true distances, and where there is an image."""
        batch_size = self.recipe.plan.batch_size
        samples: list[ContrastSample] = []
        while len(samples) < batch_size:
            place = int(torch.randint(len(self.heads), (), generator=generator))
            count = min(N_TOGETHER, batch_size - len(samples))
            patch, prior = self.recipe.patch, self.recipe.slabs
            samples += draw_images(self.heads[place], patch, prior, generator, count)
        return {
            "image": torch.stack([normalised(sample.image) for sample in samples])[:, None],
            "distance": torch.stack([sample.distance for sample in samples])[:, None],
            "visible": torch.stack([sample.visible for sample in samples])[:, None].float(),
        }


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class MaskData(HeadData):
    """Heads with distances to the surface of the brain."""

    def batches(self, recipe: MaskRecipe) -> MaskBatches:
        """Return images of the heads for training."""
        return MaskBatches(heads=self.train, recipe=recipe)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class MaskValidator(Validator):
    """Compares masks with true ones.

    Attributes:
        heads: For validation.
        recipe: What images are drawn with.
    """

    heads: tuple[LabelledHead, ...]
    recipe: MaskRecipe

    @cached_property
    def checked(self) -> tuple[ContrastSample, ...]:
        """A few images, the same at each check."""
        return self.samples(N_CHECKED)

    def samples(self, count: int) -> tuple[ContrastSample, ...]:
        """Return so many images that hold a part of the brain."""
        result: list[ContrastSample] = []
        index = 0
        while len(result) < count and index < 10 * count:
            generator = seeded_generator(self.recipe.seed, "mask validation", index)
            head = self.heads[index % len(self.heads)]
            (sample,) = draw_images(head, self.recipe.patch, self.recipe.slabs, generator)
            if float(((sample.distance < 0) & sample.visible).float().mean()) > SMALLEST_SHARE:
                result.append(sample)
            index += 1
        return tuple(result)

    def check(self, network: nn.Module) -> dict[str, float]:
        """Return the overlap in a few images."""
        return self._scores(network.eval(), self.checked)

    def assess(self, network: nn.Module, calibration: Samples | None) -> Assessment:
        """Return the overlap in more images."""
        return Assessment(calibration={}, metrics=self._scores(network, self.samples(N_ASSESSED)))

    def _scores(self, network: nn.Module, samples: tuple[ContrastSample, ...]) -> dict[str, float]:
        """Return mean and lowest Dice, and the error of the distance near the surface."""
        dices, errors = [], []
        for sample in samples:
            with torch.no_grad():
                output = SCALE_MM * network(normalised(sample.image)[None, None])[0, 0].float()
            inside, true = (output < 0) & sample.visible, (sample.distance < 0) & sample.visible
            dices.append(2 * float((inside & true).sum()) / max(1.0, float(inside.sum() + true.sum())))
            near = sample.visible & (sample.distance.abs() < NEAR_MM)
            errors.append(float((output - sample.distance)[near].abs().mean()) if near.any() else 0.0)
        return {
            "dice": sum(dices) / len(dices),
            "lowest_dice": min(dices),
            "surface_error_mm": sum(errors) / len(errors),
        }


@final
@dataclass(frozen=True, kw_only=True)
class MaskMethod(HeadMethod):
    """A brain mask of any contrast."""

    types: RecipeTypes
    presets: Mapping[str, MaskRecipe]

    def data(self, train: tuple[LabelledHead, ...], validation: tuple[LabelledHead, ...]) -> MaskData:
        """Return the data of a training."""
        return MaskData(train=train, validation=validation)

    def check(self, recipe: MaskRecipe) -> None:
        """Return if patches are large enough for the network.

        Raises:
            UsageError: They are not.
        """
        if recipe.patch < recipe.network.stride or recipe.network.in_channels != 1:
            raise UsageError(
                f"patches of {recipe.patch} voxels with {recipe.network.in_channels} channels do not fit "
                "the network",
                remedy=f"Give one channel and patches of at least {recipe.network.stride} voxels.",
            )

    def network(self, recipe: MaskRecipe, generator: torch.Generator) -> VolumeUNet:
        """Return a 3D U-Net."""
        return VolumeUNet(recipe.network, generator=generator)

    def task(self, network: nn.Module, recipe: MaskRecipe, base: BaseNetwork | None) -> Task:
        """Return Huber loss of the distance, and Dice."""
        if not isinstance(network, VolumeUNet):
            raise UsageError(f"a {type(network).__name__} finds no brain")
        return MaskTask(unet=network)

    def validator(self, recipe: MaskRecipe, data: HeadData, base: BaseNetwork | None) -> MaskValidator:
        """Return what compares masks."""
        return MaskValidator(heads=data.validation, recipe=recipe)

    def card_text(self, recipe: MaskRecipe, data: HeadData) -> CardText:
        """Return the words of its card, and the voxels it was trained for."""
        train, validation = data.names()
        return CardText(
            summary=trained_method(recipe.method).card,
            intended_use=f"{USE}{NOT_A_MEDICAL_DEVICE}",
            limits=f"{LIMITS}{NOT_A_MEDICAL_DEVICE}",
            trained_on=(
                f"{recipe.plan.n_steps * recipe.plan.batch_size} images of random contrast, resolution, "
                f"orientation and field of view of {len(data.train)} labelled heads ({train}), with eyes, "
                f"sinuses, mouth and neck added; validated on {validation}."
            ),
            ranges={"voxel_mm": (0.4, recipe.slabs.largest_voxel_mm)},
        )

    def estimator(self, network: nn.Module, card: Card, folder: Path | None) -> Estimator[Any]:
        """Raise an error: it finds brains, and estimates no maps."""
        raise InputError(
            f"{card.name} finds brains and makes no maps", remedy="Use `--mask-method network`."
        )


def _recipe(preset: str, widths: tuple[int, ...], plan: TrainingPlan, patch: int) -> MaskRecipe:
    return Recipe(
        method="brain-mask",
        preset=preset,
        slabs=AnyContrast(routine=0.4, texture=0.06),
        n_slabs=4,
        patch=patch,
        network=VolumeUNetConfig(in_channels=1, out_channels=1, widths=widths),
        plan=plan,
    )


CPU = TrainingPlan(
    n_steps=3000,
    batch_size=2,
    learning_rate=1.5e-3,
    warm_up=100,
    ema_decay=0.99,
    check_every=250,
    save_every=100,
)
GPU = TrainingPlan(
    n_steps=40_000, batch_size=8, learning_rate=1e-3, warm_up=1000, bfloat16=True, check_every=2000
)
MASK_METHOD = MaskMethod(
    types=RecipeTypes(slabs=AnyContrast, network=VolumeUNetConfig),
    presets=MappingProxyType(
        {
            "cpu": _recipe("cpu", (16, 32, 64, 96), CPU, 96),
            "gpu": _recipe("gpu", (24, 48, 96, 128), GPU, 96),
        }
    ),
)
