import math

import pytest
import torch

from unweight.core.errors import UsageError
from unweight.core.seeding import seeded_generator
from unweight.synth.scanner.fields import (
    MEASURED_EFFICIENCIES,
    EfficiencyPrior,
    Polynomial,
    imperfect_shim,
    inversion_efficiency,
    off_resonance,
    receive_phase,
    receive_sensitivity,
    shimmed,
    transmit_field,
)

SHAPE, VOXEL = (61, 61, 31), (3.0, 3.0, 5.0)


def head(radius_mm=90.0):
    axes = [(torch.arange(n) - (n - 1) / 2) * size for n, size in zip(SHAPE, VOXEL, strict=True)]
    x, y, z = torch.meshgrid(*axes, indexing="ij")
    return x**2 + y**2 + z**2 < radius_mm**2


def test_polynomial_by_hand() -> None:
    made = Polynomial(
        offset=1.0,
        centre_mm=(9.0, 0.0, 0.0),
        slope=(2.0, 0.0, 0.0),
        curve=(0.0, 3.0, 0.0),
        cross=(4.0, 0.0, 0.0),
    ).on((3, 3), (90.0, 90.0))
    u = torch.tensor([-1.0, 0.0, 1.0])
    x, y = (u - 0.1)[:, None], u
    torch.testing.assert_close(made, 1 + 2 * x + 3 * y**2 + 4 * x * y)


def test_slice_is_the_middle_of_the_volume() -> None:
    volume = transmit_field((20, 24, 5), (2.0, 2.0, 3.0), seeded_generator(3))
    plane = transmit_field((20, 24), (2.0, 2.0), seeded_generator(3))
    torch.testing.assert_close(volume[:, :, 2], plane)


def test_transmit_field_spans_what_heads_do_at_3_tesla() -> None:
    fields = torch.stack([transmit_field(SHAPE, VOXEL, seeded_generator(seed)) for seed in range(40)])
    centre = fields[:, 30, 30, 15]
    assert float(centre.min()) > 0.9 and float(centre.max()) < 1.15
    rim = fields[:, [0, -1], 30, 15].mean(1) / centre
    assert 0.68 < float(rim.min()) < 0.80 and 0.85 < float(rim.max()) < 0.95
    low = torch.stack([transmit_field(SHAPE, VOXEL, seeded_generator(s), 1.5) for s in range(40)])
    assert float(low[:, [0, -1], 30, 15].mean() / low[:, 30, 30, 15].mean()) > 0.9
    step = (fields[:, 1:] - fields[:, :-1]).abs().max()
    assert float(step) < 0.03


def test_sensitivity_is_positive_and_phase_is_smooth() -> None:
    for seed in range(10):
        sensitivity = receive_sensitivity(SHAPE, VOXEL, seeded_generator(seed))
        assert float(sensitivity.min()) > 0.35 and float(sensitivity.max()) < 2.75
        phase = receive_phase(SHAPE, VOXEL, seeded_generator(seed))
        assert float((phase[1:] - phase[:-1]).abs().max()) < 0.5
        # The third difference of a second-order field is nothing but rounding.
        assert float(phase.diff(n=3, dim=1).abs().max()) < 1e-4


def test_inversion_follows_the_passage() -> None:
    b = inversion_efficiency(torch.tensor([0.0, 0.7, 1.0, 1.3]), seeded_generator(4))
    assert float(b[0]) == 0.0
    assert bool((b.diff() > 0).all()) and float(b[-1]) <= 2.0
    at_centre = [float(inversion_efficiency(torch.ones(1), seeded_generator(s))) for s in range(200)]
    assert min(at_centre) > 1.83 and max(at_centre) < 2.0
    # Without a plateau below 2, 1 - B is the cosine of Landau and Zener.
    low, full = (float(v) for v in inversion_efficiency(torch.tensor([0.5, 50.0]), seeded_generator(5)))
    a = -math.log(1 - low / full) / 0.25
    assert 3.5 <= a <= 7.0 and 1.90 <= full <= 2.0


def test_shim_removes_second_order_and_nothing_else() -> None:
    mask = head()
    field = imperfect_shim(SHAPE, VOXEL, seeded_generator(1), largest_hz=100.0)
    assert float(shimmed(field, mask).abs().max()) < 0.02
    rest = shimmed(field + torch.randn(SHAPE, generator=seeded_generator(2)), mask)
    axes = [torch.linspace(-1, 1, n) for n in SHAPE]
    x, y, z = torch.meshgrid(*axes, indexing="ij")
    for term in (torch.ones_like(x), x, y, z, x * y, x * z, y * z, x**2, y**2, z**2):
        # Single precision of a field of some 100 Hz.
        assert abs(float((rest * term)[mask].mean())) < 1e-3
    assert 0.95 < float(rest[mask].std()) < 1.05


