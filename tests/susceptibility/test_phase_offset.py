import torch

from tests.susceptibility.echoes import SHAPE, VOXEL, echoes, nrmse
from unweight.susceptibility.phase_offset import phase_offset
from unweight.susceptibility.unwrap import wrapped

TIMES = (0.004, 0.009)


def test_offset_and_rate_of_a_head() -> None:
    """SNR 50. A Gaussian of 8 mm bends a quadratic offset, most at the edge: 0.1 rad."""
    data = echoes(sigma=0.02)
    found = phase_offset(data.signal[..., :2], TIMES, data.mask, VOXEL)
    error = wrapped(found.offset - data.offset)[data.mask]
    assert float(error.abs().max()) < 0.35
    assert float(error.square().mean().sqrt()) < 0.1
    # Phase noise of some √2/40 in 5 ms is 7 rad/s, of a field that spreads over 300 rad/s.
    assert nrmse(found.rate[data.mask], data.rate[data.mask]) < 0.025
    assert float(found.rate[~data.mask].abs().max()) == 0.0


def test_constant_offset_is_exact() -> None:
    data = echoes()
    flat = torch.polar(data.signal.abs(), 2.9 + data.rate[..., None] * data.time)
    found = phase_offset(flat[..., :2], TIMES, data.mask, VOXEL)
    assert float((found.offset - 2.9)[data.mask].abs().max()) < 1e-6
    torch.testing.assert_close(found.rate[data.mask], data.rate[data.mask])


def test_what_lies_outside_does_not_matter() -> None:
    data = echoes()
    spoiled = torch.where(data.mask[..., None], data.signal, torch.full_like(data.signal, 300j))
    here, there = (phase_offset(one[..., :2], TIMES, data.mask, VOXEL) for one in (data.signal, spoiled))
    assert torch.equal(here.offset, there.offset) and torch.equal(here.rate, there.rate)


def test_single_precision_stays() -> None:
    data = echoes()
    found = phase_offset(data.signal[..., :2].to(torch.complex64), TIMES, data.mask, VOXEL)
    assert found.offset.dtype is torch.float32 and found.offset.shape == SHAPE
