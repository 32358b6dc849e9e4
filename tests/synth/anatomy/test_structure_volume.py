import numpy as np
import pytest
import torch

from unweight.core.errors import UsageError
from unweight.synth.anatomy.structure_volume import scale_structures, signed_distance
from unweight.synth.tissue.materials import INDEX

VOXEL = (0.5, 0.5, 1.0)


def ball() -> torch.Tensor:
    """A thalamus in white matter in a skull."""
    x, y = torch.arange(64) * 0.5 - 15.75, torch.arange(32) * 1.0 - 15.5
    radius = (x[:, None, None] ** 2 + x[None, :, None] ** 2 + y[None, None, :] ** 2).sqrt()
    labels = torch.full(radius.shape, INDEX["white_matter"], dtype=torch.uint8)
    labels[radius < 8] = INDEX["thalamus"]
    labels[radius > 14] = INDEX["skull"]
    return labels


def count(labels: torch.Tensor, name: str) -> int:
    return int((labels == INDEX[name]).sum())


@pytest.mark.parametrize("factor", [0.5, 0.8, 0.97, 1.03, 1.3, 2.0])
def test_the_volume_changes_by_the_factor(factor: float) -> None:
    before = ball()
    after = scale_structures(before, {"thalamus": factor}, VOXEL)
    assert count(after, "thalamus") == pytest.approx(factor * count(before, "thalamus"), rel=0.001)
    assert count(after, "skull") == count(before, "skull")
    inside, outside = (after == INDEX["thalamus"]), (before == INDEX["thalamus"])
    assert not bool((inside & ~outside).any() if factor < 1 else (outside & ~inside).any())


def test_the_radius_follows_the_cube_root() -> None:
    after = scale_structures(ball(), {"thalamus": 1.5}, VOXEL)
    x, y = torch.arange(64) * 0.5 - 15.75, torch.arange(32) * 1.0 - 15.5
    radius = (x[:, None, None] ** 2 + x[None, :, None] ** 2 + y[None, None, :] ** 2).sqrt()
    surface = radius[after == INDEX["thalamus"]].max()
    # To a voxel's diagonal.
    assert float(surface) == pytest.approx(8 * 1.5 ** (1 / 3), abs=0.7)


def test_what_is_left_goes_to_the_neighbour() -> None:
    after = scale_structures(ball(), {"thalamus": 0.6}, VOXEL)
    assert set(after.unique().tolist()) == {INDEX[n] for n in ("thalamus", "white_matter", "skull")}
    assert int((after != ball()).sum()) == count(ball(), "thalamus") - count(after, "thalamus")


def test_other_structures_keep_their_volume() -> None:
    before = ball()
    before[:32][before[:32] == INDEX["thalamus"]] = INDEX["putamen"]
    for factor in (0.7, 1.3):
        after = scale_structures(before, {"thalamus": factor}, VOXEL)
        assert count(after, "putamen") == count(before, "putamen")
        assert count(after, "thalamus") == pytest.approx(factor * count(before, "thalamus"), rel=0.001)


def test_no_more_than_there_is_room() -> None:
    after = scale_structures(ball(), {"thalamus": 3.0, "white_matter": 1.0}, VOXEL)
    assert torch.equal(after, ball())
    assert torch.equal(scale_structures(ball(), {"dentate": 2.0}, VOXEL), ball())


def test_signed_distance_of_a_half_space() -> None:
    inside = np.zeros((20, 4, 4), dtype=bool)
    inside[:10] = True
    distance = signed_distance(inside, (2.0, 1.0, 1.0))
    assert distance[4, 2, 2] == pytest.approx(-12.0, abs=0.1) and distance[15, 2, 2] == pytest.approx(
        12.0, abs=0.1
    )
    assert not signed_distance(np.ones((3, 3, 3), dtype=bool), (1.0, 1.0, 1.0)).any()


def test_wrong_requests_are_refused() -> None:
    with pytest.raises(UsageError, match="no materials: brian"):
        scale_structures(ball(), {"brian": 1.1}, VOXEL)
    with pytest.raises(UsageError, match=r"change by 0\.2 to 3"):
        scale_structures(ball(), {"thalamus": 10.0}, VOXEL)
