import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

from tests.learn.lessons import slab_data, tiny
from tests.learn.names import POSTERIOR
from unweight.cli.main import main
from unweight.cli.training.duration import ScoringTime, with_checks, with_time
from unweight.cli.training.options import TrainOptions
from unweight.cli.training.progress import step_line
from unweight.cli.training.sources import SlabTraining
from unweight.learn.t1.network_t1 import NetworkT1
from unweight.learn.training.loop import Step
from unweight.learn.training.recipe import Recipe
from unweight.learn.training.sample_cache import SlabData, SlabSource
from unweight.learn.training.trainable import load_estimator, trainable
from unweight.learn.training.weights import load_weights

TIMES = (0.05, 0.4, 1.1, 2.5)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Presets and heads that are done within seconds."""
    monkeypatch.setattr("unweight.cli.training.options.recipe_for", preset)
    monkeypatch.setattr("unweight.cli.training.sources.HEAD_SHAPE", (180, 216, 8))
    # After six steps hardly any estimate is possible; a few will do.
    monkeypatch.setattr("unweight.learn.t1.image_validator.FEWEST", 1)
    monkeypatch.setattr("unweight.cli.training.sources.N_HEADS", {"train": 1, "validation": 1})


def preset(method: str, name: str) -> Recipe[Any, Any]:
    return replace(tiny(method), preset=name)


def train(out: Path, *words: str, method: str = "t1-resnet") -> int:
    return main(["train", method, "-o", str(out), "--device", "cpu", "--workers", "1", *words])


def test_weights_are_written_and_told_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "weights"
    assert train(out) == 0
    told = capsys.readouterr().out
    assert "step 3 of 6: loss" in told and "step 6 of 6" in told
    assert f"unweight t1 --method resnet --weights {out}" in told
    assert {path.name for path in out.iterdir()} == {
        "t1-resnet.json",
        "t1-resnet.safetensors",
        "training",
    }
    assert not list((out / "training" / "slabs").iterdir())
    load_estimator("t1-resnet", out)
    assert train(out) == 0
    told = capsys.readouterr().out
    assert "the training of t1-resnet is complete" in told and "step" not in told


@pytest.mark.parametrize(("method", "use"), [("maps", "maps"), ("maps-unet", "maps --method unet")])
def test_a_network_of_weighted_images(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    use: str,
) -> None:
    monkeypatch.setattr("unweight.learn.weighted.protocol_range.N_DRAWS", 50)
    assert train(tmp_path, method=method) == 0
    told = capsys.readouterr().out
    assert "step 6 of 6: loss" in told and "PSNR T1 " in told and "ln T1" not in told
    assert f"unweight {use} --weights" in told
    load_estimator(method, tmp_path)


@pytest.mark.parametrize(
    "words", [["--tr", "3"], ["--ti", "0.1", "1", "--tr", "3"], ["--readout-time", "0.1"]]
)
def test_a_network_of_weighted_images_has_no_protocol_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    assert train(tmp_path, *words, method="maps") == 2
    assert "maps accepts any timings" in capsys.readouterr().err


def test_own_protocol(tmp_path: Path) -> None:
    times = [f"{ti:g}" for ti in TIMES]
    assert train(tmp_path, "--ti", *times, "--tr", "2.55", "--readout-time", "0.014", "--quiet") == 0
    estimator, card = load_estimator("t1-resnet", tmp_path)
    assert isinstance(estimator, NetworkT1) and estimator.trained.inversion_time == TIMES
    assert card.ranges["repetition_time"] == (2.55, 2.55)
    assert card.recipe["slabs"]["readout"] == 0.014


@pytest.mark.parametrize("sidecars", [False, True])
def test_protocol_like_that_of_images(
    tmp_path: Path, sidecars: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    for index, ti in enumerate(TIMES):
        image = tmp_path / "in" / f"sub-01_inv-{index + 1}_IRT1.nii.gz"
        image.parent.mkdir(exist_ok=True)
        nib.save(nib.Nifti1Image(np.ones((4, 4, 1), np.float32), np.eye(4)), image)
        fields = {"InversionTime": ti, "RepetitionTime": 2.55, "EchoTime": 0.014}
        (image.parent / image.name.replace(".nii.gz", ".json")).write_text(json.dumps(fields))
    given = sorted((tmp_path / "in").glob("*.json")) if sidecars else [tmp_path / "in"]
    assert train(tmp_path / "out", "--quiet", "--protocol-from", *map(str, given)) == 0
    recipe = load_weights("t1-resnet", tmp_path / "out")[1].recipe
    assert tuple(recipe["slabs"]["inversion_times"]) == TIMES
    assert recipe["slabs"]["repetition_time"] == 2.55
    one = next((tmp_path / "in").glob("*.json"))
    assert train(tmp_path / "other", "--protocol-from", str(one)) == 2
    assert "do not give all inversion times" in capsys.readouterr().err


def test_steps_slabs_and_a_warm_start(tmp_path: Path) -> None:
    assert train(tmp_path / "one", "--quiet", "--seed", "3") == 0
    first = load_weights("t1-resnet", tmp_path / "one")[1]
    words = ["--steps", "12", "--slabs", "5", "--from", str(tmp_path / "one"), "--quiet"]
    assert train(tmp_path / "two", *words) == 0
    second = load_weights("t1-resnet", tmp_path / "two")[1]
    assert (first.seed, second.recipe["n_slabs"], second.recipe["plan"]["n_steps"]) == (3, 5, 12)
    assert "Training started from other weights" not in first.trained_on
    assert f"(SHA-256 {first.sha256[:12]}, trained for" in second.trained_on


def test_weights_are_compared_on_the_same_slabs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(tmp_path / "one", "--quiet", "--steps", "4") == 0
    assert train(tmp_path / "two", "--steps", "4", "--compare-with", str(tmp_path / "one")) == 0
    # The same training again scores the same, which is not better.
    assert "not better than" in capsys.readouterr().out
    found = json.loads((tmp_path / "two" / "training" / "t1-resnet-comparison.json").read_text())
    assert found["new"] == found["other"] > 0 and found["better"] is False


def test_precision_is_told_and_noted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(tmp_path, "--precision", "bfloat16") == 0
    assert "computed in bfloat16 (as asked for)" in capsys.readouterr().out
    assert load_weights("t1-resnet", tmp_path)[1].precision == "bfloat16 (as asked for)"


def test_minutes_need_one_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many short trainings are timed, and none of them is timed with the trial."""
    ratios: list[float] = []

    def ratio(_: object) -> float:
        ratios.append(3.0)
        time.sleep(0.2)
        return ratios[-1]

    monkeypatch.setattr("unweight.learn.training.execution.has_bfloat16", lambda: False)
    monkeypatch.setattr("unweight.learn.training.execution.time_ratio", ratio)
    monkeypatch.setattr("unweight.cli.training.duration.MEASURED_SECONDS", 0.1)
    recipe = replace(tiny("t1-resnet"), plan=replace(tiny("t1-resnet").plan, bfloat16=True))
    batches = slab_data(recipe.method).trial(recipe)
    timed = with_time(recipe, None, batches, torch.device("cpu"), minutes=1.0)
    assert len(ratios) == 1
    # Sixty seconds of steps far below the time of the trial.
    assert timed.plan.n_steps > 60 / 0.2


