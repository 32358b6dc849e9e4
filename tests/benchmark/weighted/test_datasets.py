from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.run.heads import small_head
from unweight.benchmark.core.run import Case, Dataset, by_metadata
from unweight.benchmark.weighted.datasets import (
    EDGES,
    MAPS_SETS,
    TISSUE_NAMES,
    SlicedHead,
    WeightedPlan,
    bin_names,
    binned,
    field_set,
    held_out_contrasts,
    internal_set,
    lesions_set,
    protocols_set,
    tissue_map,
    trained_contrasts,
)
from unweight.core.errors import InputError, UsageError
from unweight.core.seeding import seeded_generator
from unweight.synth.anatomy.labels import fractions
from unweight.synth.protocols.prior import ContrastPrior, is_held_out
from unweight.synth.simulate_weighted import weighting_of
from unweight.synth.tissue.materials import INDEX

HEADS = (small_head(),)


def truth(case: Case) -> torch.Tensor:
    return torch.stack(list(case.truth.values()), dim=-1)


def kinds(case: Case) -> tuple[str, ...]:
    return tuple(case.metadata.values())


def medians(case: Case, name: str) -> list[float]:
    return truth(case)[tissue_map(case) == TISSUE_NAMES.index(name)].median(0).values.tolist()


def gains(trial: Case) -> list[float]:
    mask = trial.input.mask
    return [float(one.signal[mask].mean()) for one in trial.input.images]


def test_a_stack_holds_slices_of_one_head() -> None:
    head = HEADS[0]
    stack = head.stack(2)
    assert stack.labels.shape == (384, 480, 8)
    depth = head.anatomy.labels.shape[2]
    x = (384 - head.anatomy.labels.shape[0]) // 2
    first, second = depth // 4 - 2, 3 * depth // 4 - 2
    inner = stack.labels[x : x + head.anatomy.labels.shape[0], 60:-60]
    assert torch.equal(inner[..., :4], head.anatomy.labels[..., first : first + 4])
    assert torch.equal(inner[..., 4:], head.anatomy.labels[..., second : second + 4])
    # The lowest slice lies where it lies in the head.
    voxel = torch.tensor([x, 60.0, 0.0, 1.0], dtype=torch.float64)
    place = torch.tensor([0.0, 0.0, first, 1.0], dtype=torch.float64)
    torch.testing.assert_close(stack.affine.double() @ voxel, head.anatomy.affine.double() @ place)
    assert fractions(stack.labels, (2, 2, 4)).shape[:3] == (192, 240, 2)
    with pytest.raises(UsageError, match="slices from"):
        head.stack(1000)
    with pytest.raises(UsageError, match="slices from layer 3 to 3"):
        SlicedHead(anatomy=head.anatomy, layers=(3, 3))


def test_internal_and_protocols_differ_by_timings_alone() -> None:
    seen, unseen = (make(HEADS, 2, 1) for make in (internal_set, protocols_set))
    assert (seen.name, seen.n_cases, unseen.name) == ("internal", 2, "protocols")
    for one, other in zip(seen.cases(), unseen.cases(), strict=True):
        assert torch.equal(truth(one).nan_to_num(), truth(other).nan_to_num())
        assert kinds(one) == kinds(other)
        held = [[is_held_out(image.weighting) for image in t.input.images] for t in (one, other)]
        assert held == [[False] * 3, [True] * 3]
        assert not torch.equal(one.input.images[1].signal, other.input.images[1].signal)
        assert {image.weighting.protocol.field_strength for image in other.input.images} == {
            one.input.field_strength
        }
    assert [kinds(trial) for trial in seen.cases()] == [
        ("1.5 T", "T1w MPRAGE", "healthy"),
        ("3 T", "T1w MPRAGE", "healthy"),
    ]
    again, first = seen.make(0), next(seen.cases())
    assert torch.equal(again.input.images[0].signal, first.input.images[0].signal)


def test_truth_is_that_of_healthy_tissue() -> None:
    trial = internal_set(HEADS, 2, 1).make(1)
    assert 0.6 < medians(trial, "white matter")[0] < 1.1 < medians(trial, "grey matter")[0] < 2.2
    t1, t2, pd = medians(trial, "CSF")
    assert 3.5 < t1 < 5 and 1.6 < t2 < 2.2 and pd == pytest.approx(1.0, abs=0.03)
    assert torch.equal(tissue_map(trial) >= 0, trial.input.mask)
    assert torch.isfinite(truth(trial)[trial.input.mask]).all()
    scale = gains(trial)
    assert len(scale) == 3 and max(scale) > 1.2 * min(scale)  # each image has a gain of its own


