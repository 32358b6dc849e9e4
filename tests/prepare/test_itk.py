"""The same voxel lies at the same place in NIfTI and in ITK, and a transform moves it alike."""

import sys

import pytest
import torch

from tests.prepare.heads import lattice, rotation
from unweight.core.errors import UsageError
from unweight.prepare.itk import RAS_TO_LPS, from_itk, rigid_matrix, simpleitk, to_itk

OBLIQUE = lattice((0.9, 1.1, 4.0), degrees=(12.0, -8.0, 25.0), extent_mm=(9.0, 13.2, 20.0))


def test_places_change_sign_in_x_and_y_only() -> None:
    pytest.importorskip("SimpleITK")
    image = to_itk(torch.zeros(OBLIQUE.shape), OBLIQUE.affine)
    for index in ((0, 0, 0), (3, 2, 1), (9, 11, 4)):
        x, y, z = image.TransformIndexToPhysicalPoint(index)
        place = OBLIQUE.affine @ torch.tensor([*index, 1], dtype=torch.float64)
        assert torch.allclose(torch.tensor([-x, -y, z], dtype=torch.float64), place[:3])


def test_a_sheared_affine_is_kept() -> None:
    pytest.importorskip("SimpleITK")
    affine = torch.eye(4, dtype=torch.float64)
    affine[0, 1] = 0.3
    image = to_itk(torch.zeros(3, 3, 3), affine)
    assert image.TransformIndexToPhysicalPoint((1, 2, 0)) == pytest.approx((-1.6, -2.0, 0.0))


def test_values_there_and_back() -> None:
    pytest.importorskip("SimpleITK")
    values = torch.rand(OBLIQUE.shape, generator=torch.Generator().manual_seed(0))
    image = to_itk(values, OBLIQUE.affine)
    assert image[3, 2, 1] == float(values[3, 2, 1])
    assert torch.equal(from_itk(image), values)
    assert to_itk(values > 0.5, OBLIQUE.affine).GetPixelIDTypeAsString() == "8-bit unsigned integer"


def test_a_transform_moves_points_as_its_matrix_does() -> None:
    itk = pytest.importorskip("SimpleITK")
    transform = itk.Euler3DTransform()
    transform.SetCenter((5.0, -3.0, 20.0))
    transform.SetRotation(0.1, -0.2, 0.3)
    transform.SetTranslation((4.0, 1.0, -2.0))
    matrix = rigid_matrix(transform)
    place = torch.tensor([10.0, 20.0, 30.0, 1.0], dtype=torch.float64)
    x, y, z = transform.TransformPoint((-10.0, -20.0, 30.0))
    assert torch.allclose((matrix @ place)[:3], torch.tensor([-x, -y, z], dtype=torch.float64))
    turn = matrix[:3, :3]
    assert torch.allclose(turn @ turn.T, torch.eye(3, dtype=torch.float64))


def test_a_turn_about_z_keeps_its_sense() -> None:
    itk = pytest.importorskip("SimpleITK")
    transform = itk.Euler3DTransform()
    transform.SetRotation(0.0, 0.0, 0.3)
    assert torch.allclose(rigid_matrix(transform)[:3, :3], rotation(0.0, 0.0, 0.3))
    assert (RAS_TO_LPS @ RAS_TO_LPS).trace() == 4


def test_without_it_the_remedy_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    with pytest.raises(UsageError, match=r"need SimpleITK.*pip install SimpleITK"):
        simpleitk()
