import pytest
import torch

from unweight.core.errors import UsageError
from unweight.core.seeding import seeded_generator
from unweight.synth.scanner.bipolar import BipolarPhase, alternate, draw_bipolar_phase


def test_phase_alternates_and_grows_along_the_readout() -> None:
    made = alternate(
        torch.ones(4, 5, 3, dtype=torch.complex64), BipolarPhase(offset=0.1, slope=0.2, axis=1)
    )
    expected = 0.1 + 0.2 * torch.linspace(-1, 1, 5)
    for echo, sign in enumerate((1, -1, 1)):
        torch.testing.assert_close(made[..., echo].angle(), (sign * expected).expand(4, 5))
    torch.testing.assert_close(made.abs(), torch.ones(4, 5, 3))


def test_draw_is_repeatable_and_axis_is_checked() -> None:
    phase = draw_bipolar_phase(seeded_generator(1))
    assert phase == draw_bipolar_phase(seeded_generator(1))
    with pytest.raises(UsageError, match="no readout along axis 2"):
        alternate(torch.ones(4, 5, 3, dtype=torch.complex64), BipolarPhase(offset=0, slope=0, axis=2))
