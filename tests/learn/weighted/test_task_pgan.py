"""The conditional GAN on weighted images: its loss by hand, its gradients, and a short training."""

import pytest
import torch

from tests.learn.examinations import batch_of, examination, truth, without
from tests.learn.lessons import slab_data, tiny
from tests.learn.names import MAPS_PGAN
from tests.learn.weighted.test_task import losses_of
from tests.nets.probes import draw, scrambled
from unweight.core.seeding import seeded_generator
from unweight.learn.training.trainable import new_task
from unweight.learn.training.trainer import train_model
from unweight.learn.weighted.task import MIDDLE, SPREAD, Generator, PganTask, stacked
from unweight.nets.pgan import Pgan, PganConfig, adversarial_loss
from unweight.nets.unet import UNetConfig


def test_any_channels_go_in_and_out() -> None:
    config = PganConfig(
        generator=UNetConfig(in_channels=2, out_channels=4, widths=(8, 8), linear_head=True),
        critic=(4, 8, 8),
    )
    pgan = scrambled(Pgan(config, generator=seeded_generator(0)))
    seen, true = draw(2, 2, 64, 48), draw(2, 3, 64, 48, seed=1)
    made, verdicts = pgan(seen, true)
    assert made.shape == (2, 4, 64, 48) and verdicts is not None
    # Only the first channels are judged.
    fooled, _, false = verdicts
    torch.testing.assert_close(fooled, false)
    torch.testing.assert_close(false, pgan.critic(torch.cat([seen, made[:, :3]], dim=1)))


def gan() -> PganTask:
    made = new_task(tiny(MAPS_PGAN))
    assert isinstance(made, PganTask)
    with torch.no_grad():
        made.pgan.generator.head.weight.normal_(0, 0.05, generator=seeded_generator(1))
    return made


def test_a_gan_is_asked_for_the_maps_of_its_generator() -> None:
    made, of = gan().pgan, batch_of(examination(), truth())
    output = Generator()(made, of)
    torch.testing.assert_close(output[:, :3], made.generator(stacked(of))[:, :3])
    assert not output[:, 3:].any()


def test_loss_of_a_gan_by_hand() -> None:
    """Adversarial, and 100 times the mean absolute error in units of the spread."""
    made, of = gan(), batch_of(examination(), truth())
    here = torch.isfinite(of["target"])
    spread, middle = (torch.tensor(one)[:, None, None] for one in (SPREAD, MIDDLE))
    true = torch.where(here, (of["target"].nan_to_num() - middle) / spread, 0.0)
    image = made.pgan.generator(stacked(of))[:, :3]
    pixels = 100 * (image - true).abs()[here].mean()
    loss = made.loss(made.network, of, seeded_generator(0))
    verdicts = made.pgan(stacked(of), true, here.float())[1]
    torch.testing.assert_close(loss, adversarial_loss(verdicts) + pixels)
    for one in (of, without(of, 0)):
        made.network.zero_grad()
        made.loss(made.network, one, seeded_generator(0)).backward()
        assert all(
            weight.grad is None or bool(torch.isfinite(weight.grad).all())
            for weight in made.network.parameters()
        )


def test_a_few_steps_lower_the_loss_of_a_gan() -> None:
    losses = losses_of(gan(), 24)
    assert sum(losses[-4:]) < 0.7 * sum(losses[:4])


def test_a_gan_is_taught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unweight.learn.weighted.protocol_range.N_DRAWS", 50)
    learned = train_model(tiny(MAPS_PGAN), slab_data(MAPS_PGAN), device=torch.device("cpu"))
    assert learned is not None and learned[1].metrics["coverage_90_t1"] > 0.7
