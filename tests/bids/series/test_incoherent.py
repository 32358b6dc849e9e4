import torch

from unweight.bids.series.incoherent import facts_from, facts_of, incoherent_slices, rows_of

TIMES = torch.tensor([0.05, 0.4, 0.8, 1.5, 2.8])


def recovery(generator: torch.Generator, *, noise: float) -> torch.Tensor:
    """Two halves of T1 0.6 and 1.2 s, and a third slice without signal."""
    t1 = torch.full((32, 32, 3), 0.6)
    t1[16:] = 1.2
    signal = 1000 * (1 - 2 * torch.exp(-TIMES / t1[..., None]))
    signal[:, :, 2] = 0
    return (signal + noise * torch.randn(signal.shape, generator=generator)).abs()


def found_in(signal: torch.Tensor) -> torch.Tensor:
    """Return which slices hold noise, of a series `(x, y, z, volumes)`."""
    return incoherent_slices([facts_of(volume) for volume in signal.unbind(-1)])


def test_good_images_are_none() -> None:
    """Whatever the noise, and with a volume near the null of half of the voxels."""
    generator = torch.Generator().manual_seed(0)
    for noise in (1.0, 20.0, 200.0, 2000.0):
        assert not bool(found_in(recovery(generator, noise=noise)).any()), noise


def test_a_slice_of_random_numbers_is_found_in_its_volume_alone() -> None:
    generator = torch.Generator().manual_seed(1)
    for volume in range(len(TIMES)):
        for place in range(3):
            signal = recovery(generator, noise=10.0)
            signal[:, :, place, volume] = torch.randint(0, 4096, (32, 32), generator=generator).float()
            found = found_in(signal).nonzero().tolist()
            assert found == [[place, volume]]


def test_noise_alone_and_too_few_volumes_or_voxels_tell_nothing() -> None:
    generator = torch.Generator().manual_seed(2)
    assert not bool(found_in(torch.rand(40, 40, 2, 6, generator=generator)).any())
    assert not bool(found_in(recovery(generator, noise=5.0)[..., :2]).any())
    assert not bool(found_in(torch.rand(4, 4, 2, 6, generator=generator)).any())


def test_facts_of_parts_and_of_multiples_are_those_of_the_whole() -> None:
    """Volumes are read slice by slice, and may be brought to another unit afterwards."""
    generator = torch.Generator().manual_seed(3)
    volume = torch.rand(20, 30, 5, generator=generator)
    whole = facts_of(2.5 * volume)
    rows = torch.cat([rows_of(volume[:, :, :2]), rows_of(volume[:, :, 2:])], dim=-1)
    parts = facts_from(rows, 600).times(2.5)
    for name in ("likeness", "evenness", "energy"):
        torch.testing.assert_close(getattr(parts, name), getattr(whole, name), rtol=1e-6, atol=1e-6)
    assert parts.n_voxels == whole.n_voxels == 600
