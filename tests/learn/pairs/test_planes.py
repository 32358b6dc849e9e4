"""Volumes through networks of slices whose answer is known in each plane."""

import pytest
import torch
from torch import Tensor

from unweight.core.errors import UsageError
from unweight.core.seeding import seeded_generator
from unweight.learn.pairs import planes
from unweight.learn.pairs.planes import AXIAL, THREE, chunks, n_batches, over_planes

SHAPE = (5, 6, 7)
EVERYWHERE = torch.ones(SHAPE, dtype=torch.bool)
VOLUME = torch.randn(2, *SHAPE, generator=seeded_generator(1))


def some(seed: int = 2) -> Tensor:
    """A mask with slices that hold nothing at one end of each axis, and one in between."""
    mask = torch.rand(SHAPE, generator=seeded_generator(seed)) < 0.3
    mask[0], mask[:, -1], mask[..., :2], mask[3] = False, False, False, False
    mask[1, 0, 2] = mask[2, 4, 6] = mask[4, 1, 3] = True
    return mask


def plane(axis: int) -> tuple[int, int]:
    first, second = (size for one, size in enumerate(SHAPE) if one != axis)
    return first, second


def number(axis: int, indices: list[int]) -> Tensor:
    return torch.full((len(indices), 1, *plane(axis)), float(axis))


def slices(axis: int, indices: list[int]) -> Tensor:
    return VOLUME.index_select(axis + 1, torch.tensor(indices)).movedim(axis + 1, 0)


@pytest.mark.parametrize(
    ("axes", "mean"), [(THREE, 1.0), (AXIAL, 2.0), ((0,), 0.0), ((0, 1), 0.5), ((2, 1), 1.5)]
)
def test_the_mean_over_planes(axes: tuple[int, ...], mean: float) -> None:
    made = over_planes(EVERYWHERE, axes, 1, number)
    assert made.shape == (1, *SHAPE)
    assert made.unique().tolist() == pytest.approx([mean])


@pytest.mark.parametrize("at_once", [1, 70, 2**16])
@pytest.mark.parametrize("axes", [THREE, AXIAL, (0,), (1,)])
def test_every_slice_comes_back_to_its_place(
    axes: tuple[int, ...], at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planes, "PIXELS_AT_ONCE", at_once)
    torch.testing.assert_close(over_planes(EVERYWHERE, axes, 2, slices), VOLUME)


def test_each_axis_counts_a_third() -> None:
    """Each plane says the number of the slice: (i + j + k)/3."""

    def index(axis: int, indices: list[int]) -> Tensor:
        return torch.tensor(indices, dtype=torch.float32)[:, None, None, None].expand(-1, 1, *plane(axis))

    grid = torch.meshgrid(*(torch.arange(size) for size in SHAPE), indexing="ij")
    torch.testing.assert_close(over_planes(EVERYWHERE, THREE, 1, index)[0], sum(grid) / 3)  # type: ignore[arg-type]


def test_nothing_outside_the_mask_and_no_slice_without_it() -> None:
    mask, asked = some(), {0: set(), 1: set(), 2: set()}  # type: ignore[var-annotated]

    def ask(axis: int, indices: list[int]) -> Tensor:
        asked[axis] |= set(indices)
        return slices(axis, indices)

    made = over_planes(mask, THREE, 2, ask)
    torch.testing.assert_close(made, VOLUME * mask)
    assert bool((made[:, ~mask] == 0).all())
    for axis in THREE:
        assert asked[axis] == {i for i in range(SHAPE[axis]) if bool(mask.select(axis, i).any())}
    assert asked[0] == {1, 2, 4}
    assert bool((over_planes(torch.zeros_like(mask), THREE, 2, ask) == 0).all())


def test_as_many_slices_at_once_as_fit() -> None:
    """Slices of 64 x 64 go 16 at a time, of 40 x 64 25 at a time, of 300 x 300 one by one."""
    mask = torch.ones(40, 64, 64, dtype=torch.bool)
    mask[3] = False
    found = chunks(mask, 0)
    assert [len(one) for one in found] == [16, 16, 7]
    assert sum(found, []) == [0, 1, 2, *range(4, 40)]  # noqa: RUF017  # three lists
    assert [len(one) for one in chunks(mask, 2)] == [25, 25, 14]
    assert n_batches(mask, THREE) == 3 + 3 + 3 and n_batches(mask, AXIAL) == 3
    assert [len(one) for one in chunks(torch.ones(3, 300, 300, dtype=torch.bool), 0)] == [1, 1, 1]


def test_batches_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planes, "PIXELS_AT_ONCE", 90)
    sizes: list[int] = []

    def ask(axis: int, indices: list[int]) -> Tensor:
        first, second = plane(axis)
        sizes.append(len(indices) * first * second)
        return slices(axis, indices)

    over_planes(some(), THREE, 2, ask)
    assert len(sizes) == n_batches(some(), THREE) > 3
    assert max(sizes) <= 90


@pytest.mark.parametrize("axes", [(), (3,), (0, -1)])
def test_other_axes_are_refused(axes: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match=r"no planes: \(.*\)\. Give some of 0, 1 and 2"):
        over_planes(EVERYWHERE, axes, 1, number)
