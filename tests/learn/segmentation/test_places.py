import torch

from unweight.learn.segmentation.places import NO_AXIS, SCALE_MM, middle_in_patch, position_channels


def test_position_in_millimetres_from_the_middle() -> None:
    channels = position_channels((4, 5, 6), torch.tensor([1.0, 2.0, 3.0]), 2.0, (False, False, True))
    assert channels.shape == (3, 4, 5, 6)
    assert float(channels[0, 3, 0, 0]) == 2 * 2.0 / SCALE_MM
    assert float(channels[1, 0, 0, 0]) == -2 * 2.0 / SCALE_MM
    assert not channels[2].any()
    assert not position_channels((2, 2, 2), torch.zeros(3), 1.0, NO_AXIS).any()


def test_the_middle_is_found_in_a_turned_patch() -> None:
    axes = torch.meshgrid(*[torch.arange(8.0)] * 3, indexing="ij")
    grid = torch.stack(axes, dim=-1)
    matrix = torch.tensor([[0.0, 2.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.5]])
    offset = torch.tensor([10.0, 20.0, 30.0])
    places = grid @ matrix.T + offset
    point = torch.tensor([3.0, 1.5, 6.0])
    torch.testing.assert_close(middle_in_patch(places, matrix @ point + offset), point)
