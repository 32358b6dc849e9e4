import torch
from torch import nn

from tests.nets.probes import draw, reach, scrambled
from unweight.nets.normalisation import Normalisation, normalisation_layer


def test_only_pixel_normalisation_sees_one_pixel() -> None:
    sees = {kind: reach(scrambled(normalisation_layer(kind, 8)), 8, 9) for kind in Normalisation}
    assert sees == {Normalisation.PIXEL: 0, Normalisation.GROUP: 4, Normalisation.BATCH: 4}


def test_batch_statistics_are_those_of_the_batch_at_test_time_too() -> None:
    norm = normalisation_layer(Normalisation.BATCH, 4).double().eval()
    image = 5.0 + 3.0 * draw(2, 4, 6, 6)
    means = norm(image).mean(dim=(0, 2, 3))
    torch.testing.assert_close(means, torch.zeros_like(means), atol=1e-9, rtol=0)


def test_groups_are_thirty_two_where_they_can() -> None:
    layers = [normalisation_layer(Normalisation.GROUP, width) for width in (64, 48, 6)]
    assert [layer.num_groups for layer in layers if isinstance(layer, nn.GroupNorm)] == [32, 16, 2]
