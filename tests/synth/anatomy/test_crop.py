import pytest
import torch

from tests.synth.anatomy.test_labels import head
from unweight.core.errors import UsageError
from unweight.synth.anatomy.crop import Crop, CropPlane, draw_crop
from unweight.synth.anatomy.labels import Anatomy, brain_table
from unweight.synth.tissue.materials import INDEX


@pytest.fixture
def labelled() -> Anatomy:
    """Voxels that can be told apart along x and, between them, along y and z."""
    labels = torch.randint(24, (9, 11, 7), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return head(labels, 0.5)


@pytest.mark.parametrize("plane", list(CropPlane))
@pytest.mark.parametrize("n_turns", range(4))
@pytest.mark.parametrize("mirrored", [False, True])
def test_affine_says_where_each_voxel_was(
    labelled: Anatomy, plane: CropPlane, n_turns: int, mirrored: bool
) -> None:
    crop = Crop(start=(2, -1, 1), size=(4, 5, 3), plane=plane, n_turns=n_turns, mirrored=mirrored)
    slab = crop.apply(labelled)
    into_head = torch.linalg.inv(labelled.affine) @ slab.affine
    for index in torch.cartesian_prod(*(torch.arange(n) for n in slab.labels.shape)):
        i, j, k = (into_head @ torch.tensor([*index.tolist(), 1.0]).double()).round().long().tolist()[:3]
        inside = all(0 <= place < n for place, n in zip((i, j, k), labelled.labels.shape, strict=True))
        expected = int(labelled.labels[i, j, k]) if inside else 0
        assert int(slab.labels[tuple(index)]) == expected


def test_slab_through_the_plane_comes_last(labelled: Anatomy) -> None:
    for plane, axis in ((CropPlane.AXIAL, 2), (CropPlane.CORONAL, 1), (CropPlane.SAGITTAL, 0)):
        slab = Crop(start=(0, 0, 0), size=(5, 4, 1), plane=plane).apply(labelled)
        assert slab.labels.shape == (5, 4, 1)
        assert int(slab.affine[:3, 2].abs().argmax()) == axis


def test_drawn_crops_hold_brain_and_repeat() -> None:
    labels = torch.zeros(60, 60, 60, dtype=torch.uint8)
    labels[20:40, 20:40, 20:40] = INDEX["white_matter"]
    anatomy = head(labels)
    for seed in range(10):
        crop = draw_crop(anatomy, (16, 16, 4), torch.Generator().manual_seed(seed), plane=CropPlane.CORONAL)
        assert crop == draw_crop(
            anatomy, (16, 16, 4), torch.Generator().manual_seed(seed), plane=CropPlane.CORONAL
        )
        slab = crop.apply(anatomy).labels
        assert slab.shape == (16, 16, 4)
        # The share is estimated from a part of the voxels.
        assert float(brain_table()[slab.long()].float().mean()) > 0.2


def test_a_crop_larger_than_the_head_is_filled_with_background() -> None:
    anatomy = head(torch.ones(8, 8, 4, dtype=torch.uint8))
    crop = draw_crop(anatomy, (12, 16, 4), torch.Generator().manual_seed(0))
    assert int(crop.apply(anatomy).labels.sum()) == 8 * 8 * 4


def test_impossible_crops_are_refused() -> None:
    with pytest.raises(UsageError, match="a crop of"):
        Crop(start=(0, 0, 0), size=(0, 1, 1))
    with pytest.raises(UsageError, match="quarter turns"):
        Crop(start=(0, 0, 0), size=(1, 1, 1), n_turns=4)
