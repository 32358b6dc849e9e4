import torch

from unweight.learn.segmentation.places import (
    FARTHEST_MM,
    LARGEST,
    N_GUIDES,
    NO_AXIS,
    SPREADS,
    BrainBox,
    brain_normalised,
    guide_channels,
)


def test_position_and_distance_at_half_the_resolution() -> None:
    """A brain of 4 x 6 x 8 cells: the variance of n places beside one another is (n² - 1) / 12."""
    distance = torch.full((12, 16, 20), 30.0)
    distance[2:10, 2:14, 2:18] = -10.0
    channels = guide_channels(distance, (False, False, True), moved=(0.0, 0.25, 0.0))
    assert channels.shape == (N_GUIDES, 6, 8, 10)
    spread = ((4**2 - 1) / 12) ** 0.5
    torch.testing.assert_close(channels[0, 1, 0, 0], torch.tensor(-1.5 / (SPREADS * spread)))
    torch.testing.assert_close(channels[1, 0, :, 0].mean(), torch.tensor(0.25))
    assert not channels[2].any()
    assert float(channels[3, 2, 2, 2]) == -10.0 / FARTHEST_MM
    assert float(channels[3].max()) == 1.0
    assert not guide_channels(distance, NO_AXIS)[:3].any()


def test_places_are_those_of_brains_of_any_size() -> None:
    small, large = torch.full((16, 16, 16), 5.0), torch.full((32, 32, 32), 5.0)
    small[4:12, 4:12, 4:12] = -5.0
    large[8:24, 8:24, 8:24] = -5.0
    corners = [float(guide_channels(d, (False, False, False))[0].amax()) for d in (small, large)]
    assert abs(corners[0] - corners[1]) / corners[1] < 0.1


def test_a_box_reaches_beyond_the_grid_where_it_must() -> None:
    brain = torch.zeros(20, 30, 40, dtype=torch.bool)
    brain[1:19, 10:14, 20:39] = True
    box = BrainBox.around(brain, 8)
    assert box.shape == (24, 8, 24)
    assert box.part == (slice(0, 20), slice(8, 16), slice(16, 40))
    volume = torch.rand(20, 30, 40)
    cut = box.cut(volume, -1.0)
    assert cut.shape == box.shape
    assert bool((cut[20:] == -1).all())
    assert torch.equal(box.kept(cut), volume[box.part])


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
