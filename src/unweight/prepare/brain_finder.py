"""How a brain mask is made: one contract, and the classical methods under it."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from jaxtyping import Bool, Float
from torch import Tensor

from unweight.prepare.brain_mask import find_brain
from unweight.prepare.echo_mask import find_brain_in_echoes


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class FoundBrain:
    """A brain mask, and what is to be said about it.

    Attributes:
        mask: The brain with its CSF.
        how: How it was found, for sidecars.
        remarks: What a reader should know, such as that the object is unlike a brain.
    """

    mask: Bool[Tensor, "x y z"]
    how: str
    remarks: tuple[str, ...] = ()


class BrainFinder(ABC):
    """Makes brain masks. Frozen: its fields are its configuration."""

    @abstractmethod
    def in_images(
        self, images: Sequence[Float[Tensor, "x y z"]], affine: Float[Tensor, "4 4"]
    ) -> FoundBrain:
        """Return the brain in weighted images on one grid.

        Args:
            images: T1w, T2w, FLAIR; NaN where there is no value.
            affine: Voxel index to millimetres (RAS+).

        Raises:
            InputError: Nothing like a brain is in them.
        """

    @abstractmethod
    def in_echoes(
        self, magnitude: Float[Tensor, "x y z echoes"], affine: Float[Tensor, "4 4"]
    ) -> FoundBrain:
        """Return the brain in the magnitudes of a gradient echo, without the layer beside bone.

        Args:
            magnitude: The echoes, by rising TE.
            affine: Voxel index to millimetres (RAS+).

        Raises:
            InputError: Nothing like a brain is in them.
        """


@final
@dataclass(frozen=True, kw_only=True)
class ClassicalBrain(BrainFinder):
    """Threshold and morphology."""

    def in_images(
        self, images: Sequence[Float[Tensor, "x y z"]], affine: Float[Tensor, "4 4"]
    ) -> FoundBrain:
        """Return the brain by intensity and shape."""
        x, y, z = voxel_mm(affine)
        return FoundBrain(mask=find_brain(images, (x, y, z)), how="segmented by intensity and shape")

    def in_echoes(
        self, magnitude: Float[Tensor, "x y z echoes"], affine: Float[Tensor, "4 4"]
    ) -> FoundBrain:
        """Return what is bright in the last echo."""
        mask = find_brain_in_echoes(magnitude, voxel_mm(affine))
        return FoundBrain(mask=mask, how="segmented in the last echo")


def cut_axes(mask: Bool[Tensor, "x y z"]) -> tuple[bool, bool, bool]:
    """Return along which axes a mask reaches the end of the field of view."""
    cut = [bool(mask.select(axis, 0).any() | mask.select(axis, -1).any()) for axis in range(3)]
    return cut[0], cut[1], cut[2]


def voxel_mm(affine: Float[Tensor, "4 4"]) -> tuple[float, float, float]:
    """Return the size of a voxel along each axis [mm]."""
    x, y, z = affine[:3, :3].detach().cpu().double().norm(dim=0).tolist()
    return x, y, z
