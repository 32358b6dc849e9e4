import torch

from unweight.diffusion.level import NoiseLevel


def test_a_level_stretches_along_the_sample_of_each_item() -> None:
    level = NoiseLevel(
        alpha=torch.tensor([0.8, 0.6]), sigma=torch.tensor([0.6, 0.8]), time=torch.tensor([1.0, 2.0])
    )
    alpha, sigma = level.along(torch.ones(2, 3, 4, 5))
    assert alpha.shape == sigma.shape == (2, 1, 1, 1)
    torch.testing.assert_close((alpha * torch.ones(2, 3, 4, 5))[:, 2, 3, 4], torch.tensor([0.8, 0.6]))
