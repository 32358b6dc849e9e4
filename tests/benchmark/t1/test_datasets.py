import pytest
import torch

from unweight.benchmark.core.run import Case, dataset_of, everything
from unweight.benchmark.t1.datasets import (
    PUBLISHED,
    SNR,
    SPHERE_NAMES,
    SPHERES_MS,
    STORED,
    exact_posterior,
    phantom_set,
    scattered_set,
)
from unweight.benchmark.t1.heads import (
    BRAIN_NAME,
    DIAMETERS,
    LESIONS,
    MIXED_NAME,
    PROTOCOL_NAMES,
    SULCUS,
    brains_other_set,
    brains_set,
    detail_set,
    procedural_slices,
)
from unweight.benchmark.t1.plan import SETS, T1Plan
from unweight.core.errors import UsageError
from unweight.fit.inversion_recovery import InversionRecoveryFit
from unweight.metrics.accuracy import accuracy
from unweight.phantom.facts import N_SPHERES, sphere_array


def test_the_published_phantom_is_plate_5_of_version_2_at_3_t() -> None:
    nominal = [1e3 * t1 for t1 in sphere_array(5, 2, 3.0).nominal.t1]
    assert all(abs(one - other) < 1 for one, other in zip(nominal, SPHERES_MS, strict=True))
    assert all(len(one.mean_ms) == len(one.sd_ms) == N_SPHERES for one in PUBLISHED)


def test_phantom() -> None:
    """Each sphere's voxels have its T1, and the noise has the SNR that is promised."""
    made = phantom_set(2)
    first, second = made.cases()
    groups = next(one for one in first.groups if one.names == SPHERE_NAMES)
    for number, t1 in enumerate(sphere_array(5, 2, 3.0).nominal.t1):
        inside = groups.index == number
        assert 55 < int(inside.sum()) < 70  # a disc of 4.5 mm radius
        assert (first.scored_truth("T1")[inside] == t1).all()
    difference = (first.input.signal - second.input.signal)[first.scored]
    # Away from the nulls the noise of a magnitude is that of one channel.
    strong = first.input.signal[first.scored].amin(-1) > 5 * STORED / SNR
    assert float(difference[strong].std()) / 2**0.5 == pytest.approx(STORED / SNR, rel=0.05)
    with pytest.raises(UsageError, match="--seeds 0"):
        phantom_set(0)


def test_the_exact_posterior_is_the_best_on_scattered_voxels() -> None:
    made = scattered_set((16, 16))
    (case,) = made.cases()
    exact, fitted = (
        method(case.input).value("T1") for method in (exact_posterior(), InversionRecoveryFit())
    )
    errors = [accuracy(t1.flatten(), case.scored_truth("T1"))["rmse_ln"] for t1 in (exact, fitted)]
    assert errors[0] < 0.12 and errors[0] < errors[1]


def test_heads() -> None:
    slices = procedural_slices(1, 1)
    (case,) = brains_set(slices).cases()
    assert case.input.voxels == (240, 240, 1)
    by_name = {
        name: groups.index == place for groups in case.groups for place, name in enumerate(groups.names)
    }
    brain, tissues = by_name[BRAIN_NAME], ("white matter", "grey matter", "CSF", MIXED_NAME)
    assert torch.equal(sum(by_name[name].int() for name in tissues), brain.int())
    medians = [float(case.scored_truth("T1")[by_name[name]].median()) for name in tissues[:3]]
    assert 0.6 < medians[0] < 1.2 < medians[1] < 2.4 < 3.0 < medians[2] < 5.5
    thirds = [int(mask.sum()) for name, mask in by_name.items() if name.startswith("SNR")]
    assert sum(thirds) == int(brain.sum())
    assert max(thirds) - min(thirds) <= 2
    again = brains_set(slices).make(0)
    assert torch.equal(again.input.signal, case.input.signal)
    other = brains_other_set(slices)
    assert other.make(0).groups[-1].names == PROTOCOL_NAMES
    assert other.make(1).input.protocol.n_volumes == 4


def test_small_structures_are_as_large_as_they_say() -> None:
    (case,) = detail_set(1).cases()
    sizes = {one.name: int(one.inside.sum()) for one in case.structures}
    for name, diameter in zip(LESIONS, DIAMETERS, strict=True):
        # Six copies; what they touch is more than their area, and less than that of discs a voxel wider.
        assert 3.1 / 4 * diameter**2 < sizes[name] / 6 < 3.2 / 4 * (diameter + 1.5) ** 2
    assert 24 * 5 <= sizes[SULCUS] <= 2 * 24 * 5
    assert not any((one.inside & one.around).any() for one in case.structures)
    t1 = case.truth["T1"]
    sulcus = case.structures[0]
    assert float(t1[sulcus.inside].max()) > 3 > 2 > float(t1[sulcus.around].max())


def test_plan() -> None:
    names = [one.name for one in T1Plan(sets=("phantom", "scattered", "stability"), quick=True).datasets()]
    assert names == ["phantom", "scattered"]
    with pytest.raises(UsageError, match=rf"no set called moon\. There are {', '.join(SETS)}"):
        T1Plan(sets=("moon",))
    with pytest.raises(UsageError, match="Give at least 1"):
        T1Plan(n_seeds=0)


def test_messages() -> None:
    (case,) = scattered_set((4, 4)).cases()
    with pytest.raises(UsageError, match="3 voxels in groups, but 16 are scored"):
        Case(input=case.input, truth={}, scored=case.scored, groups=(everything(3),))
    with pytest.raises(UsageError, match="a set called x with nothing in it"):
        dataset_of("x", [])
