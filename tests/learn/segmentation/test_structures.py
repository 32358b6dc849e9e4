"""What finds structures, against networks whose answer is known."""

import math

import pytest
import torch
from torch import Tensor, nn

from unweight.core.seeding import seeded_generator
from unweight.learn.pairs.echo_channels import MASK, N_SLAB
from unweight.learn.pairs.pair import normalise
from unweight.learn.segmentation import structures as structure_task
from unweight.learn.segmentation.structures import (
    N_SEEN,
    StructureTask,
    find_structures,
    structure_config,
    varied,
)
from unweight.metrics.structures import STRUCTURES
from unweight.nets.unet import UNet

N, SIZE, ITEMS = len(STRUCTURES), 16, 3
TASK = StructureTask(unet=UNet(structure_config((8, 8)), generator=seeded_generator(0)))


def batch(labels: Tensor | None = None) -> dict[str, Tensor]:
    generator = seeded_generator(1)
    channels = torch.zeros(ITEMS, N_SLAB, SIZE, SIZE)
    channels[:, MASK, :, :12] = 1.0
    drawn = torch.randint(0, N, (ITEMS, 1, SIZE, SIZE), generator=generator).float()
    return {
        "channels": channels,
        "around": torch.rand(ITEMS, 5, SIZE, SIZE, generator=generator),
        "labels": drawn if labels is None else labels,
    }


class Says(nn.Module):
    """Says the same of everything, and keeps what it was shown."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits, self.shown = logits, torch.empty(0)

    def forward(self, image: Tensor) -> Tensor:
        self.shown = image
        return self.logits


def sure(labels: Tensor) -> Tensor:
    """Logits of who is sure of these labels."""
    return 40 * torch.nn.functional.one_hot(labels[:, 0].long(), N).movedim(-1, 1).float()


def loss(network: nn.Module, of: dict[str, Tensor], seed: int = 0) -> float:
    return float(TASK.loss(network, of, seeded_generator(seed)).detach())


def test_who_is_right_pays_nothing_whatever_is_outside_the_mask() -> None:
    of = batch()
    right = sure(of["labels"])
    assert loss(Says(right), of) == pytest.approx(0.0, abs=1e-6)
    right[..., 12:] = sure((of["labels"] + 1) % N)[..., 12:]
    assert loss(Says(right), of) == pytest.approx(0.0, abs=1e-6)
    wrong = sure((of["labels"] + 1) % N)
    # 40 of entropy, and no overlap but the one in numerator and denominator.
    assert 40.9 < loss(Says(wrong), of) < 41


def test_the_loss_of_who_knows_nothing() -> None:
    """ln 8, and the Dice of shares of an eighth: one structure fills the mask, seven are absent."""
    of = batch(torch.ones(ITEMS, 1, SIZE, SIZE))
    n = ITEMS * SIZE * 12
    present, absent = (2 * n / 8 + 1) / (n / 8 + n + 1), 1 / (n / 8 + 1)
    expected = math.log(8) + 1 - (present + 6 * absent) / 7
    assert loss(Says(torch.zeros(ITEMS, N, SIZE, SIZE)), of) == pytest.approx(expected, rel=1e-5)
    # The background is no structure: its entropy counts, but not its Dice.
    of = batch(torch.zeros(ITEMS, 1, SIZE, SIZE))
    expected = math.log(8) + 1 - absent
    assert loss(Says(torch.zeros(ITEMS, N, SIZE, SIZE)), of) == pytest.approx(expected, rel=1e-5)


def test_a_network_sees_varied_slices_and_the_mask() -> None:
    of, network = batch(), Says(torch.zeros(ITEMS, N, SIZE, SIZE))
    loss(network, of, 5)
    assert network.shown.shape == (ITEMS, N_SEEN, SIZE, SIZE)
    torch.testing.assert_close(network.shown[:, :5], normalise(varied(of["around"], seeded_generator(5))))
    assert torch.equal(network.shown[:, 5:], of["channels"][:, MASK : MASK + 1])


def test_images_vary_by_the_generator_alone() -> None:
    images = batch()["around"]
    made = varied(images, seeded_generator(2))
    assert made.shape == images.shape and bool(made.isfinite().all())
    assert torch.equal(made, varied(images, seeded_generator(2)))
    assert not torch.equal(made, varied(images, seeded_generator(3)))
    assert torch.equal(images, batch()["around"])


def test_gain_and_gamma_keep_their_range(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without noise, images of one intensity are gain·I^γ; softening leaves them alone."""
    monkeypatch.setattr(structure_task, "NOISE", 0.0)
    images = torch.ones(2000, 1, 4, 8)
    images[..., 4:] = 0.5
    made = varied(images, seeded_generator(4))
    gain = made[:, 0, 0, 0]
    gamma = (made[:, 0, 0, 7] / gain).log() / math.log(0.5)
    assert float(gain.min()) == pytest.approx(0.9, abs=0.002)
    assert float(gain.max()) == pytest.approx(1.1, abs=0.002)
    assert float(gamma.log().min()) == pytest.approx(-0.15, abs=0.002)
    assert float(gamma.log().max()) == pytest.approx(0.15, abs=0.002)
    # Half are softened across the edge, where the others have none of the bright side.
    edge = made[:, 0, 0, 4] - made[:, 0, 0, 7]
    assert float((edge > 1e-5).float().mean()) == pytest.approx(0.5, abs=4 * 0.5 / 2000**0.5)


