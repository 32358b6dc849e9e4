"""A person's head against the volumes that were drawn for that person."""

import math

import pytest
import torch
from torch import Tensor

from unweight.synth import cohort as of_interest
from unweight.synth.anatomy.labels import Anatomy, centred_affine
from unweight.synth.anatomy.warp import WarpRange, draw_warp
from unweight.synth.cohort import Sex, Subject, subject_anatomy, volumes
from unweight.synth.tissue.materials import INDEX

SHAPE, VOXEL = (76, 76, 76), (1.0, 1.0, 1.0)
NUCLEI = {"caudate": (-11, -11), "putamen": (-11, 11), "pallidum": (11, -11), "thalamus": (11, 11)}
RADIUS, HEAD = 7.0, 30.0
STILL = WarpRange(rotation=0.0, scale=0.0, shear=0.0, displacement_mm=0.0)
LINEAR = WarpRange(rotation=0.2, scale=0.1, shear=0.05, displacement_mm=0.0)


def head(nucleus: float = RADIUS) -> Anatomy:
    """Four balls of 1.4 ml in a ball of white matter."""
    line = torch.arange(SHAPE[0]) - (SHAPE[0] - 1) / 2
    x, y, z = torch.meshgrid(line, line, line, indexing="ij")
    labels = torch.zeros(SHAPE, dtype=torch.uint8)
    labels[x**2 + y**2 + z**2 < HEAD**2] = INDEX["white_matter"]
    for name, (right, front) in NUCLEI.items():
        labels[(x - right) ** 2 + (y - front) ** 2 + z**2 < nucleus**2] = INDEX[name]
    return Anatomy(labels=labels, voxel_mm=VOXEL, subject="balls", affine=centred_affine(SHAPE, VOXEL))


def subject(seed: int = 1, age: float = 60.0, sex: Sex = Sex.FEMALE) -> Subject:
    return Subject(age=age, sex=sex, seed=seed)


def count(labels: Tensor, name: str) -> int:
    return int((labels == INDEX[name]).sum())


def all_of(labels: Tensor) -> int:
    return int((labels > 0).sum())


def radius(voxels: float) -> float:
    return (3 * voxels / (4 * math.pi)) ** (1 / 3)


@pytest.mark.parametrize(("seed", "sex"), [(6, Sex.FEMALE), (7, Sex.MALE)])
def test_head_and_nuclei_are_as_large_as_drawn(seed: int, sex: Sex) -> None:
    """To half a voxel in the radius of the head, which moves by more, and in the diameter of a nucleus:

    labels are taken whole from the nearest voxel, and those of balls about the middle all at once.
    """
    person, before = subject(seed, sex=sex), head()
    after, told = subject_anatomy(before, person), volumes(person, person.generator("volumes"))
    wanted = radius(told["head"] * all_of(before.labels))
    assert radius(all_of(after.labels)) == pytest.approx(wanted, abs=0.5)
    assert abs(wanted - HEAD) > 1.5
    for name in NUCLEI:
        wanted = radius(told[name] * told["head"] * count(before.labels, name))
        assert radius(count(after.labels, name)) == pytest.approx(wanted, abs=0.25)


def test_a_linear_change_of_shape_has_its_own_part_in_the_volumes() -> None:
    """The new label at p is the old one at A p: volumes change by 1/det A; a turn spreads the rounding."""
    person, before = subject(4), head()
    after = subject_anatomy(before, person, LINEAR)
    told = volumes(person, person.generator("volumes"))
    drawn = draw_warp(SHAPE, VOXEL, person.generator("shape"), within=LINEAR)
    grown = told["head"] / float(torch.linalg.det(drawn.affine[:3, :3]))
    assert abs(math.log(grown / told["head"])) > 0.02
    assert all_of(after.labels) / all_of(before.labels) == pytest.approx(grown, rel=0.005)
    ratio = count(after.labels, "putamen") / count(before.labels, "putamen")
    assert ratio == pytest.approx(told["putamen"] * grown, rel=0.025)


def test_no_change_of_shape_is_one_of_no_size() -> None:
    """A voxel whose middle falls between two may go either way."""
    plain, still = (subject_anatomy(head(), subject(5), within).labels for within in (None, STILL))
    assert float((plain != still).float().mean()) < 1e-3


@pytest.mark.parametrize("within", [None, WarpRange()])
def test_the_person_decides(within: WarpRange | None) -> None:
    before = head()
    kept = before.labels.clone()
    one, again, other = (subject_anatomy(before, subject(seed), within) for seed in (6, 6, 7))
    assert torch.equal(one.labels, again.labels)
    assert not torch.equal(one.labels, other.labels)
    assert torch.equal(before.labels, kept)
    assert one.voxel_mm == VOXEL and one.subject == "balls" and torch.equal(one.affine, before.affine)


def test_ageing_nuclei_alone_change_and_small_ones_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {"caudate": 0.7, "putamen": 1.2, "pallidum": 1.0, "thalamus": 0.9, "csf": 3.0, "head": 1.0}
    monkeypatch.setattr(of_interest, "volumes", lambda person, generator: told)
    before = head()
    after = subject_anatomy(before, subject()).labels
    for name in NUCLEI:
        assert count(after, name) == pytest.approx(told[name] * count(before.labels, name), abs=1)
    assert all_of(after) == all_of(before.labels)
    small = head(nucleus=2.0)
    assert 20 < count(small.labels, "caudate") <= of_interest.LEAST_VOXELS
    assert torch.equal(subject_anatomy(small, subject()).labels, small.labels)
