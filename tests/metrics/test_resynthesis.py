"""Images made again from true maps are the images, up to a gain; from wrong maps they are not."""

import pytest
import torch

from unweight.core.errors import UsageError
from unweight.core.examination import WeightedImage, WeightedImageSet
from unweight.core.maps import ParameterMaps, VoxelStatus
from unweight.core.weighting import completed
from unweight.metrics.resynthesis import resynthesise
from unweight.signals.parameters import PD, T1, T2
from unweight.signals.weighted import weighted_signal
from unweight.synth.protocols.standard import routine_contrasts
from unweight.synth.simulate_weighted import weighting_of

SHAPE = (6, 5, 4)
GAINS = (300.0, 50.0, 7.0)


def maps_of(values: torch.Tensor) -> ParameterMaps:
    status = torch.zeros(SHAPE, dtype=torch.uint8)
    status[0] = int(VoxelStatus.MASKED)
    kept = values.masked_fill((status != 0)[..., None], torch.nan)
    return ParameterMaps(specs=(T1, T2, PD), values=kept, std=kept * 0, status=status)


@pytest.fixture
def truth() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    share = torch.rand(*SHAPE, 3, generator=generator)
    return torch.tensor([0.5, 0.05, 0.6]) + share * torch.tensor([1.5, 0.1, 0.3])


@pytest.fixture
def examination(truth: torch.Tensor) -> WeightedImageSet:
    images = []
    for scan, gain in zip(routine_contrasts(), GAINS, strict=True):
        weighting = weighting_of(scan)
        row = completed(weighting)[0].row().float()
        signal = gain * weighted_signal(truth[..., 0], truth[..., 1], truth[..., 2], row)
        images.append(WeightedImage(name=scan.name, weighting=weighting, signal=signal))
    return WeightedImageSet(
        images=tuple(images), mask=torch.ones(SHAPE, dtype=torch.bool), field_strength=3.0
    )


def test_true_maps_give_the_images(truth: torch.Tensor, examination: WeightedImageSet) -> None:
    again = resynthesise(maps_of(truth), examination)
    for one, image, gain in zip(again, examination.images, GAINS, strict=True):
        assert one.name == image.name
        assert one.gain == pytest.approx(gain, rel=1e-5)
        assert one.correlation == pytest.approx(1.0, abs=1e-6)
        assert one.error < 1e-5
        assert torch.allclose(one.signal[1:], image.signal[1:], rtol=1e-5)
        assert bool(one.signal[0].isnan().all())


def test_wrong_maps_do_not(truth: torch.Tensor, examination: WeightedImageSet) -> None:
    wrong = truth.flip(0)
    wrong[..., 2] = truth[..., 2]
    assert max(one.correlation for one in resynthesise(maps_of(wrong), examination)) < 0.9


def test_other_grids_and_empty_maps_are_refused(truth: torch.Tensor, examination: WeightedImageSet) -> None:
    small = WeightedImageSet(
        images=tuple(
            WeightedImage(name=one.name, weighting=one.weighting, signal=one.signal[:3])
            for one in examination.images
        ),
        mask=torch.ones(3, 5, 4, dtype=torch.bool),
        field_strength=3.0,
    )
    with pytest.raises(UsageError, match="maps of"):
        resynthesise(maps_of(truth), small)
    few = torch.zeros(SHAPE, dtype=torch.bool)
    few[2, 2, 2] = True
    lone = WeightedImageSet(images=examination.images, mask=few, field_strength=3.0)
    with pytest.raises(UsageError, match="too few"):
        resynthesise(maps_of(truth), lone)
