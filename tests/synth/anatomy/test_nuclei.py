from dataclasses import replace

import pytest
import torch

from tests.synth.anatomy.test_labels import head
from unweight.core.errors import InputError, UsageError
from unweight.synth.anatomy.labels import Anatomy
from unweight.synth.anatomy.nuclei import HALF_MM, VOLUMES_ML, brain_frame, nucleus_level, with_nuclei
from unweight.synth.anatomy.procedural_head import procedural_head
from unweight.synth.tissue.materials import DEEP_GREY, INDEX


@pytest.fixture(scope="module")
def plain() -> Anatomy:
    """A head whose nuclei are labelled as white matter, as label sets have them."""
    anatomy = procedural_head(torch.Generator().manual_seed(3))
    labels = anatomy.labels.clone()
    for name in DEEP_GREY:
        labels[labels == INDEX[name]] = INDEX["white_matter"]
    return replace(anatomy, labels=labels)


@pytest.fixture(scope="module")
def carved(plain: Anatomy) -> Anatomy:
    return with_nuclei(plain)


def centre_mm(anatomy: Anatomy, name: str, side: int) -> torch.Tensor:
    places = (anatomy.labels == INDEX[name]).nonzero().double() @ anatomy.affine[:3, :3].T
    places = places + anatomy.affine[:3, 3]
    return places[places[:, 0] * side > 0].mean(0)


def test_volumes_are_those_asked_for(plain: Anatomy, carved: Anatomy) -> None:
    x, y, z = brain_frame(plain).scale
    for name, volume in VOLUMES_ML.items():
        assert carved.volume_ml(name) == pytest.approx(volume * x * y * z, rel=0.02), name
    smaller = with_nuclei(plain, {"caudate": 6.0})
    assert smaller.volume_ml("caudate") == pytest.approx(6.0 * x * y * z, rel=0.01)
    assert smaller.volume_ml("putamen") == 0


def test_volumes_agree_with_raz_2003() -> None:
    assert VOLUMES_ML["caudate"] == pytest.approx(9.42, rel=0.1)
    assert VOLUMES_ML["putamen"] == pytest.approx(10.41, rel=0.1)
    assert VOLUMES_ML["pallidum"] == pytest.approx(2.16, rel=0.35)


@pytest.mark.parametrize("side", [-1, 1])
def test_neighbours_are_in_their_order(carved: Anatomy, side: int) -> None:
    x = {name: float(centre_mm(carved, name, side)[0]) * side for name in DEEP_GREY}
    y = {name: float(centre_mm(carved, name, side)[1]) for name in DEEP_GREY}
    z = {name: float(centre_mm(carved, name, side)[2]) for name in DEEP_GREY}
    assert x["red_nucleus"] < x["substantia_nigra"] < x["thalamus"] < x["pallidum"] < x["putamen"]
    assert x["caudate"] < x["pallidum"]
    assert y["dentate"] < y["thalamus"] < y["pallidum"] < y["putamen"] < y["caudate"]
    assert z["dentate"] < z["substantia_nigra"] < z["red_nucleus"] < z["thalamus"] < z["caudate"]


def test_only_grey_and_white_matter_is_replaced(plain: Anatomy, carved: Anatomy) -> None:
    before = plain.labels[plain.labels != carved.labels]
    assert set(before.tolist()) <= {INDEX["grey_matter"], INDEX["white_matter"]}


def test_the_frame_follows_the_brain() -> None:
    labels = torch.zeros(100, 120, 90, dtype=torch.uint8)
    labels[20:80, 10:110, 10:80] = INDEX["white_matter"]
    frame = brain_frame(head(labels, 2.0))
    assert frame.scale[0] == pytest.approx(118 / 2 / HALF_MM[0], rel=0.03)
    assert frame.scale[1] == pytest.approx(198 / 2 / HALF_MM[1], rel=0.03)
    assert frame.origin_mm[0] == pytest.approx(0, abs=2)


def test_level_is_one_on_the_surface() -> None:
    x, y, z = (torch.tensor([value]) for value in (4.8 + 3.2, -20.5, -8.5))
    assert float(nucleus_level("red_nucleus", 1.0, (x, y, z))) == pytest.approx(1, abs=1e-5)
    assert float(nucleus_level("red_nucleus", -1.0, (-x, y, z))) == pytest.approx(1, abs=1e-5)


def test_what_cannot_be_done_is_said(plain: Anatomy) -> None:
    with pytest.raises(UsageError, match="no volumes of nuclei"):
        with_nuclei(plain, {"csf": 1.0})
    with pytest.raises(InputError, match="no place for nuclei"):
        with_nuclei(head(torch.zeros(4, 4, 4, dtype=torch.uint8)))
    turned = replace(plain, affine=plain.affine[:, [1, 0, 2, 3]])
    with pytest.raises(InputError, match="not to the right, front and top"):
        with_nuclei(turned)
