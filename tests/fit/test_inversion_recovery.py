from dataclasses import replace

import pytest
import torch

from tests.fit.acquisitions import SEVEN, acquire, parameters
from unweight.core.acquisition import Acquisition, SignalKind
from unweight.core.errors import InputError, ProtocolError, UsageError
from unweight.core.maps import VoxelStatus
from unweight.core.protocol import protocol_from_values
from unweight.fit.inversion_recovery import InversionRecoveryFit
from unweight.signals.inversion_recovery import InversionRecovery
from unweight.signals.noise import Gaussian
from unweight.signals.precision import cramer_rao_bound
from unweight.testing.check_estimator import check_estimator

COUPLED = InversionRecoveryFit(complete=None)
SHORT_TR = protocol_from_values(
    inversion_time=[0.05, 0.1, 0.2, 0.4, 0.6, 0.8], repetition_time=[1.0, 1.0, 1.0, 1.26, 1.86, 2.46]
)


@pytest.mark.parametrize("kind", [SignalKind.MAGNITUDE, SignalKind.SIGNED])
def test_contract(kind: SignalKind) -> None:
    acquisition = replace(acquire(parameters(400, (0.05, 3.0)), 0.02, kind=kind), noise_sd=0.02)
    check_estimator(COUPLED, acquisition)
    single = replace(acquisition, signal=acquisition.signal.float())
    check_estimator(COUPLED, single)


@pytest.mark.parametrize("kind", [SignalKind.MAGNITUDE, SignalKind.SIGNED])
@pytest.mark.parametrize("protocol", [SEVEN, SHORT_TR], ids=["TR 10 s", "TR varies"])
@pytest.mark.parametrize("complete", [None, 2.0])
def test_noiseless_truth_is_recovered(kind: SignalKind, protocol: "object", complete: float | None) -> None:
    theta = parameters(3000, (0.06, 1.9), b=(1.7, 2.1))
    acquisition = acquire(theta, None, protocol=protocol, kind=kind, complete=complete)  # type: ignore[arg-type]
    maps = InversionRecoveryFit(complete=complete)(acquisition)
    close = (maps.values / theta - 1).abs().amax(-1) < 1e-3
    # Where a sample sits on its null magnitude data allow another solution; signed data do not.
    # Six inversion times up to 0.8 s with a TR that changes leave a second solution even to signed
    # data, with another T1 and B and almost the same signal.
    least = (
        1.0 if kind is SignalKind.SIGNED and protocol is SEVEN else 0.95 if protocol is not SEVEN else 0.995
    )
    assert float(close.double().mean()) >= least


def test_double_precision_of_noiseless_signed_data() -> None:
    theta = parameters(1000, (0.1, 2.0))
    maps = COUPLED(acquire(theta, None, kind=SignalKind.SIGNED))
    assert float((maps.values / theta - 1).abs().max()) < 1e-5


def test_single_precision_input_costs_far_less_than_noise() -> None:
    theta = parameters(5000, (0.1, 2.0))
    acquisition = acquire(theta, 0.001)  # SNR 1000
    single = replace(acquisition, signal=acquisition.signal.float())
    reference, maps = COUPLED(acquisition), COUPLED(single)
    difference = (maps.value("T1").double() - reference.value("T1")).abs() / reference.deviation("T1")
    assert float(difference[reference.usable].quantile(0.5)) < 0.001
    assert float(difference[reference.usable].quantile(0.999)) < 0.05


def test_error_reaches_the_bound_and_std_is_calibrated() -> None:
    """SNR 50, T1 0.1 to 2 s: within 10 % of the Cramér–Rao bound, 68 % covered, no wrong polarity."""
    theta = parameters(60_000, (0.1, 2.0))
    theta[:, 1] = 1.0
    maps = COUPLED(acquire(theta, 0.02))
    truth, t1 = theta[:, 0], maps.value("T1")
    bound = cramer_rao_bound(InversionRecovery(kind=SignalKind.SIGNED), theta, SEVEN, Gaussian(sigma=0.02))
    valued = ~maps.failed
    assert float(valued.double().mean()) > 0.999
    error = (t1 - truth)[valued]
    rms, expected = error.square().mean().sqrt(), bound[valued, 0].square().mean().sqrt()
    assert 0.97 < float(rms / expected) < 1.10
    covered = (error.abs() < maps.deviation("T1")[valued]).double().mean()
    assert 0.65 < float(covered) < 0.71
    wrong = (error.abs() > 0.2 * truth[valued]) & (error.abs() > 5 * bound[valued, 0])
    assert float(wrong.double().mean()) < 1e-3
    assert maps.noise_sd == pytest.approx(0.02, rel=0.02)


@pytest.mark.parametrize("name", ["PD", "B"])
def test_std_of_the_other_parameters_is_calibrated(name: str) -> None:
    theta = parameters(20_000, (0.2, 1.5))
    maps = COUPLED(acquire(theta, 0.01))
    index = [spec.name for spec in maps.specs].index(name)
    z = (maps.values[:, index] - theta[:, index]) / maps.std[:, index]
    assert 0.65 < float((z[maps.usable].abs() < 1).double().mean()) < 0.71


