from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.run.heads import small_head
from unweight.benchmark.weighted.groups import EDGES, TISSUE_NAMES, bin_names, binned, by_kind
from unweight.benchmark.weighted.heads import MapsHead
from unweight.benchmark.weighted.plan import MAPS_SETS, MapsPlan
from unweight.benchmark.weighted.sets import (
    MapsSet,
    MapsTrial,
    field_set,
    held_out_contrasts,
    internal_set,
    lesions_set,
    protocols_set,
    trained_contrasts,
)
from unweight.core.errors import InputError, UsageError
from unweight.core.seeding import seeded_generator
from unweight.synth.anatomy.labels import fractions
from unweight.synth.protocols.prior import ContrastPrior, is_held_out
from unweight.synth.simulate_weighted import weighting_of
from unweight.synth.tissue.materials import INDEX

HEADS = (small_head(),)


def medians(trial: MapsTrial, name: str) -> list[float]:
    return trial.truth[trial.tissue == TISSUE_NAMES.index(name)].median(0).values.tolist()


def gains(trial: MapsTrial) -> list[float]:
    mask = trial.examination.mask
    return [float(one.signal[mask].mean()) for one in trial.examination.images]


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
        MapsHead(anatomy=head.anatomy, layers=(3, 3))


def test_internal_and_protocols_differ_by_timings_alone() -> None:
    seen, unseen = (make(HEADS, 2, 1) for make in (internal_set, protocols_set))
    assert (seen.name, seen.n_trials, unseen.name) == ("internal", 2, "protocols")
    for one, other in zip(seen.trials(), unseen.trials(), strict=True):
        assert torch.equal(one.truth.nan_to_num(), other.truth.nan_to_num())
        assert one.kinds == other.kinds
        held = [[is_held_out(image.weighting) for image in t.examination.images] for t in (one, other)]
        assert held == [[False] * 3, [True] * 3]
        assert not torch.equal(one.examination.images[1].signal, other.examination.images[1].signal)
        assert {image.weighting.protocol.field_strength for image in other.examination.images} == {
            one.examination.field_strength
        }
    assert [trial.kinds for trial in seen.trials()] == [
        ("1.5 T", "T1w MPRAGE", "healthy"),
        ("3 T", "T1w MPRAGE", "healthy"),
    ]
    again, first = seen.make(0), next(seen.trials())
    assert torch.equal(again.examination.images[0].signal, first.examination.images[0].signal)


def test_truth_is_that_of_healthy_tissue() -> None:
    trial = internal_set(HEADS, 2, 1).make(1)
    assert 0.6 < medians(trial, "white matter")[0] < 1.1 < medians(trial, "grey matter")[0] < 2.2
    t1, t2, pd = medians(trial, "CSF")
    assert 3.5 < t1 < 5 and 1.6 < t2 < 2.2 and pd == pytest.approx(1.0, abs=0.03)
    assert torch.equal(trial.tissue >= 0, trial.examination.mask)
    assert torch.isfinite(trial.truth[trial.examination.mask]).all()
    scale = gains(trial)
    assert len(scale) == 3 and max(scale) > 1.2 * min(scale)  # each image has a gain of its own


def test_an_unseen_field() -> None:
    made = field_set(HEADS, 2, 1)
    trial = made.make(0)
    assert trial.examination.field_strength == 2.2
    assert {one.weighting.protocol.field_strength for one in trial.examination.images} == {2.2}
    assert [one.kinds[:2] for one in made.trials()] == [("2.2 T", "T1w MPRAGE"), ("2.2 T", "T1w spin echo")]
    assert not any(is_held_out(one.weighting) for one in trial.examination.images)


def test_lesions_are_in_the_slices() -> None:
    made = lesions_set(HEADS, 1, 2)
    plaques, tumours = made.trials()
    assert (plaques.disease, tumours.disease) == ("plaques", "tumours")
    ill = {name: TISSUE_NAMES.index(name) for name in ("MS lesion", "tumour", "oedema")}
    assert int((plaques.tissue == ill["MS lesion"]).sum()) >= 20
    assert not (plaques.tissue == ill["tumour"]).any()
    assert int((tumours.tissue == ill["tumour"]).sum()) + int((tumours.tissue == ill["oedema"]).sum()) >= 20
    for name in ("MS lesion", "tumour", "oedema"):
        shown = plaques if name == "MS lesion" else tumours
        if (shown.tissue == ill[name]).any():
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
    field, readout = by_kind([("1.5 T", "a", "x"), ("3 T", "a", "x"), ("3 T", "b", "x")], [1, 2, 1])
    assert (field.names, field.index.tolist()) == (("1.5 T", "3 T"), [0, 1, 1, 1])
    assert (readout.names, readout.index.tolist()) == (("a", "b"), [0, 0, 0, 1])


def test_plan(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=rf"no set called moon\. There are {', '.join(MAPS_SETS)}"):
        MapsPlan(sets=("moon",))
    with pytest.raises(UsageError, match="nothing to evaluate on"):
        MapsPlan(sets=())
    with pytest.raises(InputError, match="holds no BrainWeb head"):
        list(MapsPlan(heads=tmp_path).maps_sets())
    with pytest.raises(UsageError, match="a set called x with nothing in it"):
        MapsSet(name="x", n_trials=0, make=internal_set(HEADS, 1, 1).make)


def test_extent_of_the_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "unweight.benchmark.weighted.plan.procedural_heads", lambda n_heads: HEADS * n_heads
    )
    sizes = {one.name: one.n_trials for one in MapsPlan().maps_sets()}
    assert sizes == {"internal": 16, "protocols": 16, "field": 6, "lesions": 16}
    quick = {one.name: one.n_trials for one in MapsPlan(quick=True).maps_sets()}
    assert quick == {"internal": 1, "protocols": 1, "field": 1, "lesions": 2}