def test_an_unseen_field() -> None:
    made = field_set(HEADS, 2, 1)
    trial = made.make(0)
    assert trial.input.field_strength == 2.2
    assert {one.weighting.protocol.field_strength for one in trial.input.images} == {2.2}
    assert [kinds(one)[:2] for one in made.cases()] == [("2.2 T", "T1w MPRAGE"), ("2.2 T", "T1w spin echo")]
    assert not any(is_held_out(one.weighting) for one in trial.input.images)


def test_lesions_are_in_the_slices() -> None:
    made = lesions_set(HEADS, 1, 2)
    plaques, tumours = made.cases()
    assert (plaques.metadata["disease"], tumours.metadata["disease"]) == ("plaques", "tumours")
    ill = {name: TISSUE_NAMES.index(name) for name in ("MS lesion", "tumour", "oedema")}
    assert int((tissue_map(plaques) == ill["MS lesion"]).sum()) >= 20
    assert not (tissue_map(plaques) == ill["tumour"]).any()
    assert (
        int((tissue_map(tumours) == ill["tumour"]).sum())
        + int((tissue_map(tumours) == ill["oedema"]).sum())
        >= 20
    )
    for name in ("MS lesion", "tumour", "oedema"):
        shown = plaques if name == "MS lesion" else tumours
        if (tissue_map(shown) == ill[name]).any():
            assert medians(shown, name)[1] > medians(shown, "white matter")[1]


def test_a_head_without_white_matter_shows_no_lesion() -> None:
    anatomy = HEADS[0].anatomy
    empty = replace(anatomy, labels=torch.full_like(anatomy.labels, INDEX["grey_matter"]))
    with pytest.raises(InputError, match="no white matter"):
        lesions_set((HEADS[0].with_anatomy(empty),), 1, 1).make(0)


def test_protocols_of_either_part() -> None:
    generator = seeded_generator(0)
    prior = ContrastPrior(field_strengths=(3.0,))
    for draw, held in ((trained_contrasts, False), (held_out_contrasts, True)):
        scans = draw(prior, generator)
        assert [scan.name for scan in scans] == ["T1w", "T2w", "FLAIR"]
        assert [is_held_out(weighting_of(scan)) for scan in scans] == [held] * 3
    with pytest.raises(UsageError, match="images of one examination are of one field"):
        held_out_contrasts(ContrastPrior(), generator)


def test_groups() -> None:
    assert bin_names("T1") == (
        "T1 < 0.6 s",
        "T1 0.6-0.9 s",
        "T1 0.9-1.3 s",
        "T1 1.3-2 s",
        "T1 2-3 s",
        "T1 > 3 s",
    )
    assert bin_names("PD") == ("PD < 0.7", "PD 0.7-0.8", "PD 0.8-0.9", "PD > 0.9")
    assert len(bin_names("T2")) == len(EDGES["T2"]) + 1
    assert binned("T2", torch.tensor([0.05, 0.06, 1.9, torch.nan])).index.tolist() == [0, 1, 4, -1]
    field, readout = by_metadata(
        [
            {"field": field, "readout": readout, "disease": "x"}
            for field, readout in (("1.5 T", "a"), ("3 T", "a"), ("3 T", "b"))
        ],
        [1, 2, 1],
    )
    assert (field.names, field.index.tolist()) == (("1.5 T", "3 T"), [0, 1, 1, 1])
    assert (readout.names, readout.index.tolist()) == (("a", "b"), [0, 0, 0, 1])


def test_plan(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=rf"no set called moon\. There are {', '.join(MAPS_SETS)}"):
        WeightedPlan(sets=("moon",))
    with pytest.raises(UsageError, match="no data to evaluate"):
        WeightedPlan(sets=())
    with pytest.raises(InputError, match="contains no BrainWeb head"):
        list(WeightedPlan(heads=tmp_path).datasets())
    with pytest.raises(UsageError, match="a set called x with nothing in it"):
        Dataset(name="x", n_cases=0, make=internal_set(HEADS, 1, 1).make)


def test_extent_of_the_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "unweight.benchmark.weighted.datasets.procedural_heads", lambda n_heads: HEADS * n_heads
    )
    sizes = {one.name: one.n_cases for one in WeightedPlan().datasets()}
    assert sizes == {"internal": 16, "protocols": 16, "field": 6, "lesions": 16}
    quick = {one.name: one.n_cases for one in WeightedPlan(quick=True).datasets()}
    assert quick == {"internal": 1, "protocols": 1, "field": 1, "lesions": 2}