def test_noise_is_at_most_four_hundredths() -> None:
    made = varied(torch.ones(500, 1, 20, 20), seeded_generator(6)).flatten(1)
    sd = made.std(1)
    # Evenly from 0 to 0.04; each is known to a twenty-eighth.
    assert float(sd.max()) < 0.045 and float(sd.mean()) == pytest.approx(0.02, abs=4 * 0.0115 / 500**0.5)


class Reads(nn.Module):
    """Says the structure by the intensity of one of the slices it sees."""

    def __init__(self, place: int = 2) -> None:
        super().__init__()
        self.place, self.here = place, nn.Parameter(torch.zeros(1))

    def forward(self, image: Tensor) -> Tensor:
        labels = ((image[:, self.place] * 0.35 + 0.7) * 5).round().clamp(0, N - 1).long()
        return 30 * torch.nn.functional.one_hot(labels, N).movedim(-1, 1).float()


SHAPE = (6, 7, 8)
LABELS = torch.randint(0, N, SHAPE, generator=seeded_generator(7))
INSIDE = torch.rand(SHAPE, generator=seeded_generator(8)) < 0.7


@pytest.mark.parametrize("axial", [False, True])
def test_every_voxel_has_its_structure(axial: bool) -> None:
    found = find_structures(Reads(), LABELS / 5, INSIDE.float(), axial=axial)
    assert found.shape == (N, *SHAPE)
    assert torch.equal(found.argmax(0)[INSIDE], LABELS[INSIDE])
    torch.testing.assert_close(found.sum(0), INSIDE.float())


def test_the_slices_beside_are_seen_and_the_last_stands_in_beyond_the_end() -> None:
    found = find_structures(Reads(0), LABELS / 5, torch.ones(SHAPE), axial=True).argmax(0)
    before = [max(0, one - 2) for one in range(SHAPE[2])]
    assert torch.equal(found, LABELS[..., before])
    found = find_structures(Reads(4), LABELS / 5, torch.ones(SHAPE), axial=True).argmax(0)
    assert torch.equal(found, LABELS[..., [min(SHAPE[2] - 1, one + 2) for one in range(SHAPE[2])]])


def test_probabilities_are_the_mean_over_planes() -> None:
    """Two slices before are other voxels in each plane; each of the three planes has a third."""
    found = find_structures(Reads(0), LABELS / 5, torch.ones(SHAPE))
    shares = torch.zeros_like(found)
    for axis in range(3):
        before = torch.tensor([max(0, one - 2) for one in range(SHAPE[axis])])
        labels = LABELS.index_select(axis, before)
        shares += torch.nn.functional.one_hot(labels, N).movedim(-1, 0) / 3
    torch.testing.assert_close(found, shares, rtol=0, atol=1e-5)


def test_a_few_steps_lower_the_loss() -> None:
    of = batch((batch()["around"][:, 2:3] * 3).floor())
    task = StructureTask(unet=UNet(structure_config((8, 8)), generator=seeded_generator(0)))
    optimiser, losses = torch.optim.Adam(task.network.parameters(), lr=1e-2), []
    for step in range(25):
        optimiser.zero_grad()
        paid = task.loss(task.network, of, seeded_generator(step))
        torch.autograd.backward(paid)
        optimiser.step()
        losses.append(float(paid.detach()))
    assert losses[0] > 2.5 and sum(losses[-3:]) / 3 < 0.7 * losses[0]
