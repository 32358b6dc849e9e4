"""Batches against volumes whose values tell where they were cut out."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from unweight.core.errors import UsageError
from unweight.core.seeding import seeded_generator
from unweight.learn.pairs.echo_channels import MASK, N_CHANNELS, N_SLAB, slabs_of
from unweight.learn.pairs.pair import Pair, half
from unweight.learn.pairs.pair_data import PairPool
from unweight.metrics.structures import LABELS

SHAPE, PATCH, N = (10, 12, 14), 8, 300


def pair(shape: tuple[int, int, int] = SHAPE, seed: int = 1) -> Pair:
    """A target that counts the voxels, which half precision does up to 2048."""
    n_voxels = shape[0] * shape[1] * shape[2]
    assert n_voxels <= 2048
    channels = torch.randn(N_CHANNELS, *shape, generator=seeded_generator(seed))
    channels[MASK] = 1.0
    return Pair(
        channels=half(channels),
        target=half(torch.arange(n_voxels).reshape(shape)),
        labels=torch.randint(0, 8, shape, generator=seeded_generator(seed, "labels"), dtype=torch.uint8),
        voxel_mm=(1.0, 1.0, 1.0),
        name=f"noise-{seed}",
        about={},
    )


def places_of(patch: Tensor) -> Tensor:
    """Where the voxels of a patch of the target lie."""
    return torch.stack(torch.unravel_index(patch.long(), SHAPE), dim=-1)


def plane_of(patch: Tensor) -> tuple[int, int, bool, bool]:
    """The axis across the plane, the slice, and whether rows and columns are the other way round."""
    where = places_of(patch)
    (axis,) = [one for one in range(3) if len(where[..., one].unique()) == 1]
    first, second = (one for one in range(3) if one != axis)
    rows, columns = where[:, 0, first].diff(), where[0, :, second].diff()
    assert abs(int(rows[0])) == 1 and bool((rows == rows[0]).all())
    assert abs(int(columns[0])) == 1 and bool((columns == columns[0]).all())
    return axis, int(where[0, 0, axis]), int(rows[0]) < 0, int(columns[0]) < 0


@pytest.fixture(scope="module")
def batch() -> dict[str, Tensor]:
    return PairPool((pair(),), PATCH, N)(seeded_generator(5))


def test_shapes(batch: dict[str, Tensor]) -> None:
    assert {name: tuple(one.shape) for name, one in batch.items()} == {
        "channels": (N, N_SLAB, PATCH, PATCH),
        "target": (N, 1, PATCH, PATCH),
        "around": (N, 5, PATCH, PATCH),
        "labels": (N, 1, PATCH, PATCH),
    }
    assert all(one.dtype == torch.float32 for one in batch.values())


def test_the_generator_decides() -> None:
    pool = PairPool((pair(), pair(seed=2)), PATCH, 6)
    one, again, other = (pool(seeded_generator(seed)) for seed in (6, 6, 7))
    fresh = PairPool((pair(), pair(seed=2)), PATCH, 6)(seeded_generator(6))
    for name, values in one.items():
        assert torch.equal(values, again[name]) and torch.equal(values, fresh[name])
    assert not torch.equal(one["target"], other["target"])


def test_patches_are_what_a_network_sees_of_the_slices(batch: dict[str, Tensor]) -> None:
    whole = pair()
    for channels, target, labels in zip(batch["channels"], batch["target"], batch["labels"], strict=True):
        axis, index, turned, _ = plane_of(target[0])
        where = places_of(target[0].flip(0) if turned else target[0])
        first, second = (one for one in range(3) if one != axis)
        low, left = int(where[0, 0, first]), int(where[0, 0, second])
        window = (slice(low, low + PATCH), slice(left, left + PATCH))
        slab = slabs_of(whole.channels, axis, [index])[0][:, *window]
        shown = whole.labels.select(axis, index)[window].float()
        assert torch.equal(channels.flip(-2) if turned else channels, slab)
        assert torch.equal(labels[0].flip(-2) if turned else labels[0], shown)


def test_the_target_around_is_that_of_the_neighbours(batch: dict[str, Tensor]) -> None:
    for around, target in zip(batch["around"], batch["target"], strict=True):
        assert torch.equal(around[2], target[0])
        axis, index, *_ = plane_of(target[0])
        last = SHAPE[axis] - 1
        for step, patch in zip((-2, -1, 0, 1, 2), around, strict=True):
            expected = places_of(target[0])
            expected[..., axis] = min(max(0, index + step), last)
            assert torch.equal(places_of(patch), expected)


def test_all_planes_and_all_slices_come_and_only_left_and_right_change_places(
    batch: dict[str, Tensor],
) -> None:
    planes = [plane_of(target[0]) for target in batch["target"]]
    for axis, size in enumerate(SHAPE):
        mine = [plane for plane in planes if plane[0] == axis]
        assert len(mine) == pytest.approx(N / 3, abs=25)  # three standard deviations
        assert {index for _, index, *_ in mine} == set(range(size))
        mirrored = sum(turned for _, _, turned, _ in mine)
        assert mirrored == 0 if axis == 0 else mirrored == pytest.approx(len(mine) / 2, abs=16)
        assert not any(upside_down for *_, upside_down in mine)


def test_half_of_the_patches_lie_about_deep_grey_matter() -> None:
    """One voxel of it: a patch about any of the 1680 holds it 4·4 times in as many."""
    labels = torch.full(SHAPE, LABELS["white_matter"], dtype=torch.uint8)
    labels[4, 6, 7] = LABELS["pallidum"]
    made = PairPool((replace(pair(), labels=labels),), 4, 900)(seeded_generator(8))
    held = (made["labels"] == LABELS["pallidum"]).flatten(1).any(1).float().mean()
    assert float(held) == pytest.approx(0.5 + 0.5 * 16 / 1680, abs=0.05)
    other = torch.where(labels == LABELS["pallidum"], LABELS["grey_matter"], labels).to(torch.uint8)
    made = PairPool((replace(pair(), labels=other),), 4, 900)(seeded_generator(8))
    assert float((made["labels"] == LABELS["grey_matter"]).flatten(1).any(1).float().mean()) < 0.03


def test_patches_lie_about_the_brain_where_no_structure_is_known() -> None:
    one = pair()
    channels = one.channels.clone()
    channels[MASK] = 0.0
    channels[MASK, 2:4, 9:11, 5:7] = 1.0
    some = replace(one, channels=channels, labels=torch.zeros_like(one.labels))
    made = PairPool((some,), 3, 200)(seeded_generator(9))
    assert bool((made["channels"][:, MASK] > 0).flatten(1).any(1).all())


def test_a_voxel_lies_anywhere_in_its_patch() -> None:
    """In the middle of a brain that is large enough, and as often at one place as at another."""
    one = pair()
    channels = one.channels.clone()
    channels[MASK] = 0.0
    channels[MASK, 5, 6, 7] = 1.0
    some = replace(one, channels=channels, labels=torch.zeros_like(one.labels))
    made = PairPool((some,), 3, 1200)(seeded_generator(10))["channels"][:, MASK]
    often = made.mean(0)
    assert float(made.sum()) == 1200
    assert float((often - 1 / 9).abs().max()) < 0.032  # three and a half standard deviations


def test_every_subject_comes() -> None:
    pairs = tuple(replace(pair(), target=torch.full_like(pair().target, n)) for n in range(3))
    made = PairPool(pairs, PATCH, 900)(seeded_generator(11))["target"][:, 0, 0, 0]
    assert torch.bincount(made.long()).tolist() == pytest.approx([300, 300, 300], abs=45)


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(UsageError, match="no pairs to learn from"):
        PairPool((), 8, 2)
    with pytest.raises(UsageError, match="patches of 11 voxels do not fit into brains of 10"):
        PairPool((pair(), pair((12, 12, 12))), 11, 2)
    assert PairPool((pair(),), 10, 2)(seeded_generator(1))["target"].shape == (2, 1, 10, 10)
    with pytest.raises(UsageError, match="patches of 0 voxels"):
        PairPool((pair(),), 0, 2)
