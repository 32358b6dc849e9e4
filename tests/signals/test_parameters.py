import pytest
import torch

from unweight.signals import inversion_recovery
from unweight.signals.parameters import B1, FREQUENCY, PD, PHASE, R2STAR, T1, T2, B, known_or

ALL = (T1, T2, R2STAR, PD, B, B1, FREQUENCY, PHASE)


def test_each_parameter_has_its_own_name_and_suffix() -> None:
    assert len({spec.name for spec in ALL}) == len({spec.suffix for spec in ALL}) == len(ALL)


@pytest.mark.parametrize("spec", ALL, ids=lambda spec: spec.name)
def test_each_parameter_comes_back_from_the_real_line(spec) -> None:
    inside = torch.linspace(max(spec.lower, -5.0) + 0.01, min(spec.upper, 5.0), 7, dtype=torch.float64)
    torch.testing.assert_close(spec.from_free(spec.to_free(inside)), inside)


def test_ranges_hold_the_brain_and_the_phantom() -> None:
    """T1 of 21 ms to 4.3 s and T2 of 5 ms to 2 s (NIST spheres, fluid); R2* 1/s to 200/s (iron)."""
    assert T1.lower < 0.021 and T1.upper > 4.5
    assert T2.lower < 0.005 and T2.upper > 2.5
    assert R2STAR.lower < 0.4 and R2STAR.upper > 200


def test_inversion_recovery_still_gives_the_shared_parameters() -> None:
    assert (inversion_recovery.T1, inversion_recovery.PD, inversion_recovery.B) == (T1, PD, B)


def test_known_map_is_taken_in_the_dtype_of_theta_with_room_for_volumes() -> None:
    theta = torch.ones(2, 3, 4)
    given = torch.arange(6, dtype=torch.float64).reshape(2, 3)
    found = known_or(1.0, B1, {"B1": given}, theta)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, given.float().unsqueeze(-1))


@pytest.mark.parametrize("known", [None, {}, {"B": torch.zeros(2, 3)}])
def test_without_its_map_the_nominal_value_holds(known) -> None:
    torch.testing.assert_close(known_or(0.5, B1, known, torch.ones(2, 3, 4)), torch.full((2, 3, 1), 0.5))
