import pytest
import torch

from unweight.core.errors import UsageError
from unweight.core.seeding import seeded_generator
from unweight.synth.scanner.kspace import crop_padding, pad_periodic
from unweight.synth.scanner.motion import Motion, move


def test_seam_is_smooth_and_leaves_the_patch_alone() -> None:
    ramp = torch.arange(32.0)[:, None, None] + 10 * torch.arange(24.0)[:, None]
    sewn = pad_periodic(ramp, (0, 1), 6)
    assert sewn.shape == (44, 36, 1)
    assert torch.equal(crop_padding(sewn, (0, 1), 6), ramp)
    around = torch.cat((sewn, sewn[:1]))[:, 6, 0]
    # Without the seam the step at the edge is 31; spread over 12 voxels it is at most about 3 times
    # the mean step, for the fade is a cosine and the mirrored ends fall and rise too.
    assert float(around.diff().abs().max()) < 8


def test_moved_patch_equals_the_patch_of_the_moved() -> None:
    x = torch.arange(128, dtype=torch.float64)
    whole = torch.sin(x / 7)[:, None] * torch.cos(x / 11 + 1) + x[:, None] / 64
    whole = (whole * torch.exp(-(((x - 63.5) / 40) ** 4)) * torch.exp(-(((x[:, None] - 63.5) / 40) ** 4)))[
        ..., None
    ]
    motion = (Motion(shift=(0.4, -0.6), rotation=0.01),)
    expected = move(whole, motion).real[32:96, 32:96]
    patch = whole[32:96, 32:96]
    plain = move(patch, motion).real - expected
    sewn = crop_padding(move(pad_periodic(patch, (0, 1), 8), motion), (0, 1), 8).real - expected
    # Beyond the two outermost voxels, which are moved in from outside the patch.
    assert float(sewn[3:-3, 3:-3].abs().max()) < 0.02
    assert float(plain[3:-3, 3:-3].abs().max()) > 0.08


@pytest.mark.parametrize(("axes", "margin"), [((0,), 9), ((0,), 0), ((2,), 1)])
def test_seams_that_do_not_fit_are_refused(axes, margin) -> None:
    with pytest.raises(UsageError, match="Twice the margin must fit"):
        pad_periodic(torch.randn(16, 16, 2, generator=seeded_generator(1)), axes, margin)
