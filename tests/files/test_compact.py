import gzip

import nibabel as nib
import numpy as np
import torch

from unweight.files.compact import LIMIT, compact_labels, compact_values

AFFINE = torch.tensor([[0, -2.0, 0, 5], [1.5, 0, 0, -7], [0, 0, 3.0, 9], [0, 0, 0, 1]], dtype=torch.float64)


def loaded(content: bytes) -> nib.Nifti1Image:
    return nib.Nifti1Image.from_bytes(gzip.decompress(content))


def test_values_come_back_to_half_a_step_on_their_grid() -> None:
    values = torch.linspace(-3.0, 40.0, 4 * 5 * 6).reshape(4, 5, 6)
    image = loaded(compact_values(values, AFFINE, 0.01))
    np.testing.assert_allclose(image.get_fdata(), values.numpy(), atol=0.00501)
    np.testing.assert_allclose(image.affine, AFFINE.numpy(), atol=1e-6)
    assert image.get_data_dtype() == np.int16


def test_small_whole_numbers_take_one_byte() -> None:
    image = loaded(compact_values(torch.arange(8.0).reshape(2, 2, 2), AFFINE, 1.0))
    assert image.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(image.get_fdata().ravel(), np.arange(8))


def test_what_is_beyond_stands_at_the_limit() -> None:
    image = loaded(compact_values(torch.tensor([[[1e6, -1e6]]]), AFFINE, 0.5))
    assert image.get_fdata().ravel().tolist() == [0.5 * LIMIT, -0.5 * LIMIT]


def test_same_bytes_each_time() -> None:
    labels = torch.arange(8, dtype=torch.uint8).reshape(2, 2, 2)
    assert compact_labels(labels, AFFINE) == compact_labels(labels, AFFINE)
    np.testing.assert_array_equal(loaded(compact_labels(labels, AFFINE)).get_fdata().ravel(), np.arange(8))