def test_rician_likelihood_removes_the_bias_near_the_null() -> None:
    """At SNR 15 least squares on magnitudes is biased; the known noise makes up for it."""
    theta = parameters(40_000, (0.6, 0.9), b=(1.9, 1.95))
    theta[:, 1] = 1.0
    acquisition = acquire(theta, 1 / 15)
    plain = replace(COUPLED, rician=False)(acquisition)
    rician = COUPLED(replace(acquisition, noise_sd=1 / 15))
    assert rician.notes["likelihood"] == "Rician"
    assert plain.notes["likelihood"] == "least squares"

    def rms(maps: "object") -> float:
        error = maps.value("T1") - theta[:, 0]  # type: ignore[attr-defined]
        return float(error[~maps.failed].square().mean().sqrt())  # type: ignore[attr-defined]

    assert rms(rician) < 0.99 * rms(plain)


def test_background_gives_the_thermal_noise() -> None:
    theta = parameters(4000, (0.3, 1.5))
    theta[:2000, 1] = 0.0
    maps = COUPLED(acquire(theta, 0.02))
    assert maps.notes["likelihood"] == "Rician"
    assert maps.notes["thermal_noise_sd"] == pytest.approx(0.02, rel=0.05)
    assert bool((maps.status[:2000] == VoxelStatus.NO_SIGNAL).double().mean() > 0.999)
    assert bool(maps.usable[2000:].double().mean() > 0.98)


def test_repetition_time_matters() -> None:
    """The real phantom's protocol: TR varies with TI, and without the TR term T1 is far off."""
    theta = parameters(500, (0.8, 1.9), b=(1.95, 2.0))
    acquisition = acquire(theta, None, protocol=SHORT_TR, kind=SignalKind.SIGNED, complete=2.0)
    right = InversionRecoveryFit()(acquisition)
    assert float((right.value("T1") / theta[:, 0] - 1).abs().nanquantile(0.98)) < 1e-3
    bare = protocol_from_values(inversion_time=SHORT_TR.require("inversion_time", "test").tolist())
    wrong = InversionRecoveryFit()(replace(acquisition, protocol=bare))
    assert float((wrong.value("T1") / theta[:, 0] - 1).abs().nanmean()) > 0.3


def test_order_of_volumes_and_scale_do_not_matter() -> None:
    acquisition = acquire(parameters(500, (0.1, 2.0)), 0.02)
    order = [3, 0, 6, 1, 5, 2, 4]
    shuffled = Acquisition(signal=acquisition.signal[:, order], protocol=acquisition.protocol.select(order))
    scaled = replace(acquisition, signal=1e4 * acquisition.signal)
    reference = COUPLED(acquisition)
    for other in (COUPLED(shuffled), COUPLED(scaled)):
        both = ~reference.failed & ~other.failed
        assert float(both.double().mean()) > 0.99
        ratio = other.value("T1")[both] / reference.value("T1")[both]
        assert float((ratio - 1).abs().max()) < 1e-4


def test_known_efficiency_is_held_and_sharpens_t1() -> None:
    theta = parameters(5000, (0.5, 2.5))
    acquisition = acquire(theta, 0.02)
    free = COUPLED(acquisition)
    held = COUPLED(replace(acquisition, known={"B": theta[:, 2]}))
    assert torch.equal(held.value("B")[held.usable], theta[held.usable, 2])
    assert float(held.deviation("B")[held.usable].abs().max()) == 0.0
    assert float(held.deviation("T1").nanmean()) < 0.7 * float(free.deviation("T1").nanmean())
    z = (held.value("T1") - theta[:, 0]) / held.deviation("T1")
    assert 0.64 < float((z[held.usable].abs() < 1).double().mean()) < 0.72


def test_prior_range_of_efficiency_is_kept() -> None:
    theta = parameters(3000, (0.02, 0.1), b=(1.7, 2.0))
    narrow = InversionRecoveryFit(complete=None, b_range=(1.6, 2.0))(acquire(theta, 0.02))
    b = narrow.value("B")[~narrow.failed]
    assert float(b.min()) >= 1.6
    assert float(b.max()) <= 2.0
    assert float(narrow.failed.double().mean()) < 0.01


def test_unexplained_signal_is_implausible() -> None:
    acquisition = acquire(parameters(2000, (0.3, 1.5)), 0.01)
    spoiled = acquisition.signal.clone()
    spoiled[:20, 2] += 0.6
    maps = COUPLED(replace(acquisition, signal=spoiled))
    assert bool((maps.status[:20] == VoxelStatus.IMPLAUSIBLE).double().mean() > 0.8)
    assert float((maps.status[20:] == VoxelStatus.IMPLAUSIBLE).double().mean()) < 1e-3
    assert maps.misfit is not None
    assert float(maps.misfit[20:].median()) == pytest.approx(0.84, abs=0.05)  # chi-square of 4 over 4


