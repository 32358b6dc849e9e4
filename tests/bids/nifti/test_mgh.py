from pathlib import Path

import nibabel
import numpy as np
import pytest

from unweight.bids.nifti.grid import SCANNER
from unweight.bids.nifti.label_image import read_label_image
from unweight.bids.nifti.mgh import open_mgh
from unweight.core.errors import InputError

# An image that FreeSurfer wrote; it comes with nibabel.
WRITTEN = Path(nibabel.__file__).parent / "tests" / "data" / "test.mgz"


@pytest.mark.skipif(not WRITTEN.is_file(), reason="this nibabel comes without its test images")
def test_an_image_of_freesurfer() -> None:
    volume = open_mgh(WRITTEN)
    expected = nibabel.load(WRITTEN)
    np.testing.assert_array_equal(volume.data.numpy(), expected.get_fdata(dtype=np.float32))  # type: ignore[attr-defined]
    assert volume.grid.affine.tolist() == [[1, 2, 3, -13], [2, 3, 1, -11.5], [3, 1, 2, -11.5], [0, 0, 0, 1]]
    assert volume.grid.placement.sform_code == SCANNER
    assert volume.grid.shape == (3, 4, 5)


def test_labels_in_the_same_voxels_as_in_nifti(tmp_path: Path) -> None:
    numbers = np.zeros((4, 5, 6), dtype=np.int32)
    numbers[1, 2, 3] = 17
    affine = np.array([[-1.0, 0, 0, 9], [0, 0, 1, -3], [0, -1, 0, 5], [0, 0, 0, 1]])
    path = tmp_path / "aseg.mgz"
    nibabel.save(nibabel.freesurfer.mghformat.MGHImage(numbers, affine), path)
    labelled = read_label_image(path)
    assert labelled.labels.nonzero().tolist() == [[1, 2, 3]]
    np.testing.assert_allclose(labelled.grid.affine.numpy(), affine, atol=1e-5)


@pytest.mark.parametrize("content", [b"", b"not an image", bytes(400)])
def test_damage_is_one_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "aseg.mgz"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"aseg\.mgz"):
        open_mgh(path)
    with pytest.raises(InputError, match="no such file"):
        open_mgh(tmp_path / "nowhere.mgz")