def test_air_cavity_disturbs_its_surroundings_most() -> None:
    mask = head()
    axes = [(torch.arange(n) - (n - 1) / 2) * size for n, size in zip(SHAPE, VOXEL, strict=True)]
    x, y, z = torch.meshgrid(*axes, indexing="ij")
    sinus = x**2 + (y - 60) ** 2 + (z + 30) ** 2 < 15**2
    chi = torch.where(mask & ~sinus, 0.0, 9.4)
    brain = mask & ~sinus & (y < 75)
    at_3 = off_resonance(chi, brain, VOXEL, (0.0, 0.0, 1.0), 3.0)
    at_half = off_resonance(chi, brain, VOXEL, (0.0, 0.0, 1.0), 1.5)
    torch.testing.assert_close(at_3, 2 * at_half, rtol=1e-4, atol=1e-2)
    away = (x**2 + (y - 60) ** 2 + (z + 30) ** 2).sqrt()
    near, far = brain & (away < 30), brain & (away > 70) & (x**2 + y**2 + z**2 < 60**2)
    assert float(at_3[near].std()) > 5 * float(at_3[far].std())
    # Above a cavity along the field the dipole is chi/3·(a/r)³·2 = 100 Hz at r = 2a.
    above = (x.abs() < 2) & ((y - 60).abs() < 2) & ((z + 30 - 30).abs() < 3)
    expected = 9.4 / 3 * 2 / 8 * 42.577 * 3
    assert float(at_3[above].mean()) == pytest.approx(expected, rel=0.35)


def test_one_slice_can_be_shimmed() -> None:
    field = Polynomial(slope=(9.0, 0.0, 0.0), cross=(3.0, 0.0, 0.0)).on((20, 20, 1), (4.0, 4.0, 4.0))
    assert float(shimmed(field, torch.ones(20, 20, 1, dtype=torch.bool)).abs().max()) < 1e-3


def test_same_seed_same_fields() -> None:
    for draw in (transmit_field, receive_sensitivity, receive_phase, imperfect_shim):
        first, again = (draw((16, 16), (1.0, 1.0), seeded_generator(8, "fields")) for _ in range(2))
        assert torch.equal(first, again)
        assert not torch.equal(first, draw((16, 16), (1.0, 1.0), seeded_generator(9, "fields")))


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(UsageError, match="Give two or three axes"):
        transmit_field((8,), (1.0,), seeded_generator(1))
    with pytest.raises(UsageError, match="mask of the shim is empty"):
        shimmed(torch.zeros(4, 4, 4), torch.zeros(4, 4, 4, dtype=torch.bool))


def test_efficiencies_of_real_scans_are_drawn_with_their_shares() -> None:
    flat = torch.ones(1)
    drawn = torch.cat(
        [inversion_efficiency(flat, seeded_generator(i), MEASURED_EFFICIENCIES) for i in range(2000)]
    )
    assert float(drawn.min()) >= 1.2 and float(drawn.max()) <= 2.05
    # Plateaus of 1.35 to 2.0 in 45 % of scans, of which the pulse reaches 0.97 to 1: below 1.75 lie
    # 0.41/0.65 of them, and none of the angles of 140° to 180°. Two thousand draws have a sampling error
    # of 0.01.
    assert float((drawn < 1.75).float().mean()) == pytest.approx(0.45 * 0.413 / 0.65, abs=0.03)
    weak = inversion_efficiency(
        torch.full((1,), 0.5), seeded_generator(1), EfficiencyPrior(limits=(1.8, 2.0))
    )
    assert float(weak) == pytest.approx(1.8)


def test_an_efficiency_that_follows_the_transmit_field() -> None:
    following = EfficiencyPrior(following=1.0, following_angle=(math.pi, math.pi), limits=(1.2, 2.05))
    transmit = torch.tensor([1.0, 0.8, 0.5])
    drawn = inversion_efficiency(transmit, seeded_generator(1), following)
    assert drawn.tolist() == pytest.approx([2.0, 1 - math.cos(0.8 * math.pi), 1.2], abs=1e-6)


def test_the_usual_efficiency_is_drawn_as_before() -> None:
    transmit = torch.linspace(0.7, 1.2, 5)
    first, second = seeded_generator(7), seeded_generator(7)
    plateau = 1.90 + 0.1 * float(torch.rand((), generator=first, dtype=torch.float64))
    adiabaticity = 3.5 + 3.5 * float(torch.rand((), generator=first, dtype=torch.float64))
    expected = -plateau * torch.expm1(-adiabaticity * transmit.square())
    torch.testing.assert_close(inversion_efficiency(transmit, second), expected)
