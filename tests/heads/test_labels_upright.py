from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest

from unweight.core.errors import InputError
from unweight.heads.labels import upright_anatomy


@pytest.mark.parametrize("order", list(permutations(range(3))))
@pytest.mark.parametrize("signs", list(product((-1, 1), repeat=3)))
def test_every_voxel_stays_where_it_was(order: tuple[int, ...], signs: tuple[int, ...]) -> None:
    labels = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    affine = np.eye(4)
    affine[:3, :3] = np.eye(3)[list(order)] * np.array(signs) * np.array([1.0, 2.0, 3.0])
    affine[:3, 3] = 5, -7, 11
    anatomy = upright_anatomy(labels, affine, subject="x", path=Path("a.nii"))
    upright = anatomy.affine.numpy()
    np.testing.assert_allclose(upright[:3, :3], np.diag(anatomy.voxel_mm))
    for index in np.ndindex(*labels.shape):
        place = affine @ [*index, 1]
        found = np.rint(np.linalg.solve(upright, place)[:3]).astype(int)
        assert int(anatomy.labels[tuple(found)]) == labels[index]


def test_a_flat_image_is_refused() -> None:
    affine = np.eye(4)
    affine[:3, 1] = 0
    with pytest.raises(InputError, match="cannot be told apart"):
        upright_anatomy(np.zeros((2, 2, 2), dtype=np.uint8), affine, subject="x", path=Path("a.nii"))
