import math
from dataclasses import dataclass, replace
from typing import final

import pytest
import torch
from torch import Tensor, nn

from tests.learn.examinations import (
    ANY_TIMINGS,
    FLUID,
    GRADIENT,
    NAMES,
    SPIN,
    T2W,
    examination,
    mprage,
    spin_echo,
    truth,
    turbo,
)
from tests.learn.lessons import tiny
from tests.learn.names import MAPS, MAPS_UNCONDITIONED, MAPS_UNET
from tests.learn.weighted.adapters import adapter_of
from unweight.core.errors import InputError, ProtocolError
from unweight.core.estimator import Estimator
from unweight.core.examination import WeightedImage, WeightedImageSet
from unweight.core.maps import ParameterMaps, VoxelStatus
from unweight.core.seeding import seeded_generator
from unweight.learn.training.conformal import GAUSSIAN, Conformal
from unweight.learn.training.trainable import Batch, new_task
from unweight.learn.weighted.estimator import SPECS, WeightedMaps
from unweight.learn.weighted.protocol_range import WeightingRange
from unweight.learn.weighted.task import MIDDLE, SPREAD, InputAdapter

ANY = WeightingRange(ANY_TIMINGS)
GAUSS = Conformal(edges=(), factors=(GAUSSIAN,))
METHODS = (MAPS, MAPS_UNCONDITIONED, MAPS_UNET)
# Without CSF, which FLAIR shows too dark to count.
BRAIN = truth().clamp(max=torch.tensor([1.45, 0.09, 0.82]))


def network(method: str = MAPS, opinion: float = 0.02) -> nn.Module:
    """Return an untrained network, whose head is not zero if it is to have an opinion."""
    made = new_task(tiny(method)).network
    with torch.no_grad():
        head = getattr(made, "unet", made).head
        head.weight.normal_(0, opinion, generator=seeded_generator(1))
    return made.eval()


def estimator(method: str = MAPS, opinion: float = 0.02) -> WeightedMaps:
    made = network(method, opinion)
    return WeightedMaps(network=made, adapter=adapter_of(method), weightings=ANY, intervals=(GAUSS,) * 3)


@final
@dataclass(frozen=True, eq=False)
class Oracle(InputAdapter):
    """Says what it was given, slice by slice."""

    maps: Tensor

    def __call__(self, network: nn.Module, batch: Batch) -> Tensor:
        free = self.maps.log().permute(2, 3, 0, 1)
        spread, middle = (torch.tensor(one)[:, None, None] for one in (SPREAD, MIDDLE))
        return torch.cat([(free - middle) / spread, torch.zeros_like(free)], dim=1)


def told(maps: Tensor) -> WeightedMaps:
    return replace(estimator(), adapter=Oracle(maps))


def times(measured: WeightedImageSet, *factors: float) -> WeightedImageSet:
    images = (
        replace(one, signal=one.signal * factor)
        for one, factor in zip(measured.images, factors, strict=True)
    )
    return replace(measured, images=tuple(images))


def check(made: Estimator[WeightedImageSet], measured: WeightedImageSet) -> ParameterMaps:
    """Demand what every estimator of an examination keeps, and return the maps."""
    before = [one.signal.clone() for one in measured.images]
    maps = made(measured)
    shape = (*measured.voxels, 3)
    for one, image in zip(before, measured.images, strict=True):
        assert torch.equal(one.nan_to_num(-1.0), image.signal.nan_to_num(-1.0))
    assert maps.specs == made.parameters == SPECS
    assert maps.values.shape == maps.std.shape == shape
    assert maps.values.dtype == maps.std.dtype == measured.images[0].signal.dtype
    assert torch.equal(maps.failed, ~measured.inside)
    assert bool((maps.status[~measured.inside] == VoxelStatus.MASKED).all())
    assert maps.lower is not None and maps.upper is not None and maps.interval_level == 0.9
    inside = measured.inside
    for one in (maps.std, maps.lower, maps.upper):
        assert torch.equal(torch.isnan(one).all(-1), torch.isnan(one).any(-1))
        assert torch.equal(torch.isnan(one).any(-1), ~inside)
    assert bool(((maps.lower < maps.values) & (maps.values < maps.upper))[inside].all())
    assert bool((maps.std[inside] > 0).all()) and bool((maps.lower[inside] > 0).all())
    assert maps.affine is measured.affine
    again = made(measured)
    assert torch.equal(maps.values.nan_to_num(), again.values.nan_to_num())
    return maps


