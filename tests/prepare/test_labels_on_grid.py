from pathlib import Path

import pytest
import torch

from unweight.bids.nifti.grid import Grid, Placement
from unweight.bids.nifti.label_image import LabelImage
from unweight.core.errors import InputError
from unweight.prepare.labels_on_grid import labels_on_grid


def grid(shape: tuple[int, int, int], affine: torch.Tensor, code: int = 1) -> Grid:
    placement = Placement(affine=affine, sform=affine, sform_code=code)
    return Grid(shape=shape, placement=placement, path=Path("image.nii"))


def labelled(labels: torch.Tensor, affine: torch.Tensor, code: int = 1) -> LabelImage:
    x, y, z = labels.shape
    return LabelImage(labels=labels, names={1: "one", 2: "two"}, grid=grid((x, y, z), affine, code))


@pytest.fixture
def labels() -> LabelImage:
    numbers = torch.ones(20, 20, 20, dtype=torch.long)
    numbers[:, :, 8:] = 2
    return labelled(numbers, torch.eye(4, dtype=torch.float64))


def test_the_same_grid_takes_the_labels_as_they_are(labels: LabelImage) -> None:
    assert labels_on_grid(labels, grid((20, 20, 20), torch.eye(4, dtype=torch.float64))) is labels


def test_turned_axes_are_followed(labels: LabelImage) -> None:
    """The third axis of the maps runs against the first of the labels, at the same voxels."""
    affine = torch.tensor([[0, 0, -1, 19], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]], dtype=torch.float64)
    result = labels_on_grid(labels, grid((20, 20, 20), affine))
    assert torch.equal(result.labels, labels.labels.flip(0).permute(2, 1, 0))
    assert result.names == labels.names


def test_a_thick_slice_has_the_label_of_more_than_half_of_it(labels: LabelImage) -> None:
    """Slices of 4 mm from 0: the border at 8 mm lies between the second and the third, or in the middle."""
    affine = torch.diag(torch.tensor([1.0, 1.0, 4.0, 1.0], dtype=torch.float64))
    affine[2, 3] = 1.5  # the middle of layers 0 to 3
    result = labels_on_grid(labels, grid((20, 20, 5), affine))
    assert result.labels[5, 5].tolist() == [1, 1, 2, 2, 2]
    affine[2, 3] = 3.5  # layers 2 to 5, 6 to 9 half of each region
    assert labels_on_grid(labels, grid((20, 20, 4), affine)).labels[5, 5].tolist() == [1, 0, 2, 2]
    affine[2, 3] = 2.5  # layers 5 to 8: three of four
    assert labels_on_grid(labels, grid((20, 20, 4), affine)).labels[5, 5].tolist() == [1, 1, 2, 2]


def test_beyond_the_label_image_there_is_no_region(labels: LabelImage) -> None:
    affine = torch.eye(4, dtype=torch.float64)
    affine[0, 3] = 15.0
    result = labels_on_grid(labels, grid((10, 20, 20), affine)).labels
    assert bool((result[:5] > 0).all())
    assert bool((result[5:] == 0).all())
    affine[0, 3] = 99.0
    with pytest.raises(InputError, match="shares no region"):
        labels_on_grid(labels, grid((10, 20, 20), affine))


@pytest.mark.parametrize("code", [3, 4])
def test_a_standard_space_is_not_that_of_the_scans(code: int) -> None:
    image = labelled(torch.ones(4, 4, 4, dtype=torch.long), torch.eye(4, dtype=torch.float64), code)
    with pytest.raises(InputError, match="standard space"):
        labels_on_grid(image, grid((5, 5, 5), torch.eye(4, dtype=torch.float64)))
