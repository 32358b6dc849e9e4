import pytest
import torch

from unweight.core.errors import InputError
from unweight.susceptibility.unwrap import unwrap_in_space


def test_what_is_not_finite_outside_the_mask_does_not_count() -> None:
    """Joining voxel to voxel would never end."""
    phase = torch.linspace(-2, 2, 128, dtype=torch.float64).reshape(8, 4, 4)
    mask = torch.ones(8, 4, 4, dtype=torch.bool)
    mask[2, 1:3] = False
    spoilt = torch.where(mask, phase, torch.full_like(phase, torch.nan))
    assert torch.equal(unwrap_in_space(spoilt, mask), unwrap_in_space(phase * mask, mask))
    with pytest.raises(InputError, match="not finite inside the mask"):
        unwrap_in_space(spoilt, torch.ones_like(mask))
