import pytest
import torch

from unweight.core.acquisition import SignalKind
from unweight.core.protocol import protocol_from_values
from unweight.phantom.facts import SPHERE_CENTRES_MM, sphere_array
from unweight.phantom.sphere_order import order_by_signal, order_by_t1, runner_up, template_symmetries
from unweight.signals.inversion_recovery import InversionRecovery

ARRAYS = [sphere_array(5, 1, 3.0), sphere_array(4, 1, 3.0)]
PROTOCOL = protocol_from_values(inversion_time=[0.05, 0.4, 1.1, 2.5], repetition_time=[2.55] * 4)


def test_symmetries_are_the_four_of_a_rectangle() -> None:
    orders = template_symmetries()
    assert torch.equal(orders[0], torch.arange(14))
    assert len({tuple(order.tolist()) for order in orders}) == 4
    centres = torch.tensor(SPHERE_CENTRES_MM)
    for order in orders:
        assert torch.equal(order[order], torch.arange(14))
        torch.testing.assert_close(
            torch.cdist(centres[order], centres[order]), torch.cdist(centres, centres)
        )
    assert orders[1][0] == 5  # half a turn brings sphere 6 to the place of sphere 1


@pytest.mark.parametrize("symmetry", range(4))
@pytest.mark.parametrize("place", [0, 1], ids=["plate 5", "plate 4"])
@pytest.mark.parametrize("kind", [SignalKind.SIGNED, SignalKind.MAGNITUDE])
def test_signals_tell_order_and_plate(symmetry: int, place: int, kind: SignalKind) -> None:
    order = template_symmetries()[symmetry]
    # T1 5 % off, an efficiency of 1.9 and amplitudes that differ: none of it may matter.
    t1 = 1.05 * torch.tensor(ARRAYS[place].nominal.t1, dtype=torch.float64)[order]
    theta = torch.stack((t1, torch.linspace(1, 3, 14).double(), torch.full_like(t1, 1.9)), -1)
    numberings = order_by_signal(InversionRecovery(kind=kind)(theta, PROTOCOL), PROTOCOL, kind, ARRAYS)
    assert len(numberings) == 8
    assert torch.equal(numberings[0].order, order)
    assert numberings[0].array is ARRAYS[place]
    assert numberings[0].misfit < 0.06
    assert runner_up(numberings) > 3 * numberings[0].misfit


@pytest.mark.parametrize("symmetry", range(4))
def test_t1_tells_order_and_plate_with_spheres_missing(symmetry: int) -> None:
    order = template_symmetries()[symmetry]
    t1 = 1.1 * torch.tensor(ARRAYS[0].nominal.t1)
    t1[11:] = torch.nan
    numberings = order_by_t1(t1[order], ARRAYS)
    assert torch.equal(numberings[0].order, order)
    assert numberings[0].array.plate == 5
    assert numberings[0].misfit == pytest.approx(0.0953, abs=1e-3)  # ln 1.1


def test_too_few_t1_tell_nothing() -> None:
    t1 = torch.full((14,), torch.nan)
    t1[:6] = 1.0
    assert order_by_t1(t1, ARRAYS) == []
