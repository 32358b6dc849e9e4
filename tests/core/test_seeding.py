import torch

from unweight.core.seeding import seeded_generator


def draw(seed: int, *labels: str | int) -> list[float]:
    return torch.randn(4, generator=seeded_generator(seed, *labels)).tolist()


def test_same_purpose_same_numbers() -> None:
    assert draw(1, "noise", 3) == draw(1, "noise", 3)


def test_every_label_and_seed_counts() -> None:
    streams = [draw(1, "noise", 3), draw(1, "noise", 4), draw(2, "noise", 3), draw(1, "shape", 3)]
    assert len({tuple(stream) for stream in streams}) == 4
