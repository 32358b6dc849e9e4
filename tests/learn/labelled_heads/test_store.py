from functools import partial
from pathlib import Path

import pytest
import torch

from tests.synth.anatomy.balls import ball_anatomy, ball_head
from unweight.core.errors import InputError
from unweight.learn.labelled_heads.store import (
    labelled_heads,
    load_head,
    procedural_heads,
    save_head,
)
from unweight.synth.anatomy.labels import Anatomy


def test_heads_survive_a_round_trip(tmp_path: Path) -> None:
    head = ball_head()
    save_head(tmp_path / "head.safetensors", head)
    again = load_head(tmp_path / "head.safetensors")
    assert torch.equal(again.labels, head.labels)
    assert torch.equal(again.affine, head.affine)
    assert again.subject == head.subject
    assert float((again.distance - head.distance).abs().max()) < 0.01  # kept in half precision


def test_heads_are_made_once(tmp_path: Path) -> None:
    made = []

    def make(name: str) -> Anatomy:
        made.append(name)
        return ball_anatomy()

    progress: list[tuple[int, int]] = []
    for _ in range(2):
        heads = labelled_heads(
            [("a", partial(make, "a"))], tmp_path, 0, lambda done, of: progress.append((done, of))
        )
        assert [head.subject for head in heads] == ["ball"]
    assert made == ["a"]
    assert progress == [(1, 1), (1, 1)]


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "head.safetensors"
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(InputError) as caught:
        load_head(path)
    assert caught.value.path == path


def test_procedural_heads_differ_between_parts() -> None:
    source = procedural_heads(0, {"train": 2, "test": 1})
    assert source.names("train") == ("0", "1")
    drawn = {
        float(torch.rand((), generator=source.generator(part, index)))
        for part, index in (("train", 0), ("train", 1), ("test", 0))
    }
    assert len(drawn) == 3
