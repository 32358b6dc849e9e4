import math

import pytest
import torch

from unweight.core.errors import UsageError
from unweight.core.seeding import seeded_generator
from unweight.synth.anatomy.labels import Anatomy, centred_affine
from unweight.synth.tissue.inclusions import LARGEST_STRETCH, with_specks
from unweight.synth.tissue.materials import INDEX, MATERIALS


def plain(shape: tuple[int, int, int] = (64, 48, 40), voxel_mm: float = 0.5) -> Anatomy:
    size = (voxel_mm, voxel_mm, voxel_mm)
    return Anatomy(
        labels=torch.full(shape, INDEX["white_matter"], dtype=torch.uint8),
        voxel_mm=size,
        subject="plain",
        affine=centred_affine(shape, size),
    )


def test_specks_repeat_and_leave_the_anatomy_as_it_was() -> None:
    before = plain()
    one, two, other = (with_specks(before, 60, seeded_generator(seed)) for seed in (0, 0, 1))
    assert torch.equal(one.labels, two.labels)
    assert not torch.equal(one.labels, other.labels)
    assert torch.equal(before.labels, plain().labels)
    assert (one.subject, one.voxel_mm) == (before.subject, before.voxel_mm)
    assert torch.equal(one.affine, before.affine)


def test_no_specks_change_nothing() -> None:
    assert torch.equal(with_specks(plain(), 0, seeded_generator(0)).labels, plain().labels)


def test_every_material_comes_up() -> None:
    labels = with_specks(plain(), 4000, seeded_generator(0), radius_mm=(0.5, 1.0)).labels
    assert len(labels.unique()) == len(MATERIALS)


@pytest.mark.parametrize("voxel_mm", [0.5, 0.25])
def test_mean_volume_of_a_speck(voxel_mm: float) -> None:
    """4π/3·r³ times three stretches a^u, u even in −1 … 1, whose mean is sinh(ln a)/ln a each."""
    radius, log_a = 1.5, math.log(LARGEST_STRETCH)
    expected = 4 / 3 * math.pi * radius**3 * (math.sinh(log_a) / log_a) ** 3
    n_side = round(24 / voxel_mm)
    volumes = []
    for seed in range(300):
        before = plain((n_side, n_side, n_side), voxel_mm)
        after = with_specks(before, 1, seeded_generator(seed, "speck"), radius_mm=(radius, radius))
        places = (after.labels != before.labels).nonzero() * voxel_mm
        middle = places.double().mean(0)
        # Chosen by where they lie, not by their size: with the middle so far inside they are whole.
        margin = radius * LARGEST_STRETCH
        if len(places) and bool(((middle > margin) & (middle < 24 - margin)).all()):
            volumes.append(len(places) * voxel_mm**3)
    # Three stretches of 27 % spread volumes by about 50 %.
    assert len(volumes) > 100
    assert sum(volumes) / len(volumes) == pytest.approx(expected, rel=4 * 0.5 / len(volumes) ** 0.5)


def test_a_speck_is_an_ellipsoid_along_the_axes() -> None:
    """Its volume is π/6 of the box around it."""
    shares = []
    for seed in range(20):
        before = plain((96, 96, 96), 0.25)
        after = with_specks(before, 1, seeded_generator(seed), radius_mm=(4.0, 4.0))
        changed = after.labels != before.labels
        sides = [changed.any(dim=axes).sum() for axes in ((1, 2), (0, 2), (0, 1))]
        touched = any(bool(changed.select(axis, end).any()) for axis in range(3) for end in (0, -1))
        if bool(changed.any()) and not touched:
            shares.append(float(changed.sum() / math.prod(int(side) for side in sides)))
    assert len(shares) > 3
    # Twenty to fifty voxels across: the box is off by up to one voxel each way.
    assert sum(shares) / len(shares) == pytest.approx(math.pi / 6, rel=0.05)


def test_specks_at_the_edge_are_cut_off() -> None:
    tiny = plain((1, 3, 2))
    assert with_specks(tiny, 50, seeded_generator(0)).labels.shape == (1, 3, 2)


@pytest.mark.parametrize("radius_mm", [(0.0, 1.0), (2.0, 1.0), (-1.0, 1.0)])
def test_messages(radius_mm: tuple[float, float]) -> None:
    with pytest.raises(UsageError, match=f"specks with radii from {radius_mm[0]:g} to {radius_mm[1]:g} mm"):
        with_specks(plain(), 1, seeded_generator(0), radius_mm=radius_mm)
