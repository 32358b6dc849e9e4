import torch

from unweight.learn.segmentation.places import (
    FARTHEST_MM,
    LARGEST,
    N_GUIDES,
    NO_AXIS,
    SCALE_MM,
    brain_normalised,
    guide_channels,
    middle_in_patch,
)


def test_position_and_distance_at_half_the_resolution() -> None:
    middle, distance = torch.tensor([1.5, 2.5, 3.5]), torch.full((4, 6, 8), -10.0)
    channels = guide_channels(middle, distance, 2.0, (False, False, True))
    assert channels.shape == (N_GUIDES, 2, 3, 4)
    # The middle of the second pair of voxels lies at index 2.5.
    assert float(channels[0, 1, 0, 0]) == (2.5 - 1.5) * 2.0 / SCALE_MM
    assert float(channels[1, 0, 0, 0]) == (0.5 - 2.5) * 2.0 / SCALE_MM
    assert not channels[2].any()
    assert float(channels[3, 0, 0, 0]) == -10.0 / FARTHEST_MM
    assert not guide_channels(middle, distance, 1.0, NO_AXIS)[:3].any()
    assert float(guide_channels(middle, 100 + distance, 1.0, NO_AXIS)[3].max()) == 1.0


def test_the_scale_is_that_of_the_brain() -> None:
    image = torch.rand(20, 20, 20, generator=torch.Generator().manual_seed(0))
    image[:2] = 50.0  # fat outside
    brain = torch.zeros(20, 20, 20, dtype=torch.bool)
    brain[5:15] = True
    scaled = brain_normalised(image, brain)
    torch.testing.assert_close(brain_normalised(1000 * image, brain), scaled)
    assert 0.9 < float(scaled[brain].max()) < 1.2
    assert float(scaled.max()) == LARGEST
    assert not brain_normalised(image, torch.zeros_like(brain)).any()


def test_the_middle_is_found_in_a_turned_patch() -> None:
    axes = torch.meshgrid(*[torch.arange(8.0)] * 3, indexing="ij")
    grid = torch.stack(axes, dim=-1)
    matrix = torch.tensor([[0.0, 2.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.5]])
    offset = torch.tensor([10.0, 20.0, 30.0])
    places = grid @ matrix.T + offset
    point = torch.tensor([3.0, 1.5, 6.0])
    torch.testing.assert_close(middle_in_patch(places, matrix @ point + offset), point)
