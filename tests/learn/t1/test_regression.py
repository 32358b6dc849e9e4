import pytest
import torch

from tests.fit.acquisitions import SEVEN, TIMES, acquire, parameters
from unweight.core.acquisition import Acquisition
from unweight.core.errors import ProtocolError, UsageError
from unweight.core.seeding import seeded_generator
from unweight.learn.t1.network_t1 import NetworkT1, masked_square_error, scaled
from unweight.learn.t1.protocols import TrainedProtocol
from unweight.learn.t1.regression import RegressionInference, RegressionTask
from unweight.nets.normalisation import Normalisation
from unweight.nets.resnet import ResNet, ResNetConfig
from unweight.testing.check_estimator import check_estimator


def build(norm: Normalisation = Normalisation.PIXEL) -> ResNet:
    config = ResNetConfig(in_channels=7, out_channels=3, widths=(8, 8), norm=norm)
    net = ResNet(config, generator=seeded_generator(0))
    with torch.no_grad():
        stem = net.stem[0]
        assert isinstance(stem, torch.nn.Conv2d) and stem.bias is not None
        torch.nn.init.normal_(stem.bias, generator=seeded_generator(1))
        net.head.weight *= 0.01
        net.head.bias.copy_(scaled(torch.tensor([1.0, 0.8, 1.9])))
    return net


def estimator(net: ResNet | None = None) -> NetworkT1:
    return NetworkT1(
        network=build() if net is None else net,
        trained=TrainedProtocol(inversion_time=TIMES, repetition_time=(8.0, 12.0), recipe="t1-resnet"),
        inference=RegressionInference(relative_sd=(0.05, 0.1, 0.02)),
    )


def phantom(*shape: int) -> Acquisition:
    flat = acquire(parameters(torch.Size(shape).numel(), (0.3, 2.0)), 0.01)
    return Acquisition(signal=flat.signal.reshape(*shape, 7).float(), protocol=SEVEN, noise_sd=0.01)


@pytest.mark.parametrize("norm", [Normalisation.PIXEL, Normalisation.BATCH])
def test_the_contract(norm: Normalisation) -> None:
    """It holds although neighbours and intensities enter: a mask does not change what the network sees."""
    maps = check_estimator(estimator(build(norm)), phantom(6, 5, 2))
    assert maps.usable.all()
    torch.testing.assert_close(maps.deviation("PD"), 0.1 * maps.value("PD"))
    check_estimator(estimator(build(norm)), phantom(40))


def test_values_depend_on_the_content_of_the_image() -> None:
    """As published: a brighter neighbourhood changes the scale, and so T1 of tissue that stays the same."""
    acquisition = phantom(8, 8)
    brighter = acquisition.signal.clone()
    brighter[:, 4:] *= 3
    changed = estimator()(Acquisition(signal=brighter, protocol=SEVEN, noise_sd=0.01))
    difference = (changed.value("T1") - estimator()(acquisition).value("T1")).abs()
    assert difference[:, 0].max() > 1e-3


def test_the_order_of_the_volumes_does_not_matter() -> None:
    acquisition, order = phantom(6, 5), [3, 0, 6, 2, 5, 1, 4]
    shuffled = Acquisition(
        signal=acquisition.signal[..., order], protocol=SEVEN.select(order), noise_sd=0.01
    )
    assert torch.equal(estimator()(acquisition).values, estimator()(shuffled).values)


def test_pd_follows_the_unit_of_the_input() -> None:
    acquisition = phantom(6, 5)
    larger = Acquisition(signal=acquisition.signal * 256, protocol=SEVEN, noise_sd=2.56)
    small, large = estimator()(acquisition), estimator()(larger)
    torch.testing.assert_close(large.value("PD"), 256 * small.value("PD"))
    torch.testing.assert_close(large.value("T1"), small.value("T1"))


def test_the_loss_is_of_scaled_maps_where_there_is_water() -> None:
    found = torch.zeros(1, 3, 1, 2)
    truth = torch.full((1, 3, 1, 2), 2.0)
    truth[..., 1] = torch.nan
    assert float(masked_square_error(found, truth)) == 4
    assert float(masked_square_error(torch.stack([found, found + 1]), truth)) == pytest.approx(2.5)
    assert float(masked_square_error(found, torch.full_like(truth, torch.nan))) == 0


def test_a_few_steps_lower_the_loss() -> None:
    theta = parameters(64, (0.3, 2.0)).float()
    signal = acquire(theta, 0.01).signal.float().T.reshape(1, 7, 8, 8)
    truth = theta.T.reshape(1, 3, 8, 8).clone()
    truth[:, :, 0] = torch.nan
    task, generator = RegressionTask(resnet=build()), seeded_generator(0)
    optimiser = torch.optim.Adam(task.network.parameters(), lr=1e-2)
    losses = []
    for _ in range(40):
        optimiser.zero_grad()
        loss = task.loss(task.network, {"signal": signal, "truth": truth}, generator)
        torch.autograd.backward(loss)
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.3 * losses[0]


def test_messages() -> None:
    other = SEVEN.select([0, 1, 2, 3])
    with pytest.raises(ProtocolError, match=r"unweight train t1-resnet --ti 0.05 0.1 0.25 0.5 --tr TR"):
        estimator()(Acquisition(signal=torch.ones(4, 4), protocol=other))
    with pytest.raises(UsageError, match="from 7 images to 3 maps does not fit 2 inversion times"):
        NetworkT1(
            network=build(),
            trained=TrainedProtocol(
                inversion_time=(0.1, 0.2), repetition_time=(1.0, 2.0), recipe="t1-resnet"
            ),
            inference=RegressionInference(relative_sd=(0.1, 0.1, 0.1)),
        )
    with pytest.raises(UsageError, match=r"0\.05 for five per cent"):
        RegressionInference(relative_sd=(-0.1, 0.1, 0.1))
