import math

import pytest
import torch

from unweight.core.errors import UsageError
from unweight.susceptibility.dipole import dipole_kernel, field_from_susceptibility

OBLIQUE = (1 / math.sqrt(3), 1 / math.sqrt(3), 1 / math.sqrt(3))
TILTED = (0.0, math.sin(0.4), math.cos(0.4))
DIRECTIONS = [(0.0, 0.0, 1.0), (1.0, 0.0, 0.0), OBLIQUE, TILTED]


def places(shape, voxel_mm):
    axes = [(torch.arange(n) - (n - 1) / 2) * size for n, size in zip(shape, voxel_mm, strict=True)]
    return torch.meshgrid(*axes, indexing="ij")


def sphere(shape, voxel_mm, radius, parts=4):
    """The share of each voxel that lies in the sphere."""
    fine = tuple(n * parts for n in shape)
    x, y, z = places(fine, tuple(size / parts for size in voxel_mm))
    inside = (x**2 + y**2 + z**2 < radius**2).float()
    return torch.nn.functional.avg_pool3d(inside[None], parts)[0]


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("voxel_mm", [(1.0, 1.0, 1.0), (1.0, 1.25, 2.0)])
def test_sphere_is_a_dipole(direction, voxel_mm) -> None:
    shape = tuple(round(64 / size) for size in voxel_mm)
    radius, chi = 8.0, 9.4
    field = field_from_susceptibility(chi * sphere(shape, voxel_mm, radius), voxel_mm, direction)
    x, y, z = places(shape, voxel_mm)
    r = torch.sqrt(x**2 + y**2 + z**2)
    cosine = (x * direction[0] + y * direction[1] + z * direction[2]) / r
    expected = chi / 3 * (radius / r) ** 3 * (3 * cosine**2 - 1)
    outside, inside = (r > radius + 4) & (r < 24), r < radius - 4
    error = (field - expected)[outside]
    relative = error.square().mean().sqrt() / expected[outside].square().mean().sqrt()
    assert float(relative) < 0.01
    # In the sphere of Lorentz the field vanishes, against 2/3 of chi at the poles.
    assert float(field[inside].mean().abs()) < 0.01 * chi
    assert float(field[inside].abs().max()) < 0.035 * chi


def test_endless_axis_makes_cylinders() -> None:
    x, y, _ = places((96, 96, 1), (1.0, 1.0, 1.0))
    r = torch.sqrt(x**2 + y**2)
    chi = torch.sigmoid((10 - r) * 4)
    field = field_from_susceptibility(chi, (1.0, 1.0, 1.0), (1.0, 0.0, 0.0), pad=4)
    outside, inside = (r > 14) & (r < 30), r < 6
    expected = 0.5 * (10 / r) ** 2 * (x**2 - y**2) / r**2
    offset = (field - expected)[outside].mean()
    torch.testing.assert_close((field - offset)[outside], expected[outside], atol=0.015, rtol=0)
    torch.testing.assert_close(
        (field - offset)[inside], torch.full_like(field[inside], -1 / 6), atol=0.02, rtol=0
    )


def test_padding_keeps_the_copies_away() -> None:
    ball = torch.roll(sphere((32, 32, 32), (1.0, 1.0, 1.0), 5.0), 10, dims=2)
    x, y, z = places((32, 32, 32), (1.0, 1.0, 1.0))
    r = torch.sqrt(x**2 + y**2 + (z - 10) ** 2)
    expected = (5 / r) ** 3 * (3 * ((z - 10) / r) ** 2 - 1) / 3
    far = r > 12
    errors = [
        float(
            (field_from_susceptibility(ball, (1.0,) * 3, (0.0, 0.0, 1.0), pad) - expected)[far].abs().max()
        )
        for pad in (1.0, 2.0)
    ]
    assert errors[1] < 0.3 * errors[0]


def test_a_constant_is_not_seen_whatever_surrounds_it() -> None:
    ball = sphere((24, 24, 24), (1.0, 1.0, 1.0), 5.0)
    alone = field_from_susceptibility(ball, (1.0,) * 3, OBLIQUE)
    torch.testing.assert_close(
        field_from_susceptibility(ball - 9.4, (1.0,) * 3, OBLIQUE), alone, atol=1e-5, rtol=0
    )
    wrong = field_from_susceptibility(ball - 9.4, (1.0,) * 3, OBLIQUE, background=0.0)
    assert float((wrong - alone).abs().max()) > 0.1


@pytest.mark.parametrize("shape", [(8, 10, 12), (7, 9, 6), (5, 5, 1)])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_kernel_is_even_and_blind_to_the_mean(shape, direction) -> None:
    kernel = dipole_kernel(shape, (1.0, 1.2, 2.0), direction)
    assert float(kernel[0, 0, 0]) == 0.0
    assert float(kernel.max()) <= 1 / 3 + 1e-6 and float(kernel.min()) >= -2 / 3 - 1e-6
    mirrored = torch.roll(kernel.flip(0, 1, 2), (1, 1, 1), (0, 1, 2))
    torch.testing.assert_close(mirrored, kernel, atol=1e-6, rtol=0)


def test_half_spectrum_agrees_with_the_full_one() -> None:
    chi = torch.randn(12, 10, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    full = torch.fft.ifftn(torch.fft.fftn(chi) * dipole_kernel((12, 10, 8), (1.0, 1.2, 2.0), OBLIQUE))
    field = field_from_susceptibility(chi, (1.0, 1.2, 2.0), OBLIQUE, pad=1, background=0.0)
    assert field.dtype == torch.float64
    torch.testing.assert_close(field, full.real, atol=1e-6, rtol=0)
    assert float(full.imag.abs().max()) < 1e-6


def test_gradient_reaches_the_map() -> None:
    chi = torch.randn(6, 6, 6, generator=torch.Generator().manual_seed(1)).requires_grad_()
    other = torch.randn(6, 6, 6, generator=torch.Generator().manual_seed(2))
    (field_from_susceptibility(chi, (1.0,) * 3, TILTED, background=0.0) * other).sum().backward()
    # The operator is symmetric.
    adjoint = field_from_susceptibility(other, (1.0,) * 3, TILTED, background=0.0)
    torch.testing.assert_close(chi.grad, adjoint, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("voxel_mm", "direction", "pad", "message"),
    [
        ((1.0, 1.0, 1.0), (0.0, 0.0, 3.0), 2.0, "direction of the field has length 3"),
        ((1.0, 0.0, 1.0), (0.0, 0.0, 1.0), 2.0, "voxel sizes must be positive"),
        ((1.0, 1.0, 1.0), (0.0, 0.0, 1.0), 0.5, "pad must be at least 1"),
    ],
)
def test_impossible_geometry_is_refused(voxel_mm, direction, pad, message) -> None:
    with pytest.raises(UsageError, match=message):
        field_from_susceptibility(torch.zeros(4, 4, 4), voxel_mm, direction, pad)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_air_does_not_ring_through_a_ball(direction) -> None:
    """Inside a ball in air there is no field. Without the taper an oblique one has a spread of 0.04 ppm."""
    axes = places((64, 64, 64), (1.0, 1.0, 1.0))
    r = torch.sqrt(sum(axis**2 for axis in axes))
    field = field_from_susceptibility(torch.where(r < 20, 0.0, 9.2), (1.0, 1.0, 1.0), direction)
    assert float(field[r < 10].std()) < 0.003
