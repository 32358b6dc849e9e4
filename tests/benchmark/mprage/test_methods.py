"""The ways that are compared: what they are called, and what each is told. Nothing here is trained."""

import json
from pathlib import Path

import pytest
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from unweight.benchmark.mprage import methods as t1w_ways
from unweight.benchmark.mprage.methods import (
    CONDITIONS,
    EXTERNAL,
    WEIGHTS,
    ablation_name,
    external_segmenter,
    own_segmenter,
    synthesis_function,
    synthesis_methods,
    weights_of,
)
from unweight.benchmark.mprage.scores import ALONE, BOTH, WITH_CHI, WITH_R2STAR
from unweight.core.errors import InputError
from unweight.core.estimator import Progress
from unweight.core.seeding import seeded_generator
from unweight.learn.mprage.synthesis import Synthesis, Synthesiser
from unweight.learn.pairs.echo_channels import EVERYTHING, MASK, N_CHANNELS, Conditions
from unweight.learn.pairs.pair import Pair, half
from unweight.learn.pairs.planes import Planes
from unweight.learn.training.model_card import Card
from unweight.learn.training.weights import save_weights
from unweight.metrics.structures import LABELS, STRUCTURES
from unweight.prepare.segmenters import FastSurfer, SynthSeg

CPU = torch.device("cpu")
ABLATIONS = ["unet: magnitudes", "unet: + R2*", "unet: + QSM"]


class Teller(Synthesiser):
    """Makes an image that tells who made it and what was told: 100·who + 10·R2* + χ."""

    def __init__(self, who: int = 0) -> None:
        self.who = who
        self.asked: list[Tensor] = []

    def __call__(
        self,
        channels: Float[Tensor, "7 x y z"],
        conditions: Conditions = EVERYTHING,
        progress: Progress | None = None,
    ) -> Synthesis:
        self.asked.append(channels)
        level = 100.0 * self.who + 10.0 * conditions.r2star + 1.0 * conditions.chi
        image = torch.full(channels.shape[1:], level)
        return Synthesis(mean=image, sd=torch.full_like(image, 7.0))

    def n_calls(self, mask: Bool[Tensor, "x y z"]) -> int:
        return 1

    def once(self, channels: Float[Tensor, "7 x y z"]) -> None:
        self(channels)


Loaded = list[tuple[str, Path | None, torch.device | None, Planes | None, int | None]]


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> Loaded:
    """Have weights loaded that are none, and give what was asked for."""
    asked: Loaded = []

    def load(
        name: str,
        folder: Path | None = None,
        *,
        device: torch.device | None = None,
        planes: Planes | None = None,
        n_draws: int | None = None,
    ) -> tuple[Synthesiser, None]:
        asked.append((name, folder, device, planes, n_draws))
        return Teller(len(asked)), None

    monkeypatch.setattr(t1w_ways, "load_synthesiser", load)
    return asked


def write_nothing(folder: Path, name: str) -> str:
    """Write weights of a single number, and return their SHA-256."""
    card = Card(
        name=name,
        version=1,
        summary="Nothing.",
        intended_use="Tests.",
        limits="It knows nothing.",
        preset="cpu",
        trained_on="Nothing.",
        seed=0,
        recipe={},
        ranges={},
        calibration={},
        metrics={},
        seconds=0.0,
    )
    save_weights(folder, {"number": torch.tensor([float(len(name))])}, card)
    digest: str = json.loads((folder / f"{name}.json").read_text())["sha256"]
    return digest


def person() -> Pair:
    channels = torch.rand(N_CHANNELS, 4, 5, 6, generator=seeded_generator(0))
    channels[MASK] = 1.0
    return Pair(
        channels=half(channels),
        target=half(torch.zeros(4, 5, 6)),
        labels=torch.zeros(4, 5, 6, dtype=torch.uint8),
        voxel_mm=(1.0, 1.0, 1.0),
        name="one",
        about={},
    )


