import math

import pytest
import torch

from unweight.core.errors import UsageError
from unweight.synth.tissue.materials import INDEX
from unweight.synth.tissue.scenes import random_shapes, sphere_grid


@pytest.mark.parametrize("shape", [(64, 48, 1), (32, 32, 32)])
def test_shapes_repeat_and_vary(shape: tuple[int, int, int]) -> None:
    scenes = [
        random_shapes(shape, (1.0, 1.0, 1.0), torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)
    ]
    assert torch.equal(scenes[0].labels, scenes[1].labels)
    assert not torch.equal(scenes[0].labels, scenes[2].labels)
    assert len(scenes[0].labels.unique()) > 4


def test_every_material_comes_up_about_as_often() -> None:
    names = ("csf", "grey_matter", "fat", "air")
    counts = torch.zeros(256)
    for seed in range(200):
        scene = random_shapes(
            (24, 24, 1), (1.0, 1.0, 1.0), torch.Generator().manual_seed(seed), materials=names, n_shapes=12
        )
        counts += torch.bincount(scene.labels.reshape(-1), minlength=256)
    shares = counts[[INDEX[name] for name in names]] / counts.sum()
    assert float(shares.sum()) == 1.0
    torch.testing.assert_close(shares, torch.full((4,), 0.25), rtol=0, atol=0.05)


def test_volume_of_spheres() -> None:
    voxel_mm, generator = (0.5, 0.5, 0.5), torch.Generator().manual_seed(0)
    scene = sphere_grid((125, 125, 125), voxel_mm, generator, radius_mm=6.9, materials=("fat",))
    # 27 spheres, 20.7 mm apart; a voxel count is good to half a percent.
    assert scene.volume_ml("fat") == pytest.approx(27 * 4 / 3 * math.pi * 0.69**3, rel=0.01)
    assert int(scene.labels[62, 62, 62]) == INDEX["fat"]
    assert int(scene.labels[62 + 20, 62 + 20, 62]) == INDEX["csf"]


def test_wrong_requests_are_refused() -> None:
    generator = torch.Generator()
    with pytest.raises(UsageError, match="no materials: cheese"):
        random_shapes((8, 8, 8), (1.0, 1.0, 1.0), generator, materials=("cheese",))
    with pytest.raises(UsageError, match="none given"):
        random_shapes((8, 8, 8), (1.0, 1.0, 1.0), generator, materials=())
    with pytest.raises(UsageError, match="radius"):
        sphere_grid((8, 8, 8), (1.0, 1.0, 1.0), generator, radius_mm=0.0)
