import math

import pytest
import torch

from tests.susceptibility.scenes import places
from unweight.core.errors import InputError
from unweight.core.seeding import seeded_generator
from unweight.susceptibility.unwrap import (
    TURN,
    unwrap_by_laplacian,
    unwrap_in_space,
    unwrap_near,
    wrapped,
)

SHAPE = (32, 32, 24)


def steep() -> torch.Tensor:
    """Nine turns from middle to corner, up to 2.5 rad from voxel to voxel."""
    x, y, z = places(SHAPE)
    return 0.08 * (x**2 + y**2 + z**2)


def whole_turns(difference: torch.Tensor) -> torch.Tensor:
    return (difference / TURN - torch.round(difference / TURN)).abs()


def head() -> torch.Tensor:
    x, y, z = places(SHAPE)
    hole = (x - 3) ** 2 + y**2 + z**2 < 4**2
    return (x**2 + y**2 + z**2 < 11.5**2) & ~hole


def test_steep_phase_is_recovered_but_for_one_turn_of_all() -> None:
    phase, mask = steep(), head()
    noise = TURN * torch.rand(SHAPE, generator=seeded_generator(1), dtype=torch.float64)
    measured = wrapped(torch.where(mask, phase, noise))
    found = unwrap_in_space(measured, mask)
    surplus = (found - phase)[mask]
    assert float((surplus - surplus[0]).abs().max()) < 1e-5
    assert float(whole_turns(surplus).max()) < 1e-6
    assert float(whole_turns((found - measured)[mask]).max()) < 1e-6
    assert abs(float(found[mask].mean())) <= math.pi
    assert float(found[~mask].abs().max()) == 0.0
    # What lies outside the mask does not matter.
    other = unwrap_in_space(torch.where(mask, measured, -measured), mask)
    assert torch.equal(found, other)


def test_each_piece_is_brought_near_zero() -> None:
    mask = torch.ones(SHAPE, dtype=torch.bool)
    mask[14:18] = False
    left = torch.zeros(SHAPE, dtype=torch.bool)
    left[:14] = True
    phase = 0.05 * steep() + torch.where(left, 3 * TURN, -2 * TURN)
    found = unwrap_in_space(wrapped(phase), mask)
    for piece in (left, mask & ~left):
        surplus = (found - phase)[piece]
        assert float((surplus - surplus[0]).abs().max()) < 1e-5
        assert abs(float(found[piece].mean())) <= math.pi


def test_noise_keeps_whole_turns_and_calls_agree() -> None:
    noise = torch.randn(SHAPE, generator=seeded_generator(2))
    measured = wrapped(steep().float() + 0.5 * noise)
    found, again = (unwrap_in_space(measured, head()) for _ in range(2))
    assert torch.equal(found, again) and found.dtype is torch.float32
    # Single precision of some 30 rad.
    assert float(whole_turns((found - measured)[head()]).max()) < 1e-5


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_one_slice(axis: int) -> None:
    flat = steep().select(axis, 12).unsqueeze(axis)
    mask = torch.ones_like(flat, dtype=torch.bool)
    surplus = unwrap_in_space(wrapped(flat), mask) - flat
    assert float((surplus - surplus.reshape(-1)[0]).abs().max()) < 1e-5


def test_one_voxel() -> None:
    alone = torch.full((1, 1, 1), 2.0)
    torch.testing.assert_close(unwrap_in_space(alone, torch.ones(1, 1, 1, dtype=torch.bool)), alone)


def test_empty_mask_is_refused() -> None:
    with pytest.raises(InputError, match=r"mask is empty: there is no phase to unwrap\. Check the mask"):
        unwrap_in_space(torch.zeros(4, 4, 4), torch.zeros(4, 4, 4, dtype=torch.bool))


def test_wrapped_lies_within_half_a_turn() -> None:
    phase = torch.linspace(-40, 40, 2001, dtype=torch.float64)
    torch.testing.assert_close(wrapped(phase), torch.angle(torch.polar(torch.ones_like(phase), phase)))


def test_nearest_to_what_is_expected() -> None:
    phase = torch.tensor([0.1, -3.0, 3.0, 0.1])
    expected = torch.tensor([7.0, 3.0, -9.0, 2.0])
    found = unwrap_near(phase, expected)
    torch.testing.assert_close(found, torch.tensor([0.1 + TURN, -3.0 + TURN, 3.0 - 2 * TURN, 0.1]))


@pytest.mark.parametrize("voxel_mm", [(1.0, 1.0, 1.0), (1.0, 1.5, 3.0)])
def test_laplacian_of_a_smooth_phase(voxel_mm: tuple[float, float, float]) -> None:
    """6 rad in cosines, whose slope across the faces is 0: the mirrored grid has no edge."""
    u, v, w = (torch.cos(math.pi * (torch.arange(n).double() + 0.5) / n) for n in SHAPE)
    phase = 6 * u[:, None, None] * v[None, :, None] + 2 * w[None, None, :]
    found = unwrap_by_laplacian(wrapped(phase), voxel_mm)
    error = found - (phase - phase.mean())
    assert float(error.square().mean().sqrt()) < 1e-3 * float(phase.std())
    assert abs(float(found.mean())) < 1e-9