def test_no_weights_at_all(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no weights for synthetic T1w images.*unweight train mprage"):
        synthesis_methods(None, tmp_path, CPU)
    with pytest.raises(InputError, match="no weights for synthetic T1w images"):
        synthesis_methods(None, tmp_path / "nowhere", CPU)


@pytest.mark.parametrize(("method", "weights"), list(WEIGHTS.items()))
def test_no_weights_for_what_was_asked(tmp_path: Path, method: str, weights: str) -> None:
    with pytest.raises(InputError, match=f"no weights called {weights}\\b"):
        synthesis_methods([method], tmp_path, CPU)


def test_all_ways_there_are_weights_for(
    loaded: Loaded, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    there = ("mprage-fastddpm", "mprage-unet", "structures", "t1-posterior")
    monkeypatch.setattr(t1w_ways, "available", lambda folder: there if folder == tmp_path else ())
    ways = synthesis_methods(None, tmp_path, CPU)
    assert list(ways) == ["unet", *ABLATIONS, "fastddpm", "fastddpm axial"]
    assert loaded == [
        ("mprage-unet", tmp_path, CPU, None, None),
        # One draw, as published.
        ("mprage-fastddpm", tmp_path, CPU, None, 1),
        ("mprage-fastddpm", tmp_path, CPU, Planes.AXIAL, 1),
    ]


def test_what_each_way_is_told(loaded: Loaded) -> None:
    ways = synthesis_methods(["gan", "unet", "fastddpm"], None, CPU)
    levels = {name: float(make(person()).unique()) for name, make in ways.items()}
    assert levels == {
        "gan": 111.0,
        "unet": 211.0,
        "unet: magnitudes": 200.0,
        "unet: + R2*": 210.0,
        "unet: + QSM": 201.0,
        "fastddpm": 311.0,
        "fastddpm axial": 411.0,
    }


def test_methods_alone_without_what_is_further(loaded: Loaded) -> None:
    assert list(synthesis_methods(list(WEIGHTS), None, CPU, further=False)) == list(WEIGHTS)
    assert [name for name, *_ in loaded] == list(WEIGHTS.values())


def test_names_by_conditions() -> None:
    assert {told: ablation_name(told) for told in CONDITIONS} == {
        ALONE: "unet: magnitudes",
        WITH_R2STAR: "unet: + R2*",
        WITH_CHI: "unet: + QSM",
        BOTH: "unet",
    }
    assert CONDITIONS[BOTH] == EVERYTHING and CONDITIONS[ALONE] == Conditions(r2star=False, chi=False)


def test_weights_that_ways_rest_on(tmp_path: Path) -> None:
    """Those of the method, whatever it is told; the residual rests on the regression besides."""
    made = {method: write_nothing(tmp_path, name) for method, name in WEIGHTS.items()}
    assert len(set(made.values())) == len(WEIGHTS)
    for way in ("unet", *ABLATIONS):
        assert weights_of(way, tmp_path) == made["unet"]
    assert weights_of("gan", tmp_path) == made["gan"]
    assert weights_of("fastddpm", tmp_path) == weights_of("fastddpm axial", tmp_path) == made["fastddpm"]
    assert weights_of("residual", tmp_path) == made["residual"] + made["unet"]
    assert weights_of("truth", tmp_path) == weights_of("unetwork", tmp_path) == ""


def test_weights_of_a_way_without_any(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no weights called mprage-gan"):
        weights_of("gan", tmp_path)


def test_a_maker_gives_the_mean_of_single_precision_channels() -> None:
    teller, pair = Teller(), person()
    made = synthesis_function(teller)(pair)
    assert made.shape == (4, 5, 6) and set(made.flatten().tolist()) == {11.0}
    (given,) = teller.asked
    assert given.dtype == torch.float32 and torch.equal(given, pair.channels.float())


def test_own_segmenter_takes_the_likeliest_structure_inside_the_mask(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    network, asked = nn.Identity(), []
    share = torch.rand(len(STRUCTURES), 4, 5, 6, generator=seeded_generator(1))
    share[LABELS["putamen"], :2] = 2.0
    share[LABELS["thalamus"], 2:] = 3.0

    def load(name: str, folder: Path | None) -> tuple[nn.Module, None]:
        asked.append((name, folder))
        return network, None

    def find(given: nn.Module, image: Tensor, mask: Tensor) -> Tensor:
        assert given is network
        asked.append((image.dtype, mask.dtype))
        return share

    monkeypatch.setattr(t1w_ways, "load_network", load)
    monkeypatch.setattr(t1w_ways, "find_structures", find)
    segment = own_segmenter(tmp_path, CPU)
    mask = torch.ones(4, 5, 6, dtype=torch.bool)
    mask[:, 0] = False
    labels = segment(torch.zeros(4, 5, 6, dtype=torch.float64), mask)
    assert asked == [("structures", tmp_path), (torch.float32, torch.float32)]
    assert labels.dtype == torch.uint8 and not labels[:, 0].any()
    assert set(labels[:2, 1:].flatten().tolist()) == {LABELS["putamen"]}
    assert set(labels[2:, 1:].flatten().tolist()) == {LABELS["thalamus"]}


def test_own_segmenter_without_weights(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no weights called structures"):
        own_segmenter(tmp_path, CPU)


def test_external_segmenter_on_the_grid_of_the_person(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def segment(program: object, image: Tensor, affine: Tensor) -> Tensor:
        asked.append((program, image, affine))
        return torch.full(image.shape, LABELS["thalamus"], dtype=torch.uint8)

    monkeypatch.setattr(t1w_ways, "segment", segment)
    image = torch.rand(4, 5, 6, generator=seeded_generator(2))
    mask = image > 0.5
    labels = external_segmenter("synthseg", (1.0, 1.5, 2.0))(image, mask)
    assert labels.dtype == torch.uint8 and torch.equal(labels, LABELS["thalamus"] * mask.to(torch.uint8))
    ((program, given, affine),) = asked
    assert program == SynthSeg() and torch.equal(given, image)
    assert affine.tolist() == [[1, 0, 0, 0], [0, 1.5, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1]]
    external_segmenter("fastsurfer", (1.0, 1.0, 1.0))(image, mask)
    assert asked[1][0] == FastSurfer() and set(EXTERNAL) == {"synthseg", "fastsurfer"}
