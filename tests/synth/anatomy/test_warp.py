import math

import pytest
import torch

from unweight.core.errors import UsageError
from unweight.synth.anatomy.warp import (
    Warp,
    WarpRange,
    draw_affine,
    draw_velocity,
    draw_warp,
    integrated,
    moved,
)

EXTENT = (160.0, 180.0, 150.0)
STILL = WarpRange(rotation=0.0, scale=0.0, shear=0.0, displacement_mm=0.0)
SHIFTS = WarpRange(displacement_mm=3.0)


def jacobian(displacement: torch.Tensor, extent: tuple[float, float, float]) -> torch.Tensor:
    steps = [e / (n - 1) for e, n in zip(extent, displacement.shape[1:], strict=True)]
    slopes = torch.stack(torch.gradient(displacement, spacing=steps, dim=(1, 2, 3)))
    matrix = slopes.permute(2, 3, 4, 1, 0) + torch.eye(3)
    return torch.linalg.det(matrix)


@pytest.mark.parametrize("seed", range(4))
def test_nothing_folds(seed: int) -> None:
    velocity = draw_velocity(EXTENT, torch.Generator().manual_seed(seed), within=SHIFTS)
    displacement = integrated(velocity, EXTENT)
    assert float(displacement.norm(dim=0).max()) > 5.0
    assert float(jacobian(displacement, EXTENT).min()) > 0.1


def left_over(seed: int) -> torch.Tensor:
    """How far a point is from where it was after going forward and back [mm]."""
    velocity = draw_velocity(EXTENT, torch.Generator().manual_seed(seed), within=WarpRange())
    forward, backward = integrated(velocity, EXTENT), integrated(-velocity, EXTENT)
    return (forward + moved(backward, forward, EXTENT)).norm(dim=0)


@pytest.mark.parametrize("seed", range(4))
def test_the_backward_flow_undoes_the_forward_one(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # Displacements reach 7 mm; linear interpolation between nodes 4 mm apart leaves this,
    left = left_over(seed)
    assert float(left.max()) < 0.5 and float(left.mean()) < 0.05
    # and it falls with the distance between the nodes: at least as its first power.
    monkeypatch.setattr("unweight.synth.anatomy.warp.NODE_MM", 2.0)
    assert float(left_over(seed).mean()) < 0.5 * float(left.mean())


def test_the_flow_of_a_small_constant_velocity_is_a_shift() -> None:
    velocity = torch.zeros(3, 9, 9, 9)
    velocity[0] = 2.0
    torch.testing.assert_close(integrated(velocity, (32.0, 32.0, 32.0)), velocity)


def test_affine_is_within_its_range() -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        matrix = draw_affine(generator, within=WarpRange())
        assert 0.9**3 <= float(torch.linalg.det(matrix)) <= 1.1**3
    turn = draw_affine(generator, within=WarpRange(scale=0.0, shear=0.0))[:3, :3]
    torch.testing.assert_close(turn @ turn.T, torch.eye(3).double())
    angle = math.acos((float(turn.trace()) - 1) / 2)
    assert 0 < angle <= math.radians(10) * 3**0.5


@pytest.mark.parametrize("shape", [(20, 24, 16), (20, 24, 3), (20, 24, 1)])
def test_no_change_leaves_the_labels(shape: tuple[int, int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(20, shape, generator=generator, dtype=torch.uint8)
    warp = draw_warp(shape, (1.0, 1.0, 2.0), generator, within=STILL, planar=shape[2] < 4)
    assert torch.equal(warp.apply(labels, (1.0, 1.0, 2.0)), labels)


def test_volumes_change_by_the_determinant() -> None:
    x = torch.arange(80) - 39.5
    square = x[:, None, None] ** 2 + x[None, :, None] ** 2 + x[None, None, :] ** 2
    labels = (square < 20**2).to(torch.uint8)
    generator = torch.Generator().manual_seed(3)
    warp = draw_warp((80, 80, 80), (1.0, 1.0, 1.0), generator, within=WarpRange(displacement_mm=0.0))
    ratio = float(warp.apply(labels, (1.0, 1.0, 1.0)).sum()) / float(labels.sum())
    # The new label at p is the old one at A p, so volumes are divided by det A; voxels are counted.
    assert ratio == pytest.approx(1 / float(torch.linalg.det(warp.affine)), rel=0.01)


def test_a_known_shift_on_another_grid() -> None:
    displacement = torch.zeros(3, 4, 5, 6)
    displacement[1] = 3.0
    warp = Warp(affine=torch.eye(4).double(), displacement=displacement, extent_mm=(9.0, 9.0, 9.0))
    labels = torch.randint(20, (10, 10, 10), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    moved_labels = warp.apply(labels, (1.0, 1.0, 1.0))
    assert torch.equal(moved_labels[:, :7], labels[:, 3:])
    assert int(moved_labels[:, 7:].sum()) == 0
    with pytest.raises(UsageError, match="a warp of"):
        warp.apply(labels, (2.0, 1.0, 1.0))


def test_a_planar_warp_keeps_each_slice() -> None:
    shape = (64, 64, 4)
    labels = torch.zeros(shape, dtype=torch.uint8)
    labels[..., :] = torch.arange(1, 5, dtype=torch.uint8)
    warped = draw_warp(shape, (1.0, 1.0, 1.0), torch.Generator().manual_seed(0), planar=True).apply(
        labels, (1.0, 1.0, 1.0)
    )
    assert bool(((warped == labels) | (warped == 0)).all())
    assert not torch.equal(warped, labels)


def test_same_generator_same_warp() -> None:
    first, second = (
        draw_warp((32, 32, 32), (2.0, 2.0, 2.0), torch.Generator().manual_seed(5)) for _ in range(2)
    )
    assert torch.equal(first.affine, second.affine) and torch.equal(first.displacement, second.displacement)


def test_a_range_that_folds_is_refused() -> None:
    with pytest.raises(UsageError, match="would fold"):
        WarpRange(displacement_mm=20.0)
    with pytest.raises(UsageError, match="impossible changes"):
        WarpRange(scale=-0.1)
