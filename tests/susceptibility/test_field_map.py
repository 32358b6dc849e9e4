import pytest
import torch

from tests.susceptibility.echoes import SHAPE, TIMES, VOXEL, Echoes, echoes, nrmse
from unweight.core.errors import ProtocolError
from unweight.susceptibility.field_map import FieldMap, field_map
from unweight.synth.scanner.bipolar import BipolarPhase, alternate

SIGMA = 0.02


def mapped(data: Echoes, bipolar: bool | None = None) -> FieldMap:
    return field_map(data.signal, data.time, data.mask, VOXEL, bipolar)


def errors(found: FieldMap, data: Echoes) -> torch.Tensor:
    """Return errors of the rate over their standard deviation."""
    return ((found.rate - data.rate) * found.leverage.sqrt() / SIGMA)[data.mask]


@pytest.mark.parametrize(
    "times", [TIMES, (0.005, 0.010, 0.015, 0.020, 0.025), (0.0035, 0.008, 0.021)], ids=len
)
def test_error_is_that_of_the_noise(times: tuple[float, ...]) -> None:
    """SNR 50; the field winds the last echo three times. The error is within 10 % of its bound."""
    data = echoes(times, SIGMA)
    assert float((data.rate * times[-1])[data.mask].abs().max()) > 15
    found = mapped(data)
    assert float(errors(found, data).square().mean().sqrt()) == pytest.approx(1.0, abs=0.1)
    # A turn too many would be 20 deviations.
    assert float(errors(found, data).abs().max()) < 6
    assert not found.turned
    assert found.alternation is not None and found.alternation < 0.05
    assert nrmse(found.rate[data.mask], data.rate[data.mask]) < 0.01
    outside = ~data.mask
    assert float(found.rate[outside].abs().max()) == float(found.leverage[outside].abs().max()) == 0.0


def test_variance_is_calibrated_voxel_by_voxel() -> None:
    """Twenty scans of the same head: their variance, averaged, within 10 % of σ²/leverage."""
    scans = [mapped(echoes(sigma=SIGMA, seed=seed), bipolar=False) for seed in range(20)]
    mask = echoes().mask
    measured = torch.stack([scan.rate for scan in scans]).var(0)[mask]
    predicted = torch.stack([SIGMA**2 / scan.leverage for scan in scans]).mean(0)[mask]
    assert float((measured / predicted).mean()) == pytest.approx(1.0, abs=0.1)
    scatter = torch.stack([scan.scatter for scan in scans])[:, mask].mean()
    assert float(scatter) == pytest.approx((len(TIMES) - 2) * SIGMA**2, rel=0.1)


def test_noiseless_lines_are_straight() -> None:
    data = echoes()
    found = mapped(data)
    torch.testing.assert_close(found.rate[data.mask], data.rate[data.mask], rtol=1e-6, atol=1e-6)
    assert float(found.residual.max()) < 1e-6
    steps = (found.unwrapped[..., 1:] - found.unwrapped[..., :-1])[data.mask]
    expected = (data.rate[..., None] * (data.time[1:] - data.time[:-1]))[data.mask]
    torch.testing.assert_close(steps, expected, rtol=1e-6, atol=1e-6)


def test_two_echoes_and_one() -> None:
    two = echoes((0.004, 0.009), SIGMA)
    assert float(errors(mapped(two), two).square().mean().sqrt()) == pytest.approx(1.0, abs=0.1)
    assert float(mapped(two).residual.max()) < 1e-9
    assert mapped(two).alternation is None
    one = echoes((0.009,))
    found = mapped(one)
    # One echo cannot tell the offset from the field, nor one turn of all from another.
    expected = one.rate + one.offset / 0.009
    surplus = (found.rate - expected)[one.mask] * 0.009 / (2 * torch.pi)
    torch.testing.assert_close(surplus, surplus.mean().round().expand_as(surplus), atol=1e-6, rtol=0)
    assert found.unwrapped.shape == (*SHAPE, 1)


def test_bipolar_echoes_are_seen_and_put_right() -> None:
    data = echoes(sigma=SIGMA)
    signal = alternate(data.signal, BipolarPhase(offset=0.25, slope=0.3, axis=0))
    bipolar = data._replace(signal=signal)
    seen, told, ignored = (mapped(bipolar, given) for given in (None, True, False))
    assert seen.turned and told.turned and not ignored.turned
    assert torch.equal(seen.rate, told.rate)
    assert ignored.alternation is None
    assert seen.alternation == pytest.approx(2 * (0.25 + 0.3 * 27 / 31), abs=0.01)
    assert float(errors(seen, data).square().mean().sqrt()) == pytest.approx(1.0, abs=0.1)
    assert float(errors(ignored, data).square().mean().sqrt()) > 5


def test_monopolar_echoes_told_to_be_bipolar_lose_nothing() -> None:
    data = echoes(sigma=SIGMA)
    found = mapped(data, bipolar=True)
    assert found.turned
    assert float(errors(found, data).square().mean().sqrt()) == pytest.approx(1.0, abs=0.1)


def test_single_precision_stays() -> None:
    data = echoes()
    found = field_map(data.signal.to(torch.complex64), data.time.float(), data.mask, VOXEL)
    assert found.rate.dtype is found.unwrapped.dtype is torch.float32
    assert nrmse(found.rate[data.mask].double(), data.rate[data.mask]) < 1e-4


def test_what_cannot_be_is_refused() -> None:
    data = echoes((0.004, 0.009))
    for times in ((0.009, 0.004), (0.004, 0.004)):
        with pytest.raises(ProtocolError, match=r"echo times that do not rise\. Sort the echoes"):
            field_map(data.signal, torch.tensor(times), data.mask, VOXEL)
    with pytest.raises(ProtocolError, match=r"2 echoes of a bipolar readout.*three echoes or more"):
        mapped(data, bipolar=True)
