"""A real image under the same measures: levels, contrasts and sharpness of an image made by hand."""

import math
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from unweight.benchmark.mprage import subjects as t1w_real
from unweight.benchmark.mprage.records import CONTRASTS, SegmentFn
from unweight.benchmark.mprage.subjects import measure_image, measure_on_grid
from unweight.bids.nifti.image import image_bytes
from unweight.core.errors import InputError
from unweight.metrics.structures import LABELS

SHAPE = (16, 18, 20)
VOXEL_MM = (1.0, 1.5, 2.0)
WHITE = 0.8
LEVELS = {"grey_matter": 0.5, "white_matter": WHITE, "putamen": 0.6, "pallidum": 0.7}


def layers(*names: str) -> UInt8[Tensor, "x y z"]:
    """Return a slab of four voxels of each structure along x."""
    labels = torch.zeros(SHAPE, dtype=torch.uint8)
    for number, name in enumerate(names):
        labels[4 * number : 4 * number + 4] = LABELS[name]
    return labels


def fixed(labels: UInt8[Tensor, "x y z"]) -> SegmentFn:
    def find(image: Float[Tensor, "x y z"], mask: Bool[Tensor, "x y z"]) -> UInt8[Tensor, "x y z"]:
        return labels * mask.to(torch.uint8)

    return find


def image_of(labels: UInt8[Tensor, "x y z"], spread: float = 0.1) -> Float[Tensor, "x y z"]:
    """Return levels, one higher and one lower in turn along z, with a few bright voxels."""
    levels = torch.zeros(8)
    for name, level in LEVELS.items():
        levels[LABELS[name]] = level
    turns = spread * (torch.arange(SHAPE[2]) % 2 * 2.0 - 1)
    image = levels[labels.long()] + turns * (labels > 0)
    image[:, 0, :2] = 2.0
    return image


def everywhere() -> Bool[Tensor, "x y z"]:
    return torch.ones(SHAPE, dtype=torch.bool)


def test_levels_are_medians_over_that_of_white_matter() -> None:
    """A few bright voxels in each do not move them."""
    labels = layers(*LEVELS)
    image = image_of(labels, spread=0.0)
    seen = measure_on_grid(fixed(labels), image, everywhere(), VOXEL_MM)
    assert seen.level == pytest.approx({name: level / WHITE for name, level in LEVELS.items()})
    assert torch.equal(seen.labels, labels) and torch.equal(seen.image, image)
    assert seen.volume_ml == pytest.approx(dict.fromkeys(LEVELS, 4 * 18 * 20 * 3.0 / 1000))


def test_contrasts_by_hand() -> None:
    labels = layers(*LEVELS)
    image = image_of(labels)
    image[:, 0] = image[:, 1]
    seen = measure_on_grid(fixed(labels), image, everywhere(), VOXEL_MM)
    # ±0.1 in turn has this standard deviation, of 1440 voxels.
    sd = 0.1 * math.sqrt(1440 / 1439)
    assert seen.measures["cnr white-grey"] == pytest.approx(0.3 / sd, rel=1e-5)
    assert seen.measures["cnr putamen-pallidum"] == pytest.approx(0.1 / sd, rel=1e-5)


def test_sharpness_of_a_slope() -> None:
    ramp = 0.02 * torch.arange(SHAPE[1]).float()[None, :, None].expand(SHAPE)
    seen = measure_on_grid(fixed(layers("white_matter")), ramp, everywhere(), VOXEL_MM)
    assert seen.measures == {"sharpness": pytest.approx(0.02)}


def test_only_structures_that_are_found() -> None:
    labels = layers("white_matter", "putamen")
    mask = everywhere()
    mask[4:8] = False
    seen = measure_on_grid(fixed(labels), image_of(labels, 0.0), mask, VOXEL_MM)
    assert set(seen.level) == set(seen.volume_ml) == {"white_matter"}
    assert not set(CONTRASTS) & set(seen.measures)
    # Without white matter, the levels are those of the image, which has it at 1.
    alone = layers("putamen")
    seen = measure_on_grid(fixed(alone), image_of(alone, 0.0), everywhere(), VOXEL_MM)
    assert seen.level == {"putamen": pytest.approx(LEVELS["putamen"])}


def test_a_file_is_read_masked_and_scaled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What finds brains and takes out bias fields has tests of its own; here, what they are given."""
    labels = layers(*LEVELS)
    image, mask = 1000 * image_of(labels), labels == LABELS["putamen"]
    affine = torch.diag(torch.tensor([-1.0, 1.5, 2.0, 1.0]))
    path = tmp_path / "sub-01_T1w.nii.gz"
    path.write_bytes(image_bytes(image, affine))

    def brain(images: Sequence[Tensor], voxel_mm: tuple[float, float, float]) -> Tensor:
        (given,) = images
        torch.testing.assert_close(given, image)
        assert voxel_mm == pytest.approx(VOXEL_MM)
        return mask

    def scale(given: Tensor, inside: Tensor, grid: Tensor) -> Tensor:
        assert torch.equal(inside, mask)
        torch.testing.assert_close(grid, affine.double())
        return given / 1000

    monkeypatch.setattr(t1w_real, "find_brain", brain)
    monkeypatch.setattr(t1w_real, "on_own_scale", scale)
    seen = measure_image(path, fixed(labels))
    torch.testing.assert_close(seen.image, image / 1000)
    assert seen.volume_ml == {"putamen": pytest.approx(4 * 18 * 20 * 3.0 / 1000)}
    assert seen.level["putamen"] == pytest.approx(LEVELS["putamen"], abs=0.101)


def test_a_series_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sub-01_T1w.nii.gz"
    nib.save(nib.Nifti1Image(np.ones((6, 6, 6, 2), dtype=np.float32), np.eye(4)), path)
    with pytest.raises(InputError, match=r"has 4 dimensions instead of 3") as told:
        measure_image(path, fixed(layers()))
    assert str(path) in str(told.value)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere"):
        measure_image(tmp_path / "nowhere.nii.gz", fixed(layers()))
