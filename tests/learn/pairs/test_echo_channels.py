"""What is shown to a network against signals whose logarithms are known at any time."""

import math

import pytest
import torch
from torch import Tensor

from unweight.core.errors import InputError, ProtocolError
from unweight.core.seeding import seeded_generator
from unweight.learn.pairs.echo_channels import (
    CHI,
    DECAYS,
    FLAGS,
    LEVEL,
    MASK,
    N_CHANNELS,
    N_SLAB,
    NEIGHBOURS,
    R2STAR,
    Conditions,
    echo_channels,
    hidden_with,
    slabs_of,
    with_conditions,
)

SHAPE, VOXEL = (12, 12, 12), (3.0, 3.0, 3.0)
EVERYWHERE = torch.ones(SHAPE, dtype=torch.bool)
REFERENCE, TIMES = 0.004, (0.010, 0.018, 0.028)
EIGHT = tuple(0.004 * echo for echo in range(1, 9))
DECAY = 10 + 50 * torch.rand(SHAPE, generator=seeded_generator(1))
HEIGHT = 900 * torch.exp(0.2 * torch.randn(SHAPE, generator=seeded_generator(2)))


def echoes(times: tuple[float, ...]) -> tuple[Tensor, Tensor]:
    """A decay by DECAY from HEIGHT on."""
    te = torch.tensor(times)
    return HEIGHT[..., None] * torch.exp(-DECAY[..., None] * te), te


def channels(
    times: tuple[float, ...] = EIGHT,
    mask: Tensor = EVERYWHERE,
    maps: tuple[Tensor, Tensor | None] = (DECAY, None),
) -> Tensor:
    return echo_channels(*echoes(times), maps, mask, VOXEL)


def volume(seed: int = 3) -> Tensor:
    return torch.randn(N_CHANNELS, 6, 5, 4, generator=seeded_generator(seed))


@pytest.mark.parametrize(
    "times", [EIGHT, (0.005, 0.013), (0.0021, 0.0072, 0.0121, 0.0172), (0.012, 0.02, 0.035), (0.018, 0.03)]
)
def test_a_decay_comes_to_the_same_channels_from_any_echoes(times: tuple[float, ...]) -> None:
    """−R2*·(τ_k − τ_0). Rounding of single precision grows where lines are drawn far beyond the ends."""
    made = channels(times)
    for place, time in zip(DECAYS, TIMES, strict=True):
        torch.testing.assert_close(made[place], -DECAY * (time - REFERENCE), rtol=0, atol=1e-5)
    torch.testing.assert_close(made, channels(), rtol=0, atol=1e-5)


def test_lines_between_the_echoes_and_beyond_them() -> None:
    """Logarithms that lie on no line: beyond the ends, echoes 8 ms apart count, not the nearest."""
    times = (0.006, 0.008, 0.015, 0.016)
    logs = 1 + torch.rand(*SHAPE, 4, generator=seeded_generator(4), dtype=torch.float64)
    one, two, three, four = logs.unbind(-1)
    first = one + (0.004 - 0.006) / (0.015 - 0.006) * (three - one)
    expected = (
        two + (0.010 - 0.008) / (0.015 - 0.008) * (three - two),
        two + (0.018 - 0.008) / (0.016 - 0.008) * (four - two),
        two + (0.028 - 0.008) / (0.016 - 0.008) * (four - two),
    )
    magnitude, te = logs.exp(), torch.tensor(times, dtype=torch.float64)
    made = echo_channels(magnitude, te, (DECAY, None), EVERYWHERE, VOXEL)
    for place, wanted in zip(DECAYS, expected, strict=True):
        assert float((wanted - first).abs().max()) < 4  # nothing here is cut off
        torch.testing.assert_close(made[place], wanted - first, rtol=0, atol=1e-9)


def test_neither_the_unit_of_the_signal_nor_what_lies_outside_matters() -> None:
    mask = EVERYWHERE.clone()
    mask[:3] = mask[..., 9:] = False
    magnitude, te = echoes(EIGHT)
    other = torch.where(mask[..., None], 1e-3 * magnitude, 5e4)
    one, two = (echo_channels(one, te, (DECAY, DECAY / 500), mask, VOXEL) for one in (magnitude, other))
    torch.testing.assert_close(one, two, rtol=0, atol=1e-5)
    assert torch.equal(one[MASK], mask.float())
    assert float(one[:, ~mask].abs().max()) == 0.0


