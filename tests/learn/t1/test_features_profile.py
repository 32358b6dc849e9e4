import math

import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from tests.fit.acquisitions import SEVEN, TIMES, acquire, parameters
from unweight.core.acquisition import Acquisition, SignalKind
from unweight.core.errors import ProtocolError
from unweight.core.protocol import Protocol, protocol_from_values
from unweight.fit.recovery_projection import recovery_timing
from unweight.learn.t1.features import (
    EFFICIENCIES,
    FLOOR,
    N_NODES,
    T1_ENDS,
    WITHOUT_TR,
    ProfileNodes,
    profile,
    profile_nodes,
)
from unweight.signals.inversion_recovery import InversionRecovery

FOUR = protocol_from_values(inversion_time=[0.05, 0.4, 1.1, 2.5], repetition_time=[2.55] * 4)
VARYING = protocol_from_values(
    inversion_time=[0.05, 0.1, 0.2, 0.4, 0.6, 0.8], repetition_time=[1.0, 1.0, 1.0, 1.26, 1.86, 2.46]
)
UNTOLD = protocol_from_values(inversion_time=TIMES)
KINDS = (SignalKind.MAGNITUDE, SignalKind.SIGNED)


def nodes_of(acquisition: Acquisition, complete: float | None) -> ProfileNodes:
    timing = recovery_timing(acquisition.protocol, complete, acquisition.signal)
    return profile_nodes(timing, acquisition.kind)


def brute_force(
    acquisition: Acquisition, complete: float | None, sigma: float
) -> Float[Tensor, "nodes voxels"]:
    """Scan 4001 values of B, with every sign that |S| can have; the best PD ≥ 0 of each is y·|S|/|S|²."""
    t1 = torch.logspace(*(math.log10(end) for end in T1_ENDS), N_NODES, dtype=torch.float64)
    ends = EFFICIENCIES if acquisition.protocol.repetition_time is not None else WITHOUT_TR
    b = torch.linspace(*ends, 4001, dtype=torch.float64)
    theta = torch.stack(torch.broadcast_tensors(t1[:, None], torch.tensor(1.0).double(), b[None]), dim=-1)
    unit = InversionRecovery(kind=acquisition.kind, complete=complete)(theta, acquisition.protocol)
    rows = []
    for y in acquisition.signal:
        match, energy = (unit * y).sum(-1), unit.square().sum(-1)
        pd = (match / energy).clamp(min=0)
        rows.append((y - pd[..., None] * unit).square().sum(-1).amin(1))
    rss = torch.stack(rows, dim=1)
    return ((rss.amin(0) - rss) / (2 * sigma**2)).clamp(min=-FLOOR)


@pytest.mark.parametrize("complete", [2.0, None])
@pytest.mark.parametrize(
    ("protocol", "kind"),
    [
        (SEVEN, SignalKind.MAGNITUDE),
        (SEVEN, SignalKind.SIGNED),
        (FOUR, SignalKind.MAGNITUDE),
        (FOUR, SignalKind.SIGNED),
        (VARYING, SignalKind.SIGNED),
    ],
    ids=["seven", "seven signed", "four", "four signed", "TR varies, signed"],
)
def test_it_is_the_scan_over_pd_and_b(protocol: Protocol, kind: SignalKind, complete: float | None) -> None:
    sigma = 0.02
    theta = parameters(12, (0.03, 4.0), b=(1.6, 2.05))
    acquisition = acquire(theta, sigma, protocol=protocol, kind=kind, complete=complete)
    found = profile(acquisition.signal, nodes_of(acquisition, complete), sigma)
    assert found.shape == (N_NODES, 12)
    # The best B may lie half a step, 0.0001, off the scan: (PD·|v|·0.0001/sigma)²/2 with |v| up to 2.6.
    torch.testing.assert_close(found, brute_force(acquisition, complete, sigma), rtol=0, atol=2e-3)


