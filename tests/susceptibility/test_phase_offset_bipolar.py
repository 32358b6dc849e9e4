import pytest
import torch

from tests.susceptibility.echoes import TIMES, echoes
from unweight.susceptibility.phase_offset import bipolar_phase, even_turned_back, fit_plane
from unweight.susceptibility.unwrap import wrapped
from unweight.synth.scanner.bipolar import BipolarPhase, alternate


def plane(phase: BipolarPhase, shape: tuple[int, ...]) -> torch.Tensor:
    """What even echoes have too much: minus twice the phase that alternates."""
    u = torch.linspace(-1, 1, shape[phase.axis], dtype=torch.float64)
    view = [shape[axis] if axis == phase.axis else 1 for axis in range(3)]
    return (-2 * (phase.offset + phase.slope * u)).reshape(view).expand(shape)


@pytest.mark.parametrize("times", [TIMES, (0.004, 0.008, 0.012), (0.003, 0.004, 0.009, 0.011)])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_alternation_is_found(times: tuple[float, ...], axis: int) -> None:
    """Noiseless: what is left is that θ grows in a straight line, and the plane fits to rounding."""
    data, phase = echoes(times), BipolarPhase(offset=0.2, slope=-0.4, axis=axis)
    found = bipolar_phase(alternate(data.signal, phase), data.time, data.mask)
    assert found is not None and found.has_offset
    expected = plane(phase, tuple(data.mask.shape))
    torch.testing.assert_close(found.phase, expected, atol=1e-6, rtol=0)
    assert found.middle == pytest.approx(0.4, abs=1e-6)
    assert found.largest == pytest.approx(float(expected[data.mask].abs().max()), abs=1e-6)


def test_noise_moves_the_plane_little_and_makes_none() -> None:
    """SNR 50 in 10 000 voxels."""
    data, phase = echoes(sigma=0.02), BipolarPhase(offset=-0.1, slope=0.3)
    found = bipolar_phase(alternate(data.signal, phase), data.time, data.mask)
    assert found is not None
    error = (found.phase - plane(phase, tuple(data.mask.shape)))[data.mask]
    assert float(error.abs().max()) < 0.01
    none = bipolar_phase(data.signal, data.time, data.mask)
    assert none is not None and not none.has_offset
    assert none.largest < 0.01


def test_turned_back_has_one_polarity() -> None:
    data, phase = echoes(), BipolarPhase(offset=0.25, slope=0.3)
    signal = alternate(data.signal, phase)
    found = bipolar_phase(signal, data.time, data.mask)
    assert found is not None
    turned = even_turned_back(signal, found.phase)
    # The phase that odd echoes have stays, in all of them: it is an offset like any other.
    offset = wrapped(torch.angle(turned * data.signal.conj()))[data.mask]
    torch.testing.assert_close(offset, offset[:, :1].expand_as(offset), atol=1e-6, rtol=0)
    torch.testing.assert_close(turned[..., 0], signal[..., 0])


def test_two_echoes_cannot_tell() -> None:
    data = echoes((0.004, 0.009))
    assert bipolar_phase(data.signal, data.time, data.mask) is None


def test_a_steep_plane_winds() -> None:
    """Its ends are more than a turn apart, yet one fit on the circle finds it."""
    u = torch.linspace(-1, 1, 30, dtype=torch.float64)[:, None, None].expand(30, 20, 10)
    weight = torch.ones_like(u)
    found = fit_plane(torch.polar(weight, 0.5 + 1.5 * u), torch.ones_like(u, dtype=torch.bool))
    torch.testing.assert_close(found.phase, 0.5 + 1.5 * u, atol=1e-6, rtol=0)


def test_one_slice_has_no_slope_across() -> None:
    u = torch.linspace(-1, 1, 30)[:, None, None].expand(30, 20, 1)
    found = fit_plane(torch.polar(torch.ones_like(u), 0.3 * u), torch.ones_like(u, dtype=torch.bool))
    torch.testing.assert_close(found.phase, 0.3 * u, atol=1e-6, rtol=0)
