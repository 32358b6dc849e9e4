import numpy as np
import pytest
import torch

from unweight.core.errors import ProtocolError, UsageError
from unweight.core.protocol import protocol_from_values
from unweight.signals.exponential_decay import ExponentialDecay
from unweight.signals.gradient_echo import GradientEcho
from unweight.signals.parameters import PD, R2STAR, T2
from unweight.testing.check_signal_model import check_signal_model

ECHOES = protocol_from_values(echo_time=[0.01, 0.02, 0.05, 0.1])
TIMES = torch.tensor([[0.02, 1.0], [0.08, 700.0], [0.5, 2.0], [2.0, 0.1]], dtype=torch.float64)


@pytest.mark.parametrize("quantity", [T2, R2STAR])
def test_contract(quantity) -> None:
    theta = TIMES if quantity is T2 else torch.stack([1 / TIMES[:, 0], TIMES[:, 1]], dim=-1)
    check_signal_model(ExponentialDecay(quantity=quantity), theta, ECHOES)


def test_a_signal_halves_in_ln_2_of_its_time() -> None:
    protocol = protocol_from_values(echo_time=(0.08 * np.log(2) * np.arange(4)).tolist())
    signal = ExponentialDecay()(torch.tensor([[0.08, 8.0]], dtype=torch.float64), protocol)
    np.testing.assert_allclose(signal[0].numpy(), [8.0, 4.0, 2.0, 1.0], rtol=1e-12)


def test_the_rate_is_that_of_a_gradient_echo() -> None:
    protocol = protocol_from_values(
        echo_time=[0.01, 0.02, 0.03], repetition_time=[0.05] * 3, flip_angle=[0.3] * 3
    )
    whole = GradientEcho()(torch.tensor([[1.1, 2.0, 30.0]]), protocol)
    decay = ExponentialDecay(quantity=R2STAR)(torch.tensor([[30.0, 1.0]]), protocol)
    ratio = (whole / decay)[0]
    np.testing.assert_allclose(ratio.numpy(), ratio[0].item(), rtol=1e-6)


def test_a_density_is_no_relaxation() -> None:
    with pytest.raises(UsageError, match="not a relaxation rate"):
        ExponentialDecay(quantity=PD)


def test_echo_times_are_needed() -> None:
    with pytest.raises(ProtocolError, match="needs echo_time"):
        ExponentialDecay()(TIMES, protocol_from_values(repetition_time=[1.0]))