def blocks(n: int = 40) -> Tensor:
    """Tissues in blocks of 20 mm, voxels of 4 mm."""
    coarse = torch.rand(n // 5, n // 5, n // 5, generator=seeded_generator(5))
    tissue = torch.where(coarse < 0.5, 0.8, 1.0)
    return tissue.repeat_interleave(5, 0).repeat_interleave(5, 1).repeat_interleave(5, 2)


def test_level_is_left_without_its_bias_field() -> None:
    """A field of ±0.4 in ln S. Measured: 0.45 of it stays, as smoothing over 30 mm flattens it too."""
    tissue, size = blocks(), (4.0, 4.0, 4.0)
    place = torch.linspace(-1, 1, len(tissue))
    x, y, z = torch.meshgrid(place, place, place, indexing="ij")
    field = 0.3 * x - 0.2 * y**2 + 0.2 * x * z
    te = torch.tensor(EIGHT)
    mask = x**2 + y**2 + z**2 < 1
    levels, decays = [], []
    for shading in (torch.zeros_like(field), field):
        magnitude = (tissue * shading.exp())[..., None] * torch.exp(-20.0 * te)
        made = echo_channels(magnitude, te, (mask * 20.0, None), mask, size)
        levels.append(made[LEVEL, mask])
        decays.append(made[list(DECAYS)])
    assert float((levels[1] - levels[0]).std() / field[mask].std()) < 0.5
    torch.testing.assert_close(decays[0], decays[1], rtol=0, atol=1e-5)
    # Tissue itself is seen: its contrast of ln 0.8, less what is as smooth as a bias field.
    ends = [levels[0][tissue[mask] == value].mean() for value in (tissue.min(), tissue.max())]
    assert float(ends[1] - ends[0]) == pytest.approx(-math.log(0.8), rel=0.15)
    assert float(levels[1].median()) == pytest.approx(0.0, abs=1e-6)


def test_fluid_does_not_draw_the_bias_field_down() -> None:
    """A ball of fluid a twentieth as bright: tissue far and near it has one level."""
    place = 4.0 * (torch.arange(30) - 14.5)
    radius = (place[:, None, None] ** 2 + place[None, :, None] ** 2 + place[None, None, :] ** 2).sqrt()
    fluid = radius < 20
    te = torch.tensor(EIGHT)
    magnitude = torch.where(fluid, 0.05, 1.0)[..., None] * torch.exp(-20.0 * te)
    everywhere = torch.ones(radius.shape, dtype=torch.bool)
    made = echo_channels(magnitude, te, (torch.full(radius.shape, 20.0), None), everywhere, (4.0, 4.0, 4.0))
    assert float(made[LEVEL, ~fluid].abs().max()) < 1e-5
    assert float(made[LEVEL, fluid].max()) == -2.0  # ln 0.05 is −3, and is cut off


def test_voxels_without_signal_stay_finite() -> None:
    magnitude, te = echoes(EIGHT)
    magnitude[0, 0, 0] = 0.0
    magnitude[1, 1, 1, 4:] = 0.0
    made = echo_channels(magnitude, te, (DECAY, None), EVERYWHERE, VOXEL)
    assert bool(torch.isfinite(made).all())
    assert made[DECAYS[2], 1, 1, 1] == -4.0
    torch.testing.assert_close(made[0, 2:], channels()[0, 2:], rtol=0, atol=1e-5)


def test_maps_in_their_units() -> None:
    chi = 0.05 * torch.randn(SHAPE, generator=seeded_generator(6))
    made = channels(maps=(DECAY, chi))
    torch.testing.assert_close(made[R2STAR], DECAY / 50)
    torch.testing.assert_close(made[CHI], (chi - chi.median()) / 0.1)
    extreme = chi.clone()
    extreme[0, 0, 0], extreme[0, 0, 1] = 5.0, -5.0
    ends = channels(maps=(1000 * DECAY, extreme))
    assert float(ends[R2STAR].max()) == 3.0
    assert ends[CHI, 0, 0, :2].tolist() == [3.0, -3.0]


def test_a_voxel_without_a_value_has_the_median() -> None:
    chi = 0.05 * torch.randn(SHAPE, generator=seeded_generator(7))
    decay, mask = DECAY.clone(), EVERYWHERE.clone()
    chi[3, 3, 3] = decay[4, 4, 4] = torch.nan
    mask[5] = False
    chi[5], decay[5] = torch.nan, 1e6  # outside: of no account
    made = channels(mask=mask, maps=(decay, chi))
    assert bool(torch.isfinite(made).all())
    assert made[CHI, 3, 3, 3] == 0.0 and bool((made[CHI, mask] != 0).any())
    middle = decay[mask & ~torch.isnan(decay)].median()
    assert float(made[R2STAR, 4, 4, 4]) == pytest.approx(float(middle) / 50)
    assert float(made[:, 5].abs().max()) == 0.0


def test_without_susceptibility_the_channel_is_empty() -> None:
    chi = 0.05 * torch.randn(SHAPE, generator=seeded_generator(8))
    without, told = channels(), channels(maps=(DECAY, chi))
    assert float(without[CHI].abs().max()) == 0.0
    others = [place for place in range(N_CHANNELS) if place != CHI]
    assert torch.equal(without[others], told[others])


@pytest.mark.parametrize("times", [(0.004,), (0.004, 0.011), (0.004, 0.005, 0.006), (0.02, 0.004)])
def test_echoes_that_do_not_show_the_decay_are_refused(times: tuple[float, ...]) -> None:
    with pytest.raises(ProtocolError, match=r"echoes of .* ms do not show the decay") as refused:
        channels(times)
    assert "8 ms apart" in str(refused.value.remedy)


def test_nothing_to_see_is_refused() -> None:
    with pytest.raises(InputError, match="no voxel of the mask has a signal"):
        channels(mask=torch.zeros_like(EVERYWHERE))
    with pytest.raises(InputError, match="no voxel of the mask has a signal"):
        echo_channels(torch.zeros(*SHAPE, 8), torch.tensor(EIGHT), (DECAY, None), EVERYWHERE, VOXEL)
    with pytest.raises(InputError, match="a map has no value inside the mask"):
        channels(maps=(DECAY, torch.full(SHAPE, torch.nan)))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_slab_holds_its_slice_and_those_beside_it(axis: int) -> None:
    whole = volume()
    n_slices = whole.shape[axis + 1]
    indices = [0, 2, n_slices - 1]
    made = slabs_of(whole, axis, indices)
    assert made.shape == (3, N_SLAB, *(n for one, n in enumerate(whole.shape[1:]) if one != axis))
    for slab, index in zip(made, indices, strict=True):
        assert torch.equal(slab[:N_CHANNELS], whole.select(axis + 1, index))
        beside = slab[N_CHANNELS:-FLAGS].unflatten(0, (4, 3))
        for part, step in zip(beside, (-2, -1, 1, 2), strict=True):
            near = min(max(0, index + step), n_slices - 1)
            expected = whole.select(axis + 1, near)[[LEVEL, R2STAR, CHI]]
            assert torch.equal(part, expected)
        assert bool((slab[-FLAGS:] == 1).all())


def shown(whole: Tensor, place: int) -> list[int]:
    """The channels of a slab that a channel of the volume reaches."""
    other = whole.clone()
    other[place] += 1.0
    difference = (slabs_of(other, 0, [2]) - slabs_of(whole, 0, [2])).abs().amax((0, 2, 3))
    return difference.nonzero()[:, 0].tolist()


@pytest.mark.parametrize(("place", "column"), [(R2STAR, 0), (CHI, 1)])
def test_a_condition_is_hidden_wherever_it_shows(place: int, column: int) -> None:
    hidden = hidden_with(place, column)
    assert sorted(hidden) == [*shown(volume(), place), N_SLAB - FLAGS + column]
    assert len(hidden) == 2 + len(NEIGHBOURS)


@pytest.mark.parametrize(
    ("told", "gone"),
    [
        (Conditions(), ()),
        (Conditions(r2star=False), ((R2STAR, 0),)),
        (Conditions(chi=False), ((CHI, 1),)),
        (Conditions(r2star=False, chi=False), ((R2STAR, 0), (CHI, 1))),
    ],
)
def test_a_network_is_told_only_what_it_is_to_be_told(
    told: Conditions, gone: tuple[tuple[int, int], ...]
) -> None:
    everything, some = (slabs_of(volume(), 1, [0, 3], one) for one in (Conditions(), told))
    hidden = {channel for place, column in gone for channel in hidden_with(place, column)}
    for channel in range(N_SLAB):
        expected = torch.zeros_like(some[:, channel]) if channel in hidden else everything[:, channel]
        assert torch.equal(some[:, channel], expected)


def test_each_item_is_told_its_own_conditions() -> None:
    slabs = slabs_of(volume(), 0, [1, 1, 1, 1])
    given = torch.tensor([[True, True], [False, True], [True, False], [False, False]])
    kept = slabs.clone()
    made = with_conditions(slabs, given)
    assert torch.equal(slabs, kept)
    for item, (r2star, chi) in zip(made, given.tolist(), strict=True):
        expected = slabs_of(volume(), 0, [1], Conditions(r2star=r2star, chi=chi))[0]
        assert torch.equal(item, expected)
