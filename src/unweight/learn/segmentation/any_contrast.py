"""Training of the segmentation of images of any contrast: labels, contrasts, loss, scores and card.

    L = CE(f, c) + CE(m, c) + 1 − mean over classes of Dice(softmax f, c) + 0.2 · BCE(g, s)

with f the logits of the classes, m those of the mixture of Gaussians that the network starts from, c the
true class, g the logit of the side and s whether a voxel lies on the right; CE also for m. Only voxels of
the brain in the field of view count, and of these some cells in each step. Images have the contrast of
routine or random sequences, or random levels (B. Billot et al., SynthSeg, Med. Image Anal. 86 (2023)
102789), and show the whole brain at 2 mm.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, final

import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from unweight.core.errors import InputError, UsageError
from unweight.core.estimator import Estimator
from unweight.core.seeding import seeded_generator
from unweight.learn.labelled_heads.data import HeadData, HeadMethod, HeadRecipe
from unweight.learn.segmentation.places import (
    FARTHEST_MM,
    N_GUIDES,
    NO_AXIS,
    BrainBox,
    brain_normalised,
    guide_channels,
    padded,
)
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
from unweight.metrics.structures import BRAIN_CLASSES, DEEP, LABELS, TISSUES, VENTRICLE, from_materials
from unweight.nets.tissue_network import N_TERMS, TissueNetwork
from unweight.nets.volume_unet import VolumeUNetConfig
from unweight.registry import trained_method
from unweight.synth.anatomy.head_parts import LabelledHead
from unweight.synth.anatomy.labels import Anatomy
from unweight.synth.anatomy.ventricles import lateral_ventricles
from unweight.synth.any_contrast import AnyContrast, ContrastSample, draw_images
from unweight.synth.sampling import bernoulli
from unweight.synth.tissue.materials import INDEX, MATERIALS

N_CLASSES = len(BRAIN_CLASSES) - 1  # without the background
N_IN, N_OUT = 1, N_TERMS * N_CLASSES + 1  # coefficients, and the side
FLUID = tuple(BRAIN_CLASSES.index(name) - 1 for name in ("csf", VENTRICLE))
GRID_MM = 2.0
N_COARSE = N_GUIDES + N_CLASSES  # place, and posterior of the mixture
N_CELLS = 8000
KEPT = 100.0  # voxels that are in each class, so that Dice of an absent one is 1
SIDE_WEIGHT = 0.2
PLACE_SPREAD, SURFACE_SPREAD_MM, NO_POSITION = 0.03, 0.7, 0.05
N_CHECKED, N_ASSESSED = 4, 20
SMALLEST_COUNT = 200  # voxels of a class in an image that is scored
USE = "Segmentation of MR images of the brain in tissues, ventricles and deep grey nuclei, for research. "
LIMITS = (
    "Trained on simulated images only. Deep grey nuclei of the training are ellipsoids fitted into the "
    "tissue of each head; brain stem and cerebellum count as grey and white matter, lesions as the tissue "
    "they lie in, and the third and fourth ventricle as cerebrospinal fluid. "
)


def brain_classes(head: LabelledHead) -> UInt8[Tensor, "x y z"]:
    """Return the class of each voxel of a head, by place in `BRAIN_CLASSES`.

    Vessels between the surface of the brain and its fluid count as fluid.
    """
    labels = torch.where(head.labels < len(MATERIALS), head.labels, 0)
    classes = from_materials(labels)
    classes[(labels == INDEX["vessel"]) & head.brain] = LABELS["csf"]
    anatomy = Anatomy(labels=labels, voxel_mm=(1.0, 1.0, 1.0), subject=head.subject, affine=head.affine)
    if bool((labels == INDEX["grey_matter"]).any()):
        classes[lateral_ventricles(anatomy)] = BRAIN_CLASSES.index(VENTRICLE)
    return classes


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class SegmentedHead:
    """A head with its classes.

    Attributes:
        head: Labels and distance.
        classes: Of its voxels.
    """

    head: LabelledHead
    classes: UInt8[Tensor, "x y z"]

    @property
    def midline(self) -> float:
        """Where x changes from left to right, as an index of the labels."""
        return float(-self.head.affine[0, 3] / self.head.affine[0, 0])


def segmented_heads(heads: Sequence[LabelledHead]) -> tuple[SegmentedHead, ...]:
    """Return heads with their classes."""
    return tuple(SegmentedHead(head=head, classes=brain_classes(head)) for head in heads)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class SegmentationSample:
    """One image with the truth.

    Attributes:
        image: Over the 95th percentile of the brain.
        guide: Position and distance, at half the resolution.
        classes: By place in `BRAIN_CLASSES`.
        right: 1 on the right of the head.
        counts: 1 where there is an image of the brain, and a class.
    """

    image: Float[Tensor, "1 x y z"]
    guide: Float[Tensor, "guides u v w"]
    classes: UInt8[Tensor, "x y z"]
    right: Float[Tensor, "x y z"]
    counts: Float[Tensor, "x y z"]


def draw_sample(of: SegmentedHead, recipe: HeadRecipe, generator: torch.Generator) -> SegmentationSample:
    """Return an image of a head cut to its brain, with classes and sides."""
    (image,) = draw_images(of.head, recipe.patch, recipe.slabs, generator)
    return _sample(of, image, recipe.network.stride, generator)


def _sample(
    of: SegmentedHead, image: ContrastSample, multiple: int, generator: torch.Generator
) -> SegmentationSample:
    places = image.places
    index = places.round().long()
    sizes = torch.tensor(of.classes.shape)
    within = ((index >= 0) & (index < sizes)).all(-1)
    x, y, z = torch.minimum(index.clamp(min=0), sizes - 1).unbind(-1)
    classes = torch.where(within, of.classes[x, y, z], 0)
    # A mirrored head has its right side where its left side was.
    towards = float(places[-1, ..., 0].mean() - places[0, ..., 0].mean())
    right = ((places[..., 0] > of.midline) == (towards > 0)).float()
    reached = ((places >= 0) & (places <= sizes - 1)).all(-1)
    unknown = NO_AXIS if bernoulli(NO_POSITION, generator) else _cut_axes(image.visible, reached)
    distance = image.distance + SURFACE_SPREAD_MM * torch.randn((), generator=generator)
    distance = torch.where(image.visible, distance, FARTHEST_MM)
    counts = image.visible & (image.distance < 0) & (classes > 0)
    box = (
        BrainBox.around(distance < 0, multiple)
        if bool((distance < 0).any())
        else BrainBox.around(counts < 2, 1)
    )
    normalised = brain_normalised(image.image, distance < 0)
    x_moved, y_moved, z_moved = (PLACE_SPREAD * torch.randn(3, generator=generator)).tolist()
    return SegmentationSample(
        image=box.cut(normalised, 0.0)[None],
        guide=guide_channels(box.cut(distance, FARTHEST_MM), unknown, moved=(x_moved, y_moved, z_moved)),
        classes=box.cut(classes, 0),
        right=box.cut(right, 0.0),
        counts=box.cut(counts.float(), 0.0),
    )


def _cut_axes(visible: Tensor, reached: Tensor) -> tuple[bool, bool, bool]:
    """Return along which axes a slab ends within the head."""
    cut = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        cut.append(bool((reached.any(others) & ~visible.any(others)).any()))
    return cut[0], cut[1], cut[2]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class SegmentationTask(Task):
    """Classes and sides of images of any contrast.

    Attributes:
        tissue: The network to train.
    """

    tissue: TissueNetwork

    @property
    def network(self) -> nn.Module:
        """The network."""
        return self.tissue

    def loss(self, network: nn.Module, batch: Batch, generator: torch.Generator) -> Float[Tensor, ""]:
        """Return the loss of a batch of `SegmentationBatches`."""
        output = network(batch["image"], batch["guide"], batch["cells"]).float()
        logits, side, mixture = output.split([N_CLASSES, 1, N_CLASSES], dim=1)
        counts = batch["counts"]
        places = (batch["classes"].long() - 1).clamp(min=0)
        weight = counts.sum().clamp(min=1)
        entropies = [F.cross_entropy(part, places, reduction="none") for part in (logits, mixture)]
        entropy = ((entropies[0] + entropies[1]) * counts).sum() / weight
        true = F.one_hot(places, N_CLASSES).movedim(-1, 1) * counts[:, None]
        share = logits.softmax(1) * counts[:, None]
        common, both = (part.sum((0, 2, 3)) for part in (share * true, share + true))
        overlap = ((2 * common + KEPT) / (both + KEPT)).mean()
        sides = F.binary_cross_entropy_with_logits(
            side[:, 0], batch["right"], weight=counts, reduction="sum"
        )
        total: Tensor = entropy + 1 - overlap + SIDE_WEIGHT * sides / weight
        return total


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class SegmentationBatches:
    """Draws images of heads.

    Attributes:
        heads: Whose.
        recipe: Size of patches and batches, and what is drawn.
    """

    heads: tuple[SegmentedHead, ...]
    recipe: HeadRecipe

    def __call__(self, generator: torch.Generator) -> dict[str, Tensor]:
        """Return images with guides, cells of the brain, and their classes, sides, and what counts."""
        samples = []
        for _ in range(self.recipe.plan.batch_size):
            head = self.heads[int(torch.randint(len(self.heads), (), generator=generator))]
            samples.append(draw_sample(head, self.recipe, generator))
        shape = tuple(
            max(sizes) for sizes in zip(*(sample.classes.shape for sample in samples), strict=True)
        )
        rows = [_at_cells(_enlarged(sample, shape), generator) for sample in samples]
        return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


def _enlarged(sample: SegmentationSample, shape: tuple[int, ...]) -> SegmentationSample:
    """Return a sample with nothing beyond its end, as large as others of its batch."""
    half = tuple(size // 2 for size in shape)
    places = [padded(channel, half, 0.0) for channel in sample.guide[:3]]
    return SegmentationSample(
        image=padded(sample.image[0], shape, 0.0)[None],
        guide=torch.stack([*places, padded(sample.guide[3], half, 1.0)]),
        classes=padded(sample.classes, shape, 0),
        right=padded(sample.right, shape, 0.0),
        counts=padded(sample.counts, shape, 0.0),
    )


def _at_cells(sample: SegmentationSample, generator: torch.Generator) -> dict[str, Tensor]:
    """Return the truth in some cells of the brain."""
    truth = {
        name: rearrange(getattr(sample, name), "(u i) (v j) (w k) -> (u v w) (i j k)", i=2, j=2, k=2)
        for name in ("classes", "right", "counts")
    }
    brain = truth["counts"].sum(1).nonzero()[:, 0]
    brain = brain if len(brain) else torch.zeros(1, dtype=torch.long)
    cells = brain[torch.randint(len(brain), (N_CELLS,), generator=generator)]
    return {
        "image": sample.image,
        "guide": sample.guide,
        "cells": cells,
        **{name: values[cells] for name, values in truth.items()},
    }


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class SegmentationData(HeadData):
    """Heads with classes."""

    @cached_property
    def segmented(self) -> tuple[SegmentedHead, ...]:
        """The heads for training, with their classes."""
        return segmented_heads(self.train)

    def batches(self, recipe: HeadRecipe) -> SegmentationBatches:
        """Return images of the heads for training."""
        return SegmentationBatches(heads=self.segmented, recipe=recipe)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class SegmentationValidator(Validator):
    """Compares classes with true ones.

    Attributes:
        heads: For validation.
        recipe: What images are drawn with.
    """

    heads: tuple[LabelledHead, ...]
    recipe: HeadRecipe

    @cached_property
    def segmented(self) -> tuple[SegmentedHead, ...]:
        """The heads with their classes."""
        return segmented_heads(self.heads)

    def check(self, network: nn.Module) -> dict[str, float]:
        """Return the overlap in a few images."""
        return self._scores(network.eval(), N_CHECKED)

    def assess(self, network: nn.Module, calibration: Samples | None) -> Assessment:
        """Return the overlap in more images."""
        return Assessment(calibration={}, metrics=self._scores(network, N_ASSESSED))

    def _scores(self, network: nn.Module, count: int) -> dict[str, float]:
        """Return the mean Dice of groups of classes, and the share of the brain on the correct side."""
        dices: dict[int, list[float]] = {label: [] for label in range(1, len(BRAIN_CLASSES))}
        sides = []
        for index in range(count):
            generator = seeded_generator(self.recipe.seed, "segmentation validation", index)
            head = self.segmented[index % len(self.segmented)]
            sample = draw_sample(head, self.recipe, generator)
            output = _whole(network, sample)
            counts = sample.counts > 0
            classes = 1 + output[:N_CLASSES].argmax(0)
            for label, values in dices.items():
                true, predicted = (sample.classes == label) & counts, (classes == label) & counts
                if int(true.sum()) >= SMALLEST_COUNT:
                    both = float((true & predicted).sum())
                    values.append(2 * both / float(true.sum() + predicted.sum()))
            if bool(counts.any()):
                right = (output[N_CLASSES] > 0) == (sample.right > 0)
                sides.append(float(right[counts].float().mean()))
        groups = {"dice_tissues": TISSUES, "dice_deep": DEEP, "dice_ventricles": (VENTRICLE,)}
        means = {
            name: _mean([value for part in parts for value in dices[BRAIN_CLASSES.index(part)]])
            for name, parts in groups.items()
        }
        every = _mean([_mean(values) for values in dices.values() if values])
        return {"dice": every, **means, "side": _mean(sides)}


def _whole(network: nn.Module, sample: SegmentationSample) -> Float[Tensor, "outputs x y z"]:
    """Return the output of the network for all voxels."""
    u, v, w = sample.guide.shape[1:]
    with torch.no_grad():
        output = network(sample.image[None], sample.guide[None])[0].float()
    whole: Tensor = rearrange(
        output, "c (u v w) (i j k) -> c (u i) (v j) (w k)", u=u, v=v, w=w, i=2, j=2, k=2
    )
    return whole


def _mean(values: Sequence[float]) -> float:
    return sum(values) / max(1, len(values))


@final
@dataclass(frozen=True, kw_only=True)
class SegmentationMethod(HeadMethod):
    """Tissues, ventricles and deep grey nuclei of any contrast."""

    types: RecipeTypes
    presets: Mapping[str, HeadRecipe]

    def data(
        self, train: tuple[LabelledHead, ...], validation: tuple[LabelledHead, ...]
    ) -> SegmentationData:
        """Return the data of a training."""
        return SegmentationData(train=train, validation=validation)

    def check(self, recipe: HeadRecipe) -> None:
        """Return if the patches fit the network.

        Raises:
            UsageError: They do not.
        """
        network = recipe.network
        channels = (network.in_channels, network.out_channels, network.coarse_channels)
        if recipe.patch % network.stride or channels != (N_IN, N_OUT, N_COARSE):
            raise UsageError(
                f"patches of {recipe.patch} voxels do not fit a network with {channels[0]} input, "
                f"{channels[1]} output and {channels[2]} coarse channels",
                remedy=f"Give {N_IN}, {N_OUT} and {N_COARSE}, and patches of n times {network.stride}.",
            )

    def network(self, recipe: HeadRecipe, generator: torch.Generator) -> TissueNetwork:
        """Return a U-Net with the classes it predicts coefficients for."""
        return TissueNetwork(recipe.network, N_CLASSES, alike=FLUID, generator=generator)

    def task(self, network: nn.Module, recipe: HeadRecipe, base: BaseNetwork | None) -> Task:
        """Return cross-entropy and Dice."""
        if not isinstance(network, TissueNetwork):
            raise UsageError(f"a {type(network).__name__} does not segment volumes")
        return SegmentationTask(tissue=network)

    def validator(
        self, recipe: HeadRecipe, data: HeadData, base: BaseNetwork | None
    ) -> SegmentationValidator:
        """Return the comparison with true classes."""
        return SegmentationValidator(heads=data.validation, recipe=recipe)

    def card_text(self, recipe: HeadRecipe, data: HeadData) -> CardText:
        """Return the words of its card, and the voxels it was trained for."""
        train, validation = data.names()
        return CardText(
            summary=trained_method(recipe.method).card,
            intended_use=f"{USE}{NOT_A_MEDICAL_DEVICE}",
            limits=f"{LIMITS}{NOT_A_MEDICAL_DEVICE}",
            trained_on=(
                f"{recipe.plan.n_steps * recipe.plan.batch_size} images of random contrast, resolution, "
                f"orientation and field of view of {len(data.train)} labelled heads ({train}), "
                f"in voxels of {recipe.slabs.grid_mm:g} mm; validated on {validation}."
            ),
            ranges={"voxel_mm": (0.4, recipe.slabs.largest_voxel_mm)},
        )

    def estimator(self, network: nn.Module, card: Card, folder: Path | None) -> Estimator[Any]:
        """Raise an error: it segments, and estimates no maps."""
        raise InputError(f"{card.name} segments images and makes no maps", remedy="Use `unweight segment`.")


def _recipe(preset: str, widths: tuple[int, ...], plan: TrainingPlan) -> HeadRecipe:
    return Recipe(
        method="brain-segmentation",
        preset=preset,
        slabs=AnyContrast(
            physical=0.85,
            routine=0.8,
            any_axes=0.0,
            thick=0.35,
            noise=(0.004, 0.06),
            slab=0.05,
            stripped=0.05,
            defaced=0.0,
            lesions=0.15,
            grid_mm=GRID_MM,
            texture=0.06,
            spread_mm=3.0,
        ),
        n_slabs=4,
        patch=96,
        network=VolumeUNetConfig(
            in_channels=N_IN, out_channels=N_OUT, widths=widths, coarse_channels=N_COARSE
        ),
        plan=plan,
    )


CPU = TrainingPlan(
    n_steps=4000,
    batch_size=1,
    learning_rate=2e-3,
    warm_up=100,
    ema_decay=0.99,
    check_every=250,
    save_every=100,
)
GPU = TrainingPlan(
    n_steps=40_000, batch_size=8, learning_rate=1e-3, warm_up=1000, bfloat16=True, check_every=2000
)
SEGMENTATION_METHOD = SegmentationMethod(
    types=RecipeTypes(slabs=AnyContrast, network=VolumeUNetConfig),
    presets=MappingProxyType(
        {"cpu": _recipe("cpu", (32, 48, 64, 96), CPU), "gpu": _recipe("gpu", (48, 64, 96, 128), GPU)}
    ),
)
