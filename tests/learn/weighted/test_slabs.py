import math
from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.learn.examinations import examination, mprage, turbo
from tests.learn.lessons import head
from unweight.core.errors import UsageError
from unweight.core.seeding import seeded_generator
from unweight.learn.training.sample_cache import precompute
from unweight.learn.weighted.features import LEVELS, PHYSICS, ln_reference
from unweight.learn.weighted.slabs import (
    LESIONS,
    NORMAL,
    SHAPED,
    WHOLE,
    WeightedSlabRecipe,
    WeightedSlabs,
    draw_examined,
    draw_training_scans,
    far_from_normal,
    rows_of,
)
from unweight.signals.variable_train import equivalent_train
from unweight.signals.weighted import N_TIMINGS, weighted_signal
from unweight.synth.protocols.prior import ContrastPrior, is_held_out
from unweight.synth.simulate_weighted import weighting_of
from unweight.synth.tissue.materials import INDEX, MATERIALS, SILENT

RECIPE = WeightedSlabRecipe(size=32)
QUIET = WeightedSlabRecipe(size=32, shapes=0.0, far=0.0, missing=0.0, snr=(1e5, 1e5), masked=0.0)


def slabs(recipe: WeightedSlabRecipe = RECIPE, length: int = 6, seed: int = 0) -> WeightedSlabs:
    return WeightedSlabs(recipe=recipe, anatomies=(head("a"),), seed=seed, length=length)


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return all(torch.equal(one[name].nan_to_num(), other[name].nan_to_num()) for name in one)


def test_shapes_and_precision() -> None:
    slab = slabs()[0]
    assert {name: tuple(one.shape) for name, one in slab.items()} == {
        "images": (3, 32, 32),
        "physics": (len(PHYSICS), 32, 32),
        "target": (3, 32, 32),
        "weight": (32, 32),
        "rows": (3, N_TIMINGS),
        "levels": (3, len(LEVELS)),
        "present": (3,),
        "field": (1,),
    }
    half = {name for name, one in slab.items() if one.dtype == torch.float16}
    assert half == set(slab) - set(WHOLE)


@pytest.mark.parametrize("n_workers", [0, 2])
def test_a_slab_is_the_same_alone_and_through_a_loader(n_workers: int) -> None:
    made = precompute(slabs(), n_workers=n_workers)
    for index in (5, 0, 3):
        assert same({name: one[index] for name, one in made.items()}, slabs()[index])
    assert not same(slabs()[0], slabs()[1])
    assert not same(slabs()[0], slabs(seed=1)[0])


@pytest.mark.parametrize(
    "recipe",
    [
        replace(RECIPE, shapes=1.0),
        replace(RECIPE, shapes=0.0, far=1.0, missing=1.0, masked=1.0),
        replace(RECIPE, shapes=0.0, snr=(5.0, 5.0)),
    ],
    ids=["shapes", "far, missing, masked", "noisy"],
)
def test_everything_is_finite_but_unknown_timings_and_what_is_no_brain(recipe: WeightedSlabRecipe) -> None:
    for index in range(4):
        slab = slabs(recipe)[index]
        for name in set(slab) - {"rows", "target"}:
            assert bool(torch.isfinite(slab[name]).all())
        target = slab["target"].float()
        known = torch.isfinite(target)
        assert torch.equal(known.all(0), known.any(0)) and bool(known.any())
        # All that is known lies in the mask that the network sees.
        assert bool((slab["physics"][PHYSICS.index("inside")] > 0.5)[known[0]].all())
        weight = slab["weight"].float()
        assert float(weight.min()) >= 0.0999 and float(weight.max()) <= 1.0
        lowest, highest = math.log(0.003), math.log(20.0)
        assert bool((target[known] > lowest).all()) and bool((target[known] < highest).all())


def test_a_missing_image_leaves_nothing_behind() -> None:
    recipe, whole = replace(RECIPE, missing=1.0), replace(RECIPE, missing=0.0)
    gone = set()
    for index in range(6):
        slab, other = slabs(recipe)[index], slabs(whole)[index]
        (missing,) = (slab["present"] == 0).nonzero()[:, 0].tolist()
        assert not slab["images"][missing].any()
        assert bool(torch.isnan(slab["rows"][missing]).all())
        kept = [place for place in range(3) if place != missing]
        assert torch.equal(slab["images"][kept], other["images"][kept])
        assert not torch.equal(slab["physics"], other["physics"])
        assert bool(other["present"].all())
        gone.add(missing)
    assert len(gone) > 1


def test_the_images_are_those_of_the_target_but_for_gain_and_receive_sensitivity() -> None:
    """In pure voxels, by the signal equation; B1, the inversion, texture and blur leave a few per cent."""
    ratios = []
    for index in range(4):
        slab = slabs(QUIET)[index]
        target, images, rows = (slab[name].float() for name in ("target", "images", "rows"))
        pure = torch.isfinite(target).all(0) & (slab["weight"] > 0.97) & (target[0] < math.log(2.5))
        said = weighted_signal(*(one.exp()[None] for one in target), rows[:, None, None, :]).log()
        left = (images - said)[:, pure]
        left = left - left.mean(0)  # what all share, the receive sensitivity
        ratios.append(left - left.median(1, keepdim=True).values)
    # B1 changes MPRAGE from centre to rim, and edges are blurred: half of the voxels within 2 %.
    assert float(torch.cat(ratios, 1).abs().median()) < 0.02


