import math
import time
from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor

from unweight.core.errors import UsageError
from unweight.metrics.segmentation import StructureScore, score_structures

ISO = (1.0, 1.0, 1.0)
EVEN = (2.0, 1.0, 0.5)
SHAPE = (40, 36, 32)


def box(corner: tuple[int, int, int], sides: tuple[int, int, int], label: int = 1) -> Tensor:
    labels = torch.zeros(SHAPE, dtype=torch.uint8)
    labels[tuple(slice(start, start + side) for start, side in zip(corner, sides, strict=True))] = label
    return labels


def ball(radius: float, shift: float = 0.0, n: int = 64) -> Tensor:
    x, y, z = torch.meshgrid(*[torch.arange(n, dtype=torch.float64) - n // 2] * 3, indexing="ij")
    return ((x - shift) ** 2 + y**2 + z**2 <= radius**2).to(torch.uint8)


def score(found: Tensor, truth: Tensor, voxel_mm: tuple[float, float, float] = ISO) -> StructureScore:
    return score_structures(found, truth, voxel_mm, {1: "it"})["it"]


def test_the_same_is_perfect() -> None:
    one = score(ball(9), ball(9), EVEN)
    assert (one.dice, one.hd95_mm, one.surface_distance_mm, one.volume_error) == (1.0, 0.0, 0.0, 0.0)
    assert one.n_voxels == one.n_true_voxels == int(ball(9).sum())
    assert one.volume_ml == one.true_volume_ml == pytest.approx(one.n_voxels * 1e-3)


@pytest.mark.parametrize(("axis", "step"), list(product(range(3), (1, 3))))
def test_a_shifted_cube_misses_by_its_shift(axis: int, step: int) -> None:
    """Dice is 1 − step/side. Of the surface voxels, only those beyond the shift are farther than none."""
    side = 12
    corner = [6, 6, 6]
    corner[axis] += step
    one = score(box((6, 6, 6), (side,) * 3), box((corner[0], corner[1], corner[2]), (side,) * 3), EVEN)
    assert one.dice == pytest.approx(1 - step / side)
    assert one.hd95_mm == pytest.approx(step * EVEN[axis])
    assert one.volume_error == 0


def test_the_average_distance_of_shifted_plates() -> None:
    """Plates one voxel thick are all surface; shifted along their thickness by 2, all are that far away."""
    one = score(box((4, 4, 4), (1, 20, 20)), box((6, 4, 4), (1, 20, 20)), EVEN)
    assert (one.dice, one.hd95_mm, one.surface_distance_mm) == (0.0, 4.0, 4.0)
    # Along a side of 20 by 1, two of 20 rows are uncovered, 1 and 2 voxels away: (1 + 2)/20.
    one = score(box((4, 4, 4), (1, 20, 20)), box((4, 6, 4), (1, 20, 20)), ISO)
    assert one.surface_distance_mm == pytest.approx(3 / 20)
    assert one.dice == pytest.approx(18 / 20)


def test_concentric_balls_are_apart_by_the_difference_of_their_radii() -> None:
    """To within the half voxel by which the centres of surface voxels lie off a sphere."""
    one = score(ball(15), ball(20))
    assert one.dice == pytest.approx(2 * 15**3 / (15**3 + 20**3), abs=3e-3)
    assert one.surface_distance_mm == pytest.approx(5, abs=0.25)
    assert one.hd95_mm == pytest.approx(5, abs=0.75)
    assert one.volume_error == pytest.approx((15 / 20) ** 3 - 1, abs=3e-3)


def test_a_shifted_ball_meets_its_closed_forms() -> None:
    """Balls of radius r at distance d: the overlap is a lens; at an angle of cosine u, uniform over the
    sphere, the other surface is |√(r² + d² + 2 r d u) − r| away, on average d/2.

    Distances between voxel centres are too small by a part of a voxel where the surfaces cross.
    """
    r, d = 24.0, 6.0
    one = score(ball(r, 3), ball(r, -3))
    u = np.linspace(-1, 1, 100_001)
    away = np.abs(np.sqrt(r**2 + d**2 + 2 * r * d * u) - r)
    assert away.mean() == pytest.approx(d / 2, abs=1e-4)
    assert one.dice == pytest.approx(1 - 3 * d / (4 * r) + d**3 / (16 * r**3), abs=2e-3)
    assert one.surface_distance_mm == pytest.approx(d / 2, abs=0.2)
    assert one.hd95_mm == pytest.approx(np.percentile(away, 95), abs=0.3)


def test_all_pairs_of_surface_voxels_say_the_same() -> None:
    generator = torch.Generator().manual_seed(3)
    found, truth = ((torch.rand(9, 8, 7, generator=generator) < 0.6).to(torch.uint8) for _ in range(2))
    size = np.array(EVEN)

    def surface(labels: Tensor) -> np.ndarray:
        padded = np.pad(labels.numpy(), 1)
        places = []
        for x, y, z in np.argwhere(padded):
            around = [padded[x - 1, y, z], padded[x + 1, y, z], padded[x, y - 1, z], padded[x, y + 1, z]]
            if not all([*around, padded[x, y, z - 1], padded[x, y, z + 1]]):
                places.append((x, y, z))
        return np.array(places) * size

    a, b = surface(found), surface(truth)
    apart = np.linalg.norm(a[:, None] - b, axis=-1)
    both = np.concatenate([apart.min(1), apart.min(0)])
    one = score(found, truth, EVEN)
    assert one.surface_distance_mm == pytest.approx(both.mean())
    assert one.hd95_mm == pytest.approx(np.percentile(both, 95))


def test_a_structure_at_the_edge_of_the_grid_has_its_surface_there() -> None:
    one = score(box((0, 0, 0), (4, 36, 32)), box((0, 0, 0), (2, 36, 32)))
    assert one.hd95_mm == 2.0


def test_a_single_slice_is_judged_in_its_plane() -> None:
    """Discs in one slice: their inside is no surface, though nothing lies above it."""
    found, truth = ball(10, 2)[:, :, 32:33], ball(10)[:, :, 32:33]
    one = score(found.contiguous(), truth.contiguous(), (1.0, 1.0, 5.0))
    assert one.hd95_mm == pytest.approx(2.0)
    assert one.surface_distance_mm == pytest.approx(2 * 2 / math.pi, abs=0.15)  # mean of 2 |cos θ|


def test_what_is_missed_or_made_up() -> None:
    nothing, thing = torch.zeros(SHAPE, dtype=torch.uint8), box((3, 3, 3), (4, 5, 6))
    missed, made_up, absent = score(nothing, thing), score(thing, nothing), score(nothing, nothing)
    assert (missed.dice, missed.hd95_mm, missed.surface_distance_mm) == (0.0, math.inf, math.inf)
    assert (missed.volume_error, missed.volume_ml, missed.n_voxels, missed.n_true_voxels) == (-1, 0, 0, 120)
    assert (made_up.dice, made_up.hd95_mm, made_up.volume_error) == (0.0, math.inf, math.inf)
    assert made_up.volume_ml == pytest.approx(0.12)
    assert all(
        math.isnan(one)
        for one in (absent.dice, absent.hd95_mm, absent.surface_distance_mm, absent.volume_error)
    )
    assert (absent.n_voxels, absent.n_true_voxels, absent.volume_ml) == (0, 0, 0.0)


def test_names_by_number_and_by_place() -> None:
    found = box((3, 3, 3), (4, 4, 4), 2)
    by_place = score_structures(found, found, ISO, ("background", "csf", "grey"))
    assert list(by_place) == ["csf", "grey"]
    assert math.isnan(by_place["csf"].dice) and by_place["grey"].dice == 1
    by_number = score_structures(found, found, ISO, {200: "far", 2: "grey", 0: "rest"})
    assert list(by_number) == ["far", "grey", "rest"]
    assert by_number["grey"] == by_place["grey"]
    assert by_number["rest"].n_voxels == found.numel() - 64


def test_a_head_takes_little_time() -> None:
    """Three folded tissues through the whole grid and nine nuclei, one voxel off: within 3 s on a core."""
    x, y, z = torch.meshgrid(
        *[torch.arange(n, dtype=torch.float64) for n in (120, 144, 120)], indexing="ij"
    )
    waves = (x / 4).sin() + (y / 5).sin() + (z / 4).cos()
    truth = ((waves + 3) * 0.5).floor().clamp(0, 2).to(torch.uint8) + 1
    for label in range(4, 13):
        centre = 10.0 * label
        truth[(x - centre) ** 2 + (y - 60) ** 2 + (z - 60) ** 2 < 100] = label
    began = time.process_time()
    scores = score_structures(truth.roll(1, 0), truth, ISO, {label: str(label) for label in range(1, 13)})
    taken = time.process_time() - began
    assert all(0.5 < one.dice < 1 for one in scores.values())
    assert taken < 6  # twice what it should take, as other work slows a shared machine


def test_messages() -> None:
    labels = box((3, 3, 3), (4, 4, 4))
    with pytest.raises(UsageError, match="three positive sizes"):
        score(labels, labels, (1.0, 0.0, 1.0))
    with pytest.raises(UsageError, match="same name: a, a"):
        score_structures(labels, labels, ISO, {1: "a", 2: "a"})
    with pytest.raises(UsageError, match="no label can be 300"):
        score_structures(labels, labels, ISO, {300: "a"})
