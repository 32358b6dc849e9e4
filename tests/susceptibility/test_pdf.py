import torch

from tests.susceptibility.scenes import places, rms, scene
from unweight.susceptibility.dipole import field_from_susceptibility
from unweight.susceptibility.geometry import FieldGeometry
from unweight.susceptibility.pdf import pdf

CUBE = FieldGeometry(voxel_mm=(1.0, 1.0, 1.0))


def test_sources_in_the_grid_are_explained() -> None:
    """Voxels of random susceptibility outside the mask, on the very grid that PDF looks on."""
    _, _, mask, deep = scene(CUBE)
    x = torch.randn(40, 40, 40, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    made = field_from_susceptibility(x * ~mask, (1.0,) * 3, CUBE.direction, pad=1.5, background=0.0)
    found = pdf(made, mask, CUBE, n_steps=100)
    assert torch.equal(found.mask, mask)
    # Measured: 0.8 %; 0.2 % after 1000 steps.
    assert rms(found.field[mask]) < 0.012 * rms(made[mask])
    # Deep inside the field is a hundredth of that at the surface, which is explained first.
    assert rms(found.field[deep]) < 0.1 * rms(made[deep])


def test_more_steps_leave_less_background() -> None:
    """Measured: 5, 1.1 and 0.4 %."""
    _, background, mask, _ = scene(CUBE)
    left = []
    for n_steps, allowed in ((5, 0.08), (20, 0.02), (60, 0.008)):
        left.append(rms(pdf(background, mask, CUBE, n_steps=n_steps).field[mask]) / rms(background[mask]))
        assert left[-1] < allowed
    assert left == sorted(left, reverse=True)


def test_constant_does_not_matter() -> None:
    local, background, mask, _ = scene(CUBE)
    here = pdf(local + background, mask, CUBE)
    there = pdf(local + background + 5.0, mask, CUBE)
    torch.testing.assert_close(here.field, there.field, atol=1e-6, rtol=0)


def test_voxels_without_trust_do_not_spoil_the_rest() -> None:
    """Measured error of the local field: 40 % without the spoiled block, 134 % with it."""
    local, background, mask, _ = scene(CUBE)
    block = torch.zeros_like(mask)
    block[20:24, 12:16, 20:24] = True
    spoiled = local + background + block.double()
    rest = mask & ~block
    clean = pdf(local + background, mask, CUBE).field
    trusted = pdf(spoiled, mask, CUBE, (~block).double()).field
    blind = pdf(spoiled, mask, CUBE).field
    assert rms((trusted - clean)[rest]) < 0.1 * rms(local[rest])
    assert rms((blind - clean)[rest]) > 0.8 * rms(local[rest])


def test_the_weighted_cost_is_least_for_its_own_weight() -> None:
    """Σ W²·(B − d ∗ x)² grows when another power of W is used: measured by 2 and 115 %."""
    local, background, mask, _ = scene(CUBE)
    x, _, _ = places((40, 40, 40))
    weight = torch.where(x > 0, 1.0, 0.1).double()
    total = local + background

    def cost(power: float) -> float:
        left = pdf(total, mask, CUBE, weight**power).field
        trust = weight.square() * mask
        mean = (trust * left).sum() / trust.sum()
        return float((trust * (left - mean).square()).sum())

    costs = [cost(power) for power in (0.5, 1.0, 2.0)]
    assert costs[1] == min(costs)
