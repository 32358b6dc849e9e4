import math

import pytest
import torch

from unweight.core.errors import UsageError
from unweight.synth.scanner.motion import Motion, move


def blob(shape, centre, width=3.0, tilt=0.0):
    """An elongated Gaussian about the middle of the grid, turned by an angle."""
    x, y = (torch.arange(n, dtype=torch.float64) - (n - 1) / 2 for n in shape)
    x, y = x[:, None] - centre[0], y - centre[1]
    along, across = x * math.cos(tilt) + y * math.sin(tilt), -x * math.sin(tilt) + y * math.cos(tilt)
    return torch.exp(-(along**2) / (2 * (1.8 * width) ** 2) - across**2 / (2 * width**2))


@pytest.mark.parametrize("shape", [(64, 64), (65, 72)])
@pytest.mark.parametrize(
    ("shift", "rotation"), [((0.4, -1.3), 0.0), ((0.0, 0.0), 0.1), ((1.2, 0.7), -0.06)]
)
def test_known_blob_moves_by_the_known_amount(shape, shift, rotation) -> None:
    centre = (6.0, -4.0)
    still = blob(shape, centre, tilt=0.3)
    made = move(torch.stack([still, still], -1), (Motion(), Motion(shift=shift, rotation=rotation)))
    cosine, sine = math.cos(rotation), math.sin(rotation)
    turned = (
        centre[0] * cosine - centre[1] * sine + shift[0],
        centre[0] * sine + centre[1] * cosine + shift[1],
    )
    expected = blob(shape, turned, tilt=0.3 + rotation)
    torch.testing.assert_close(made[..., 0].real, still, atol=1e-12, rtol=0)
    torch.testing.assert_close(made[..., 1].real, expected, atol=2e-5, rtol=0)
    assert float(made.imag.abs().max()) < 1e-10


def test_every_slice_moves_alike() -> None:
    plane = blob((32, 32), (2.0, 1.0))
    volume = plane[:, :, None, None].expand(32, 32, 3, 1)
    motion = (Motion(shift=(0.5, 0.2), rotation=0.02),)
    torch.testing.assert_close(move(volume, motion)[:, :, 1], move(plane[..., None], motion))


def test_energy_and_mean_are_kept_and_a_full_voxel_is_a_roll() -> None:
    noise = torch.randn(33, 31, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    made = move(noise, (Motion(shift=(0.3, 0.8), rotation=0.05),))
    assert float(made.abs().square().sum()) == pytest.approx(float(noise.square().sum()))
    assert float(made.real.mean()) == pytest.approx(float(noise.mean()))
    rolled = move(noise, (Motion(shift=(1.0, -2.0)),)).real
    torch.testing.assert_close(rolled, torch.roll(noise, (1, -2), (0, 1)))


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(UsageError, match="1 motions for volumes"):
        move(torch.ones(8, 8, 2), (Motion(),))
    with pytest.raises(UsageError, match="no small motion"):
        Motion(rotation=1.0)
