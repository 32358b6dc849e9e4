import pytest
import torch

from unweight.synth.anatomy.labels import Anatomy
from unweight.synth.anatomy.procedural_head import draw_head, procedural_head
from unweight.synth.tissue.materials import DEEP_GREY, INDEX


@pytest.fixture(scope="module")
def head() -> Anatomy:
    return procedural_head(torch.Generator().manual_seed(0), shape=(91, 109, 91), voxel_mm=(2.0, 2.0, 2.0))


def test_volumes_are_those_of_a_head(head: Anatomy) -> None:
    assert 0.5e3 < head.volume_ml("grey_matter") < 1.0e3
    assert 0.4e3 < head.volume_ml("white_matter") < 0.9e3
    assert 0.15e3 < head.volume_ml("csf") < 0.6e3
    # Half to one and a half times the volumes of both sides in the literature.
    for name, volume in {"caudate": 9.4, "putamen": 10.4, "pallidum": 2.2, "thalamus": 14.0}.items():
        assert 0.5 * volume < head.volume_ml(name) < 1.5 * volume
    assert all(head.volume_ml(name) > 0.1 for name in DEEP_GREY)


def test_layers_lie_around_one_another(head: Anatomy) -> None:
    line = head.labels[45, 54].tolist()
    top = [label for label, below in zip(line[::-1], [0, *line[::-1]], strict=False) if label != below]
    names = [name for name in ("skin", "fat", "skull", "csf", "grey_matter") if INDEX[name] in top]
    places = [top.index(INDEX[name]) for name in names]
    assert {"skin", "skull", "csf"} <= set(names)
    assert places == sorted(places)


def test_brain_never_touches_bone(head: Anatomy) -> None:
    brain = (head.labels == INDEX["grey_matter"]) | (head.labels == INDEX["white_matter"])
    bone = head.labels == INDEX["skull"]
    for axis in range(3):
        near = brain.narrow(axis, 1, brain.shape[axis] - 1) & bone.narrow(axis, 0, bone.shape[axis] - 1)
        assert int(near.sum()) == 0


def test_a_slab_is_the_slab_of_the_whole() -> None:
    shape = draw_head(torch.Generator().manual_seed(1))
    whole = shape.anatomy((61, 71, 41), (3.0, 3.0, 3.0))
    slab = shape.anatomy((61, 71, 1), (3.0, 3.0, 3.0), (0.0, -16.0, 5.0 + 3.0 * 4))
    # Positions differ by rounding.
    assert float((slab.labels[..., 0] != whole.labels[..., 24]).float().mean()) < 1e-3
    assert float(slab.affine[2, 3]) == pytest.approx(17.0)
    assert slab.subject == whole.subject


def test_heads_differ_and_repeat() -> None:
    first, again, other = (
        procedural_head(torch.Generator().manual_seed(seed), shape=(40, 48, 4), voxel_mm=(4.0, 4.0, 4.0))
        for seed in (0, 0, 1)
    )
    assert torch.equal(first.labels, again.labels) and first.subject == again.subject
    assert not torch.equal(first.labels, other.labels) and first.subject != other.subject
