"""Folders of pairs: the same whoever makes them, made once, and never mixed."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from unweight.core.errors import InputError, UsageError
from unweight.core.seeding import seeded_generator
from unweight.learn.pairs.pair import Pair, half, load_pair
from unweight.learn.pairs.pair_data import MANIFEST, make_pairs

ABOUT = {"seed": 3, "n": (4, 2, 1), "group": "healthy"}


@dataclass
class Noise:
    """Makes pairs of noise, and writes down which, in whatever process."""

    log: Path
    broken: int | None = None

    def __call__(self, index: int) -> Pair:
        with self.log.open("a") as file:
            file.write(f"{index}\n")
        if index == self.broken:
            raise InputError(f"nobody is at {index}")
        noise = torch.randn(8, 3, 4, 5, generator=seeded_generator(1, index))
        return Pair(
            channels=half(noise[:7]),
            target=half(noise[7]),
            labels=torch.zeros(3, 4, 5, dtype=torch.uint8),
            voxel_mm=(1.0, 1.0, 1.0),
            name=f"noise-{index}",
            about={},
        )

    @property
    def made(self) -> list[int]:
        return sorted(int(line) for line in self.log.read_text().split()) if self.log.exists() else []


@pytest.fixture
def noise(tmp_path: Path) -> Noise:
    return Noise(tmp_path / "log.txt")


def test_workers_change_nothing(noise: Noise, tmp_path: Path) -> None:
    indices = (7, 2, 11, 5)
    alone, shared = (make_pairs(noise, indices, tmp_path / f"{n}", ABOUT, n_workers=n) for n in (0, 2))
    assert [path.name for path in alone] == [f"{index:04d}.safetensors" for index in indices]
    assert [path.name for path in shared] == [path.name for path in alone]
    for one, other in zip(alone, shared, strict=True):
        assert one.read_bytes() == other.read_bytes()
    assert noise.made == sorted(2 * indices)
    assert [load_pair(path).name for path in sorted((tmp_path / "2").glob("*.safetensors"))] == [
        f"noise-{n}" for n in (2, 5, 7, 11)
    ]


@pytest.mark.parametrize("n_workers", [0, 2])
def test_what_is_there_is_not_made_again(noise: Noise, tmp_path: Path, n_workers: int) -> None:
    first = make_pairs(noise, (0, 1, 2), tmp_path / "pairs", ABOUT)
    kept = [path.read_bytes() for path in first]
    noise.log.unlink()
    told: list[tuple[int, int]] = []
    paths = make_pairs(
        noise,
        (0, 1, 2, 3, 4),
        tmp_path / "pairs",
        ABOUT,
        n_workers=n_workers,
        progress=lambda done, total: told.append((done, total)),
    )
    assert noise.made == [3, 4]
    assert told == [(3, 5), (4, 5), (5, 5)]
    assert [path.read_bytes() for path in paths[:3]] == kept
    noise.log.unlink()
    make_pairs(noise, (0, 1, 2, 3, 4), tmp_path / "pairs", ABOUT, n_workers=n_workers)
    assert noise.made == []


@pytest.mark.parametrize("n_workers", [0, 2])
def test_one_that_cannot_be_made_stops_it_and_the_others_stay(
    noise: Noise, tmp_path: Path, n_workers: int
) -> None:
    broken = Noise(noise.log, broken=2)
    with pytest.raises(InputError, match="nobody is at 2"):
        make_pairs(broken, (0, 1, 2), tmp_path / "pairs", ABOUT, n_workers=n_workers)
    assert not (tmp_path / "pairs" / "0002.safetensors").exists()
    noise.log.unlink()
    make_pairs(noise, (0, 1, 2), tmp_path / "pairs", ABOUT, n_workers=n_workers)
    assert 2 in noise.made and 0 not in noise.made


@pytest.mark.parametrize("other", [{**ABOUT, "seed": 4}, {"seed": 3}, {**ABOUT, "snr": 60.0}, {}])
def test_a_folder_of_other_pairs_is_refused(noise: Noise, tmp_path: Path, other: dict[str, object]) -> None:
    make_pairs(noise, (0,), tmp_path, ABOUT)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(UsageError, match="contains pairs made with other settings") as refused:
        make_pairs(noise, (0, 1), tmp_path, other)
    assert "another folder" in str(refused.value.remedy)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_the_same_values_are_the_same_after_the_disk(noise: Noise, tmp_path: Path) -> None:
    """Tuples come back as lists."""
    make_pairs(noise, (0,), tmp_path, ABOUT)
    make_pairs(noise, (0,), tmp_path, {**ABOUT, "n": [4, 2, 1]})
    assert noise.made == [0]


@pytest.mark.parametrize("content", [b"", b'{"seed": 3,', b"\xff\xfe"])
def test_a_damaged_manifest_is_refused(noise: Noise, tmp_path: Path, content: bytes) -> None:
    (tmp_path / MANIFEST).write_bytes(content)
    with pytest.raises(InputError, match="is not a valid description of pairs") as refused:
        make_pairs(noise, (0,), tmp_path, ABOUT)
    assert refused.value.path == tmp_path / MANIFEST
    assert noise.made == []
