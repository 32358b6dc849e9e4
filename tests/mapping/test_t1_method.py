import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.fit.acquisitions import SEVEN, acquire, parameters
from tests.run.untrained import write_untrained
from unweight.bids.raw import write_raw
from unweight.cli.main import main, parser
from unweight.cli.options import options_of
from unweight.core.acquisition import Acquisition, SignalKind
from unweight.core.errors import InputError, UsageError
from unweight.core.protocol import protocol_from_values
from unweight.fit.inversion_recovery import InversionRecoveryFit
from unweight.learn.t1.diffusor import VELOCITY, DrawnInference
from unweight.learn.t1.network_t1 import NetworkT1
from unweight.learn.t1.posterior import PosteriorT1
from unweight.learn.training.weights import load_weights
from unweight.mapping.t1 import T1Options
from unweight.mapping.t1_method import T1Choice, T1Method, method_for

KINDS = {
    "posterior": PosteriorT1,
    "ml": InversionRecoveryFit,
    "diffusor": NetworkT1,
    "rim": NetworkT1,
    "resnet": NetworkT1,
}
SHORT = protocol_from_values(inversion_time=[0.05, 0.1, 0.2, 0.4], repetition_time=[10.0] * 4)
OF_THE_FIT = (["--efficiency", "1.9"], ["--efficiency-range", "1.5", "2"], ["--pulse-efficiency"])


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_untrained(tmp_path_factory.mktemp("weights"), trained_on="Scenes of a test.")


def acquisition(kind: SignalKind = SignalKind.MAGNITUDE) -> Acquisition:
    return acquire(parameters(20, (0.3, 1.5)), 0.02, kind=kind)


def choice(weights: Path | None, *words: str) -> T1Choice:
    where = [] if weights is None else ["--weights", str(weights)]
    arguments = parser().parse_args(["t1", "images", "-o", "out", *where, *words])
    return options_of(T1Options, arguments).choice


def chosen(of: Acquisition, weights: Path, *words: str) -> T1Method:
    return method_for(of, choice(weights, *words))


@pytest.mark.parametrize("method", KINDS)
def test_the_method_asked_for(weights: Path, method: str) -> None:
    made = chosen(acquisition(), weights, "--method", method)
    assert type(made.estimator) is KINDS[method]
    assert (made.name, made.reason) == (method, "")
    assert made.settings["Method"] == method
    assert made.algorithm and made.reference


def test_settings_name_the_weights(weights: Path) -> None:
    for method in ("posterior", "resnet"):
        card = load_weights(f"t1-{method}", weights)[1]
        assert chosen(acquisition(), weights, "--method", method).settings["Weights"] == {
            "Name": f"t1-{method}",
            "Version": 1,
            "Preset": "cpu",
            "SHA256": card.sha256,
            "TrainedOn": "Scenes of a test.",
        }
    assert "Weights" not in chosen(acquisition(), weights, "--method", "ml").settings


@pytest.mark.parametrize("kind", [SignalKind.MAGNITUDE, SignalKind.SIGNED])
def test_auto_takes_the_posterior_where_it_was_trained(weights: Path, kind: SignalKind) -> None:
    made = chosen(acquisition(kind), weights)
    assert isinstance(made.estimator, PosteriorT1)
    assert (made.name, made.reason) == ("posterior", "")


def test_auto_falls_back_where_it_was_not_and_says_why(weights: Path) -> None:
    made = chosen(Acquisition(signal=torch.ones(5, 4), protocol=SHORT), weights)
    assert made.estimator == InversionRecoveryFit()
    assert made.name == "ml"
    assert made.reason.startswith("the longest inversion time is 0.4 s, outside the range 0.6 to 4.5 s")
    assert made.settings["Method"] == "ml" and made.settings["Reason"] == made.reason
    known = Acquisition(signal=torch.ones(5, 7), protocol=SEVEN, known={"B": torch.full((5,), 1.9)})
    assert "not trained with a given one" in chosen(known, weights).reason


