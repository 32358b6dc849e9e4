import pytest
import torch

from unweight.core.errors import InputError
from unweight.susceptibility.morphology import FLAT_MM, slabs_of

SHAPE = (30, 30, 30)


def block(*ends: tuple[int, int]) -> torch.Tensor:
    mask = torch.zeros(SHAPE, dtype=torch.bool)
    mask[tuple(slice(*end) for end in ends)] = True
    return mask


def test_thickness_is_that_of_the_thinnest_axis_of_each_piece() -> None:
    thick, thin = block((0, 14), (0, 30), (0, 30)), block((16, 26), (0, 30), (0, 8))
    slabs = slabs_of(thick | thin, (2.0, 1.5, 2.0))
    assert slabs.n_pieces == 2
    assert slabs.thinnest_mm == 16.0 < FLAT_MM
    assert torch.equal(slabs.flat, thin)


@pytest.mark.parametrize(
    ("mask", "why"),
    [
        (block((0, 30), (0, 30), (4, 5)), "the mask is 1 voxel thick along its third axis"),
        (block((4, 6), (0, 30), (0, 30)), "the mask is 2 voxels thick along its first axis"),
        (
            block((0, 30), (4, 5), (0, 30)) | block((0, 30), (9, 10), (0, 30)),
            "1 voxel thick along its second",
        ),
        (block((0, 0), (0, 0), (0, 0)), "the mask is empty"),
    ],
)
def test_a_few_slices_are_refused(mask: torch.Tensor, why: str) -> None:
    with pytest.raises(InputError, match=why) as caught:
        slabs_of(mask, (1.0, 1.0, 1.0))
    assert caught.value.remedy
