"""The brain of a simulated head, from skin to ventricles, in three gradient echoes."""

import pytest
import torch
from jaxtyping import Bool
from torch import Tensor

from unweight.core.errors import InputError
from unweight.core.seeding import seeded_generator
from unweight.prepare.echo_mask import find_brain_in_echoes
from unweight.synth.anatomy.procedural_head import procedural_head
from unweight.synth.tissue.materials import BRAIN, INDEX, PROPERTIES
from unweight.synth.tissue.prior import TissuePrior

SIZE = 1.5
VOXEL = (SIZE, SIZE, SIZE)
TIMES = (0.004, 0.014, 0.024)
NOISE = 0.01


def dice(a: Bool[Tensor, "x y z"], b: Bool[Tensor, "x y z"]) -> float:
    return 2 * float((a & b).sum()) / float(a.sum() + b.sum())


@pytest.fixture(scope="module")
def head() -> tuple[Tensor, Tensor]:
    """Magnitudes of a whole head with noise, and its brain with CSF."""
    generator = seeded_generator(0, "head")
    labels = procedural_head(
        generator, shape=(120, 144, 120), voxel_mm=VOXEL, centre_mm=(0.0, -16.0, 12.0)
    ).labels.long()
    drawn = TissuePrior().draw(generator, 3.0).values
    water, decay = (drawn[:, [PROPERTIES.index(name)]] for name in ("PD", "R2star"))
    signal = (water * torch.exp(-decay * torch.tensor(TIMES)))[labels].float()
    noise = NOISE * torch.randn(2, *signal.shape, generator=generator)
    magnitude = ((signal + noise[0]) ** 2 + noise[1] ** 2).sqrt()
    return magnitude, torch.isin(labels, torch.tensor([INDEX[name] for name in BRAIN]))


def test_brain_of_a_simulated_head(head: tuple[Tensor, Tensor]) -> None:
    """Measured: Dice 0.98; of what is found 2 % lies outside, next to bone."""
    magnitude, brain = head
    found = find_brain_in_echoes(magnitude, VOXEL)
    assert dice(found, brain) > 0.95
    assert float((found & ~brain).sum() / found.sum()) < 0.04


def test_coarse_voxels(head: tuple[Tensor, Tensor]) -> None:
    """Voxels of 3 mm: the layer that is taken off is a voxel thick, and is more of the brain."""
    magnitude, brain = head
    found = find_brain_in_echoes(magnitude[::2, ::2, ::2], (3.0, 3.0, 3.0))
    assert dice(found, brain[::2, ::2, ::2]) > 0.9


@pytest.mark.parametrize("thickness", [3.0, 6.0])
def test_a_layer_of_some_thickness_is_taken_off(head: tuple[Tensor, Tensor], thickness: float) -> None:
    """In balls of the same volume; a brain has more surface than a ball, so up to half as much again."""
    magnitude, _ = head
    whole, peeled = (find_brain_in_echoes(magnitude, VOXEL, peeled_mm=one) for one in (0.0, thickness))
    assert bool((peeled <= whole).all())
    radii = [(float(one.sum()) * SIZE**3 * 3 / 4 / torch.pi) ** (1 / 3) for one in (whole, peeled)]
    # The depth of a voxel is that of its middle: half a voxel less is taken.
    assert thickness - SIZE / 2 < radii[0] - radii[1] < 1.5 * thickness


def test_only_the_last_echo_and_no_unit_matter(head: tuple[Tensor, Tensor]) -> None:
    magnitude, _ = head
    other = torch.stack([torch.zeros_like(magnitude[..., 0]), 700 * magnitude[..., -1]], dim=-1)
    assert dice(find_brain_in_echoes(other, VOXEL), find_brain_in_echoes(magnitude, VOXEL)) > 0.999


def test_voxels_without_a_number_are_no_brain(head: tuple[Tensor, Tensor]) -> None:
    """As correction of gradients leaves them at the ends of the grid."""
    magnitude, brain = head
    holed = magnitude.clone()
    holed[:, :, :4] = holed[:6] = torch.nan
    found = find_brain_in_echoes(holed, VOXEL)
    assert not bool(found[:, :, :3].any() | found[:5].any())
    assert dice(found, brain) > 0.95


def test_where_only_part_of_a_head_is_there(head: tuple[Tensor, Tensor]) -> None:
    magnitude, brain = head
    holed = magnitude.clone()
    holed[:, :, 90:] = torch.nan
    found = find_brain_in_echoes(holed, VOXEL)
    assert not bool(found[:, :, 91:].any())
    assert dice(found[:, :, :85], brain[:, :, :85]) > 0.9


def test_where_nothing_but_the_brain_is_bright(head: tuple[Tensor, Tensor]) -> None:
    """As after saturation of fat: noise around it."""
    magnitude, brain = head
    dark = torch.where(brain[..., None], magnitude, 0.03 * magnitude)
    assert dice(find_brain_in_echoes(dark, VOXEL), brain) > 0.9


def test_where_there_is_nothing() -> None:
    with pytest.raises(InputError, match="the last echo contains no signal") as refused:
        find_brain_in_echoes(torch.zeros(20, 20, 20, 3), (2.0, 2.0, 2.0))
    assert "--mask" in str(refused.value.remedy)
    with pytest.raises(InputError):
        find_brain_in_echoes(torch.full((4, 4, 4, 3), torch.nan), (2.0, 2.0, 2.0))


def test_one_object_on_a_dark_background_is_its_own_mask() -> None:
    """A phantom of 40 mm is no head, and yet there is nothing else to take."""
    x, y, z = torch.meshgrid(*[torch.linspace(-48, 48, 48) for _ in range(3)], indexing="ij")
    inside = (x / 38) ** 2 + (y / 42) ** 2 + (z / 30) ** 2 < 1
    noise = 5 * torch.randn(48, 48, 48, 2, generator=seeded_generator(1)).abs()
    echoes = inside[..., None] * torch.tensor([900.0, 700.0]) + noise
    mask = find_brain_in_echoes(echoes, (2.0, 2.0, 2.0))
    assert float((mask & inside).sum() / inside.sum()) > 0.75
    assert not bool((mask & ~inside).any())
