import math
from collections.abc import Mapping
from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor

from tests.learn.lessons import head
from unweight.core.protocol import Protocol
from unweight.core.seeding import seeded_generator
from unweight.fit.inversion_recovery import InversionRecoveryFit
from unweight.learn.t1.features import CHANNELS, PRESENT, fit_features, fit_twice
from unweight.learn.t1.slabs import (
    EARLIEST,
    LEAST_WEIGHT,
    PARTIAL_VOLUME_SD,
    SHORTEST_REST,
    SHORTEST_TR,
    FittedSlabs,
    MeasuredSlab,
    SlabRecipe,
    draw_scan,
    draw_shapes,
    measured_slab,
    slab_stream,
    with_inclusions,
)
from unweight.learn.training.sample_cache import precompute
from unweight.synth.protocols.standard import seven_inversions
from unweight.synth.scanner.fields import ADIABATIC

SMALL = SlabRecipe(size=24, specks=False)
SCATTERED, HEADS = replace(SMALL, scattered=1.0), replace(SMALL, scattered=0.0, shapes=0.0)
SMALLEST = 18  # a patch is continued by eight voxels on either side to move it
TIMES = (0.006, 0.3, 0.9, 1.8, 2.4)
FIXED = replace(SMALL, inversion_times=TIMES, repetition_time=4.0, readout=0.2, untold=0.0)


def slabs(recipe: SlabRecipe = SMALL, length: int = 8, seed: int = 0) -> FittedSlabs:
    return FittedSlabs(recipe=recipe, anatomies=(head("a"),), seed=seed, length=length)


@cache
def plain(index: int) -> Mapping[str, Tensor]:
    """One of eight slabs, for comparison with the same made in another way."""
    return slabs()[index]


def measured(recipe: SlabRecipe, index: int, length: int = 64) -> MeasuredSlab:
    return measured_slab(recipe, (head("a"),), 0, length, index)


def told(protocol: Protocol) -> Tensor:
    return protocol.require("inversion_time", "a test")


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return all(torch.equal(one[name].nan_to_num(), other[name].nan_to_num()) for name in one)


def test_shapes_and_precision() -> None:
    slab = plain(0)
    assert {name: tuple(one.shape) for name, one in slab.items()} == {
        "channels": (len(CHANNELS), 24, 24),
        "target": (3, 24, 24),
        "scale": (3, 24, 24),
        "log_t1": (24, 24),
        "weight": (24, 24),
    }
    assert {one.dtype for one in slab.values()} == {torch.float16}


def test_a_slab_depends_on_seed_and_index_alone() -> None:
    forwards = [plain(index) for index in range(3)]
    backwards = [slabs(length=3)[index] for index in (2, 1, 0)][::-1]
    assert all(same(one, other) for one, other in zip(forwards, backwards, strict=True))
    assert not same(forwards[0], forwards[1])
    assert not same(forwards[0], slabs(seed=1)[0])


@pytest.mark.parametrize("n_workers", [0, 2])
def test_a_loader_gives_the_same_slabs(n_workers: int) -> None:
    made = precompute(slabs(length=3), n_workers=n_workers)
    for index in range(3):
        assert same({name: one[index] for name, one in made.items()}, plain(index))


def test_only_water_and_signal_have_a_target() -> None:
    recipe, shares = replace(SMALL, scattered=0.0, shapes=1.0), []
    for index in range(4):
        slab, truth = slabs(recipe)[index], measured(recipe, index, 8).truth
        there = (slab["channels"][PRESENT] == 1) & torch.isfinite(truth[..., 0])
        assert torch.equal(torch.isfinite(slab["target"]), there.expand(3, -1, -1))
        shares.append(float(there.double().mean()))
    assert min(shares) < 1 and max(shares) > 0.5


