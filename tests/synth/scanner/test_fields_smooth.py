import pytest
import torch

from unweight.core.errors import UsageError
from unweight.synth.scanner.fields import SmoothField, axis_positions, draw_field

HALF = (40.0, 50.0, 30.0)


def test_mean_and_variance() -> None:
    field = draw_field(HALF, 2.0, torch.Generator().manual_seed(0))
    values = field.on(*(axis_positions(60, 1.0) for _ in range(3)))
    # About 30 x 30 x 30 independent numbers.
    assert float(values.mean()) == pytest.approx(0, abs=0.03)
    assert float(values.var()) == pytest.approx(1, abs=0.05)


def test_splines_reproduce_a_straight_line() -> None:
    nodes = torch.arange(-10, 11, dtype=torch.float64) * 5
    field = SmoothField(
        coefficients=(nodes[:, None, None] + 2 * nodes[None, :, None] - nodes[None, None, :] + 7).double(),
        start_mm=(-50.0, -50.0, -50.0),
        spacing_mm=5.0,
    )
    x, y, z = (axis_positions(n, 1.3, c) for n, c in ((9, 3.0), (5, -7.0), (6, 1.0)))
    plane = x[:, None, None] + 2 * y[None, :, None] - z[None, None, :] + 7
    torch.testing.assert_close(field.on(x, y, z).float(), plane, rtol=0, atol=1e-4)
    # |f| / |∇f| of a plane is the distance to it; the softening adds (0.4/5)² under the root.
    distance = plane.abs() / (6 + 0.08**2) ** 0.5
    torch.testing.assert_close(field.from_zero(x, y, z).float(), distance, rtol=0, atol=1e-4)


def test_a_part_is_the_part_of_the_whole() -> None:
    field = draw_field(HALF, 7.0, torch.Generator().manual_seed(1))
    axis = axis_positions(40, 1.0)
    whole, part = field.on(axis, axis, axis), field.on(axis[5:9], axis, axis[7:8])
    torch.testing.assert_close(part, whole[5:9, :, 7:8], rtol=0, atol=1e-5)


def test_a_lattice_needs_a_spacing() -> None:
    with pytest.raises(UsageError, match="spacing"):
        draw_field(HALF, 0.0, torch.Generator())
