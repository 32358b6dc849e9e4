from dataclasses import replace

import pytest
import torch
from torch import Tensor

from unweight.core.errors import UsageError
from unweight.core.seeding import seeded_generator
from unweight.learn.training.sample_cache import PatchPool

N_SLABS, HEIGHT, WIDTH, PATCH = 5, 12, 9, 4


def coordinates() -> Tensor:
    """Return slab, x and y of every voxel."""
    axes = torch.meshgrid(*(torch.arange(n) for n in (N_SLABS, HEIGHT, WIDTH)), indexing="ij")
    return torch.stack(axes, dim=1).half()


def pool(batch_size: int = 64) -> PatchPool:
    places = coordinates()
    return PatchPool(
        slabs={"channels": places, "target": places.flip(1), "weight": places[:, 1] * 100 + places[:, 2]},
        patch=PATCH,
        batch_size=batch_size,
    )


def test_shapes_and_precision() -> None:
    batch = pool(7)(seeded_generator(0))
    assert {name: tuple(one.shape) for name, one in batch.items()} == {
        "channels": (7, 3, PATCH, PATCH),
        "target": (7, 3, PATCH, PATCH),
        "weight": (7, PATCH, PATCH),
    }
    assert {one.dtype for one in batch.values()} == {torch.float32}
    assert len(pool()) == N_SLABS


def test_all_tensors_of_a_patch_are_cut_and_turned_alike() -> None:
    batch = pool()(seeded_generator(0))
    assert torch.equal(batch["channels"], batch["target"].flip(1))
    assert torch.equal(batch["weight"], batch["channels"][:, 1] * 100 + batch["channels"][:, 2])


def test_a_patch_is_a_window_of_one_slab() -> None:
    for slab, x, y in pool()(seeded_generator(0))["channels"]:
        assert (slab == slab[0, 0]).all()
        for places in (x, y):
            assert float(places.max() - places.min()) == PATCH - 1
        voxels = {(int(a), int(b)) for a, b in zip(x.flatten(), y.flatten(), strict=True)}
        assert len(voxels) == PATCH**2
        # Neighbours stay neighbours.
        steps = (x.diff(dim=1).abs() + y.diff(dim=1).abs(), x.diff(dim=0).abs() + y.diff(dim=0).abs())
        assert all(bool((step == 1).all()) for step in steps)


def test_every_place_and_every_turn_comes_up_about_as_often() -> None:
    batch = pool(3000)(seeded_generator(0))["channels"]
    slab, x, y = (batch[:, axis] for axis in range(3))
    steps = (x[:, 1, 0] - x[:, 0, 0], y[:, 1, 0] - y[:, 0, 0], x[:, 0, 1] - x[:, 0, 0])
    turn = torch.stack([*steps, y[:, 0, 1] - y[:, 0, 0]], dim=1)
    corners = (slab[:, 0, 0], x.amin((1, 2)), y.amin((1, 2)))
    for drawn, n_different in zip(
        (*corners, turn), (N_SLABS, HEIGHT - PATCH + 1, WIDTH - PATCH + 1, 8), strict=True
    ):
        counts = torch.unique(drawn, dim=0, return_counts=True)[1].double()
        expected = len(batch) / n_different
        assert len(counts) == n_different
        assert float((counts - expected).abs().max()) < 4 * expected**0.5


def test_what_belongs_to_a_whole_slab_goes_with_its_patches() -> None:
    whole = {
        "rows": torch.arange(N_SLABS * 6.0).reshape(N_SLABS, 2, 3),
        "field": torch.arange(N_SLABS)[:, None],
    }
    whole["rows"][2] = torch.nan
    made = PatchPool(
        slabs={"rows": whole["rows"], "channels": coordinates(), "field": whole["field"].double()},
        patch=PATCH,
        batch_size=64,
        whole=("rows", "field"),
    )
    assert len(made) == N_SLABS
    batch = made(seeded_generator(0))
    assert batch["rows"].shape == (64, 2, 3) and batch["field"].dtype == torch.float32
    slabs = batch["channels"][:, 0, 0, 0].long()
    assert torch.equal(batch["field"][:, 0].long(), slabs)
    torch.testing.assert_close(batch["rows"], whole["rows"][slabs], equal_nan=True)
    # The patches are those that are drawn without them.
    plain = PatchPool(slabs={"channels": coordinates()}, patch=PATCH, batch_size=64)(seeded_generator(0))
    assert torch.equal(batch["channels"], plain["channels"])


def test_the_generator_alone_decides() -> None:
    one, two, other = (pool()(seeded_generator(seed)) for seed in (0, 0, 1))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["channels"], other["channels"])
    generator = seeded_generator(0)
    first, second = pool()(generator), pool()(generator)
    assert torch.equal(first["channels"], one["channels"])
    assert not torch.equal(second["channels"], first["channels"])


def test_a_patch_as_large_as_its_slab_fits() -> None:
    square = {"channels": coordinates()[..., :WIDTH, :]}
    batch = PatchPool(slabs=square, patch=WIDTH, batch_size=3)(seeded_generator(0))
    assert batch["channels"].shape == (3, 3, WIDTH, WIDTH)


def test_messages() -> None:
    with pytest.raises(UsageError, match=r"patches of 10 voxels do not fit into slabs of \(12, 9\)"):
        replace(pool(), patch=10)
    with pytest.raises(UsageError, match="Choose smaller patches or larger slabs"):
        replace(pool(), patch=0)
    places = coordinates()
    with pytest.raises(UsageError, match=r"slabs on different grids: \[\(4, 12, 9\), \(5, 12, 9\)\]"):
        PatchPool(slabs={"channels": places, "target": places[1:]}, patch=4, batch_size=1)
