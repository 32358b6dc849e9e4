"""The loss against distances that are known, what data refuse, and a training of a few steps."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from tests.synth.anatomy.balls import ball_head
from unweight.core.errors import InputError, UsageError
from unweight.core.seeding import seeded_generator
from unweight.learn.brain_mask.method import MASK_METHOD, MaskBatches, MaskData, MaskRecipe, MaskTask
from unweight.learn.brain_mask.network import SCALE_MM
from unweight.learn.training.recipe import TrainingPlan
from unweight.learn.training.trainable import recipe_for, recipe_from_plain
from unweight.learn.training.trainer import train_model
from unweight.nets.volume_unet import VolumeUNet, VolumeUNetConfig
from unweight.synth.any_contrast import AnyContrast

HEAD = ball_head()
PLAN = TrainingPlan(n_steps=6, batch_size=2, learning_rate=1e-3, warm_up=1, check_every=6, save_every=6)


def tiny() -> MaskRecipe:
    return replace(
        MASK_METHOD.presets["cpu"],
        network=VolumeUNetConfig(in_channels=1, out_channels=1, widths=(8, 8)),
        patch=32,
        plan=PLAN,
        slabs=AnyContrast(slab=0.0, any_axes=0.0),
    )


class Answer(nn.Module):
    """Returns what it was made with."""

    def __init__(self, output: Tensor) -> None:
        super().__init__()
        self.output = output

    def forward(self, image: Tensor) -> Tensor:
        return self.output


def loss(output: Tensor, batch: dict[str, Tensor]) -> float:
    network = VolumeUNet(tiny().network, generator=seeded_generator(0))
    task = MaskTask(unet=network)
    return float(task.loss(Answer(output), batch, seeded_generator(0)).detach())


def batch() -> dict[str, Tensor]:
    return MaskBatches(heads=(HEAD,), recipe=tiny())(seeded_generator(3))


def test_batches_are_normalised_and_the_same_again() -> None:
    one, two = batch(), batch()
    assert one["image"].shape == one["distance"].shape == one["visible"].shape == (2, 1, 32, 32, 32)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert float(one["image"].max()) <= 1.5


def test_who_is_right_loses_next_to_nothing() -> None:
    drawn = batch()
    right = (drawn["distance"] / SCALE_MM).clamp(-1, 1)
    # The mask of the loss is soft at the surface, so its Dice is a little below 1.
    assert loss(right, drawn) < 0.08
    assert loss(right + 0.3, drawn) > loss(right, drawn) + 0.15
    assert loss(-right, drawn) > 1.0


def test_what_is_not_seen_does_not_count() -> None:
    drawn = batch()
    drawn["visible"] = drawn["visible"].clone()
    drawn["visible"][..., 20:] = 0
    right = (drawn["distance"] / SCALE_MM).clamp(-1, 1)
    spoiled = right.clone()
    spoiled[..., 20:] = 5.0
    assert loss(spoiled, drawn) == pytest.approx(loss(right, drawn), abs=1e-6)


def test_a_head_is_for_one_part_only() -> None:
    with pytest.raises(UsageError, match="for both"):
        MaskData(train=(HEAD,), validation=(HEAD,))


def test_recipes_survive_a_card() -> None:
    recipe = recipe_for("brain-mask", "cpu")
    assert recipe_from_plain(recipe.to_plain()) == recipe


def test_patches_too_small_for_the_network_are_refused() -> None:
    with pytest.raises(UsageError, match="patches"):
        MASK_METHOD.check(replace(MASK_METHOD.presets["cpu"], patch=8))


def test_a_few_steps_lead_to_weights_and_a_card() -> None:
    data = MaskData(train=(HEAD,), validation=(replace(HEAD, subject="another"),))
    trained = train_model(tiny(), data, device=torch.device("cpu"))
    assert trained is not None
    tensors, card = trained
    assert card.name == "brain-mask"
    assert {"dice", "lowest_dice", "surface_error_mm"} == set(card.metrics)
    assert "ball" in card.trained_on
    assert "another" in card.trained_on
    assert card.ranges["voxel_mm"] == (0.4, 6.0)
    assert tensors
    with pytest.raises(InputError, match="no maps"):
        MASK_METHOD.estimator(nn.Identity(), card, None)
