import math
from dataclasses import replace

import pytest
import torch

from tests.learn.examinations import FLUID, GRADIENT, SPIN, T2W, WATERS, examination, spin_echo, truth
from tests.learn.weighted.test_estimator import check, same, times
from unweight.core.errors import InputError, ProtocolError
from unweight.core.weighting import Weighting
from unweight.fit.weighted_posterior import WeightedPosterior
from unweight.learn.weighted.features import REFERENCE_PD, REFERENCE_T1, REFERENCE_T2
from unweight.learn.weighted.physics_maps import PhysicsMaps
from unweight.learn.weighted.slabs import rows_of

PHYSICS = PhysicsMaps()


@pytest.mark.parametrize("t1w", [SPIN, GRADIENT])
def test_the_contract(t1w: Weighting) -> None:
    measured = examination((t1w, T2W, FLUID))
    measured.images[1].signal[8, 8, 0] = math.nan
    maps = check(PHYSICS, measured)
    assert maps.notes["PDUnit"] == "relative to cerebrospinal fluid, which is 1"
    # Tissues come in the order of their T1.
    t1 = [
        float(maps.value("T1")[measured.inside & (truth()[..., 0] == one[0])].mean())
        for one in sorted(WATERS)
    ]
    assert t1 == sorted(t1)


def test_in_an_ordinary_brain_the_gains_are_right() -> None:
    """Most is what the gains are anchored to: then each voxel has the posterior of known gains."""
    maps = truth()
    maps[:-4] = torch.tensor([REFERENCE_T1, REFERENCE_T2, REFERENCE_PD])
    maps[6:8] = torch.tensor([2.1, 0.155, 0.88])
    measured = examination(maps=maps)
    found = PHYSICS(measured)
    signal = torch.stack([one.signal for one in measured.images])
    gains = torch.tensor([900.0, 350.0, 1200.0])
    bright = signal[:, measured.inside].quantile(0.95, dim=1)
    voxel = signal[:, 7, 10, 0]
    expected = WeightedPosterior()(
        (voxel / gains).log()[None, :, None],
        (bright / 50 / voxel)[None, :, None],
        rows_of(measured).float()[None],
        torch.ones(1, 3, dtype=torch.bool),
    )
    assert float(found.value("T1")[7, 10, 0]) == pytest.approx(float(expected.ln_t1.exp()), rel=1e-3)
    assert float(found.value("T2")[7, 10, 0]) == pytest.approx(float(1 / expected.r2), rel=1e-3)
    assert float(found.value("PD")[7, 10, 0]) == pytest.approx(float(expected.ln_pd.exp()), rel=1e-3)
    # And that is right to a few per cent, where water is as the priors say.
    assert found.values[7, 10, 0].tolist() == pytest.approx([2.1, 0.155, 0.88], rel=0.06)


def test_the_order_of_the_images_and_their_units_do_not_matter() -> None:
    measured = examination()
    maps = PHYSICS(measured)
    turned = replace(measured, images=tuple(measured.images[index] for index in (2, 0, 1)))
    # To one in a hundred of the sd, which where it is narrow is a difference of large numbers.
    same(maps, PHYSICS(turned))
    same(maps, PHYSICS(times(measured, 10.0, 0.01, 4096.0)))


@pytest.mark.parametrize("missing", range(3))
def test_two_images_say_less_than_three(missing: int) -> None:
    measured = examination()
    kept = tuple(one for index, one in enumerate(measured.images) if index != missing)
    maps, whole = check(PHYSICS, replace(measured, images=kept)), PHYSICS(measured)
    inside = measured.inside
    for name in ("T1", "T2"):
        relative, before = (
            (one.deviation(name) / one.value(name))[inside].median() for one in (maps, whole)
        )
        assert float(relative) > 0.98 * float(before)


def test_any_timings_are_taken() -> None:
    check(PHYSICS, replace(examination((spin_echo(1.8, 0.03), T2W, FLUID)), field_strength=7.0))


def test_slices_without_brain_have_no_values() -> None:
    deep = examination(maps=truth(24, 20, 10))
    mask = deep.mask.clone()
    mask[..., 9] = False
    seen: list[tuple[int, int]] = []
    maps = PHYSICS(replace(deep, mask=mask), lambda done, total: seen.append((done, total)))
    assert bool(maps.failed[..., 9].all())
    assert seen[-1] == (int(mask.sum()), int(mask.sum()))


def test_messages() -> None:
    measured = examination()
    with pytest.raises(ProtocolError, match=r"given: 1 of shape \(24, 20, 2\)"):
        PHYSICS(replace(measured, images=measured.images[:1]))
    flat = tuple(replace(one, signal=one.signal[..., 0]) for one in measured.images)
    with pytest.raises(ProtocolError, match=r"given: 3 of shape \(24, 20\)"):
        PHYSICS.accept(replace(measured, images=flat, mask=measured.mask[..., 0]))
    with pytest.raises(InputError, match="the FLAIR has no signal in half of the brain"):
        PHYSICS(times(measured, 1.0, 1.0, 0.0))