def test_relative_pd_of_csf_is_one() -> None:
    """Of a head whose tissue is normal: CSF has T1 above 3 s."""
    slab = slabs(QUIET)[0]
    target = slab["target"].float()
    fluid = torch.isfinite(target).all(0) & (slab["weight"] > 0.999) & (target[0] > math.log(3.0))
    assert int(fluid.sum()) > 3
    assert float(target[2][fluid].median().exp()) == pytest.approx(1.0, abs=0.04)


def test_the_mask_is_at_times_a_voxel_larger_or_smaller() -> None:
    # Heads fill the small slab; shapes among air do not, but then all that has water is inside.
    recipe = replace(RECIPE, size=64, shapes=0.0, missing=0.0)
    exact, changed = (slabs(replace(recipe, masked=share), 12) for share in (0.0, 1.0))
    sizes = []
    for index in range(12):
        one, other = (made[index]["physics"][PHYSICS.index("inside")] > 0.5 for made in (exact, changed))
        if bool(one.all()):
            continue
        sizes.append(int(other.sum()) - int(one.sum()))
        either = torch.nn.functional.max_pool2d((one ^ other).float()[None], 3, 1, 1)[0] > 0
        assert bool(either[one ^ other].all())
    assert min(sizes) < 0 < max(sizes)


def test_no_lesion_is_in_them() -> None:
    assert not {*LESIONS, *SILENT} & set(SHAPED)
    assert SHAPED.count("csf") > 1 == SHAPED.count("white_matter")
    for seed in range(6):
        recipe = replace(RECIPE, shapes=float(seed % 2))
        made = draw_examined(recipe, (head("a"),), seeded_generator(seed))
        assert made is None or not made.share(*LESIONS).any()


def test_a_recipe_of_shapes_needs_no_head() -> None:
    made = WeightedSlabs(recipe=replace(RECIPE, shapes=0.0), anatomies=(), seed=0, length=1)[0]
    assert bool(torch.isfinite(made["target"]).any())


def test_far_from_normal() -> None:
    """CSF stays, T2 stays below T1, water stays water; and it is as far as told."""
    normal = NORMAL.draw(seeded_generator(0), 3.0)
    drawn = [far_from_normal(normal, seeded_generator(seed)) for seed in range(200)]
    fluid, tissue = INDEX["csf"], INDEX["white_matter"]
    for one in drawn:
        assert torch.equal(one.values[fluid], normal.values[fluid])
        assert bool((one.values[:, 1] <= 0.8 * one.values[:, 0] + 1e-6).all())
        wet = [INDEX[name] for name in MATERIALS if name not in SILENT]
        assert bool((one.values[wet, 2] > 0).all()) and float(one.values[:, 2].max()) <= 1.05
        assert not one.values[[INDEX[name] for name in SILENT], 2].any()
        assert bool((one.values[:, 3] >= 1 / one.values[:, 1] - 1e-3).all())
    change = torch.stack([one.values[tissue, :3] / normal.values[tissue, :3] for one in drawn]).log()
    # Cut at 2.5 standard deviations, a normal law has 0.97 of its sd.
    torch.testing.assert_close(change.std(0), torch.tensor([0.3, 0.4, 0.06]), rtol=0.15, atol=0.0)


def test_no_training_scan_is_held_out() -> None:
    generator, both = seeded_generator(0), []
    for _ in range(150):
        scans = draw_training_scans(generator)
        assert [scan.name for scan in scans] == ["T1w", "T2w", "FLAIR"]
        assert not any(is_held_out(weighting_of(scan)) for scan in scans)
        both.append(scans[0].protocol.field_strength)
    assert set(both) == {1.5, 3.0}
    only = draw_training_scans(generator, ContrastPrior(field_strengths=(1.5,), mprage=1.0))
    assert only[0].protocol.field_strength == 1.5 and only[0].model is not None


def test_the_network_gets_the_assumed_design_and_the_images_have_another() -> None:
    """Over many slabs, images of the same prescribed train differ as their drawn echo times do."""
    recipe = replace(QUIET, low_angles=1.0)
    ratios = []
    for index in range(12):
        examined = draw_examined(recipe, (head("a"),), seeded_generator(index))
        assert examined is not None
        image = examined.examination.images[1]
        nominal = image.weighting.time("nominal_echo_time")
        assert nominal is not None
        assert image.weighting.time("echo_time") == pytest.approx(equivalent_train(nominal).echo_time)
        t1, t2, pd = (part.contiguous() for part in examined.truth.unbind(-1))
        expected = weighted_signal(t1, t2, pd, image.weighting.row().float())
        inside = examined.examination.mask & (examined.scene.purity > 0.99)
        log = (image.signal / expected).log()[inside]
        fluid = t2[inside] > 1.0
        if bool(fluid.any()) and bool((~fluid).any()):
            ratios.append(float(log[~fluid].median() - log[fluid].median()))
    assert len(ratios) >= 4 and min(ratios) < -0.03 and max(ratios) > 0.03


def test_rows_are_completed() -> None:
    rows = rows_of(examination((mprage(), turbo(end=None))))
    assert rows.shape == (2, N_TIMINGS)
    assert float(rows[1, 5]) == pytest.approx(0.2) and float(rows[0, 7]) == 176
    assert bool(torch.isfinite(ln_reference(rows[None], torch.tensor([3.0]).double())).all())


def test_messages() -> None:
    for index in (-1, 6):
        with pytest.raises(IndexError, match=str(index)):
            slabs()[index]
    assert len(slabs()) == 6
    empty = replace(head("a"), labels=torch.zeros_like(head("a").labels))
    none = WeightedSlabs(recipe=replace(RECIPE, shapes=0.0), anatomies=(empty,), seed=0, length=1)
    with pytest.raises(UsageError, match=r"none of 16 simulated slabs contains brain"):
        none[0]
