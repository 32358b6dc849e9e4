"""Labelled heads as training data, and what methods trained on them have in common."""

from abc import abstractmethod
from dataclasses import dataclass

from unweight.core.errors import UsageError
from unweight.learn.training.recipe import Recipe
from unweight.learn.training.trainable import Batches, Samples, TrainableMethod, TrainingData
from unweight.nets.volume_unet import VolumeUNetConfig
from unweight.synth.anatomy.head_parts import LabelledHead
from unweight.synth.any_contrast import AnyContrast

HeadRecipe = Recipe[AnyContrast, VolumeUNetConfig]


@dataclass(frozen=True, kw_only=True, eq=False)
class HeadData(TrainingData):
    """Heads for training and for validation.

    Attributes:
        train: Heads for training.
        validation: Heads for validation.

    Raises:
        UsageError: One of both is empty, or a head is in both.
    """

    train: tuple[LabelledHead, ...]
    validation: tuple[LabelledHead, ...]

    def __post_init__(self) -> None:
        both = {head.subject for head in self.train} & {head.subject for head in self.validation}
        if both or not self.train or not self.validation:
            raise UsageError(
                f"{len(self.train)} heads for training and {len(self.validation)} for validation, "
                f"{len(both)} of them for both",
                remedy="Both need at least one, and none may be in both.",
            )

    @abstractmethod
    def batches(self, recipe: HeadRecipe) -> Batches:
        """Return images of the heads for training."""

    def trial(self, recipe: HeadRecipe) -> Batches:
        """Return the same: they are drawn as they are needed."""
        return self.batches(recipe)

    def calibration(self, recipe: HeadRecipe) -> Samples | None:
        """Return None: there is nothing to calibrate."""
        return None

    def discard(self) -> None:
        """Do nothing: heads are kept for other trainings."""

    def names(self) -> tuple[str, str]:
        """Return the subjects for training and for validation, as lists in words."""
        train, validation = (
            ", ".join(head.subject for head in part) for part in (self.train, self.validation)
        )
        return train, validation


class HeadMethod(TrainableMethod[AnyContrast, VolumeUNetConfig, HeadData]):
    """A network trained on images of any contrast of labelled heads."""

    @abstractmethod
    def data(self, train: tuple[LabelledHead, ...], validation: tuple[LabelledHead, ...]) -> HeadData:
        """Return the data of a training.

        Raises:
            UsageError: One of both is empty, or a head is in both.
        """