@pytest.mark.parametrize("recipe", [HEADS, SCATTERED], ids=["heads", "scattered"])
def test_the_target_leads_from_the_fit_to_the_truth(recipe: SlabRecipe) -> None:
    made, slab = slabs(recipe)[1], measured(recipe, 1, 8)
    fit = slabs().fit
    base = fit_features(fit_twice(fit, slab.acquisition)).base
    scale, target = made["scale"].float().movedim(0, -1), made["target"].float().movedim(0, -1)
    t1, pd, b = slab.truth.unbind(-1)
    free = torch.stack([t1.log(), pd.log(), b], dim=-1)
    known = torch.isfinite(target)
    # Half precision keeps eleven bits of target and of scale.
    allowed = 2**-9 * (target * scale).abs() + 1e-4
    assert bool(((base + target * scale - free).abs() < allowed)[known].all())
    finite = torch.isfinite(made["log_t1"])
    torch.testing.assert_close(made["log_t1"][finite].float(), t1[finite].log(), rtol=2**-10, atol=1e-3)


def test_targets_are_about_one_where_the_fit_is_good() -> None:
    """The scale is the Cramér–Rao bound, which the fit reaches."""
    recipe = replace(SCATTERED, published=1.0, late=0.0, untold=0.0)
    away = []
    for index in range(6):
        slab, made = measured(recipe, index), slabs(recipe, 64)[index]
        t1 = slab.truth[..., 0]
        easy = (t1 > 0.3) & (t1 < 2.0) & (made["scale"][0] > 0.011) & (made["scale"][0] < 0.1)
        away.append(made["target"][0][easy].float())
    assert float(torch.cat(away).abs().median()) == pytest.approx(0.674, abs=0.12)  # of a normal law


def test_pure_voxels_count_fully_and_mixed_ones_less() -> None:
    for index in range(3):
        weight, mixing = slabs(HEADS)[index]["weight"].float(), measured(HEADS, index, 8).mixing
        assert (weight[mixing == 0] == 1).all()
        expected = torch.exp(-((mixing / PARTIAL_VOLUME_SD) ** 2)).clamp(min=LEAST_WEIGHT)
        torch.testing.assert_close(weight, expected, rtol=2**-10, atol=1e-6)
        assert float(weight.min()) < 0.95
    assert (slabs(SCATTERED)[0]["weight"] == 1).all()


def test_inversion_times_are_told_wrong_by_late_at_most_in_two_slabs_of_five() -> None:
    recipe, errors = replace(FIXED, scattered=0.0, size=SMALLEST), []
    for index in range(64):
        given = told(measured(recipe, index).acquisition.protocol)
        error = given - torch.tensor(TIMES, dtype=torch.float64)
        assert float(error.abs().max()) <= recipe.late
        # All by the same, but none to below the earliest.
        rest = error[1:]
        assert float(rest.max() - rest.min()) < 1e-9
        assert float(error[0]) == pytest.approx(max(float(rest[0]), EARLIEST - TIMES[0]), abs=1e-9)
        errors.append(float(rest[0]))
    assert sum(error != 0 for error in errors) / 64 == pytest.approx(0.4, abs=4 * (0.24 / 64) ** 0.5)
    assert min(errors) < -0.5 * recipe.late and max(errors) > 0.5 * recipe.late


def test_scattered_voxels_are_told_the_truth() -> None:
    recipe = replace(FIXED, scattered=1.0, size=4)
    for index in range(16):
        slab = measured(recipe, index)
        assert slab.subject == "scattered"
        assert told(slab.acquisition.protocol).tolist() == list(TIMES)


def test_random_times_are_told_wrong_by_late_at_most() -> None:
    recipe = replace(SMALL, scattered=0.0, shapes=1.0, size=SMALLEST)
    stream = slab_stream(recipe, (head("a"),), 0, 64)
    for index in range(12):
        simulated, given = stream[index].scans[0].protocol, measured(recipe, index).acquisition.protocol
        assert float((told(given) - told(simulated)).abs().max()) <= recipe.late
        if given.repetition_time is not None:
            assert simulated.repetition_time is not None
            assert torch.equal(given.repetition_time, simulated.repetition_time)


def test_fixed_times_are_kept() -> None:
    recipe = replace(FIXED, late=0.0, size=SMALLEST)
    for index in range(6):
        protocol = measured(recipe, index).acquisition.protocol
        assert protocol.repetition_time is not None and protocol.readout_time is not None
        assert told(protocol).tolist() == list(TIMES)
        assert set(protocol.repetition_time.tolist()) == {4.0}
        assert set(protocol.readout_time.tolist()) == {0.2}


