"""`unweight train brain-segmentation`, and `segment` and `evaluate segment` with its weights, on balls."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.learn.segmentation.test_any_contrast import HEAD, tiny
from tests.learn.segmentation.test_segmenter import image
from tests.mapping.test_segment import save
from tests.synth.anatomy.balls import ball_anatomy
from unweight.cli.main import main
from unweight.heads.source import HeadSource
from unweight.learn.training.weights import load_weights
from unweight.synth.anatomy.head_parts import LabelledHead
from unweight.synth.anatomy.labels import Anatomy

CAPTURE = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def balls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Heads of balls in place of procedural ones."""

    class Balls(HeadSource):
        def names(self, part: str) -> tuple[str, ...]:
            return ("0",)

        def read(self, part: str, index: int) -> Anatomy:
            return replace(ball_anatomy(), subject=f"ball-{part}")

        def heads(self, part: str, at_most: int | None = None) -> Iterator[Anatomy]:
            return iter((self.read(part, 0),))

    def with_parts(anatomy: Anatomy, generator: object) -> LabelledHead:
        return replace(HEAD.head, subject=anatomy.subject)

    for module in ("training.head_training", "evaluate_segmentation"):
        monkeypatch.setattr(f"unweight.cli.{module}.procedural_heads", lambda seed, counts: Balls())
    monkeypatch.setattr("unweight.cli.evaluate_segmentation.with_parts", with_parts)
    monkeypatch.setattr("unweight.learn.labelled_heads.store.with_parts", with_parts)


def test_a_training_from_heads_to_scores_and_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: CAPTURE
) -> None:
    monkeypatch.setattr("unweight.cli.training.options.recipe_for", lambda name, preset: tiny())
    weights = tmp_path / "weights"
    assert main(["train", "brain-segmentation", "-o", str(weights)]) == 0
    assert "segment" in capsys.readouterr().out
    _, card = load_weights("brain-segmentation", weights)
    assert "ball-train" in card.trained_on and "ball-validation" in card.trained_on

    arguments = [
        "evaluate",
        "segment",
        "-o",
        str(tmp_path / "scores"),
        "--quick",
        "--weights",
        str(weights),
    ]
    assert main(arguments) == 0
    rows = (tmp_path / "scores" / "scores.tsv").read_text()
    assert "any-contrast" in rows and "thalamus" in rows and "coarse" in rows
    assert "Dice, coarse" in capsys.readouterr().out

    scan = save(tmp_path / "sub-01_T1w.nii.gz", image())
    mask = save(tmp_path / "mask.nii.gz", (image() > 0).float())
    arguments = ["segment", str(scan), "--mask", str(mask), "--weights", str(weights), "--no-figures"]
    assert main([*arguments, "-o", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "sub-01" / "anat" / "sub-01_desc-T1w_dseg.nii.gz").is_file()


def test_without_weights_the_command_that_makes_them_is_named(tmp_path: Path, capsys: CAPTURE) -> None:
    (tmp_path / "none").mkdir()
    words = ["evaluate", "segment", "-o", str(tmp_path / "out"), "--methods", "any-contrast"]
    assert main([*words, "--weights", str(tmp_path / "none")]) != 0
    assert "train brain-segmentation" in capsys.readouterr().err
