"""Fast decays: right where echoes tell them, else marked; whatever there is around the object."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.fit.decays import BRAIN, decays, magnitudes
from unweight.bids.nifti.volume import open_volume
from unweight.bids.read import read_inputs
from unweight.bids.series.overrides import ProtocolOverrides
from unweight.core.acquisition import Acquisition, SignalKind
from unweight.core.maps import ParameterMaps, VoxelStatus
from unweight.core.protocol import protocol_from_values
from unweight.core.seeding import seeded_generator
from unweight.fit.arlo import Arlo
from unweight.fit.log_linear import LogLinear
from unweight.fit.nonlinear_decay import NonlinearDecay
from unweight.fit.relaxation import RelaxationFit
from unweight.signals.parameters import T2

N = 2000
KNOWN = {15: (5.0, 20.0, 50.0, 100.0), 40: (5.0, 20.0, 50.0, 100.0, 200.0)}
KNOWN |= {100: (*KNOWN[40], 300.0), 300: (*KNOWN[40], 300.0)}
BEYOND = {15: (300.0, 1000.0), 40: (500.0, 1000.0), 100: (500.0, 1000.0), 300: (1000.0,)}


def fit(
    signal: Tensor, times: tuple[float, ...] = BRAIN, fitted: RelaxationFit | None = None
) -> ParameterMaps:
    kind = SignalKind.SIGNED if bool((signal < 0).any()) else SignalKind.MAGNITUDE
    measured = Acquisition(signal=signal, protocol=protocol_from_values(echo_time=times), kind=kind)
    return (RelaxationFit() if fitted is None else fitted)(measured)


def assert_right(maps: ParameterMaps, rates: tuple[float, ...], share: float = 0.8) -> None:
    """Check the median and the standard deviation of unmarked voxels, and how many there are."""
    for index, rate in enumerate(rates):
        block = slice(N * index, N * (index + 1))
        ok = maps.usable[block]
        found, sd = maps.value("R2star")[block][ok], maps.deviation("R2star")[block][ok]
        spread = float(found.std())
        assert float(ok.double().mean()) > share, rate
        assert abs(float(found.median()) - rate) < max(0.02 * rate, 0.1 * spread), rate
        assert 0.8 < float(sd.median()) / spread < 1.2, rate


@pytest.mark.parametrize("around", ["air", "zeros", "nothing"])
@pytest.mark.parametrize("snr", [15, 40, 100, 300])
def test_fast_decays_are_right_or_marked(snr: int, around: str) -> None:
    rates = KNOWN[snr] + BEYOND[snr]
    signal = decays(rates, snr, n=N)
    air = torch.zeros_like(signal) if around == "air" else signal[:0]
    measured = magnitudes(torch.cat((signal, air)))
    if around == "zeros":
        measured = torch.cat((measured, torch.zeros_like(measured)))
    maps = fit(1e3 * measured.float())
    assert_right(maps, KNOWN[snr])
    beyond = maps.status[N * len(KNOWN[snr]) : N * len(rates)]
    assert float((beyond == VoxelStatus.OK).double().mean()) < 2e-3
    assert int((maps.status[len(signal) :] == VoxelStatus.OK).sum()) == 0
    assert maps.noise_sd == pytest.approx(1e3, rel=0.05)
    assert maps.notes["noise_floor"] == pytest.approx(1e3 * math.sqrt(math.pi / 2), rel=0.06)
    source = "the background" if around == "air" else "the residuals of the fit, as of one channel"
    assert maps.notes["noise_floor_from"] == source


@pytest.mark.parametrize("solver", [LogLinear(), Arlo(), NonlinearDecay()], ids=str)
@pytest.mark.parametrize(
    ("times", "snr", "rates"),
    [
        ((0.001, 0.002, 0.0045, 0.007, 0.012, 0.013, 0.021, 0.03), 40, (50.0, 200.0, 300.0)),
        ((0.004, 0.008, 0.012), 100, (20.0, 100.0, 200.0)),
        (tuple(0.0012 * (echo + 1) for echo in range(12)), 40, (20.0, 200.0, 500.0)),
    ],
    ids=["uneven", "three", "twelve"],
)
def test_any_echoes_and_any_solver(
    solver: LogLinear | Arlo | NonlinearDecay,
    times: tuple[float, ...],
    snr: float,
    rates: tuple[float, ...],
) -> None:
    measured = magnitudes(decays(rates, snr, times, N))
    assert_right(fit(measured, times, RelaxationFit(solver=solver)), rates)


def test_values_with_a_sign_have_no_floor() -> None:
    rates = (20.0, 100.0, 200.0, 1000.0)
    signal = decays(rates, 40, n=N)
    noise = torch.randn(signal.shape, generator=seeded_generator(3, "noise"), dtype=torch.float64)
    maps = fit(signal + noise)
    assert_right(maps, rates[:3])
    assert float(maps.usable[3 * N :].double().mean()) < 2e-3
    assert maps.notes["noise_floor_from"] == "none: signed values have no noise floor"


@pytest.mark.parametrize("snr", [15, 40, 100])
def test_coils_raise_the_floor_that_air_tells(snr: int) -> None:
    """Eight coils, root of the sum of squares: air has 3.9 times the noise of a channel."""
    rates = KNOWN[snr][: 3 if snr == 15 else None]
    measured = magnitudes(torch.cat((decays(rates, snr, n=N), torch.zeros(4 * N, 8).double())), 8)
    maps = fit(measured)
    assert_right(maps, rates)
    assert maps.noise_sd == pytest.approx(1, rel=0.05)
    assert int((maps.status[N * len(rates) :] == VoxelStatus.OK).sum()) < 8


def test_well_above_the_floor_the_solver_has_the_last_word() -> None:
    signal = magnitudes(torch.cat((decays((10.0, 30.0), 200, n=N), torch.zeros(N, 8).double())))
    rate = fit(signal).value("R2star")[: 2 * N]
    plain = LogLinear()(signal[: 2 * N], torch.tensor(BRAIN, dtype=torch.float64)).rate
    torch.testing.assert_close(rate, plain, rtol=0, atol=0)


def test_an_even_phantom_is_not_taken_for_noise() -> None:
    """Nothing decays, nothing varies, no air: law and residuals could be those of many coils."""
    for snr in (7.0, 15.0):
        maps = fit(magnitudes(decays((0.0,), snr, n=4 * N)))
        assert float(maps.usable.double().mean()) > 0.97
        assert maps.notes["noise_floor"] == pytest.approx(math.sqrt(math.pi / 2), rel=0.06)
        assert abs(float(maps.value("R2star")[maps.usable].median())) < 0.2


def test_without_noise_there_is_no_floor_to_tell() -> None:
    maps = fit(decays((5.0, 100.0, 500.0), 1000, n=50))
    assert bool(maps.usable.all())
    assert "noise_floor" not in maps.notes
    assert maps.notes["noise_floor_from"] == "unknown: neither background nor residuals contain noise"


@pytest.mark.parametrize("around", ["air", "zeros"])
@pytest.mark.parametrize("solver", [NonlinearDecay(), LogLinear()], ids=str)
def test_t2_with_and_without_air(solver: NonlinearDecay | LogLinear, around: str) -> None:
    """T2 of 30 to 80 ms in 32 echoes to 320 ms at SNR 50, which were up to a tenth too long."""
    times = tuple(0.01 * (echo + 1) for echo in range(32))
    rates = (1 / 0.03, 1 / 0.05, 1 / 0.08)
    signal = decays(rates, 50, times, N)
    if around == "air":
        measured = magnitudes(torch.cat((signal, torch.zeros_like(signal))))
    else:
        measured = torch.cat((magnitudes(signal), torch.zeros_like(signal)))
    maps = fit(measured, times, RelaxationFit(solver=solver, quantity=T2, skip_first=1))
    for index, rate in enumerate(rates):
        block = slice(N * index, N * (index + 1))
        t2, sd = maps.value("T2")[block], maps.deviation("T2")[block]
        assert bool(maps.usable[block].all())
        assert float(t2.median()) * rate == pytest.approx(1, abs=0.005)
        assert float(sd.median()) == pytest.approx(float(t2.std()), rel=0.1)


def test_two_real_scans_of_one_brain_agree(shared_data: Callable[[str], Path]) -> None:
    """Two contrasts of eight echoes each, SNR some 15: the difference over its standard deviation."""
    root = shared_data("mpm_wias")
    times = tuple(0.0023 * (echo + 1) for echo in range(8))
    mask = open_volume(root / "mask.nii.gz").data > 0
    maps = {}
    for contrast in ("pdw", "t1w"):
        files = [root / f"{contrast}_{echo + 1}.nii.gz" for echo in range(8)]
        (series,) = read_inputs(files, ProtocolOverrides(echo_time=times))
        measured = series.acquisition
        maps[contrast] = RelaxationFit()(
            Acquisition(signal=measured.signal, protocol=measured.protocol, mask=mask)
        )
    one, two = maps["pdw"], maps["t1w"]
    both = one.usable & two.usable
    difference = (one.value("R2star") - two.value("R2star"))[both]
    z = difference / torch.hypot(one.deviation("R2star"), two.deviation("R2star"))[both]
    low, high = (float(z.quantile(share)) for share in (0.16, 0.84))
    assert int(both.sum()) > 10_800
    assert abs(float(z.mean())) < 0.04
    assert (high - low) / 2 == pytest.approx(1, abs=0.03)
    # hMRI finds 18.1 1/s; the echoes of this program before it knew a floor told 17.4.
    assert float(one.value("R2star")[both].median()) == pytest.approx(18.3, abs=0.2)


def test_t2_of_a_real_brain_does_not_change_when_it_is_cut_out(shared_data: Callable[[str], Path]) -> None:
    """30 echoes to 384 ms: air tells the floor, or else residuals do; T2 in 0.2 %."""
    root = shared_data("mese_vfa_qmrust")
    signal = open_volume(root / "mono_t2.nii.gz").data.float()
    mask = open_volume(root / "mono_t2_mask.nii.gz").data.reshape(signal.shape[:-1]) > 0
    times = tuple(0.0128 * (echo + 1) for echo in range(30))
    t2, sources = [], []
    for echoes in (signal, signal * mask[..., None]):
        measured = Acquisition(signal=echoes, protocol=protocol_from_values(echo_time=times), mask=mask)
        maps = RelaxationFit(solver=NonlinearDecay(), quantity=T2, skip_first=1)(measured)
        t2.append(maps.value("T2"))
        sources.append(maps.notes["noise_floor_from"])
    assert sources == ["the background", "the residuals of the fit, as of one channel"]
    ratio = (t2[1] / t2[0])[mask]
    assert float(ratio.nanmedian()) == pytest.approx(1, abs=0.002)
    assert float(t2[0][mask].nanmedian()) == pytest.approx(0.0985, rel=0.01)
