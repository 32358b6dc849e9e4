"""Heads of the evaluation of susceptibility mapping, made of labels of 1.5 mm so that it takes seconds."""

from dataclasses import replace
from functools import cache

import pytest
import torch
from scipy.ndimage import distance_transform_edt

from unweight.benchmark.qsm import heads as made
from unweight.benchmark.qsm.heads import QSM_SETS, QsmHead, qsm_heads
from unweight.core.acquisition import SignalKind
from unweight.core.seeding import seeded_generator
from unweight.susceptibility.dipole import field_from_susceptibility
from unweight.susceptibility.morphology import largest_component
from unweight.synth.anatomy.labels import Anatomy
from unweight.synth.anatomy.procedural_head import procedural_head
from unweight.synth.tissue.materials import BRAIN, INDEX

COARSE, SHAPE = (1.5, 1.5, 1.5), (120, 144, 120)


@cache
def coarse_anatomy() -> Anatomy:
    """Return a whole head with labels of 1.5 mm."""
    generator = seeded_generator(0, "small qsm head")
    return procedural_head(generator, shape=SHAPE, voxel_mm=COARSE, centre_mm=made.HEAD_MIDDLE_MM)


def use_coarse_head(patch: pytest.MonkeyPatch, voxel_mm: float = 3.0) -> None:
    """Put a head that is soon made in the place of the one with labels of 0.5 mm."""
    patch.setattr("unweight.heads.source.procedural_head", lambda *_, **__: coarse_anatomy())
    patch.setattr("unweight.benchmark.qsm.heads.QUICK_MM", voxel_mm)


@cache
def coarse_heads() -> dict[str, QsmHead]:
    """Return the head of each set, with voxels of 3 mm."""
    with pytest.MonkeyPatch.context() as patch:
        use_coarse_head(patch)
        return {head.dataset: head for head in qsm_heads(None, QSM_SETS, quick=True)}


def test_one_quick_head_in_each_set() -> None:
    heads = coarse_heads()
    assert tuple(heads) == QSM_SETS
    for head in heads.values():
        acquisition = head.acquisition
        assert acquisition.voxels == head.chi.shape == (60, 72, 60)
        assert acquisition.kind is SignalKind.COMPLEX and acquisition.mask is None
        times = acquisition.protocol.require("echo_time", "a test").tolist()
        assert times == pytest.approx([0.004 * echo for echo in range(1, 9)])
        assert acquisition.protocol.field_strength == 3.0
        assert head.geometry.voxel_mm == pytest.approx((3.0, 3.0, 3.0))
        assert head.geometry.direction == pytest.approx((0.0, 0.0, 1.0))
        assert head.name == coarse_anatomy().subject


def test_heads_are_the_same_when_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever other sets are asked for."""
    use_coarse_head(monkeypatch)
    torch.manual_seed(7)
    (again,) = qsm_heads(None, ("calcified",), quick=True)
    head = coarse_heads()["calcified"]
    assert torch.equal(again.acquisition.signal, head.acquisition.signal)
    assert torch.equal(again.chi, head.chi) and torch.equal(again.total, head.total)
    assert torch.equal(again.clean, head.clean) and again.noise_sd == head.noise_sd


def test_the_calcification_is_in_one_set_only() -> None:
    plain, calcified = (coarse_heads()[name] for name in QSM_SETS)
    stone = calcified.materials == INDEX["calcification"]
    assert not bool((plain.materials == INDEX["calcification"]).any())
    assert float(calcified.chi[stone].min()) == pytest.approx(-3.0)
    assert float(plain.chi[plain.clean].min()) > -0.5
    # A ball of 4 mm has 268 mm³; labels of 1.5 mm and the voxel that is mostly stone round that.
    assert float(stone.sum()) * 27 == pytest.approx(268, rel=0.4)
    assert bool(calcified.clean[stone].all()) and bool((plain.materials[stone] == 3).all())
    moment = float((calcified.chi - plain.chi).double().sum()) * 27
    assert moment == pytest.approx(-3.0 * 268, rel=0.15)
    far = field_from_susceptibility(calcified.chi - plain.chi, (3.0, 3.0, 3.0), (0.0, 0.0, 1.0))
    apart = (calcified.total - plain.total - far)[plain.clean]
    # The shim, of second order, takes a little of the field of the stone.
    assert float(apart.std()) < 0.1 * float(far[plain.clean].std())


@pytest.mark.parametrize("name", QSM_SETS)
def test_clean_voxels_are_brain_in_one_piece(name: str) -> None:
    head = coarse_heads()[name]
    inside = [INDEX[one] for one in (*BRAIN, "calcification")]
    assert bool(torch.isin(head.materials[head.clean], torch.tensor(inside)).all())
    assert torch.equal(largest_component(head.clean), head.clean)
    brain = torch.isin(head.materials, torch.tensor(inside))
    assert 0.7 < float(head.clean.sum() / brain.sum()) < 1.0
    assert bool(torch.isfinite(head.r2star[head.clean & (head.materials != INDEX["calcification"])]).all())


def test_the_field_is_nearly_shimmed() -> None:
    """What an imperfect shim leaves is 15 Hz in each of its terms, 0.12 ppm."""
    head = coarse_heads()["plain"]
    assert abs(float(head.total[head.clean].mean())) < 0.2
    assert 0.05 < float(head.total[head.clean].std()) < 0.4


def test_signal_to_noise() -> None:
    head = coarse_heads()["plain"]
    first = head.acquisition.signal[..., 0]
    # The brightest of the brain, at the first echo, under the shading of a coil.
    assert float(first[head.clean].abs().max()) / head.noise_sd == pytest.approx(100, rel=0.15)
    corner = first[:4, :4, :4]
    spread = torch.cat([corner.real.flatten(), corner.imag.flatten()]).std()
    # 128 numbers: their spread is known to 6 %.
    assert float(spread) == pytest.approx(head.noise_sd, rel=0.2)


def test_local_fields_add_up() -> None:
    head = coarse_heads()["calcified"]
    left = head.clean.clone()
    left[30:] = False
    parts = head.local_in(left) + head.local_in(head.clean & ~left)
    torch.testing.assert_close(head.local_in(head.clean), parts, rtol=0, atol=1e-5)
    assert float(head.local_in(torch.zeros_like(head.clean)).abs().max()) == 0.0
    double = replace(head, chi=2 * head.chi)
    torch.testing.assert_close(double.local_in(left), 2 * head.local_in(left))


def test_what_is_left_of_the_total_field_is_harmonic() -> None:
    """The background comes from outside and a shim of second order: ∇² is that of the shim, a constant."""
    head = coarse_heads()["plain"]
    # Of what is close to bone the differences of voxels are no derivatives: 15 mm and deeper.
    inner = torch.from_numpy(distance_transform_edt(head.clean.numpy()) > 5)
    curved = [_laplacian(one)[inner].std() for one in (head.total, head.total - head.local_in(head.clean))]
    assert float(curved[1]) < 0.4 * float(curved[0])


def _laplacian(values: torch.Tensor) -> torch.Tensor:
    around = sum(values.roll(shift, axis) for axis in range(3) for shift in (-1, 1))
    assert isinstance(around, torch.Tensor)
    return around - 6 * values
