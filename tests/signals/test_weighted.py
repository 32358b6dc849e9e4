"""Every readout equals the model it is written after, and rows of different readouts go together."""

import math

import pytest
import torch

from unweight.core.protocol import protocol_from_values
from unweight.core.weighting import Readout, Weighting
from unweight.signals.flair import Flair
from unweight.signals.model import SignalModel
from unweight.signals.mprage import Mprage
from unweight.signals.spin_echo import SpinEcho
from unweight.signals.weighted import FLOOR, ln_recovery, recovery, weighted_signal

T1 = torch.tensor([0.3, 0.85, 1.6, 4.3], dtype=torch.float64)
T2 = torch.tensor([0.05, 0.07, 0.11, 1.9], dtype=torch.float64)
PD = torch.tensor([0.9, 0.7, 0.8, 1.0], dtype=torch.float64)

SPIN = Weighting(
    readout=Readout.SPIN_ECHO,
    protocol=protocol_from_values(repetition_time=[0.6], echo_time=[0.012], flip_angle=[1.2]),
)
TURBO = Weighting(
    readout=Readout.TURBO_SPIN_ECHO,
    protocol=protocol_from_values(repetition_time=[5.0], echo_time=[0.1], readout_time=[0.19]),
)
FLUID = Weighting(
    readout=Readout.TURBO_SPIN_ECHO,
    protocol=protocol_from_values(
        repetition_time=[9.0], echo_time=[0.1], readout_time=[0.19], inversion_time=[2.5]
    ),
)
GRADIENT = Weighting(
    readout=Readout.MPRAGE,
    protocol=protocol_from_values(
        repetition_time=[2.3],
        echo_time=[0.003],
        inversion_time=[0.9],
        flip_angle=[math.radians(9)],
        echo_spacing=[0.0071],
        train_length=[176],
        centre_index=[88],
    ),
)
MODELS: dict[str, tuple[Weighting, SignalModel]] = {
    "spin echo": (SPIN, SpinEcho()),
    "turbo spin echo": (TURBO, SpinEcho()),
    "FLAIR": (FLUID, Flair()),
    "MPRAGE": (GRADIENT, Mprage()),
}


@pytest.mark.parametrize("name", MODELS)
def test_it_is_the_signal_of_the_model(name: str) -> None:
    weighting, model = MODELS[name]
    third = 1 / T2 if name == "MPRAGE" else T2
    theta = torch.stack([T1, PD, third] if name == "MPRAGE" else [T1, T2, PD], dim=-1)
    expected = model(theta, weighting.protocol)[:, 0]
    assert torch.allclose(weighted_signal(T1, T2, PD, weighting.row()), expected, rtol=1e-9)


def test_rows_of_all_readouts_go_together() -> None:
    rows = torch.stack([weighting.row() for weighting, _ in MODELS.values()])
    together = weighted_signal(T1[:, None], T2[:, None], PD[:, None], rows)
    for column, (weighting, _) in enumerate(MODELS.values()):
        assert torch.equal(together[:, column], weighted_signal(T1, T2, PD, weighting.row()))


def test_fluid_is_nulled_where_its_t1_says() -> None:
    left = math.exp(-(9.0 - 0.19) / 4.3)
    null = 4.3 * math.log(1.96 / (1 + 0.96 * left))
    row = FLUID.row()
    row[3] = null
    assert abs(float(recovery(T1[3], row))) < 1e-12
    assert float(ln_recovery(T1[3], row)) == pytest.approx(math.log(FLOOR))


def test_gradients_are_finite_for_every_readout() -> None:
    rows = torch.stack([weighting.row() for weighting, _ in MODELS.values()])
    t1 = T1.clone().requires_grad_()
    weighted_signal(t1[:, None], T2[:, None], PD[:, None], rows).sum().backward()
    assert t1.grad is not None
    assert bool(torch.isfinite(t1.grad).all())