def test_minutes_choose_the_steps_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unweight.cli.training.duration.MEASURED_SECONDS", 1e-3)
    monkeypatch.setattr("unweight.cli.training.command.train_model", lambda *_, **__: None)
    timed: list[float] = []

    def choose(
        recipe: Recipe[Any, Any], base: object, batches: object, device: object, minutes: float, _: object
    ) -> Recipe[Any, Any]:
        timed.append(minutes)
        return replace(recipe, plan=replace(recipe.plan, n_steps=700))

    with monkeypatch.context() as patch:
        patch.setattr("unweight.cli.training.command.with_time", choose)
        assert train(tmp_path, "--minutes", "5", "--quiet") == 0
        assert train(tmp_path, "--minutes", "5", "--quiet") == 0
    assert len(timed) == 1 and 4.0 < timed[0] < 5.0  # less what simulation and scoring take
    record = json.loads((tmp_path / "training" / "recipe.json").read_text())
    assert record["recipe"]["plan"]["n_steps"] == 700
    assert train(tmp_path / "least", "--minutes", "0.0001", "--quiet") == 0
    record = json.loads((tmp_path / "least" / "training" / "recipe.json").read_text())
    assert record["recipe"]["plan"]["n_steps"] == 100


@pytest.mark.slow
def test_minutes_are_those_of_the_whole_command(tmp_path: Path) -> None:
    began = time.perf_counter()
    assert train(tmp_path, "--minutes", "2") == 0
    seconds = time.perf_counter() - began
    assert 0.85 < seconds / 120 < 1.15, seconds  # if the load of the machine stays as it is
    assert load_weights("t1-resnet", tmp_path)[1].recipe["plan"]["n_steps"] > 100


def test_short_trainings_simulate_fewer_slabs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = TrainOptions(method="t1-resnet", out=tmp_path)
    method = trainable("t1-resnet")
    assert isinstance(method, SlabSource)
    recipe = replace(tiny("t1-resnet"), n_slabs=400)
    monkeypatch.setattr(SlabData, "seconds_each", lambda *_: 2.0)
    source = SlabTraining(options=options, source=method)
    fitted = source.within(recipe, 200.0, 2)
    assert 100 < fitted.n_slabs + sum(method.held_out(fitted)) <= 200  # a second for each, in two processes
    assert source.within(recipe, 1e6, 2) == recipe
    assert source.within(recipe, 0.0, 2).n_slabs == 16
    fixed = SlabTraining(options=replace(options, slabs=400), source=method)
    assert fixed.within(recipe, 1.0, 2) == recipe


