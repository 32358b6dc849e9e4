import torch

from unweight.bids.incoherent import incoherent_slices

TIMES = torch.tensor([0.05, 0.4, 0.8, 1.5, 2.8])


def recovery(generator: torch.Generator, *, noise: float) -> torch.Tensor:
    """Two halves of T1 0.6 and 1.2 s, and a third slice without signal."""
    t1 = torch.full((32, 32, 3), 0.6)
    t1[16:] = 1.2
    signal = 1000 * (1 - 2 * torch.exp(-TIMES / t1[..., None]))
    signal[:, :, 2] = 0
    return (signal + noise * torch.randn(signal.shape, generator=generator)).abs()


def test_good_images_are_none() -> None:
    """Whatever the noise, and with a volume near the null of half of the voxels."""
    generator = torch.Generator().manual_seed(0)
    for noise in (1.0, 20.0, 200.0, 2000.0):
        assert not bool(incoherent_slices(recovery(generator, noise=noise)).any()), noise


def test_a_slice_of_random_numbers_is_found_in_its_volume_alone() -> None:
    generator = torch.Generator().manual_seed(1)
    for volume in range(len(TIMES)):
        for place in range(3):
            signal = recovery(generator, noise=10.0)
            signal[:, :, place, volume] = torch.randint(0, 4096, (32, 32), generator=generator).float()
            found = incoherent_slices(signal).nonzero().tolist()
            assert found == [[place, volume]]


def test_noise_alone_and_too_few_volumes_or_voxels_tell_nothing() -> None:
    generator = torch.Generator().manual_seed(2)
    assert not bool(incoherent_slices(torch.rand(40, 40, 2, 6, generator=generator)).any())
    assert not bool(incoherent_slices(recovery(generator, noise=5.0)[..., :2]).any())
    assert not bool(incoherent_slices(torch.rand(4, 4, 2, 6, generator=generator)).any())