def test_auto_without_weights_falls_back(tmp_path: Path) -> None:
    made = chosen(acquisition(), tmp_path)
    assert isinstance(made.estimator, InversionRecoveryFit)
    assert made.reason == "there are no weights for the posterior"


@pytest.mark.parametrize("words", OF_THE_FIT, ids=" ".join)
def test_settings_of_the_fit_choose_the_fit(weights: Path, words: list[str]) -> None:
    made = chosen(acquisition(), weights, *words)
    assert isinstance(made.estimator, InversionRecoveryFit)
    assert made.reason == f"{words[0]} is given"
    asked = chosen(acquisition(), weights, "--method", "ml", *words)
    assert asked.estimator == made.estimator
    assert asked.reason == "" and "Reason" not in asked.settings


@pytest.mark.parametrize("method", ["posterior", "diffusor", "rim", "resnet"])
@pytest.mark.parametrize("words", OF_THE_FIT, ids=" ".join)
def test_settings_of_the_fit_are_refused_with_other_methods(
    weights: Path, method: str, words: list[str]
) -> None:
    with pytest.raises(UsageError) as refused:
        chosen(acquisition(), weights, "--method", method, *words)
    assert refused.value.problem.startswith(f"{words[0]} applies only to")
    assert "--method ml" in refused.value.remedy


def test_draws_and_steps_of_the_diffusor(weights: Path) -> None:
    made = chosen(acquisition(), weights, "--method", "diffusor", "--draws", "5", "--steps", "40").estimator
    assert isinstance(made, NetworkT1)
    assert made.inference == DrawnInference(n_draws=5, n_steps=40, config=VELOCITY)
    plain = chosen(acquisition(), weights, "--method", "diffusor").estimator
    assert isinstance(plain, NetworkT1)
    assert plain.inference == DrawnInference(n_draws=2, n_steps=2, config=VELOCITY)  # of the card


def stored(out: Path) -> dict[str, Any]:
    path = next(out.rglob("sub-01_T1map.json"))
    told: dict[str, Any] = json.loads(path.read_text())
    return told


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A slice of voxels that are all alike."""
    root = tmp_path_factory.mktemp("images")
    theta = torch.tensor([[0.9, 1000.0, 1.9]], dtype=torch.float64).repeat(400, 1)
    signal = acquire(theta, 20.0, complete=2.0).signal.float().reshape(20, 20, 1, 7)
    write_raw(Acquisition(signal=signal, protocol=SEVEN, affine=torch.eye(4)), root, {"sub": "01"})
    return root


@pytest.mark.parametrize("method", ["auto", *KINDS])
def test_every_method_from_images_to_maps(
    images: Path, weights: Path, tmp_path: Path, method: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["t1", str(images), "-o", str(tmp_path), "--weights", str(weights), "--no-figures"]
    assert main([*words, "--method", method]) == 0
    name = "posterior" if method == "auto" else method
    shown = capsys.readouterr().out
    assert f"method {name}\n" in shown
    settings = stored(tmp_path)["unweight"]["Settings"]
    assert settings["Method"] == name
    if name != "ml":
        assert settings["Weights"]["SHA256"] == load_weights(f"t1-{name}", weights)[1].sha256
    if name in ("posterior", "ml"):
        median = re.search(r"T1 of usable voxels: median ([0-9.]+) s", shown)
        assert median is not None and float(median[1]) == pytest.approx(0.9, abs=0.02)
        assert "noise SD" in shown and "least squares" in shown


def test_the_reason_is_shown_and_kept(
    images: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["t1", str(images), "-o", str(tmp_path), "--weights", str(weights), "--no-figures"]
    assert main([*words, "--efficiency", "1.9"]) == 0
    assert "method ml, because --efficiency is given" in capsys.readouterr().out
    assert stored(tmp_path)["unweight"]["Settings"]["Reason"] == "--efficiency is given"
    assert main([*words, "--method", "posterior", "--efficiency", "1.9"]) == 2
    assert "--efficiency applies only to the maximum-likelihood fit" in capsys.readouterr().err


def test_messages(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"weights called t1-rim\. Train them with `unweight train t1-rim`"
    ):
        chosen(acquisition(), tmp_path, "--method", "rim")
