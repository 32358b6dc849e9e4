"""`unweight evaluate mask` and `unweight train brain-mask`, on heads of balls."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.learn.brain_mask.test_method import tiny
from tests.synth.anatomy.balls import ball_anatomy, ball_head
from unweight.cli.main import main
from unweight.heads.source import HeadSource
from unweight.learn.training.weights import available, load_weights
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
        return replace(ball_head(eyes=True), subject=anatomy.subject)

    for module in ("training.head_training", "evaluate_mask"):
        monkeypatch.setattr(f"unweight.cli.{module}.procedural_heads", lambda seed, counts: Balls())
    monkeypatch.setattr("unweight.cli.evaluate_mask.with_parts", with_parts)
    monkeypatch.setattr("unweight.learn.labelled_heads.store.with_parts", with_parts)


def test_scores_and_a_table(tmp_path: Path, capsys: CAPTURE) -> None:
    assert main(["evaluate", "mask", "-o", str(tmp_path), "--quick", "--methods", "classical"]) == 0
    rows = (tmp_path / "scores.tsv").read_text().splitlines()
    assert len(rows) == 1 + 2 * 5  # two contrasts, five metrics
    assert "coarse" in rows[1]
    assert "Brain masks, coarse" in capsys.readouterr().out


def test_a_training_from_heads_to_a_mask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: CAPTURE
) -> None:
    monkeypatch.setattr("unweight.cli.training.options.recipe_for", lambda name, preset: tiny())
    assert main(["train", "brain-mask", "-o", str(tmp_path)]) == 0
    assert "brain-mask" in available(tmp_path)
    _, card = load_weights("brain-mask", tmp_path)
    assert "ball-train" in card.trained_on
    assert "--mask-method network --mask-weights" in capsys.readouterr().out
    arguments = ["evaluate", "mask", "-o", str(tmp_path / "scores"), "--quick", "--weights", str(tmp_path)]
    assert main(arguments) == 0
    assert "network" in (tmp_path / "scores" / "scores.tsv").read_text()


def test_options_of_other_trainings_are_refused(tmp_path: Path, capsys: CAPTURE) -> None:
    assert main(["train", "brain-mask", "-o", str(tmp_path), "--n-subjects", "4", "2"]) != 0
    assert "--n-subjects" in capsys.readouterr().err
