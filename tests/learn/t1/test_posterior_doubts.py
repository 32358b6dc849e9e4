import torch

from unweight.core.maps import ParameterMaps
from unweight.learn.t1.posterior import SCAN_EFFICIENCY, SD_OVER_BOUND, SNR, posterior_doubts
from unweight.learn.t1.protocols import ProtocolRange
from unweight.signals.parameters import T1

RANGE = ProtocolRange(
    n_inversions=(4, 12), shortest=(0.02, 0.5), longest=(0.6, 4.5), repetition_time=(0.9, 15)
)


def maps(**notes: float) -> ParameterMaps:
    return ParameterMaps(
        specs=(T1,),
        values=torch.ones(2, 1),
        std=torch.ones(2, 1),
        status=torch.zeros(2, dtype=torch.uint8),
        notes=notes,
    )


def test_a_narrow_posterior_is_not_doubted() -> None:
    doubts = posterior_doubts(maps(**{SCAN_EFFICIENCY: 1.92, SD_OVER_BOUND: 0.6, SNR: 80.0}), RANGE)
    assert not doubts.fall_back and not doubts.remarks
    assert not posterior_doubts(maps(), RANGE).fall_back


def test_a_wide_one_is_remarked_upon() -> None:
    for ratio, snr in ((1.8, 50.0), (2.8, 50.0), (1.8, 480.0)):
        wide = posterior_doubts(maps(**{SD_OVER_BOUND: ratio, SNR: snr}), RANGE)
        assert not wide.fall_back and f"{ratio} times" in wide.remarks[0]


def test_a_very_wide_one_beyond_the_trained_snr_is_left() -> None:
    assert "2.8 times" in posterior_doubts(maps(**{SD_OVER_BOUND: 2.8, SNR: 480.0}), RANGE).fall_back


def test_an_efficiency_outside_the_training_is_left() -> None:
    assert "1.20" in posterior_doubts(maps(**{SCAN_EFFICIENCY: 1.2}), RANGE).fall_back


def test_a_high_snr_is_remarked_upon() -> None:
    doubts = posterior_doubts(maps(**{SNR: 480.0}), RANGE)
    assert not doubts.fall_back and "480" in doubts.remarks[0]
