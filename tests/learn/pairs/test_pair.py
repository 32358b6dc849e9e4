"""Pairs survive the disk; boxes hold the brain and are as large as they can be."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from unweight.core.errors import InputError
from unweight.core.seeding import seeded_generator
from unweight.learn.pairs.pair import ABOUT, TENSORS, Pair, box_of, half, load_pair

ABOUT_ONE = {"age": 41.5, "male": True, "true_ml": {"caudate": 7.5}}


def pair() -> Pair:
    noise = torch.randn(8, 5, 6, 7, generator=seeded_generator(1))
    return Pair(
        channels=half(noise[:7]),
        target=half(noise[7]),
        labels=torch.randint(0, 8, (5, 6, 7), generator=seeded_generator(2), dtype=torch.uint8),
        voxel_mm=(1.0, 1.2, 1.5),
        name="train-004",
        about=ABOUT_ONE,
    )


def test_a_pair_survives_the_disk(tmp_path: Path) -> None:
    made = pair()
    made.save(tmp_path / "one.safetensors")
    read = load_pair(tmp_path / "one.safetensors")
    for name in TENSORS:
        one, other = getattr(read, name), getattr(made, name)
        assert torch.equal(one, other) and one.dtype == other.dtype
    assert (read.voxel_mm, read.name, read.about) == (made.voxel_mm, "train-004", ABOUT_ONE)


def test_a_pair_cut_out_of_a_volume_survives_too(tmp_path: Path) -> None:
    """Views that are not contiguous."""
    whole = pair()
    some = Pair(
        channels=whole.channels[:, 1:4, :, 2:5],
        target=whole.target[1:4, :, 2:5],
        labels=whole.labels[1:4, :, 2:5],
        voxel_mm=whole.voxel_mm,
        name=whole.name,
        about={},
    )
    some.save(tmp_path / "one.safetensors")
    read = load_pair(tmp_path / "one.safetensors")
    assert torch.equal(read.target, whole.target[1:4, :, 2:5]) and read.about == {}


def tensors() -> dict[str, Tensor]:
    return {name: getattr(pair(), name) for name in TENSORS}


def written(folder: Path, tensors: dict[str, Tensor], about: object) -> Path:
    path = folder / "one.safetensors"
    save_file(tensors, path, metadata=None if about is None else {ABOUT: json.dumps(about)})
    return path


@pytest.mark.parametrize(
    "about",
    [None, {"name": "x"}, {"voxel_mm": [1, 1, 1]}, {"name": "x", "voxel_mm": [1, 1]}, [1, 2]],
)
def test_other_files_of_tensors_are_no_pairs(tmp_path: Path, about: object) -> None:
    with pytest.raises(InputError, match="is not a training pair") as refused:
        load_pair(written(tmp_path, tensors(), about))
    assert refused.value.path == tmp_path / "one.safetensors"


def test_damaged_files_are_no_pairs(tmp_path: Path) -> None:
    known = {"name": "x", "voxel_mm": [1, 1, 1]}
    path = written(tmp_path, tensors(), known)
    assert load_pair(path).name == "x"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(InputError, match="is not a training pair"):
        load_pair(path)
    some = tensors()
    del some["labels"]
    with pytest.raises(InputError, match="is not a training pair"):
        load_pair(written(tmp_path, some, known))
    with pytest.raises(InputError, match="is not a training pair"):
        load_pair(tmp_path / "nothing.safetensors")


def mask_of(shape: tuple[int, int, int], *ends: tuple[int, int]) -> Tensor:
    mask = torch.zeros(shape, dtype=torch.bool)
    mask[tuple(slice(first, last) for first, last in ends)] = True
    return mask


def test_a_box_has_its_margin() -> None:
    box = box_of(mask_of((40, 40, 40), (10, 30), (12, 33), (9, 31)), 3, 5)
    assert box == (slice(7, 33), slice(9, 36), slice(6, 34))


def test_a_box_grows_to_what_is_wanted_on_both_sides() -> None:
    box = box_of(mask_of((40, 40, 40), (15, 19), (20, 25), (0, 40)), 0, 10)
    assert box == (slice(12, 22), slice(18, 28), slice(0, 40))


def test_a_box_at_the_edge_grows_into_the_volume() -> None:
    box = box_of(mask_of((40, 40, 12), (0, 4), (37, 40), (3, 9)), 2, 16)
    assert box == (slice(0, 16), slice(24, 40), slice(0, 12))


@pytest.mark.parametrize("seed", range(20))
def test_any_box_holds_the_mask_and_is_as_large_as_there_is_room(seed: int) -> None:
    generator = seeded_generator(3, seed)

    def number(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=generator))

    shape = (number(1, 40), number(1, 40), number(1, 40))
    mask = torch.zeros(shape, dtype=torch.bool)
    places = [tuple(number(0, n - 1) for n in shape) for _ in range(3)]
    for place in places:
        mask[place] = True
    margin, least = number(0, 4), number(0, 30)
    for axis, (part, size) in enumerate(zip(box_of(mask, margin, least), shape, strict=True)):
        found = [place[axis] for place in places]
        assert 0 <= part.start <= max(0, min(found) - margin)
        assert min(size, max(found) + 1 + margin) <= part.stop <= size
        extent = max(least, max(found) + 1 - min(found) + 2 * margin)
        assert part.stop - part.start == min(size, extent)
