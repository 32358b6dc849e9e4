"""Labels on another grid: the same things at the same places in millimetres."""

import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from unweight.core.errors import UsageError
from unweight.core.seeding import seeded_generator
from unweight.synth.anatomy.labels import Anatomy, on_grid
from unweight.synth.tissue.materials import INDEX


def oblique(voxel_mm: tuple[float, float, float]) -> Float[Tensor, "4 4"]:
    """A turned grid, its second axis to the back."""
    matrix = torch.randn(3, 3, generator=seeded_generator(1), dtype=torch.float64)
    turn = torch.linalg.qr(matrix)[0] * torch.tensor([1.0, -1.0, 1.0])
    affine = torch.eye(4, dtype=torch.float64)
    affine[:3, :3] = turn * torch.tensor(voxel_mm, dtype=torch.float64)
    affine[:3, 3] = torch.tensor([-80.0, 30.0, 12.0])
    return affine


def anatomy(shape: tuple[int, int, int], voxel_mm: tuple[float, float, float]) -> Anatomy:
    labels = torch.randint(0, 4, shape, generator=seeded_generator(2), dtype=torch.uint8)
    return Anatomy(labels=labels, voxel_mm=voxel_mm, subject="noise", affine=oblique(voxel_mm))


def edges(made: Anatomy) -> Tensor:
    """The corners of the field of view where it begins and where it ends [mm]."""
    ends = torch.tensor([[-0.5] * 3, [n - 0.5 for n in made.labels.shape]], dtype=torch.float64)
    return ends @ made.affine[:3, :3].T + made.affine[:3, 3]


def middle(made: Anatomy, name: str) -> Tensor:
    """The centre of mass of a material [mm]."""
    index = (made.labels == INDEX[name]).nonzero().double().mean(0)
    return made.affine[:3, :3] @ index + made.affine[:3, 3]


def test_the_same_size_is_the_same_anatomy() -> None:
    plain = anatomy((6, 7, 8), (2.0, 2.0, 2.0))
    assert on_grid(plain, 2.0) is plain


def test_half_the_size_repeats_each_label() -> None:
    plain = anatomy((6, 7, 8), (2.0, 2.0, 2.0))
    made = on_grid(plain, 1.0)
    expected = plain.labels.repeat_interleave(2, 0).repeat_interleave(2, 1).repeat_interleave(2, 2)
    assert torch.equal(made.labels, expected)
    assert made.voxel_mm == (1.0, 1.0, 1.0) and made.subject == "noise"


def test_three_times_the_size_takes_the_middle_one() -> None:
    plain = anatomy((6, 9, 12), (1.0, 1.0, 1.0))
    assert torch.equal(on_grid(plain, 3.0).labels, plain.labels[1::3, 1::3, 1::3])


def test_there_and_back() -> None:
    plain = anatomy((6, 7, 8), (2.0, 2.0, 2.0))
    back = on_grid(on_grid(plain, 0.5), 2.0)
    assert torch.equal(back.labels, plain.labels)
    torch.testing.assert_close(back.affine, plain.affine)


@pytest.mark.parametrize("voxel_mm", [0.25, 0.5, 1.5, 3.0])
def test_the_field_of_view_keeps_its_edges(voxel_mm: float) -> None:
    plain = anatomy((12, 6, 4), (1.0, 2.0, 3.0))
    kept = plain.affine.clone()
    made = on_grid(plain, voxel_mm)
    assert made.labels.shape == tuple(12 / voxel_mm for _ in range(3))
    torch.testing.assert_close(edges(made), edges(plain))
    assert torch.equal(plain.affine, kept)


def test_what_does_not_fill_a_voxel_is_left_out_at_the_end() -> None:
    plain = anatomy((10, 10, 10), (1.0, 1.0, 1.0))
    made = on_grid(plain, 3.0)
    assert made.labels.shape == (3, 3, 3)
    torch.testing.assert_close(edges(made)[0], edges(plain)[0])


@pytest.mark.parametrize("voxel_mm", [0.5, 0.75, 1.5])
def test_a_ball_stays_where_it_is(voxel_mm: float) -> None:
    shape, sizes = (40, 34, 50), (1.0, 1.2, 0.8)
    line = [(torch.arange(n) - n / 2) * size for n, size in zip(shape, sizes, strict=True)]
    x, y, z = torch.meshgrid(*line, indexing="ij")
    labels = torch.zeros(shape, dtype=torch.uint8)
    labels[(x - 3) ** 2 + (y + 2) ** 2 + (z - 5) ** 2 < 10**2] = INDEX["thalamus"]
    plain = Anatomy(labels=labels, voxel_mm=sizes, subject="ball", affine=oblique(sizes))
    made = on_grid(plain, voxel_mm)
    # Surfaces are cut at random places. With the middle of the first voxel left where it was: 0.45 mm.
    assert float((middle(made, "thalamus") - middle(plain, "thalamus")).norm()) < 0.2
    assert made.volume_ml("thalamus") == pytest.approx(plain.volume_ml("thalamus"), rel=0.02)


@pytest.mark.parametrize("voxel_mm", [0.0, -1.0, 13.0, float("nan")])
def test_a_size_that_makes_no_sense_is_refused(voxel_mm: float) -> None:
    with pytest.raises(UsageError, match="voxels of") as refused:
        on_grid(anatomy((12, 14, 16), (1.0, 1.0, 1.0)), voxel_mm)
    assert "millimetres" in str(refused.value.remedy)
