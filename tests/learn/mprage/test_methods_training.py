"""Lessons of three steps on two tiny brains, from pairs to weights and card."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.learn.lessons import narrow
from tests.learn.mprage.synthesisers import synthesiser_of
from tests.learn.names import FROM_PAIRS, STRUCTURES, T1W, T1W_FAST, T1W_GAN, T1W_UNET
from tests.learn.pairs.brains import pair
from unweight.core.errors import InputError, UsageError
from unweight.core.estimator import Progress
from unweight.learn.mprage.synthesis import Planes
from unweight.learn.pairs.echo_channels import MASK
from unweight.learn.pairs.pair_data import N_CENTRAL, PairData, central_slices
from unweight.learn.segmentation.structures import StructureValidator
from unweight.learn.training.execution import PrecisionChoice, describe_precision
from unweight.learn.training.loop import Step, TrainingCallback
from unweight.learn.training.model_card import Card
from unweight.learn.training.recipe import Recipe
from unweight.learn.training.trainable import BaseNetwork, new_task, recipe_for, recipe_from_plain
from unweight.learn.training.trainer import train_model
from unweight.learn.training.weights import fill
from unweight.metrics.structures import LABELS
from unweight.nets.unet import UNet

CPU = torch.device("cpu")
PARTS_OF_A_BRAIN = {
    "dice_tissues": ("csf", "grey_matter", "white_matter"),
    "dice_deep": ("caudate", "putamen", "pallidum", "thalamus"),
}


class InterruptionError(Exception):
    pass


@dataclass
class Ear(TrainingCallback):
    stop: int | None = None
    heard: list[Step] = field(default_factory=list)
    computed: str = ""

    def samples(self, part: str) -> Progress | None:
        return None

    def precision(self, choices: tuple[PrecisionChoice, ...]) -> None:
        self.computed = describe_precision(choices)

    def step(self, step: Step) -> None:
        self.heard.append(step)
        if step.step == self.stop:
            raise InterruptionError


PARTS = PairData(train=(pair("a"), pair("b")), validation=(pair("c"),))


def tiny(method: str) -> Recipe[Any, Any]:
    recipe = recipe_for(method, "cpu")
    # float32, so that what is tested does not depend on the CPU.
    plan = replace(recipe.plan, n_steps=3, batch_size=2, warm_up=1, check_every=2, save_every=2)
    plan = replace(plan, bfloat16=False)
    return replace(recipe, network=narrow(recipe.network), patch=16, n_slabs=2, plan=plan)


@cache
def base() -> BaseNetwork:
    network = new_task(tiny(T1W_UNET)).network.eval()
    assert isinstance(network, UNet)
    return BaseNetwork(network=network, sha256="1" * 64)


def learned(
    recipe: Recipe[Any, Any], parts: PairData = PARTS, **more: object
) -> tuple[dict[str, Tensor], Card]:
    given = base() if recipe.method == T1W else None
    found = train_model(recipe, parts, device=CPU, base=given, **more)  # type: ignore[arg-type]
    assert found is not None
    return found


def network_of(method: str, tensors: Mapping[str, Tensor]) -> torch.nn.Module:
    network = new_task(tiny(method), base() if method == T1W else None).network
    fill(network, tensors)
    return network.eval()


@pytest.mark.parametrize("method", FROM_PAIRS)
def test_every_method_is_taught_and_described(method: str) -> None:
    ear = Ear()
    tensors, card = learned(tiny(method), callback=ear)
    start = new_task(tiny(method), base() if method == T1W else None).network.state_dict()
    assert tensors.keys() == start.keys()
    assert any(not torch.equal(one, start[name]) for name, one in tensors.items())
    wanted = {"dice_tissues", "dice_deep"} if method == STRUCTURES else {"psnr"}
    assert set(card.metrics) == wanted
    assert [one.step for one in ear.heard] == [2, 3]
    checks = ear.heard[0].checks
    assert checks is not None and set(checks) == wanted
    assert recipe_from_plain(json.loads(card.to_json())["recipe"]) == tiny(method)
    assert card.name == method and card.seconds == pytest.approx(ear.heard[-1].seconds, abs=1e-3)
    assert card.seconds > 0
    assert card.ranges["voxel_mm"] == (1.0, 1.5)
    assert ("flip_angle" in card.ranges) is (method != STRUCTURES)
    assert ("base" in card.calibration) is (method == T1W)
    assert ("spread" in card.calibration) is (method not in (T1W_GAN, STRUCTURES))
    # The two pairs are too few for the scans that each subject of the conditioned network has.
    n = 0 if method == "mprage-conditioned" else 2
    for text in (
        f"{n} simulated subjects aged 50 to 50 years",
        "1 heads (procedural)",
        "voxels of 1 to 1.5 mm",
    ):
        assert text in card.trained_on
    assert "not a medical device" in card.limits and "simulated subjects only" in card.limits


def test_the_card_of_a_residual_says_whose_it_is() -> None:
    assert learned(tiny(T1W))[1].calibration["base"] == base().sha256
    with pytest.raises(UsageError, match="learns the residual of mprage-unet, which is not given"):
        train_model(tiny(T1W), PARTS, device=CPU)


def test_people_of_other_places_are_called_what_they_are() -> None:
    given = PairData(train=(replace(pair("a"), about={}), pair("b")), validation=(pair("c"),))
    _, card = learned(tiny(T1W_UNET), given)
    assert card.trained_on == "2 subjects, voxels of 1 to 1.5 mm; validated on 1 others."
    assert "Trained on images provided by the user" in card.limits and "simulated" not in card.limits


@pytest.mark.parametrize("method", [T1W, T1W_UNET, T1W_FAST])
def test_nine_errors_in_ten_lie_within_the_interval(method: str) -> None:
    """Of the brains it was calibrated on, to a voxel or so: 1.645 sd hold 90 %."""
    parts = PairData(train=(pair("a"),), validation=(pair("c"), pair("d")))
    tensors, card = learned(tiny(method), parts)
    made = synthesiser_of(
        tiny(method),
        network_of(method, tensors),
        card.calibration,
        base=base() if method == T1W else None,
        planes=Planes.ALTERNATE if method == T1W_FAST else Planes.THREE,
        n_draws=4 if method == T1W_FAST else 0,
    )
    ratios = []
    for one in parts.validation:
        image, inside = made(one.channels.float()), one.channels[MASK] > 0
        ratios.append(((image.mean - one.target.float()).abs() / image.sd)[inside])
    assert float((torch.cat(ratios) < 1.6449).float().mean()) == pytest.approx(0.9, abs=0.002)


def test_scores_are_of_the_validation_in_three_planes() -> None:
    """PSNR = 20·lg(1.2/RMSE) of what the loaded network makes of it."""
    tensors, card = learned(tiny(T1W_UNET))
    (one,) = PARTS.validation
    image = synthesiser_of(tiny(T1W_UNET), network_of(T1W_UNET, tensors), {})(one.channels.float())
    inside = one.channels[MASK] > 0
    error = (image.mean - one.target.float())[inside].double().square().mean().sqrt()
    assert card.metrics["psnr"] == pytest.approx(20 * float(torch.log10(1.2 / error)), rel=1e-5)


class Right(torch.nn.Module):
    """Says the structure that the intensity of the middle slice was made of."""

    def __init__(self) -> None:
        super().__init__()
        self.here = torch.nn.Parameter(torch.zeros(1))

    def forward(self, image: Tensor) -> Tensor:
        target = image[:, 2] * 0.35 + 0.7
        labels = (1 + 7 * (target / 2).clamp(0, 0.99)).floor().long()
        return torch.nn.functional.one_hot(labels, 8).movedim(-1, 1).float()


def test_who_finds_all_structures_has_a_dice_of_one_where_there_are_some() -> None:
    examination = StructureValidator(pairs=(pair("c"),))
    scores = examination.check(Right())
    there = set(pair("c").labels.unique().tolist())
    for name, of in PARTS_OF_A_BRAIN.items():
        share = sum(LABELS[one] in there for one in of) / len(of)
        # Rounding in half precision moves a voxel or two across an edge.
        assert scores[name] == pytest.approx(share, abs=0.01)


def test_a_glance_is_the_middle() -> None:
    found = central_slices(pair("a"))
    assert found.target.shape == (16, 18, N_CENTRAL) and found.name == "a"
    assert torch.equal(found.target, pair("a").target[..., 4:16])
    assert torch.equal(found.channels, pair("a").channels[..., 4:16])
    assert torch.equal(found.labels, pair("a").labels[..., 4:16])


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("method", [T1W_UNET, T1W_FAST])
def test_a_stopped_lesson_goes_on(method: str, tmp_path: Path) -> None:
    whole, card = learned(tiny(method))
    with pytest.raises(InterruptionError):
        learned(tiny(method), folder=tmp_path, callback=Ear(stop=2))
    ear = Ear()
    resumed, again = learned(tiny(method), folder=tmp_path, callback=ear)
    assert [one.step for one in ear.heard] == [3]
    assert same(whole, resumed)
    assert again.metrics == card.metrics and again.calibration == card.calibration
    with pytest.raises(UsageError):
        learned(replace(tiny(method), seed=1), folder=tmp_path)


def test_warm_start() -> None:
    first, _ = learned(tiny(T1W_UNET))
    slow = replace(tiny(T1W_UNET), plan=replace(tiny(T1W_UNET).plan, learning_rate=1e-12, weight_decay=0.0))
    second, _ = learned(slow, start=first)
    for name, one in first.items():
        torch.testing.assert_close(second[name], one, atol=1e-6, rtol=1e-4)
    with pytest.raises(InputError, match="of another network"):
        learned(tiny(STRUCTURES), start=first)


def test_only_the_first_process_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    checks: list[object] = []

    def train(*_: object, check: object, **__: object) -> dict[str, Tensor]:
        checks.append(check)
        return {}

    monkeypatch.setattr("unweight.learn.training.trainer.train", train)
    for name, value in (("WORLD_SIZE", "2"), ("LOCAL_RANK", "1"), ("RANK", "1")):
        monkeypatch.setenv(name, value)
    assert train_model(tiny(T1W_UNET), PARTS, device=CPU) is None
    assert checks == [None]


def test_messages() -> None:
    with pytest.raises(UsageError, match="both training and validation: b"):
        PairData(train=(pair("a"), pair("b")), validation=(pair("b"),))
    with pytest.raises(UsageError, match="1 subjects for training and 0 for validation"):
        PairData(train=(pair("a"),), validation=())
    with pytest.raises(UsageError, match="0 subjects for training and 1 for validation"):
        PairData(train=(), validation=(pair("a"),))
    with pytest.raises(UsageError, match="patches of 17 voxels do not fit into brains of 16"):
        learned(replace(tiny(T1W_UNET), patch=17))