def test_ambiguous_polarity_is_told() -> None:
    """T1 80 ms: the first of two informative samples lies near its null, on either side of it."""
    theta = torch.tensor([[0.08, 1.0, 1.96]], dtype=torch.float64).repeat(2000, 1)
    acquisition = replace(acquire(theta, 0.02), noise_sd=0.02)
    maps = COUPLED(acquisition)
    told = maps.status == VoxelStatus.POLARITY_AMBIGUOUS
    wrong = (maps.value("T1") - 0.08).abs() > 3 * maps.deviation("T1")
    assert float(told.double().mean()) > 0.3
    assert float((wrong & ~told & ~maps.failed).double().mean()) < 0.02


def test_saturated_voxels_are_told() -> None:
    acquisition = acquire(parameters(10, (0.5, 1.0)), 0.01)
    saturated = torch.zeros(10, dtype=torch.bool)
    saturated[3] = True
    maps = COUPLED(replace(acquisition, saturated=saturated, noise_sd=0.01))
    assert maps.status[3] == VoxelStatus.SATURATED
    assert bool(torch.isfinite(maps.value("T1")[3]))


def test_empty_and_not_finite_voxels_fail_alone() -> None:
    acquisition = acquire(parameters(200, (0.5, 1.0)), 0.01)
    signal = acquisition.signal.clone()
    signal[0] = 0.0
    signal[1, 4] = torch.nan
    signal[2] = torch.inf
    maps = COUPLED(replace(acquisition, signal=signal))
    assert maps.status[:3].tolist() == [VoxelStatus.NO_SIGNAL, VoxelStatus.MASKED, VoxelStatus.MASKED]
    assert float(maps.usable[3:].double().mean()) > 0.98


def test_nothing_but_zeros_is_no_signal() -> None:
    maps = COUPLED(Acquisition(signal=torch.zeros(5, 7), protocol=SEVEN))
    assert maps.status.tolist() == [VoxelStatus.NO_SIGNAL] * 5
    assert maps.noise_sd is None


def test_results_do_not_depend_on_threads() -> None:
    acquisition = acquire(parameters(20_000, (0.1, 2.0)), 0.02)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = COUPLED(acquisition)
        torch.set_num_threads(2)
        two = COUPLED(acquisition)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert torch.equal(one.status, two.status)
    assert torch.equal(one.values.nan_to_num(), two.values.nan_to_num())


def test_progress_reaches_the_end() -> None:
    seen: list[tuple[int, int]] = []
    COUPLED(acquire(parameters(20_000, (0.1, 2.0)), 0.02), lambda done, total: seen.append((done, total)))
    assert len(seen) == 2
    assert max(seen) == (20_000, 20_000)


def test_messages() -> None:
    theta = parameters(5, (0.5, 1.0))
    three = protocol_from_values(inversion_time=[0.05, 0.4, 1.1])
    with pytest.raises(ProtocolError, match="3 different inversion times cannot determine 3") as refused:
        COUPLED(acquire(theta, None, protocol=three))
    assert refused.value.remedy == "Give at least 4, or 3 with a fixed --efficiency."
    two = replace(
        acquire(theta, None, protocol=protocol_from_values(inversion_time=[0.05, 1.1])),
        known={"B": torch.full((5,), 2.0)},
    )
    with pytest.raises(ProtocolError, match="2 different inversion times cannot determine 2") as refused:
        COUPLED.accept(two)
    assert refused.value.remedy == "Give at least 3."
    fixed = replace(acquire(theta, None, protocol=three), known={"B": torch.full((5,), 2.0)})
    COUPLED.accept(fixed)
    no_times = protocol_from_values(echo_time=[0.01] * 7)
    with pytest.raises(ProtocolError, match="fit needs inversion_time, which this protocol does not give"):
        COUPLED(Acquisition(signal=torch.ones(5, 7), protocol=no_times))
    complex_ = Acquisition(
        signal=torch.ones(5, 7, dtype=torch.complex64), protocol=SEVEN, kind=SignalKind.COMPLEX
    )
    with pytest.raises(ProtocolError, match="needs magnitude or signed volumes, not complex"):
        COUPLED(complex_)
    with pytest.raises(UsageError, match="range of inversion efficiency 2 to 1 is invalid"):
        InversionRecoveryFit(b_range=(2.0, 1.0))
    nothing = replace(acquire(theta, None), mask=torch.zeros(5, dtype=torch.bool))
    with pytest.raises(InputError, match="no voxel to process"):
        COUPLED(nothing)


@pytest.mark.cuda
def test_gpu_agrees_with_processor() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no GPU here")
    acquisition = replace(acquire(parameters(20_000, (0.1, 2.0)), 0.02), noise_sd=0.02)
    here = COUPLED(acquisition)
    there = COUPLED(replace(acquisition, signal=acquisition.signal.cuda()))
    assert there.values.is_cuda
    both = here.usable & there.usable.cpu()
    assert float((there.value("T1").cpu()[both] / here.value("T1")[both] - 1).abs().max()) < 1e-4
