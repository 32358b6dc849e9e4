from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from tests.bids.files import AFFINE, ramp, write_header
from unweight.bids.nifti.grid import SCANNER, Placement
from unweight.bids.nifti.image import image_bytes
from unweight.bids.nifti.volume import open_grid

TURN = np.array([[0.8, -0.6, 0, 0], [0.6, 0.8, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])


def write(path: Path, sform_code: int, qform_code: int) -> Path:
    image = nibabel.Nifti1Image(ramp(4, 3, 2), AFFINE)
    image.set_sform(TURN @ AFFINE, sform_code)
    image.set_qform(AFFINE, qform_code)
    image.header.set_xyzt_units("mm", "sec")
    nibabel.save(image, path)
    return path


@pytest.mark.parametrize("codes", [(2, 1), (4, 1), (1, 2), (0, 1), (2, 0), (0, 0), (1, 1), (3, 5)])
def test_codes_and_both_matrices_survive(tmp_path: Path, codes: tuple[int, int]) -> None:
    grid = open_grid(write(tmp_path / "a.nii", *codes))
    before = nibabel.load(tmp_path / "a.nii")
    (tmp_path / "b.nii.gz").write_bytes(image_bytes(torch.ones(4, 3, 2), grid.affine, grid.placement))
    after = nibabel.load(tmp_path / "b.nii.gz")
    assert (int(after.header["sform_code"]), int(after.header["qform_code"])) == codes
    for form in ("get_sform", "get_qform"):
        (old, code), (new, _) = (getattr(image, form)(coded=True) for image in (before, after))
        if code:
            np.testing.assert_allclose(new, old, atol=1e-5)
    np.testing.assert_allclose(open_grid(tmp_path / "b.nii.gz").affine, grid.affine, atol=1e-5)


def test_matrices_of_a_space(tmp_path: Path) -> None:
    placement = open_grid(write(tmp_path / "a.nii", 2, 1)).placement
    (scanner,) = placement.of_code(SCANNER)
    np.testing.assert_allclose(scanner, AFFINE, atol=1e-5)
    np.testing.assert_allclose(placement.affine, TURN @ AFFINE, atol=1e-5)
    assert Placement(affine=scanner).of_code(SCANNER) == ()


def test_a_second_matrix_that_places_nothing_is_left_aside(tmp_path: Path) -> None:
    path = write_header(tmp_path / "a.nii", ramp(4, 3, 2), qoffset_x=np.nan)
    placement = open_grid(path).placement
    np.testing.assert_allclose(placement.affine, AFFINE, atol=1e-5)
    assert placement.qform is None
    assert placement.qform_code == 0