def test_the_repetition_time_is_untold_as_often_as_asked() -> None:
    recipe = replace(SCATTERED, size=2, untold=0.3)
    untold = [
        measured(recipe, index, 200).acquisition.protocol.repetition_time is None for index in range(200)
    ]
    assert sum(untold) / 200 == pytest.approx(0.3, abs=4 * (0.21 / 200) ** 0.5)


def test_random_scans() -> None:
    recipe, published, following = SMALL, 0, 0
    for index in range(200):
        scan = draw_scan(recipe, seeded_generator(index, "scan"))
        times = told(scan.protocol)
        published += torch.equal(times, told(seven_inversions().protocol))
        repetition = scan.protocol.repetition_time
        assert repetition is not None
        readout = scan.protocol.readout_time
        assert bool((repetition > times + (0.0 if readout is None else readout)).all())
        if len(repetition.unique()) > 1:
            following += 1
            assert float(repetition.min()) >= SHORTEST_TR
            assert bool((repetition >= times + SHORTEST_REST).all())
    assert published / 200 == pytest.approx(recipe.published, abs=0.13)
    assert following > 5


def test_shapes_are_as_often_as_asked_and_stand_in_for_absent_heads() -> None:
    recipe = replace(SMALL, scattered=0.0, size=SMALLEST)
    subjects = [measured(recipe, index).subject for index in range(64)]
    share = sum(subject in ("shapes", "spheres") for subject in subjects) / 64
    assert share == pytest.approx(recipe.shapes, abs=0.24)
    assert {"shapes", "spheres", head("a").subject} == set(subjects)
    alone = measured_slab(replace(recipe, shapes=0.0), (), 0, 4, 0)
    assert alone.subject in ("shapes", "spheres")


def test_drawn_shapes_fill_the_grid() -> None:
    for index in range(6):
        anatomy = draw_shapes((32, 32, 4), seeded_generator(index, "shapes"))
        assert anatomy.labels.shape == (32, 32, 4)
        assert math.isclose(anatomy.voxel_mm[0], 0.5)


def test_with_inclusions_heads_come_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unweight.learn.t1.slabs.N_SPECKS", 300)
    plain, specked = with_inclusions((head("a"),), seed=3)
    assert plain is head("a")
    assert specked.subject == plain.subject
    changed = (plain.labels != specked.labels).double().mean()
    assert 0 < float(changed) < 1
    assert torch.equal(with_inclusions((head("a"),), seed=3)[1].labels, specked.labels)


@pytest.mark.parametrize("index", [-1, 8])
def test_messages(index: int) -> None:
    with pytest.raises(IndexError, match=str(index)):
        slabs()[index]
    assert len(slabs()) == 8


def test_slabs_as_on_scanners_differ_from_ideal_ones() -> None:
    recipe = replace(HEADS, measured=True, filtered=1.0, unstable=1.0, constant=0.0, snr=(500.0, 500.0))
    b = torch.cat([measured(recipe, index).truth[..., 2].flatten() for index in range(12)])
    b = b[torch.isfinite(b)]
    assert 1.2 <= float(b.min()) < 1.8 < float(b.max()) <= 2.05
    assert recipe.measurement.filters is not None and recipe.measurement.instability is not None
    assert recipe.measurement.instability.length == recipe.smooth
    # Errors between volumes leave a misfit beyond the noise where ideal slabs of this SNR have none.
    ideal = replace(HEADS, constant=0.0, snr=(500.0, 500.0), moving=0.0)
    unstable = replace(ideal, unstable=1.0)
    misfits = []
    for some in (ideal, unstable):
        parts = []
        for index in range(6):
            slab = measured(some, index)
            fitted = InversionRecoveryFit()(replace(slab.acquisition, noise_sd=slab.noise_sd))
            assert fitted.misfit is not None
            parts.append(fitted.misfit[fitted.usable])
        misfits.append(float(torch.cat(parts).median()))
    assert misfits[1] > 1.5 * misfits[0]


def test_recipes_of_older_cards_have_ideal_measurements() -> None:
    assert SlabRecipe().measurement.filters is None
    assert SlabRecipe().measurement.instability is None
    assert SlabRecipe().efficiency is ADIABATIC
