"""From images to a pair: a brain-sized ball whose R2* is known, with and without phase."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from unweight.core.acquisition import Acquisition, SignalKind
from unweight.core.errors import InputError, ProtocolError
from unweight.core.protocol import protocol_from_values
from unweight.core.seeding import seeded_generator
from unweight.learn.pairs.echo_channels import CHI, DECAYS, MASK, R2STAR
from unweight.learn.pairs.pair import EchoMaps, make_pair, maps_of_echoes
from unweight.learn.pairs.scan_range import SCAN, plain_scan
from unweight.synth.anatomy.labels import centred_affine

SHAPE, VOXEL = (44, 48, 40), (4.0, 4.0, 4.0)
TIMES = (0.004, 0.01, 0.016, 0.022, 0.028)
PPM_TO_HERTZ = 42.577 * 3.0


def radius(
    offset_mm: tuple[float, float, float] = (0.0, 0.0, 0.0), shape: tuple[int, ...] = SHAPE
) -> Tensor:
    """The distance from a place [mm]."""
    line = [4.0 * (torch.arange(n) - (n - 1) / 2) - o for n, o in zip(shape, offset_mm, strict=True)]
    x, y, z = torch.meshgrid(*line, indexing="ij")
    return (x**2 + y**2 + z**2).sqrt()


BRAIN = radius() < 64
NUCLEUS = radius((20.0, 0.0, 0.0)) < 14
DECAY = torch.where(NUCLEUS, 45.0, 20.0)
SCALP = (radius() > 70) & (radius() < 78)
GREY = radius((-20.0, 10.0, 0.0)) < 20
T1W = torch.where(BRAIN, torch.where(GREY | NUCLEUS, 300.0, 500.0), 20.0)


def acquisition(
    times: tuple[float, ...] = TIMES, mask: Tensor | None = None, noise: float = 0.0, phase: bool = False
) -> Acquisition:
    te = torch.tensor(times)
    size = torch.where(BRAIN | SCALP, 1000.0, 0.0)[..., None] * torch.exp(-DECAY[..., None] * te)
    turns = torch.zeros_like(DECAY)
    if phase:  # the field of a ball of 0.2 ppm in a field along z: Δχ/3·(a/r)³·(3cos²θ − 1)
        far = radius((20.0, 0.0, 0.0)).clamp(min=14.0)
        z = 4.0 * (torch.arange(SHAPE[2]) - (SHAPE[2] - 1) / 2)
        turns = 0.2 / 3 * (14.0 / far) ** 3 * (3 * (z / far) ** 2 - 1) * PPM_TO_HERTZ * ~NUCLEUS
    signal = torch.polar(size, 2 * torch.pi * turns[..., None] * te)
    draw = torch.randn(2, *signal.shape, generator=seeded_generator(1))
    signal = signal + noise * torch.complex(draw[0], draw[1])
    return Acquisition(
        signal=signal if phase else signal.abs(),
        protocol=protocol_from_values(echo_time=list(times), field_strength=3.0),
        kind=SignalKind.COMPLEX if phase else SignalKind.MAGNITUDE,
        mask=mask,
        affine=centred_affine(SHAPE, VOXEL),
    )


def made(maps: EchoMaps, **settings: object) -> dict[str, object]:
    return {
        "maps": maps,
        "t1w": T1W,
        "affine": centred_affine(SHAPE, VOXEL).float(),
        "labels": None,
        "about": {"name": "ball", "age": 30.0},
        **settings,
    }


def test_magnitudes_give_the_decay_and_no_susceptibility() -> None:
    maps = maps_of_echoes(acquisition(mask=BRAIN))
    assert maps.chi is None and maps.notes == ()
    assert torch.equal(maps.mask, BRAIN) and maps.voxel_mm == VOXEL
    torch.testing.assert_close(maps.r2star[BRAIN], DECAY[BRAIN], rtol=1e-4, atol=0)
    assert bool(maps.r2star[~BRAIN].isnan().all())
    shown = maps.channels()
    assert float(shown[CHI].abs().max()) == 0.0
    assert torch.equal(shown[MASK] > 0, BRAIN)


def test_the_order_of_the_echoes_does_not_matter() -> None:
    rising = maps_of_echoes(acquisition(mask=BRAIN))
    mixed = maps_of_echoes(acquisition((0.016, 0.004, 0.028, 0.01, 0.022), mask=BRAIN))
    assert mixed.echo_time.tolist() == pytest.approx(TIMES)
    torch.testing.assert_close(mixed.magnitude, rising.magnitude)
    torch.testing.assert_close(mixed.channels(), rising.channels(), rtol=0, atol=1e-5)


def test_the_brain_is_found_where_it_is_not_given() -> None:
    """With its outermost layer off: one voxel of 4 mm."""
    maps = maps_of_echoes(acquisition(noise=5.0))
    assert not bool((maps.mask & ~BRAIN).any())
    assert float(maps.mask.sum()) == pytest.approx(float((radius() < 60).sum()), rel=0.05)
    assert bool(torch.isfinite(maps.r2star[maps.mask]).all())
    assert bool(maps.r2star[~maps.mask].isnan().all())


@pytest.mark.parametrize("phase", [False, True])
def test_maps_that_are_given_are_taken(phase: bool) -> None:
    decay = torch.full(SHAPE, 33.0)
    chi = 0.02 * torch.randn(SHAPE, generator=seeded_generator(2))
    maps = maps_of_echoes(acquisition(mask=BRAIN, phase=phase), given={"R2star": decay, "Chi": chi})
    assert torch.equal(maps.r2star, decay) and maps.chi is chi
    shown = maps.channels()
    torch.testing.assert_close(shown[R2STAR, BRAIN], torch.full((int(BRAIN.sum()),), 33.0 / 50))
    torch.testing.assert_close(shown[CHI, BRAIN], ((chi - chi[BRAIN].median()) / 0.1)[BRAIN])
    alone = maps_of_echoes(acquisition(mask=BRAIN), given={"R2star": decay})
    assert alone.chi is None and torch.equal(alone.r2star, decay)


def test_phase_gives_susceptibility() -> None:
    """Of a ball of 0.2 ppm, in voxels of 4 mm and regularised: half of it at least."""
    maps = maps_of_echoes(acquisition(mask=BRAIN, noise=1.0, phase=True))
    assert maps.chi is not None
    known = torch.isfinite(maps.chi)
    assert bool((known <= BRAIN).all())
    core = radius((20.0, 0.0, 0.0)) < 9
    away = known & (radius((20.0, 0.0, 0.0)) > 24)
    assert 0.1 < float(maps.chi[core].mean() - maps.chi[away].mean()) < 0.25
    assert float(maps.channels()[CHI, core].mean()) > 1.0
    torch.testing.assert_close(maps.r2star[BRAIN].median(), torch.tensor(20.0), rtol=0.01, atol=0)


def test_what_is_no_volume_of_echoes_is_refused() -> None:
    plain = acquisition(mask=BRAIN)
    with pytest.raises(ProtocolError, match="three axes and an affine"):
        maps_of_echoes(replace(plain, affine=None))
    flat = replace(plain, signal=plain.signal[:, :, 20], mask=BRAIN[:, :, 20])
    with pytest.raises(ProtocolError, match="three axes and an affine"):
        maps_of_echoes(flat)
    with pytest.raises(ProtocolError, match=r"R2\*"):
        maps_of_echoes(replace(plain, protocol=protocol_from_values(repetition_time=[1.0] * 5)))


def test_a_pair_is_cut_to_the_brain() -> None:
    """The brain has 32 voxels along each axis; 64 are wanted, so all of the axes are kept."""
    pytest.importorskip("SimpleITK")
    labels = NUCLEUS.to(torch.uint8) * 7 + GREY.to(torch.uint8) * 2 + (~BRAIN).to(torch.uint8) * 5
    maps = maps_of_echoes(acquisition(mask=BRAIN))
    pair = make_pair(**made(maps, labels=labels))  # type: ignore[arg-type]
    assert pair.target.shape == SHAPE and pair.target.dtype == torch.float16
    scan = plain_scan(acquisition(mask=BRAIN).protocol)
    assert (pair.name, pair.about, pair.voxel_mm) == ("ball", {"age": 30.0, SCAN: scan}, VOXEL)
    white = BRAIN & ~GREY & ~NUCLEUS
    # The ball has sharp edges, at which N4 sees a little of a field.
    assert float(pair.target[white].float().median()) == pytest.approx(1.0, abs=0.02)
    assert float(pair.target[NUCLEUS].float().median()) == pytest.approx(0.6, abs=0.05)
    assert float(pair.target[~BRAIN].abs().max()) == 0.0
    assert torch.equal(pair.labels, labels * BRAIN)
    expected = -DECAY * (0.028 - 0.004) * BRAIN
    # Half precision: a thousandth of 1.
    torch.testing.assert_close(pair.channels[DECAYS[2]].float(), expected, rtol=0, atol=2e-3)


def test_a_box_has_64_voxels_where_there_are_as_many() -> None:
    pytest.importorskip("SimpleITK")
    shape = (80, 36, 90)
    place = radius((0.0, 0.0, 120.0), shape)
    brain = place < 50
    maps = EchoMaps(
        magnitude=torch.exp(-20.0 * torch.tensor(TIMES)).expand(*shape, -1),
        echo_time=torch.tensor(TIMES),
        mask=brain,
        r2star=torch.full(shape, 20.0),
        chi=None,
        voxel_mm=VOXEL,
    )
    position = torch.arange(brain.numel()).reshape(shape) % 251
    pair = make_pair(
        maps=maps,
        t1w=torch.where(brain, 100.0, 0.0),
        affine=centred_affine(shape, VOXEL).float(),
        labels=position.to(torch.uint8),
        about={"name": "small"},
    )
    assert pair.target.shape == (64, 36, 64)
    # Nothing of the brain is lost, and all was cut alike.
    box = (slice(8, 72), slice(0, 36), slice(26, 90))
    assert torch.equal(pair.channels[MASK] > 0, brain[box])
    assert int(brain[box].sum()) == int(brain.sum())
    assert torch.equal(pair.labels, (position.to(torch.uint8) * brain)[box])
    assert torch.equal(pair.target > 0, brain[box])


def test_without_labels_there_are_none() -> None:
    pytest.importorskip("SimpleITK")
    pair = make_pair(**made(maps_of_echoes(acquisition(mask=BRAIN))))  # type: ignore[arg-type]
    assert pair.labels.shape == pair.target.shape and int(pair.labels.max()) == 0


def test_an_empty_brain_is_refused() -> None:
    maps = maps_of_echoes(acquisition(mask=BRAIN))
    empty = replace(maps, mask=torch.zeros_like(BRAIN))
    with pytest.raises(InputError, match="mask is empty"):
        make_pair(**made(empty))  # type: ignore[arg-type]