def test_without_a_repetition_time_b_has_more_room() -> None:
    theta = parameters(12, (0.03, 4.0), b=(1.1, 2.0))
    acquisition = acquire(theta, 0.02, protocol=UNTOLD, kind=SignalKind.SIGNED)
    found = profile(acquisition.signal, nodes_of(acquisition, 2.0), 0.02)
    torch.testing.assert_close(found, brute_force(acquisition, 2.0, 0.02), rtol=0, atol=2e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_the_peak_is_at_the_true_t1(kind: SignalKind) -> None:
    theta = parameters(300, (0.06, 3.0), b=(1.7, 2.0))
    acquisition = acquire(theta, None, kind=kind, complete=2.0)
    nodes = nodes_of(acquisition, 2.0)
    found = profile(acquisition.signal, nodes, 0.002)
    assert float(found.max()) == 0.0
    assert float(found.min()) == -FLOOR
    away = (nodes.log_t1[found.argmax(0)] - theta[:, 0].log()).abs()
    step = math.log(T1_ENDS[1] / T1_ENDS[0]) / (N_NODES - 1)
    # A parabola's best node is the nearest one; a real likelihood is a little askew.
    assert float(away.max()) < 0.75 * step


def test_its_curvature_is_the_precision_of_ln_t1() -> None:
    """Near the peak −2 L = (ln T1 − ln T1*)²/variance, the variance that of the fit at unit noise."""
    theta = torch.tensor([[0.9, 1.0, 1.9]], dtype=torch.float64)
    acquisition, sigma = acquire(theta, None, kind=SignalKind.SIGNED, complete=2.0), 0.05
    timing = recovery_timing(SEVEN, 2.0, acquisition.signal)
    nodes = profile_nodes(timing, SignalKind.SIGNED, n_nodes=2048)
    found = profile(acquisition.signal, nodes, sigma)[:, 0]
    near = (found > -0.5).nonzero()[:, 0]
    width = float(nodes.log_t1[near[-1]] - nodes.log_t1[near[0]])  # two standard deviations
    model = InversionRecovery(kind=SignalKind.SIGNED, complete=2.0)
    jacobian = torch.autograd.functional.jacobian(lambda one: model(one, SEVEN), theta[0])
    variance = torch.linalg.inv(jacobian.T @ jacobian)[0, 0] * sigma**2 / 0.9**2
    assert width / 2 == pytest.approx(float(variance.sqrt()), rel=0.1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("protocol", [SEVEN, VARYING], ids=["one TR", "TR varies"])
def test_the_order_of_the_volumes_does_not_matter(protocol: Protocol, kind: SignalKind) -> None:
    one = acquire(parameters(50, (0.03, 4.0)), 0.02, protocol=protocol, kind=kind)
    order = [3, 0, 5, 1, 4, 2, *range(6, protocol.n_volumes)]
    other = Acquisition(signal=one.signal[:, order], protocol=protocol.select(order), kind=kind)
    pair = [profile(each.signal, nodes_of(each, 2.0), 0.02) for each in (one, other)]
    torch.testing.assert_close(*pair, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("factor", [10.0, 1e-3, 4096.0])
def test_only_the_ratio_to_the_noise_counts(factor: float) -> None:
    acquisition = acquire(parameters(50, (0.03, 4.0)), 0.02)
    nodes = nodes_of(acquisition, 2.0)
    scaled = profile(factor * acquisition.signal, nodes, factor * 0.02)
    torch.testing.assert_close(scaled, profile(acquisition.signal, nodes, 0.02), rtol=1e-9, atol=1e-9)


def test_single_precision_suffices() -> None:
    acquisition = acquire(parameters(200, (0.03, 4.0)), 1 / 300)
    single = acquisition.signal.float()
    nodes = profile_nodes(recovery_timing(SEVEN, 2.0, single), SignalKind.MAGNITUDE)
    found = profile(single, nodes, 1 / 300).double()
    exact = profile(acquisition.signal, nodes_of(acquisition, 2.0), 1 / 300)
    assert found.dtype == torch.float64 and nodes.log_t1.dtype == torch.float32
    # Sums of 7·(PD/sigma)²/2, 7e5 at PD 1.5, are rounded to 0.06 each.
    assert float((found - exact).abs().max()) < 0.5


def test_messages() -> None:
    no_times = protocol_from_values(echo_time=[0.01] * 7)
    with pytest.raises(ProtocolError, match="needs inversion_time, which this protocol does not give"):
        recovery_timing(no_times, 2.0, torch.ones(1))
