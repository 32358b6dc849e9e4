from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.learn.lessons import head
from unweight.learn.t1.published import PUBLISHED_SLABS, SEVEN
from unweight.learn.t1.slabs import ImageSlabs, measured_slab
from unweight.learn.training.sample_cache import precompute
from unweight.synth.scanner.measure import reference_intensity

RECIPE = replace(PUBLISHED_SLABS, size=32)


def slabs(length: int = 6, seed: int = 0) -> ImageSlabs:
    return ImageSlabs(recipe=RECIPE, anatomies=(head("a"),), seed=seed, length=length)


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return all(torch.equal(one[name].nan_to_num(), other[name].nan_to_num()) for name in one)


def test_shapes_and_precision() -> None:
    slab = slabs()[0]
    assert {name: tuple(one.shape) for name, one in slab.items()} == {
        "signal": (len(SEVEN), 32, 32),
        "truth": (3, 32, 32),
    }
    assert {one.dtype for one in slab.values()} == {torch.float16}


@pytest.mark.parametrize("n_workers", [0, 2])
def test_a_slab_is_the_same_alone_and_through_a_loader(n_workers: int) -> None:
    made = precompute(slabs(), n_workers=n_workers)
    for index in (5, 0, 3):
        assert same({name: one[index] for name, one in made.items()}, slabs()[index])
    assert not same(slabs()[0], slabs()[1])
    assert not same(slabs()[0], slabs(seed=1)[0])


def test_signal_and_pd_are_over_the_reference_intensity() -> None:
    for index in range(3):
        made, slab = slabs()[index], measured_slab(RECIPE, (head("a"),), 0, 6, index)
        signal = made["signal"].float().movedim(0, -1)
        assert reference_intensity(signal) == pytest.approx(1.0, rel=2**-11)
        scale = reference_intensity(slab.acquisition.signal)
        torch.testing.assert_close(signal * scale, slab.acquisition.signal, rtol=2**-10, atol=1e-4 * scale)
        unit = torch.tensor([1.0, scale, 1.0])
        truth = made["truth"].float().movedim(0, -1)
        torch.testing.assert_close(truth * unit, slab.truth, rtol=2**-10, atol=1e-4, equal_nan=True)
        assert torch.isfinite(truth).any()


def test_the_signal_is_that_of_the_truth() -> None:
    """|PD·(1 − B·exp(−TI/T1) + R)|, R = exp(−(TR − readout)/T1): within noise, blur and partial volume."""
    quiet = replace(RECIPE, snr=(1000.0, 1000.0))
    slab = ImageSlabs(recipe=quiet, anatomies=(head("a"),), seed=0, length=6)[1]
    t1, pd, b = slab["truth"].float()
    times = torch.tensor(SEVEN)[:, None, None]
    rest = torch.exp(-(quiet.repetition_time - quiet.readout) / t1)
    for behind in (1.0, b - 1):  # what TR leaves inverted is that of a complete inversion, or of this one
        model = (pd * (1 - b * torch.exp(-times / t1) + behind * rest)).abs()
        away = (model - slab["signal"].float()).abs()
        known = torch.isfinite(away)
        if float(away[known].median()) < 0.01:
            return
    pytest.fail("neither form of the equation gives these signals")


def test_messages() -> None:
    for index in (-1, 6):
        with pytest.raises(IndexError, match=str(index)):
            slabs()[index]
    assert len(slabs()) == 6