def test_checks_take_a_share_of_the_time() -> None:
    scoring = ScoringTime(check=3.0, assessment=1.0)
    assert [scoring.n_checks(seconds) for seconds in (-5.0, 10.0, 100.0, 1e6)] == [2, 2, 5, 20]
    recipe = tiny("t1-resnet")
    plan = replace(recipe.plan, n_steps=1000, check_every=10)
    assert with_checks(replace(recipe, plan=plan), 4).plan.check_every == 250


def test_killed_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(tmp_path / "whole", "--quiet") == 0

    def interrupted(step: Step) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("unweight.cli.training.progress.step_line", interrupted)
        assert train(tmp_path / "twice") == 130
    assert not (tmp_path / "twice" / "t1-resnet.json").exists()
    capsys.readouterr()
    assert train(tmp_path / "twice") == 0
    told = capsys.readouterr().out
    assert "step 6 of 6" in told and "step 3 of 6" not in told
    one, two = (tmp_path / name / "t1-resnet.safetensors" for name in ("whole", "twice"))
    assert one.read_bytes() == two.read_bytes()


def test_another_training_is_not_mixed_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(tmp_path, "--quiet") == 0
    assert train(tmp_path, "--seed", "1") == 2
    assert "holds another training, with another seed" in capsys.readouterr().err
    (tmp_path / "training" / "recipe.json").unlink()
    assert train(tmp_path) == 2
    assert "already contains weights t1-resnet" in capsys.readouterr().err
    (tmp_path / "training" / "recipe.json").write_text("{}")
    assert train(tmp_path) == 2
    assert "is not the record of a training" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--ti", "0.1", "0.5", "2"], "Give --tr, in seconds"),
        (["--ti", "0.1", "0.5", "0.5", "--tr", "3"], "contain duplicates"),
        (["--ti", "100", "500", "2000", "--tr", "3"], "milliseconds"),
        (["--tr", "0.1"], "repetition"),
        (["--steps", "0"], "--steps 0"),
        (["--workers", "-1"], "--workers -1"),
        (["--slabs", "0"], "--slabs 0"),
        (["--minutes", "-1"], "--minutes -1"),
        (["--minutes", "1", "--steps", "5"], "cannot be combined"),
        (["--brainweb-dir", "nowhere"], "contains no BrainWeb head"),
        (["--from", "nowhere"], "there are no weights called t1-resnet"),
    ],
)
def test_messages(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert train(tmp_path, *words) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_unknown_presets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit):
        train(tmp_path, "--preset", "huge")
    assert "invalid choice" in capsys.readouterr().err
    monkeypatch.undo()
    assert train(tmp_path, "--preset", "paper", method=POSTERIOR) == 2
    assert "t1-posterior has no preset called paper" in capsys.readouterr().err


def test_posterior_with_a_tr_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(tmp_path, "--tr", "3", method=POSTERIOR) == 2
    assert "Give the inversion times, --ti" in capsys.readouterr().err


def test_too_few_heads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], shared_data: Callable[[str], Path]
) -> None:
    (tmp_path / "heads").mkdir()
    for path in sorted(shared_data("brainweb_crisp").glob("*.mnc.gz"))[:1]:
        (tmp_path / "heads" / path.name).symlink_to(path)
    assert train(tmp_path / "out", "--brainweb-dir", str(tmp_path / "heads")) == 2
    assert "1 heads leave none for validation" in capsys.readouterr().err


def test_line_of_a_step() -> None:
    step = Step(
        step=50,
        n_steps=200,
        loss=0.5,
        rate=1e-3,
        checks={"rmse_ln_t1": 0.08, "rmse_ln_t1_fit": 0.12, "coverage_90": 0.91, "rmse_over_exact": 1.1},
        seconds=100.0,
        skipped=0,
    )
    assert step_line(step) == (
        "step 50 of 200: loss 0.5, RMSE of ln T1 0.0800 (fit 0.1200), "
        "RMSE of single voxels 1.10 x that of the exact posterior, "
        "coverage of the 90 % intervals 91 %, 5 min left"
    )


def test_line_of_a_step_of_maps() -> None:
    step = Step(
        step=50,
        n_steps=100,
        loss=0.5,
        rate=1e-3,
        checks={"psnr_t1": 25.04, "psnr_t2": 22.5, "psnr_pd": 30.0, "coverage_90": 0.91},
        seconds=50.0,
        skipped=0,
    )
    assert step_line(step) == (
        "step 50 of 100: loss 0.5, PSNR T1 25.0, T2 22.5, PD 30.0 dB, "
        "coverage of the 90 % intervals 91 %, 50 s left"
    )