def same(one: ParameterMaps, other: ParameterMaps, rtol: float = 1e-3) -> None:
    for a, b, tolerance in ((one.values, other.values, rtol), (one.std, other.std, 10 * rtol)):
        torch.testing.assert_close(a.to(b), b, rtol=tolerance, atol=0.0, equal_nan=True)


@pytest.mark.parametrize("method", METHODS)
def test_the_contract(method: str) -> None:
    measured = examination()
    measured.images[1].signal[8, 8, 0] = math.nan
    maps = check(estimator(method), measured)
    assert maps.status[8, 8, 0] == VoxelStatus.MASKED
    assert maps.misfit is not None
    assert torch.equal(torch.isnan(maps.misfit), ~measured.inside)
    assert maps.notes["PDUnit"] == "relative to cerebrospinal fluid, which is 1"
    assert "Assumed" not in maps.notes
    # Not the same everywhere: the network has seen the images.
    assert float(maps.value("T1")[measured.inside].std()) > 1e-3


def test_the_contract_in_double_precision() -> None:
    measured = examination()
    double = replace(
        measured, images=tuple(replace(one, signal=one.signal.double()) for one in measured.images)
    )
    same(check(estimator(), double), estimator()(measured), rtol=1e-4)


def test_an_untrained_network_says_its_middle_and_ninety_per_cent_around_it() -> None:
    maps = estimator(opinion=0.0)(examination())
    assert maps.lower is not None and maps.upper is not None
    inside = examination().inside
    for index in range(3):
        value, reach = math.exp(MIDDLE[index]), 1.6449 * SPREAD[index] * math.exp(-1.5)
        assert float(maps.values[inside][:, index].mean()) == pytest.approx(value, rel=1e-5)
        assert float(maps.upper[inside][:, index].mean()) == pytest.approx(
            value * math.exp(reach), rel=1e-5
        )
        assert float(maps.lower[inside][:, index].mean()) == pytest.approx(
            value / math.exp(reach), rel=1e-5
        )
        sd = float(maps.std[inside][:, index].mean())
        assert sd == pytest.approx(value * SPREAD[index] * math.exp(-1.5), rel=1e-5)


def test_intervals_go_by_map_and_by_estimate() -> None:
    wide = Conformal(edges=(1.0,), factors=(1.0, 3.0))
    made = replace(told(truth()), intervals=(wide, GAUSS, replace(wide, edges=(0.75,))))
    maps = made(examination())
    assert maps.upper is not None
    reach = (maps.upper / maps.values).log() / (maps.std / maps.values)
    inside = examination().inside
    expected = torch.where(truth()[..., 0] > 1.0, 3.0, 1.0)
    torch.testing.assert_close(reach[..., 0][inside], expected[inside], rtol=1e-3, atol=0)
    torch.testing.assert_close(
        reach[..., 1][inside], torch.full_like(reach[..., 1][inside], GAUSSIAN), rtol=1e-3, atol=0
    )
    expected = torch.where(truth()[..., 2] > 0.75, 3.0, 1.0)
    torch.testing.assert_close(reach[..., 2][inside], expected[inside], rtol=1e-3, atol=0)


@pytest.mark.parametrize("method", METHODS)
def test_the_order_of_the_images_does_not_matter(method: str) -> None:
    measured = examination()
    turned = replace(measured, images=tuple(measured.images[index] for index in (2, 0, 1)))
    same(estimator(method)(measured), estimator(method)(turned), rtol=1e-6)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("factors", [(10.0, 10.0, 10.0), (0.1, 7.0, 4096.0)])
def test_the_unit_of_an_image_does_not_matter(method: str, factors: tuple[float, ...]) -> None:
    # To half a per cent: of the misfit, the little that single precision leaves, the logarithm is seen.
    measured, made = examination(), estimator(method)
    same(made(measured), made(times(measured, *factors)), rtol=5e-3 if method == MAPS else 1e-3)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("missing", range(3))
def test_two_images_are_enough(method: str, missing: int) -> None:
    measured = examination()
    kept = tuple(one for index, one in enumerate(measured.images) if index != missing)
    maps = check(estimator(method), replace(measured, images=kept))
    whole = estimator(method)(measured)
    assert float((maps.values - whole.values)[measured.inside].abs().max()) > 1e-3


def test_an_mprage_is_taken_as_t1w() -> None:
    check(estimator(), examination((GRADIENT, T2W, FLUID)))


def test_what_is_assumed_is_told() -> None:
    maps = estimator()(examination((mprage(), turbo(end=None), FLUID)))
    said = str(maps.notes["Assumed"])
    assert said.count("; ") == 3 and "assumed to have 176 excitations" in said
    assert "the echo train is assumed to end at twice the echo time, 0.2 s" in said


