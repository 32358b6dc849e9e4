from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.learn.brain_mask.test_method import tiny
from unweight.benchmark.mask.cases import mask_cases
from unweight.benchmark.mask.scores import mask_numbers
from unweight.core.errors import InputError, UsageError
from unweight.core.seeding import seeded_generator
from unweight.learn.brain_mask.finder import NetworkBrain
from unweight.learn.labelled_heads.store import procedural_heads
from unweight.learn.training.model_card import CardText
from unweight.learn.training.trainable import Assessment, new_network
from unweight.learn.training.trainer import card_of
from unweight.learn.training.weights import save_weights
from unweight.mapping.brain import FAMILY, MaskOptions
from unweight.prepare.brain_finder import ClassicalBrain
from unweight.registry import offered
from unweight.synth.anatomy.head_parts import with_parts

NETWORK = MaskOptions(mask_method="network", mask_border=2.0, mask_weights=Path("weights"))


def test_the_classical_method_is_the_default() -> None:
    assert isinstance(MaskOptions().finder(), ClassicalBrain)
    assert set(offered(FAMILY)) == {"classical", "network"}


def test_border_and_weights_reach_the_network(tmp_path: Path) -> None:
    text = CardText(summary="a", intended_use="b", limits="c", trained_on="d", ranges={})
    card = card_of(tiny(), text, Assessment(calibration={}, metrics={"dice": 0.5}))
    network = new_network(tiny())
    with torch.no_grad():
        network.get_parameter("head.weight").fill_(0.25)
    save_weights(tmp_path, network.state_dict(), card)
    finder = replace(NETWORK, mask_weights=tmp_path).finder()
    assert isinstance(finder, NetworkBrain)
    assert finder.border_mm == 2.0
    assert float(finder.network.get_parameter("head.weight").detach().mean()) == 0.25


def test_a_folder_without_the_weights_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="brain-mask"):
        replace(NETWORK, mask_weights=tmp_path).finder()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"mask_method": "magic"}, "magic"),
        ({"mask_border": 2.0}, "--mask-border"),
        ({"mask_weights": Path("weights")}, "--mask-weights"),
        (
            {"mask_method": "network", "mask_border": 50.0, "mask_weights": Path("weights")},
            "--mask-border 50",
        ),
    ],
)
def test_impossible_options_are_refused(options: dict[str, object], problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        MaskOptions(**options)  # type: ignore[arg-type]  # a wrong name is what is tested


def test_the_network_of_the_package_finds_a_simulated_brain() -> None:
    """The contrast of a spin echo, in voxels of 2 mm, with the eyes and the neck in the image."""
    head = with_parts(procedural_heads(5, {"test": 1}).read("test", 0), seeded_generator(5, "head parts"))
    (case,) = mask_cases(head, ("coarse",), ("T1w spin echo",))
    brain = MaskOptions(mask_method="network").finder().in_images([case.image], case.affine)
    numbers = mask_numbers(brain.mask, case)
    assert numbers["dice"] > 0.9 and not brain.remarks


def test_a_border_does_not_go_with_a_mask_that_is_given() -> None:
    with pytest.raises(UsageError, match="cannot be combined"):
        NETWORK.check(Path("mask.nii.gz"))
    NETWORK.check(None)
