import pytest
import torch

from tests.fit.acquisitions import SEVEN, TIMES, acquire, parameters
from unweight.core.acquisition import Acquisition
from unweight.core.errors import ProtocolError, UsageError
from unweight.core.seeding import seeded_generator
from unweight.learn.t1.network_t1 import NetworkT1
from unweight.learn.t1.protocols import TrainedProtocol
from unweight.learn.t1.recurrent import (
    PUBLISHED,
    RecurrentTask,
    SquaredResiduals,
    UnrolledInference,
    unroll,
)
from unweight.nets.recurrent import RecurrentConfig, RecurrentInference
from unweight.testing.check_estimator import check_estimator

SEVEN_TIMES = torch.tensor(TIMES, dtype=torch.float64)


def build(n_steps: int = 3, head: float = 0.01) -> RecurrentInference:
    config = RecurrentConfig(state_channels=3, gradient_channels=3, widths=(8, 8, 8), n_steps=n_steps)
    net = RecurrentInference(config, generator=seeded_generator(0))
    torch.nn.init.normal_(net.cell.head.weight, std=head, generator=seeded_generator(1))
    return net


def estimator(net: RecurrentInference | None = None) -> NetworkT1:
    return NetworkT1(
        network=build() if net is None else net,
        trained=TrainedProtocol(inversion_time=TIMES, repetition_time=(8.0, 12.0), recipe="t1-rim"),
        inference=UnrolledInference(relative_sd=(0.05, 0.1, 0.02)),
    )


def phantom(*shape: int) -> Acquisition:
    flat = acquire(parameters(torch.Size(shape).numel(), (0.3, 2.0)), 0.01)
    return Acquisition(signal=flat.signal.reshape(*shape, 7).float(), protocol=SEVEN, noise_sd=0.01)


def images(theta: torch.Tensor) -> torch.Tensor:
    return acquire(theta, 0.02).signal.T.reshape(1, 7, 8, 8)


def test_the_gradient_is_that_of_autograd() -> None:
    theta = parameters(64, (0.03, 4.0))
    misfit = SquaredResiduals(signal=images(theta), inversion_time=SEVEN_TIMES)
    state = parameters(64, (0.03, 4.0), seed=5).T.reshape(1, 3, 8, 8).clone().requires_grad_()
    (expected,) = torch.autograd.grad(misfit.value(state).sum(), state)
    torch.testing.assert_close(misfit.gradient(state), expected, rtol=1e-10, atol=1e-12)
    assert not misfit.gradient(state).requires_grad


def test_it_vanishes_at_the_truth_and_is_finite_at_nothing() -> None:
    theta = parameters(64, (0.3, 2.0))
    # Without a TR term, as the published model.
    exact = acquire(theta, None, protocol=type(SEVEN)(inversion_time=SEVEN_TIMES)).signal
    misfit = SquaredResiduals(signal=exact.T.reshape(1, 7, 8, 8), inversion_time=SEVEN_TIMES)
    at_truth = misfit.gradient(theta.T.reshape(1, 3, 8, 8))
    assert at_truth.abs().max() < 1e-12
    nothing = misfit.gradient(torch.zeros(1, 3, 8, 8, dtype=torch.float64))
    assert torch.isfinite(nothing).all()


def test_compression_keeps_sign_and_order() -> None:
    misfit = SquaredResiduals(signal=images(parameters(64, (0.3, 2.0))), inversion_time=SEVEN_TIMES)
    state = parameters(64, (0.03, 4.0), seed=5).T.reshape(1, 3, 8, 8)
    plain, compressed = misfit.gradient(state), misfit.compressed_gradient(state)
    torch.testing.assert_close(compressed.sign() * torch.expm1(compressed.abs()), plain)


def test_the_start_is_the_published_one_and_the_state_stays_positive() -> None:
    signal = images(parameters(64, (0.3, 2.0))).float()
    still = unroll(build(head=0.0), signal, SEVEN_TIMES)
    assert (still[:, :, 0] == 1).all() and (still[:, :, 2] == 2).all()
    assert torch.equal(still[-1, :, 1], signal.amax(1))
    assert (unroll(build(head=3.0), signal, SEVEN_TIMES) >= 0).all()


def test_the_contract() -> None:
    """It holds although neighbours and intensities enter: a mask does not change what the network sees."""
    maps = check_estimator(estimator(), phantom(6, 5, 2))
    assert maps.usable.float().mean() > 0.9
    check_estimator(estimator(), phantom(40))


def test_the_order_of_the_volumes_does_not_matter() -> None:
    acquisition, order = phantom(6, 5), [3, 0, 6, 2, 5, 1, 4]
    shuffled = Acquisition(
        signal=acquisition.signal[..., order], protocol=SEVEN.select(order), noise_sd=0.01
    )
    assert torch.equal(estimator()(acquisition).values, estimator()(shuffled).values)


def test_the_loss_weighs_every_step_in_raw_units() -> None:
    theta = parameters(64, (0.3, 2.0)).float()
    truth = theta.T.reshape(1, 3, 8, 8).clone()
    truth[:, :, 0] = torch.nan
    batch = {"signal": images(theta.double()).float(), "truth": truth}
    task = RecurrentTask(machine=build(head=0.0), inversion_time=TIMES)
    start = torch.stack([torch.ones(1, 8, 8), batch["signal"].amax(1), torch.full((1, 8, 8), 2.0)], 1)
    expected = torch.nanmean((start - truth) ** 2)
    torch.testing.assert_close(task.loss(task.network, batch, seeded_generator(0)), expected)


def test_a_few_steps_lower_the_loss() -> None:
    theta = parameters(64, (0.3, 2.0)).float()
    batch = {"signal": images(theta.double()).float(), "truth": theta.T.reshape(1, 3, 8, 8)}
    task = RecurrentTask(machine=build(), inversion_time=TIMES)
    optimiser = torch.optim.Adam(task.network.parameters(), lr=1e-2)
    losses = []
    for _ in range(40):
        optimiser.zero_grad()
        loss = task.loss(task.network, batch, seeded_generator(0))
        torch.autograd.backward(loss)
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]


def test_nine_steps_as_published() -> None:
    assert PUBLISHED.n_steps == 9
    published = RecurrentInference(PUBLISHED, generator=seeded_generator(0))
    assert estimator(published).evaluations_per_slice == 9


def test_messages() -> None:
    other = SEVEN.select([0, 1, 2, 3])
    with pytest.raises(ProtocolError, match=r"unweight train t1-rim --ti 0.05 0.1 0.25 0.5 --tr TR"):
        estimator()(Acquisition(signal=torch.ones(4, 4), protocol=other))
    two = RecurrentConfig(state_channels=2, gradient_channels=2, widths=(4, 4, 4))
    with pytest.raises(UsageError, match=r"state_channels is 2 and gradient_channels is 2"):
        estimator(RecurrentInference(two, generator=seeded_generator(0)))
