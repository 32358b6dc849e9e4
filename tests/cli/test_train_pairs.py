"""Networks of pairs from the command line to weights and card: three steps, on people of a few voxels."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.learn.mprage.test_methods_training import tiny
from tests.learn.names import STRUCTURES, T1W, T1W_UNET
from tests.learn.pairs.brains import pair
from tests.learn.pairs.test_real_subjects import echoes_of, named
from unweight.bids.nifti.image import image_bytes
from unweight.cli.main import main
from unweight.cli.training.progress import step_line
from unweight.learn.mprage.methods import load_network, load_synthesiser
from unweight.learn.pairs.cohort import CohortRecipe
from unweight.learn.pairs.pair import Pair
from unweight.learn.pairs.real_subjects import PairedSubject
from unweight.learn.training.execution import TORCHRUN
from unweight.learn.training.loop import Step
from unweight.learn.training.model_card import Card
from unweight.learn.training.recipe import Recipe
from unweight.learn.training.weights import available, load_weights
from unweight.synth.anatomy.labels import Anatomy

CAPTURE = pytest.CaptureFixture[str]
MONKEY = pytest.MonkeyPatch
HEAD_SHAPE, HEAD_MM = (45, 54, 45), (4.0, 4.0, 4.0)
COHORT = CohortRecipe(n=(2, 1, 1))


def preset(method: str, name: str) -> Recipe:
    return replace(tiny(method), preset=name, slabs=COHORT)


@pytest.fixture(autouse=True)
def made(monkeypatch: MONKEY) -> list[str]:
    """Presets that are done within seconds, and people made of nothing; return who was made."""
    names: list[str] = []

    def person(recipe: CohortRecipe, heads: Sequence[Anatomy], part: str, index: int) -> Pair:
        assert heads and index in recipe.indices(part)
        names.append(f"{part}-{index}")
        return replace(pair("a"), name=f"{part}-{index}")

    def real(subject: PairedSubject) -> Pair:
        names.append(subject.label)
        about = {} if subject.age is None else {"age": subject.age}
        labels = pair("a").labels if subject.labels is not None else torch.zeros_like(pair("a").labels)
        return replace(pair("a"), name=subject.label, about=about, labels=labels)

    monkeypatch.setattr("unweight.cli.training.options.recipe_for", preset)
    monkeypatch.setattr("unweight.heads.source.WHOLE_SHAPE", HEAD_SHAPE)
    monkeypatch.setattr("unweight.heads.source.WHOLE_VOXEL_MM", HEAD_MM)
    monkeypatch.setattr("unweight.cli.training.sources.N_DRAWN", {"train": 1, "validation": 1})
    monkeypatch.setattr("unweight.cli.training.sources.person_pair", person)
    monkeypatch.setattr("unweight.cli.training.sources.real_pair", real)
    return names


def train(out: Path, *words: object, method: str = T1W_UNET) -> int:
    called = ["train", method, "-o", str(out), "--device", "cpu", "--workers", "1"]
    return main([*called, *(str(word) for word in words)])


def card_of(out: Path, method: str = T1W_UNET) -> Card:
    return load_weights(method, out)[1]


def bids(root: Path, n: int) -> Path:
    """A tree of which only names are looked at."""
    labels = [f"sub-{number:02d}" for number in range(1, n + 1)]
    return named(root, *(name for one in labels for name in (*echoes_of(one), f"{one}_T1w")))


@pytest.mark.parametrize("method", [T1W_UNET, "mprage-gan", "mprage-fastddpm"])
def test_weights_are_written_and_told_of(
    tmp_path: Path, capsys: CAPTURE, made: list[str], method: str
) -> None:
    out = tmp_path / "weights"
    assert train(out, "--n-subjects", 2, 1, method=method) == 0
    told = capsys.readouterr().out
    assert made == ["train-0", "train-1", "validation-2"]
    assert f"{method}, preset cpu, on cpu: 3 steps\n2 people, scored on 1 others" in told
    assert "step 2 of 3: loss" in told and "step 3 of 3" in told and "PSNR " in told
    short = method.removeprefix("mprage-")
    assert f"unweight mprage --method {short} --weights {out}" in told.replace("\n", " ")
    assert {path.name for path in out.iterdir()} == {f"{method}.json", f"{method}.safetensors", "training"}
    load_synthesiser(method, out)
    card = card_of(out, method)
    assert "computed in float32 (the plan allows no other)" in told
    assert card.precision == "float32 (the plan allows no other)"
    assert "2 simulated subjects aged 50 to 50 years" in card.trained_on
    assert "Trained on simulated subjects only" in card.limits and "provided by the user" not in card.limits
    assert (card.stored, card.recipe["plan"]["n_steps"]) == ("float16", 3)
    assert card.metrics["psnr"] > 0


def test_a_training_that_is_complete_says_so(tmp_path: Path, capsys: CAPTURE, made: list[str]) -> None:
    assert train(tmp_path, "--quiet") == 0
    assert not capsys.readouterr().out
    kept, first = (tmp_path / f"{T1W_UNET}.safetensors").read_bytes(), list(made)
    assert train(tmp_path) == 0
    told = capsys.readouterr().out
    assert f"the training of {T1W_UNET} is complete" in told and "on held-out people" in told
    assert "step" not in told and made == first
    assert (tmp_path / f"{T1W_UNET}.safetensors").read_bytes() == kept


def test_structures(tmp_path: Path, capsys: CAPTURE) -> None:
    assert train(tmp_path, "--n-subjects", 2, 1, method=STRUCTURES) == 0
    told = capsys.readouterr().out
    assert "Dice " in told and "of deep grey matter " in told
    assert f"unweight evaluate mprage --weights {tmp_path}" in told.replace("\n", " ")
    load_network(STRUCTURES, tmp_path)
    card = card_of(tmp_path, STRUCTURES)
    assert set(card.metrics) == {"dice_tissues", "dice_deep"}
    assert "Comparison of different images" in card.intended_use


def test_what_a_residual_rests_on_is_trained_first(
    tmp_path: Path, capsys: CAPTURE, made: list[str]
) -> None:
    """On the same people, who are made once."""
    assert train(tmp_path / "one", method=T1W) == 0
    told = capsys.readouterr().out
    assert told.index(f"{T1W_UNET}, preset") < told.index(f"{T1W}, preset")
    assert "use it with: unweight mprage --weights" in told.replace("\n", " ")
    assert made == ["train-0", "train-1", "validation-2"]
    assert set(available(tmp_path / "one")) == {T1W, T1W_UNET}
    base = card_of(tmp_path / "one").sha256
    assert card_of(tmp_path / "one", T1W).calibration["base"] == base
    load_synthesiser(T1W, tmp_path / "one")
    assert train(tmp_path / "one", method=T1W) == 0
    assert f"the training of {T1W} is complete" in capsys.readouterr().out
    # The same one from elsewhere is copied, not trained again; another one is not put in its place.
    words = ("--base", tmp_path / "one", "--pairs", tmp_path / "one" / "training" / "pairs")
    assert train(tmp_path / "two", *words, method=T1W) == 0
    told = capsys.readouterr().out
    assert f"{T1W_UNET} copied to {tmp_path / 'two'}" in told.replace("\n", " ")
    assert f"{T1W_UNET}, preset" not in told and card_of(tmp_path / "two").sha256 == base
    tensors = [(tmp_path / name / f"{T1W}.safetensors").read_bytes() for name in ("one", "two")]
    assert tensors[0] == tensors[1]
    assert train(tmp_path / "three", "--seed", 1, "--quiet") == 0
    assert train(tmp_path / "three", "--seed", 1, *words[:2], method=T1W) == 2
    assert f"differs from the one in {tmp_path / 'one'}" in capsys.readouterr().err


def test_killed_training_goes_on(tmp_path: Path, monkeypatch: MONKEY, capsys: CAPTURE) -> None:
    assert train(tmp_path / "whole", "--quiet") == 0

    def interrupted(step: Step) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("unweight.cli.training.progress.step_line", interrupted)
        assert train(tmp_path / "twice") == 130
    assert not available(tmp_path / "twice")
    capsys.readouterr()
    assert train(tmp_path / "twice") == 0
    told = capsys.readouterr().out
    assert "step 3 of 3" in told and "step 2 of 3" not in told
    one, two = (tmp_path / name / f"{T1W_UNET}.safetensors" for name in ("whole", "twice"))
    assert one.read_bytes() == two.read_bytes()


def test_another_training_is_not_mixed_in(tmp_path: Path, capsys: CAPTURE) -> None:
    assert train(tmp_path, "--quiet") == 0
    assert train(tmp_path, "--steps", 2) == 2
    assert "holds another training, with another" in capsys.readouterr().err
    assert train(tmp_path, "--n-subjects", 1, 1) == 2
    assert "holds another training, with another" in capsys.readouterr().err
    # Other people do not get into the folder of these, whatever is learned of them.
    assert train(tmp_path, "--n-subjects", 1, 1, method=STRUCTURES) == 2
    assert "contains pairs made with other settings" in capsys.readouterr().err
    (tmp_path / "training" / T1W_UNET / "recipe.json").unlink()
    assert train(tmp_path) == 2
    assert f"already contains weights {T1W_UNET}" in capsys.readouterr().err


def test_seed_steps_and_a_warm_start(tmp_path: Path) -> None:
    """Another seed is another cohort."""
    assert train(tmp_path / "one", "--quiet", "--seed", 3) == 0
    first = card_of(tmp_path / "one")
    assert (first.seed, first.recipe["slabs"]["seed"]) == (3, 3)
    manifest = json.loads((tmp_path / "one" / "training" / "pairs" / "train" / "pairs.json").read_text())
    assert manifest["cohort"]["seed"] == 3
    words = ("--steps", 2, "--from", tmp_path / "one", "--quiet")
    assert train(tmp_path / "two", *words) == 0
    assert card_of(tmp_path / "two").recipe["plan"]["n_steps"] == 2
    record = json.loads((tmp_path / "two" / "training" / T1W_UNET / "recipe.json").read_text())
    assert record["asked"]["from"] == first.sha256


def test_minutes_choose_the_steps_once(tmp_path: Path, monkeypatch: MONKEY) -> None:
    monkeypatch.setattr("unweight.cli.training.duration.MEASURED_SECONDS", 1e-3)
    monkeypatch.setattr("unweight.cli.training.command.train_model", lambda *_, **__: None)
    assert train(tmp_path, "--minutes", 1e-4, "--quiet") == 0
    path = tmp_path / "training" / T1W_UNET / "recipe.json"
    record = json.loads(path.read_text())
    assert record["recipe"]["plan"]["n_steps"] == 100 and record["asked"]["minutes"] == 1e-4

    def measured_again(*_: object) -> Recipe:
        raise AssertionError

    monkeypatch.setattr("unweight.cli.training.command.with_time", measured_again)
    assert train(tmp_path, "--minutes", 1e-4, "--quiet") == 0
    assert json.loads(path.read_text()) == record


@pytest.mark.parametrize(("n", "n_train"), [(2, 1), (5, 4)])
def test_real_people(tmp_path: Path, capsys: CAPTURE, made: list[str], n: int, n_train: int) -> None:
    """Four in five are learned from, one at least is not; who lacks an image is named."""
    root = named(bids(tmp_path / "bids", n), "sub-99_T1w")
    out = tmp_path / "out"
    assert train(out, "--bids-dir", root) == 0
    told = capsys.readouterr().out
    assert "left out: sub-99 has no MEGRE" in told
    assert f"{n_train} people, scored on {n - n_train} others" in told
    assert sorted(made) == [f"sub-{number:02d}" for number in range(1, n + 1)]
    card = card_of(out)
    assert card.trained_on.startswith(f"{n_train} subjects,") and "simulated" not in card.limits
    assert "Trained on images provided by the user" in card.limits
    assert "sub-01" not in (out / f"{T1W_UNET}.json").read_text()
    assert train(out, "--bids-dir", root) == 0
    assert "is complete" in capsys.readouterr().out


def test_structures_of_real_people_are_learned_from_labels(
    tmp_path: Path, capsys: CAPTURE, made: list[str]
) -> None:
    """Who has no labels is not learned from."""
    root = bids(tmp_path / "bids", 3)
    labels = tmp_path / "labels"
    for who in ("sub-01", "sub-03"):
        path = labels / who / "anat" / f"{who}_desc-aseg_dseg.nii.gz"
        path.parent.mkdir(parents=True)
        path.write_bytes(image_bytes(torch.zeros(2, 2, 2), torch.eye(4)))
    words = ("--bids-dir", root, "--labels-dir", labels)
    assert train(tmp_path / "out", *words, method=STRUCTURES) == 0
    assert sorted(made) == ["sub-01", "sub-03"]
    assert card_of(tmp_path / "out", STRUCTURES).trained_on.startswith("1 subjects,")
    capsys.readouterr()
    (labels / "sub-03" / "anat" / "sub-03_desc-aseg_dseg.nii.gz").unlink()
    assert train(tmp_path / "other", *words, method=STRUCTURES) == 2
    assert "Give at least 2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("method", "words", "message"),
    [
        (T1W_UNET, ("--bids-dir", ".", "--n-subjects", "2", "1"), "--bids-dir trains on real subjects"),
        (T1W_UNET, ("--bids-dir", ".", "--brainweb-dir", "."), "--bids-dir trains on real subjects"),
        ("t1-posterior", ("--bids-dir", "."), "--bids-dir cannot be used with t1-posterior"),
        (
            "maps",
            ("--n-subjects", "2", "1", "--pairs", "."),
            "--n-subjects, --pairs cannot be used with maps",
        ),
        (T1W_UNET, ("--labels-dir", "."), "--labels-dir requires --bids-dir"),
        (
            T1W_UNET,
            ("--bids-dir", ".", "--labels-dir", "."),
            "--labels-dir requires --bids-dir",
        ),
        (STRUCTURES, ("--labels-dir", "."), "--labels-dir requires --bids-dir"),
        (STRUCTURES, ("--bids-dir", "."), "structures are trained with labels. Give --labels-dir"),
        (T1W_UNET, ("--base", "."), "--base applies to t1-residual, mprage only"),
        (T1W, ("--base", "nowhere"), "there are no weights called mprage-unet"),
        (T1W_UNET, ("--from", "nowhere"), "there are no weights called mprage-unet"),
        (T1W_UNET, ("--workers", "-1"), "--workers -1"),
        (T1W_UNET, ("--steps", "0"), "--steps 0"),
        (T1W_UNET, ("--minutes", "1", "--steps", "5"), "cannot be combined"),
        (T1W_UNET, ("--n-subjects", "-1", "1"), "at least 1 for training and 1 for validation"),
        (T1W_UNET, ("--n-subjects", "4", "0"), "at least 1 for training and 1 for validation"),
        (T1W_UNET, ("--slabs", "7"), "is trained on subjects, not on slabs"),
        (T1W_UNET, ("--brainweb-dir", "nowhere"), "contains no BrainWeb head"),
        (T1W_UNET, ("--ti", "0.1", "0.5", "2", "--tr", "3"), "Omit the inversion times"),
    ],
)
def test_messages(tmp_path: Path, capsys: CAPTURE, method: str, words: Sequence[str], message: str) -> None:
    assert train(tmp_path, *words, method=method) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_one_person_is_too_few(tmp_path: Path, capsys: CAPTURE) -> None:
    assert train(tmp_path / "out", "--bids-dir", bids(tmp_path / "bids", 1)) == 2
    assert "1 of 1 subjects have both MEGRE and T1w. Give at least 2." in capsys.readouterr().err


def test_only_the_first_process_speaks(tmp_path: Path, monkeypatch: MONKEY, capsys: CAPTURE) -> None:
    monkeypatch.setattr("unweight.cli.training.command.train_model", lambda *_, **__: None)
    for name, value in zip(TORCHRUN, ("1", "2", "1"), strict=True):
        monkeypatch.setenv(name, value)
    assert train(tmp_path) == 0
    assert not capsys.readouterr().out and not available(tmp_path)


def test_lines_of_a_step() -> None:
    step = Step(step=50, n_steps=100, loss=0.5, rate=1e-3, checks={"psnr": 24.06}, seconds=50.0, skipped=0)
    assert step_line(step) == "step 50 of 100: loss 0.5, PSNR 24.1 dB, 50 s left"
    found = replace(step, checks={"dice_tissues": 0.9041, "dice_deep": 0.8})
    assert step_line(found) == (
        "step 50 of 100: loss 0.5, Dice 0.904, of deep grey matter 0.800, 50 s left"
    )
