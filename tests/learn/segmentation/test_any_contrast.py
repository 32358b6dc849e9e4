"""Classes and sides of drawn images, the loss of a known answer, and a training of a few steps."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from tests.synth.anatomy.balls import ball_head
from unweight.core.errors import InputError, UsageError
from unweight.core.seeding import seeded_generator
from unweight.learn.labelled_heads.data import HeadRecipe
from unweight.learn.segmentation.any_contrast import (
    N_CLASSES,
    N_COARSE,
    N_IN,
    N_OUT,
    SEGMENTATION_METHOD,
    SegmentationBatches,
    SegmentationTask,
    SegmentedHead,
    brain_classes,
    draw_sample,
    segmented_heads,
)
from unweight.learn.training.recipe import TrainingPlan
from unweight.learn.training.trainable import recipe_for, recipe_from_plain
from unweight.learn.training.trainer import train_model
from unweight.metrics.structures import BRAIN_CLASSES, LABELS
from unweight.nets.tissue_network import TissueNetwork
from unweight.nets.volume_unet import VolumeUNetConfig
from unweight.synth.any_contrast import AnyContrast
from unweight.synth.tissue.materials import INDEX

PLAN = TrainingPlan(n_steps=4, batch_size=2, learning_rate=1e-3, warm_up=1, check_every=4, save_every=4)


def sided_head() -> SegmentedHead:
    """The ball, with a putamen on its right and a thalamus on its left."""
    head = ball_head()
    labels = head.labels.clone()
    labels[75:85, 50:70, 50:70] = INDEX["putamen"]
    labels[35:45, 50:70, 50:70] = INDEX["thalamus"]
    (result,) = segmented_heads([replace(head, labels=labels)])
    return result


HEAD = sided_head()


def tiny() -> HeadRecipe:
    return replace(
        SEGMENTATION_METHOD.presets["cpu"],
        network=VolumeUNetConfig(
            in_channels=N_IN, out_channels=N_OUT, widths=(8, 8), coarse_channels=N_COARSE
        ),
        patch=64,
        plan=PLAN,
        slabs=AnyContrast(slab=0.0, any_axes=0.0, grid_mm=2.0, texture=0.05, spread_mm=3.0),
    )


class Answer(nn.Module):
    """Returns what it was made with."""

    def __init__(self, output: Tensor) -> None:
        super().__init__()
        self.output = output

    def forward(self, image: Tensor, guide: Tensor, cells: Tensor) -> Tensor:
        return self.output


def batch() -> dict[str, Tensor]:
    return SegmentationBatches(heads=(HEAD,), recipe=tiny())(seeded_generator(3))


def loss(output: Tensor, drawn: dict[str, Tensor]) -> float:
    task = SegmentationTask(tissue=TissueNetwork(tiny().network, N_CLASSES, generator=seeded_generator(0)))
    return float(task.loss(Answer(output), drawn, seeded_generator(0)).detach())


def right_answer(drawn: dict[str, Tensor]) -> Tensor:
    places = (drawn["classes"].long() - 1).clamp(min=0)
    classes = torch.nn.functional.one_hot(places, N_CLASSES).movedim(-1, 1).float()
    side = 2 * drawn["right"][:, None] - 1
    return 30 * torch.cat([classes, side, classes], dim=1)


@pytest.mark.parametrize("seed", range(5))
def test_sides_go_with_the_structures_also_in_mirrored_heads(seed: int) -> None:
    """Putamen lies on the right and thalamus on the left of the head; mirroring exchanges both."""
    sample = draw_sample(HEAD, tiny(), seeded_generator(seed))
    putamen = sample.classes == LABELS["putamen"]
    thalamus = sample.classes == LABELS["thalamus"]
    assert int(putamen.sum()) > 50 and int(thalamus.sum()) > 50
    along = torch.arange(putamen.shape[0])[:, None, None].expand(putamen.shape).float()
    mirrored = float(along[putamen].mean()) < float(along[thalamus].mean())
    assert float(sample.right[putamen].mean()) == (0.0 if mirrored else 1.0)
    assert float(sample.right[thalamus].mean()) == (1.0 if mirrored else 0.0)


def test_position_is_0_in_the_middle_of_the_brain() -> None:
    recipe = replace(tiny(), slabs=replace(tiny().slabs, stripped=0.0, defaced=0.0))
    for seed in range(4):
        sample = draw_sample(HEAD, recipe, seeded_generator(seed))
        assert all(size % recipe.network.stride == 0 for size in sample.image.shape[1:])
        known = [bool(channel.any()) for channel in sample.guide[:3]]
        assert all(known) or not any(known)  # no slab, so all or nothing is withheld
        near = sample.guide[:3].norm(dim=0) < 0.3
        if all(known):
            assert float((sample.classes[::2, ::2, ::2][near] > 0).float().mean()) > 0.95
            assert float(sample.guide[3][near].max()) < 0


def test_who_is_right_pays_next_to_nothing() -> None:
    drawn = batch()
    assert loss(right_answer(drawn), drawn) < 0.05
    other_side = right_answer(drawn).clone()
    other_side[:, N_CLASSES] *= -1
    assert loss(other_side, drawn) > 1.0
    assert loss(torch.zeros_like(right_answer(drawn)), drawn) > 2.0


def test_what_is_not_seen_does_not_count() -> None:
    drawn = batch()
    drawn["counts"] = drawn["counts"].clone()
    drawn["counts"][:, 20:] = 0
    spoiled = right_answer(drawn)
    before = loss(spoiled.clone(), drawn)
    spoiled[:, :, 20:] = 0
    assert loss(spoiled, drawn) == pytest.approx(before, abs=1e-5)


def test_vessels_in_the_brain_are_fluid() -> None:
    head = ball_head()
    labels = head.labels.clone()
    labels[60, 60, 60] = INDEX["vessel"]
    classes = brain_classes(replace(head, labels=labels))
    assert int(classes[60, 60, 60]) == LABELS["csf"]
    assert int(classes[60, 60, 58]) == LABELS["white_matter"]
    assert int(classes.max()) < len(BRAIN_CLASSES)


def test_recipes_survive_a_card() -> None:
    recipe = recipe_for("brain-segmentation", "cpu")
    assert recipe_from_plain(recipe.to_plain()) == recipe


def test_networks_of_other_channels_are_refused() -> None:
    recipe = SEGMENTATION_METHOD.presets["cpu"]
    with pytest.raises(UsageError, match="channels"):
        SEGMENTATION_METHOD.check(
            replace(recipe, network=VolumeUNetConfig(in_channels=1, out_channels=1, widths=(8, 8)))
        )


def test_a_few_steps_lead_to_weights_and_a_card() -> None:
    data = SEGMENTATION_METHOD.data((HEAD.head,), (replace(HEAD.head, subject="another"),))
    trained = train_model(tiny(), data, device=torch.device("cpu"))
    assert trained is not None
    tensors, card = trained
    assert card.name == "brain-segmentation"
    assert {"dice", "dice_tissues", "dice_deep", "dice_ventricles", "side"} == set(card.metrics)
    assert "another" in card.trained_on
    assert tensors
    with pytest.raises(InputError, match="no maps"):
        SEGMENTATION_METHOD.estimator(nn.Identity(), card, None)
