from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.nets.probes import assert_same_weights, draw, reach, scrambled
from unweight.core.errors import UsageError
from unweight.core.seeding import seeded_generator
from unweight.nets.pgan import Pgan, PganConfig, adversarial_loss
from unweight.nets.unet import UNetConfig

SMALL = PganConfig(
    generator=UNetConfig(in_channels=3, out_channels=3, widths=(8, 8), linear_head=True),
    n_judged=3,
    critic=(4, 8, 8),
)


def build(config: PganConfig = SMALL) -> Pgan:
    return scrambled(Pgan(config, generator=seeded_generator(0)))


def example() -> tuple[Tensor, Tensor]:
    config = SMALL.generator
    return draw(2, config.in_channels, 64, 48), draw(2, SMALL.n_judged, 64, 48, seed=1)


def slopes(pgan: Pgan, loss: Tensor) -> dict[str, bool]:
    """Return which of the networks a loss has a gradient for."""
    found = {}
    for name in ("generator", "critic"):
        weights = list(getattr(pgan, name).parameters())
        grads = torch.autograd.grad(loss, weights, retain_graph=True, allow_unused=True)
        found[name] = any(one is not None and bool(one.any()) for one in grads)
    return found


def test_verdicts_are_one_number_for_each_patch() -> None:
    seen, truth = example()
    made, verdicts = build()(seen, truth)
    assert made.shape == (2, SMALL.generator.out_channels, 64, 48)
    assert verdicts is not None
    assert {tuple(one.shape) for one in verdicts} == {(2, 1, 8, 6)}


def test_without_a_truth_nothing_is_judged() -> None:
    seen, truth = example()
    pgan = build()
    made, verdicts = pgan(seen)
    assert verdicts is None
    torch.testing.assert_close(made, pgan(seen, truth)[0])
    torch.testing.assert_close(made, pgan.generator(seen))


def test_the_critic_sees_patches() -> None:
    """Three halvings with 3 x 3 pixels and a last convolution: (1 + 2 + 4) + 8 = 15 pixels each way."""
    pgan = build()

    def verdict(image: Tensor) -> Tensor:
        found: Tensor = pgan.critic(image)
        return torch.nn.functional.interpolate(found, scale_factor=8, mode="nearest")

    channels = SMALL.generator.in_channels + SMALL.n_judged
    assert reach(verdict, channels, 96) == 15


def test_only_the_first_channels_are_judged() -> None:
    pgan, (seen, truth) = build(), example()
    fooled, _, false = pgan(seen, truth)[1]
    torch.testing.assert_close(fooled, false)
    torch.testing.assert_close(false, pgan.critic(torch.cat([seen, pgan.generator(seen)[:, :3]], dim=1)))


def test_generator_and_critic_have_gradients_of_their_own_part_only() -> None:
    pgan, (seen, truth) = build(), example()
    fooled, true, false = pgan(seen, truth)[1]
    assert slopes(pgan, fooled.sum()) == {"generator": True, "critic": False}
    assert slopes(pgan, true.sum()) == {"generator": False, "critic": True}
    assert slopes(pgan, false.sum()) == {"generator": False, "critic": True}
    assert slopes(pgan, adversarial_loss((fooled, true, false))) == {"generator": True, "critic": True}


def test_where_nothing_counts_the_critic_cannot_tell_them_apart() -> None:
    pgan, (seen, truth) = build(), example()
    counts = torch.zeros_like(truth)
    fooled, true, false = pgan(seen, torch.zeros_like(truth), counts)[1]
    torch.testing.assert_close(true, false)
    assert slopes(pgan, fooled.sum()) == {"generator": False, "critic": False}


def test_losses_by_hand() -> None:
    """(D(G) − 1)² and ½(D(y) − 1)² + ½D(G)²: X. Mao et al., ICCV 2017."""

    def loss(*verdicts: float) -> float:
        fooled, true, false = (torch.full((1, 1, 2, 2), one) for one in verdicts)
        return float(adversarial_loss((fooled, true, false)))

    assert loss(1.0, 1.0, 0.0) == 0.0  # which cannot be: the same image is judged in the first and the last
    assert loss(0.0, 1.0, 0.0) == 1.0
    assert loss(1.0, 1.0, 1.0) == 0.5
    assert loss(0.5, 0.5, 0.5) == pytest.approx(0.25 + 0.125 + 0.125)


def test_a_few_steps_teach_the_critic() -> None:
    pgan, (seen, truth) = build(), example()
    optimiser = torch.optim.Adam(pgan.critic.parameters(), lr=3e-3)
    losses = []
    for _ in range(15):
        optimiser.zero_grad()
        _, true, false = pgan(seen, truth)[1]
        loss = adversarial_loss((torch.ones_like(false), true, false))
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]


def test_a_step_of_the_generator_fools_it_more() -> None:
    pgan, (seen, truth) = build(), example()
    optimiser = torch.optim.SGD(pgan.parameters(), lr=1e-6)
    before = [one.clone() for one in pgan.critic.parameters()]
    fooled, true, false = pgan(seen, truth)[1]
    first = adversarial_loss((fooled, true.detach(), false.detach()))
    first.backward()
    optimiser.step()
    assert all(torch.equal(a, b) for a, b in zip(before, pgan.critic.parameters(), strict=True))
    fooled = pgan(seen, truth)[1][0]
    assert float(adversarial_loss((fooled, true, false)).detach()) < float(first.detach())


def test_same_seed_same_weights() -> None:
    assert_same_weights(build(), build())


def test_messages() -> None:
    with pytest.raises(UsageError, match=r"PganConfig\.n_judged is 0\. Give a whole number of at least 1"):
        replace(SMALL, n_judged=0)
    with pytest.raises(
        UsageError, match=r"judges 3 of 3 channels with critic \(\)\. Judge no more channels than are made"
    ):
        replace(SMALL, critic=())
    with pytest.raises(UsageError, match="UNet image has 2 channels, but this network was built for 3"):
        build()(draw(1, 2, 16, 16))
