import torch

from unweight.core.seeding import seeded_generator
from unweight.susceptibility.solvers import conjugate_gradient


class Counted:
    """A matrix that counts how often it is applied."""

    def __init__(self, matrix: torch.Tensor) -> None:
        self.matrix, self.calls = matrix, 0

    def __call__(self, values: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return self.matrix @ values


def turned(eigenvalues: torch.Tensor) -> torch.Tensor:
    """Return a symmetric matrix with these eigenvalues."""
    n = len(eigenvalues)
    random = torch.randn(n, n, generator=seeded_generator(1), dtype=torch.float64)
    q = torch.linalg.qr(random).Q
    return q @ torch.diag(eigenvalues.double()) @ q.T


TARGET = torch.randn(30, generator=seeded_generator(2), dtype=torch.float64)


def test_solves_to_rounding() -> None:
    matrix = turned(torch.logspace(-1, 1, 30))
    found = conjugate_gradient(Counted(matrix), TARGET, n_steps=90, tolerance=1e-12)
    torch.testing.assert_close(found, torch.linalg.solve(matrix, TARGET), rtol=1e-9, atol=1e-9)
    single = conjugate_gradient(Counted(matrix.float()), TARGET.float(), n_steps=90, tolerance=1e-6)
    assert single.dtype is torch.float32
    # The condition is 100: single precision leaves some 1e-5.
    torch.testing.assert_close(single, found.float(), rtol=1e-3, atol=1e-4)


def test_three_eigenvalues_take_three_steps() -> None:
    """Hestenes and Stiefel, 1952: as many steps as there are eigenvalues."""
    apply = Counted(turned(torch.tensor([1.0, 4.0, 9.0]).repeat(10)))
    found = conjugate_gradient(apply, TARGET, n_steps=50, tolerance=1e-9)
    assert apply.calls == 3
    torch.testing.assert_close(apply.matrix @ found, TARGET)


def test_stops_when_the_residual_is_small_enough_and_not_before() -> None:
    apply = Counted(turned(torch.logspace(-2, 0, 30)))
    found = conjugate_gradient(apply, TARGET, n_steps=200, tolerance=0.1)
    assert apply.calls < 30
    assert float((apply.matrix @ found - TARGET).norm()) <= 0.1 * float(TARGET.norm())
    few = Counted(apply.matrix)
    conjugate_gradient(few, TARGET, n_steps=4, tolerance=1e-9)
    assert few.calls == 4


def test_error_shrinks_at_least_as_fast_as_the_bound() -> None:
    """Energy of the error: at most 2·[(√κ − 1)/(√κ + 1)]^n of the first."""
    matrix = turned(torch.logspace(-2, 0, 30))
    solution = torch.linalg.solve(matrix, TARGET)
    first = float(solution @ matrix @ solution) ** 0.5
    for n in (2, 5, 10, 20):
        error = conjugate_gradient(Counted(matrix), TARGET, n_steps=n, tolerance=0.0) - solution
        assert float(error @ matrix @ error) ** 0.5 <= 2 * (9 / 11) ** n * first


def test_nothing_gives_nothing() -> None:
    apply = Counted(torch.eye(30, dtype=torch.float64))
    found = conjugate_gradient(apply, torch.zeros(30, dtype=torch.float64), n_steps=5)
    assert float(found.abs().max()) == 0.0 and apply.calls == 0
