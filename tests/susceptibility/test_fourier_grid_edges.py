import torch

from unweight.susceptibility.fourier_grid import differences, differences_back
from unweight.susceptibility.solvers import Edges

SIZE = (1.0, 1.0, 2.0)


def some(seed: int) -> torch.Tensor:
    return torch.randn(6, 5, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_nothing_pulls_before_anything_was_followed() -> None:
    edges = Edges(torch.zeros(3, 6, 5, 4, dtype=torch.float64), SIZE, 0.1)
    assert float(edges.pull().abs().max()) == 0.0


def test_shrinks_once_and_keeps_the_rest_as_debt() -> None:
    """After one step z = shrink(g) and u = g − z, so that z − u = 2z − g, g the gradient."""
    chi = some(0)
    edges = Edges(torch.zeros(3, 6, 5, 4, dtype=torch.float64), SIZE, 0.5)
    edges.follow(chi)
    gradient = differences(chi, SIZE)
    shrunk = gradient.sign() * (gradient.abs() - 0.5).clamp(min=0)
    expected = torch.fft.rfftn(differences_back(2 * shrunk - gradient, SIZE))
    torch.testing.assert_close(edges.pull(), expected)


def test_small_gradients_leave_debt_alone() -> None:
    chi = 1e-3 * some(1)
    edges = Edges(torch.zeros(3, 6, 5, 4, dtype=torch.float64), SIZE, 1.0)
    edges.follow(chi)
    expected = torch.fft.rfftn(-differences_back(differences(chi, SIZE), SIZE))
    torch.testing.assert_close(edges.pull(), expected)
