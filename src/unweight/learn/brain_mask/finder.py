"""Brain masks from the distance that the network finds, with a check that the object is a brain.

The mask is where d < b, its largest piece without holes. In images of the echoes of a gradient echo, b is a
millimetre less: the outermost voxels share their signal with bone.

An object is unlike a brain if its volume is outside `VOLUME_ML`, where the mask ends within the field of
view (else only the upper limit counts), or if the distance does not rise by one millimetre for each
millimetre across the surface. Such images get the classical mask, and a remark.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from unweight.core.errors import InputError
from unweight.learn.brain_mask.network import surface_distance
from unweight.learn.training.model_card import Card
from unweight.learn.training.trainable import load_network
from unweight.prepare.brain_finder import BrainFinder, ClassicalBrain, FoundBrain, cut_axes, voxel_mm
from unweight.prepare.brain_mask import stripped_brain
from unweight.susceptibility.morphology import fill_holes, largest_component

SEGMENTED = "segmented by a network for images of any contrast"
N_DIGITS = 12
LOG = logging.getLogger(__name__)
ECHO_BORDER_MM = -1.0
VOLUME_ML = (500.0, 2600.0)
SLOPES = (0.6, 1.4)
NEAR_MM = 4.0
MM3_PER_ML = 1000.0
SMALLEST_ML = 5.0


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class NetworkBrain(BrainFinder):
    """The network of any contrast.

    Attributes:
        network: Trained.
        weights: Name and SHA-256 of its weights, in words; empty if they have none.
        border_mm: How far outside the surface the mask ends; negative for a smaller mask [mm].
    """

    network: nn.Module
    weights: str = ""
    border_mm: float = 0.0

    def in_images(
        self, images: Sequence[Float[Tensor, "x y z"]], affine: Float[Tensor, "4 4"]
    ) -> FoundBrain:
        """Return where the mean distance of the images is below the border."""
        stripped = stripped_brain(images)
        if stripped is not None:
            return FoundBrain(mask=stripped, how="taken to be where the images are not 0")
        brain = self._found(images, affine, self.border_mm)
        if isinstance(brain, FoundBrain):
            return brain
        return _with_remark(ClassicalBrain().in_images(images, affine), brain)

    def in_echoes(
        self, magnitude: Float[Tensor, "x y z echoes"], affine: Float[Tensor, "4 4"]
    ) -> FoundBrain:
        """Return where the mean distance of the first and the last echo is below the border."""
        images = [magnitude[..., 0], magnitude[..., -1]]
        brain = self._found(images, affine, self.border_mm + ECHO_BORDER_MM)
        if isinstance(brain, FoundBrain):
            return brain
        return _with_remark(ClassicalBrain().in_echoes(magnitude, affine), brain)

    def _found(
        self, images: Sequence[Float[Tensor, "x y z"]], affine: Float[Tensor, "4 4"], border_mm: float
    ) -> FoundBrain | str:
        """Return the brain, or in what the object is unlike one."""
        distance = surface_distance(self.network, images, affine)
        sizes = voxel_mm(affine)
        unlike = unlike_a_brain(distance, sizes)
        if unlike:
            return unlike
        mask = main_piece(distance < border_mm)
        where = "" if border_mm == 0 else f", {border_mm:+g} mm from its surface"
        return FoundBrain(mask=mask.to(images[0].device), how=f"{SEGMENTED}{self.weights}{where}")


def load_brain_finder(name: str, folder: Path | None = None) -> tuple[NetworkBrain, Card]:
    """Return the network with its weights, and their card.

    Args:
        name: Of the weights.
        folder: Where they lie; None for those of the package.

    Raises:
        InputError: They are absent or damaged.
    """
    network, card = load_network(name, folder)
    weights = f" (weights {card.name}, SHA-256 {card.sha256[:N_DIGITS]})"
    return NetworkBrain(network=network, weights=weights), card


def main_piece(mask: Bool[Tensor, "x y z"]) -> Bool[Tensor, "x y z"]:
    """Return the largest piece of a mask, without holes.

    Raises:
        InputError: The mask is empty.
    """
    if not bool(mask.any()):
        raise InputError("no brain was found in these images", remedy="Give a brain mask with --mask.")
    return fill_holes(largest_component(mask))


def unlike_a_brain(distance: Float[Tensor, "x y z"], sizes: tuple[float, float, float]) -> str:
    """Return in what an object is unlike a brain; empty if it is like one.

    Args:
        distance: Signed distance to the surface [mm].
        sizes: Of a voxel [mm].
    """
    inside = distance < 0
    volume = float(inside.sum()) * sizes[0] * sizes[1] * sizes[2] / MM3_PER_ML
    low, high = VOLUME_ML
    least = SMALLEST_ML if any(cut_axes(inside)) else low
    if not least <= volume <= high:
        return f"a volume of {volume:.0f} ml"
    slope = surface_slope(distance, sizes)
    if slope is not None and not SLOPES[0] <= slope <= SLOPES[1]:
        return f"a distance that rises by {slope:.2f} mm for each millimetre across its surface"
    return ""


def surface_slope(distance: Float[Tensor, "x y z"], sizes: tuple[float, float, float]) -> float | None:
    """Return the median length of the gradient of the distance near the surface; None in a few slices."""
    if min(distance.shape) < 3:
        return None
    parts = torch.gradient(distance.float(), spacing=list(sizes))
    near = distance.abs() < NEAR_MM
    if not bool(near.any()):
        return None
    square = sum((part[near] ** 2 for part in parts[1:]), parts[0][near] ** 2)
    return float(square.sqrt().median())


def _with_remark(brain: FoundBrain, unlike: str) -> FoundBrain:
    remark = f"the object is unlike a brain ({unlike}); the classical mask was taken"
    LOG.warning(remark)
    return FoundBrain(mask=brain.mask, how=brain.how, remarks=(remark,))
