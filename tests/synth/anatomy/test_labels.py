import math
from dataclasses import replace

import pytest
import torch

from unweight.core.errors import InputError, UsageError
from unweight.synth.anatomy.labels import N_MATERIALS, Anatomy, centred_affine, fractions
from unweight.synth.tissue.materials import INDEX, MATERIALS


def head(labels: torch.Tensor, size: float = 1.0) -> Anatomy:
    x, y, z = labels.shape
    voxel_mm = (size, size, size)
    return Anatomy(
        labels=labels, voxel_mm=voxel_mm, subject="a", affine=centred_affine((x, y, z), voxel_mm)
    )


@pytest.mark.parametrize("factor", [(1, 1, 1), (2, 2, 4), (3, 4, 2), (6, 8, 8)])
def test_fractions_are_the_means_of_indicators(factor: tuple[int, int, int]) -> None:
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(N_MATERIALS, (12, 16, 8), generator=generator, dtype=torch.uint8)
    shares = fractions(labels, factor)
    a, b, c = factor
    one_hot = torch.nn.functional.one_hot(labels.long(), N_MATERIALS).double()
    expected = one_hot.reshape(12 // a, a, 16 // b, b, 8 // c, c, N_MATERIALS).mean((1, 3, 5))
    torch.testing.assert_close(shares.double(), expected, rtol=0, atol=1e-7)
    torch.testing.assert_close(shares.sum(-1), torch.ones(shares.shape[:-1]), rtol=0, atol=1e-6)


def test_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = torch.randint(5, (20, 10, 6), generator=torch.Generator().manual_seed(2), dtype=torch.uint8)
    whole = fractions(labels, (2, 2, 2))
    monkeypatch.setattr("unweight.synth.anatomy.labels.BLOCK_VOXELS", 200)
    assert torch.equal(fractions(labels, (2, 2, 2)), whole)


def test_a_cut_sphere_keeps_its_volume() -> None:
    radius = 20.0
    x = torch.arange(64) - 31.5
    inside = x[:, None, None] ** 2 + x[None, :, None] ** 2 + x[None, None, :] ** 2 < radius**2
    labels = torch.where(inside, INDEX["csf"], 0).to(torch.uint8)
    expected = 4 / 3 * math.pi * radius**3
    # A sphere of 20 voxels radius is counted to about 0.1 %.
    assert float(fractions(labels, (4, 4, 4))[..., INDEX["csf"]].sum()) * 64 == pytest.approx(
        expected, rel=2e-3
    )
    assert head(labels, 0.5).volume_ml("csf") == pytest.approx(expected / 8000, rel=2e-3)


def test_a_factor_that_does_not_divide_is_refused() -> None:
    with pytest.raises(UsageError, match="cannot be gathered"):
        fractions(torch.zeros(5, 4, 4, dtype=torch.uint8), (2, 2, 2))


def test_impossible_anatomies_are_refused() -> None:
    good = head(torch.zeros(4, 4, 4, dtype=torch.uint8))
    with pytest.raises(InputError, match=f"label {len(MATERIALS)} is not a material"):
        replace(good, labels=torch.full((4, 4, 4), len(MATERIALS), dtype=torch.uint8))
    with pytest.raises(InputError, match="but an affine for"):
        replace(good, voxel_mm=(2.0, 1.0, 1.0))
    with pytest.raises(InputError, match="without a subject"):
        replace(good, subject="")
    with pytest.raises(InputError, match="voxels of"):
        replace(good, voxel_mm=(0.0, 1.0, 1.0))
