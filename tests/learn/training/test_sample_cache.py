import logging
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset

from unweight.core.errors import UsageError
from unweight.core.seeding import seeded_generator
from unweight.learn.training.sample_cache import SampleCache, precompute


@dataclass
class Numbers(Dataset[dict[str, Tensor]]):
    length: int
    seed: int = 0
    made: int = 0

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        self.made += 1
        noise = torch.randn(2, 3, generator=seeded_generator(self.seed, index))
        noise[0, 0] = torch.nan
        return {"a": noise.half(), "b": torch.full((3,), float(index))}


@pytest.mark.parametrize("n_workers", [1, 3])
def test_workers_change_nothing(n_workers: int) -> None:
    alone, shared = precompute(Numbers(7)), precompute(Numbers(7), n_workers=n_workers)
    assert alone["a"].dtype == torch.float16
    assert alone["b"][:, 0].tolist() == list(range(7))
    for name, one in alone.items():
        assert torch.equal(one.nan_to_num(), shared[name].nan_to_num())
        assert torch.equal(one.isnan(), shared[name].isnan())


def test_progress_and_the_global_generator() -> None:
    told: list[tuple[int, int]] = []
    before = torch.random.get_rng_state()
    precompute(Numbers(3), progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert torch.equal(before, torch.random.get_rng_state())


def test_kept_slabs_are_taken(tmp_path: Path) -> None:
    cache = SampleCache(folder=tmp_path / "cache", about={"ends": (1.0, 2.0)})
    made, again = Numbers(70), Numbers(70)
    first = precompute(made, cache=cache)
    second = precompute(again, cache=cache)
    assert again.made == 1
    for name, one in first.items():
        assert second[name].dtype == one.dtype
        assert torch.equal(one.nan_to_num(), second[name].nan_to_num())
    cache.clear()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("other", "about"),
    [(Numbers(70, seed=1), {}), (Numbers(71), {}), (Numbers(69), {}), (Numbers(70), {"x": 1})],
)
def test_other_slabs_are_made_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, other: Numbers, about: dict[str, object]
) -> None:
    precompute(Numbers(70), cache=SampleCache(folder=tmp_path, about={}))
    with caplog.at_level(logging.WARNING):
        found = precompute(other, cache=SampleCache(folder=tmp_path, about=about))
    assert "simulated again" in caplog.text
    expected = precompute(Numbers(other.length, seed=other.seed))
    assert torch.equal(found["a"].nan_to_num(), expected["a"].nan_to_num())
    again = Numbers(other.length, seed=other.seed)
    precompute(again, cache=SampleCache(folder=tmp_path, about=about))
    assert again.made == 1


def test_damaged_slabs_are_made_again(tmp_path: Path) -> None:
    cache = SampleCache(folder=tmp_path, about={})
    precompute(Numbers(3), cache=cache)
    shard = next(tmp_path.glob("shard-*"))
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    assert precompute(Numbers(3), cache=cache)["b"][:, 0].tolist() == [0, 1, 2]


def test_nothing_to_make() -> None:
    with pytest.raises(UsageError, match="there are no slabs to make"):
        precompute(Numbers(0))