def test_slices_are_mapped_one_by_one() -> None:
    """Once the scale is known; and slices without brain are left out."""
    maps = truth(24, 20, 12)
    maps[:, :, 4] = maps[:, :, 1]
    deep = examination(maps=maps)
    mask = deep.mask.clone()
    mask[..., 0], mask[..., 5] = False, False
    found = check(estimator(), replace(deep, mask=mask))
    assert bool(found.failed[..., 5].all()) and not bool(found.failed[..., 11].all())
    one, same_again, other = (found.values[:, :, z] for z in (1, 4, 2))
    torch.testing.assert_close(one, same_again, rtol=1e-3, atol=0.0, equal_nan=True)
    assert float((one - other).nan_to_num().abs().max()) > 1e-3


def test_true_maps_are_plausible_and_come_out_as_they_are() -> None:
    """Whatever the gains: what is left over is what the gains of the slices leave."""
    maps = check(told(BRAIN), examination(maps=BRAIN))
    inside = examination().inside
    torch.testing.assert_close(maps.values[inside], BRAIN[inside], rtol=1e-4, atol=0.0)
    assert maps.misfit is not None and float(maps.misfit[inside].max()) < 1e-3
    assert maps.count() == {
        VoxelStatus.OK: int(inside.sum()),
        VoxelStatus.MASKED: int((~inside).sum()),
    }


def test_maps_that_the_images_contradict_are_implausible() -> None:
    """T2 half as long in a tenth of the brain: at TE 0.1 s that is a factor of exp(0.1/T2), 3 to 4."""
    wrong = BRAIN.clone()
    wrong[10:12, :, :, 1] /= 2
    maps = told(wrong)(examination(maps=BRAIN))
    inside, changed = examination().inside, torch.zeros(24, 20, 2, dtype=torch.bool)
    changed[10:12] = True
    assert bool((maps.status[changed & inside] == VoxelStatus.IMPLAUSIBLE).all())
    assert bool((maps.status[~changed & inside] == VoxelStatus.OK).all())
    # They keep their value, and say how far the images are off.
    assert bool(torch.isfinite(maps.values[changed & inside]).all())
    assert maps.misfit is not None
    assert float(maps.misfit[changed & inside].min()) > 0.35 > float(maps.misfit[~changed & inside].max())


def test_progress_reaches_the_end() -> None:
    seen: list[tuple[int, int]] = []
    deep = examination(maps=truth(24, 20, 20))
    estimator()(deep, lambda done, total: seen.append((done, total)))
    count = int(deep.inside.sum())
    assert len(seen) == 3 and seen[-1] == (count, count)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def named(*names: str) -> WeightedImageSet:
    measured = examination()
    images = tuple(
        WeightedImage(name=name, weighting=one.weighting, signal=one.signal)
        for name, one in zip(names, measured.images, strict=False)
    )
    return replace(measured, images=images)


@pytest.mark.parametrize(
    "names", [("T1w",), ("T1w", "T1w"), ("T1w", "T2w", "PDw"), ("T1w", "T1w", "FLAIR")]
)
def test_other_images_are_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(ProtocolError) as refused:
        estimator()(named(*names))
    assert str(refused.value) == (
        f"maps needs two or three of T1w, T2w, FLAIR, each once, not {', '.join(names)}. "
        "Give one image of each contrast."
    )


def test_messages() -> None:
    made = replace(
        estimator(),
        name="maps-unet",
        weightings=WeightingRange(ANY_TIMINGS | {"T1w spin-echo repetition_time": (0.3, 1.0)}),
    )
    with pytest.raises(
        ProtocolError, match=r"TR of the T1w .* is 2\.5 s; the weights of maps-unet support"
    ):
        made(examination((spin_echo(2.5), T2W, FLUID)))
    flat = examination()
    images = tuple(replace(one, signal=one.signal[..., 0]) for one in flat.images)
    with pytest.raises(ProtocolError, match="images of 2 axes"):
        estimator()(replace(flat, images=images, mask=flat.mask[..., 0]))
    with pytest.raises(ProtocolError, match=r"for 1.5 to 3 T, not for 7 T"):
        estimator().accept(replace(examination(), field_strength=7.0))
    with pytest.raises(InputError, match="the T2w has no signal in half of the brain"):
        estimator()(times(examination(), 1.0, 0.0, 1.0))
    estimator().accept(examination((SPIN, T2W), names=NAMES[:2]))
