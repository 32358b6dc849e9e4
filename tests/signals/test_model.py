import torch

from unweight.core.protocol import protocol_from_values
from unweight.signals.inversion_recovery import InversionRecovery
from unweight.signals.model import derivative


def test_derivative_is_the_closed_form() -> None:
    """S = PD (1 - B E), E = exp(-TI/T1): dS/dT1 = -PD B E TI/T1², dS/dPD = S/PD, dS/dB = -PD E."""
    ti = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
    theta = torch.tensor([[0.1, 3.0, 1.8]], dtype=torch.float64)
    t1, pd, b = theta[0]
    decay = torch.exp(-ti / t1)
    expected = torch.stack([-pd * b * decay * ti / t1**2, 1 - b * decay, -pd * decay], dim=-1)
    found = derivative(InversionRecovery(), theta, protocol_from_values(inversion_time=ti.tolist()))
    torch.testing.assert_close(found[0], expected)


def test_derivative_keeps_voxel_axes_and_dtype() -> None:
    theta = torch.rand(2, 3, 3, generator=torch.Generator().manual_seed(1)) + 0.5
    found = derivative(InversionRecovery(), theta, protocol_from_values(inversion_time=[0.3, 1.0]))
    assert found.shape == (2, 3, 2, 3)
    assert found.dtype == torch.float32
