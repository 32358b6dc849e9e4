import math
from dataclasses import replace
from functools import cache, partial

import pytest
import torch
from torch import Tensor

from tests.susceptibility.scenes import ball, correlation, field_of_ball, places, slope
from unweight.core.acquisition import Acquisition, SignalKind
from unweight.core.errors import InputError, ProtocolError, UsageError
from unweight.core.maps import PHASE_RESIDUAL, ParameterMaps, VoxelStatus
from unweight.core.protocol import protocol_from_values
from unweight.core.seeding import seeded_generator
from unweight.fit.susceptibility import Reference, SusceptibilityFit
from unweight.susceptibility.background import LocalField
from unweight.susceptibility.closed_form import tikhonov, tkd
from unweight.susceptibility.dipole import field_from_susceptibility
from unweight.susceptibility.geometry import GYROMAGNETIC_RATIO, FieldGeometry, box_around
from unweight.susceptibility.vsharp import vsharp

SHAPE, SIZE = (34, 36, 32), (2.0, 2.0, 2.0)
GEOMETRY = FieldGeometry(voxel_mm=SIZE)
RADIUS = 29.0
FIELD, SIGMA = 3.0, 0.01
TIMES = (0.004, 0.008, 0.012, 0.018, 0.024)  # not evenly spaced
IRON, MYELIN, FLUID = (-12.0, -2.0, 2.0), (13.0, 4.0, -2.0), (1.0, -16.0, 0.0)
CHI = {IRON: 0.1, MYELIN: -0.05, FLUID: 0.03}
R2STAR = {IRON: 45.0, MYELIN: 20.0, FLUID: 2.0}
BALL_MM = 8.0
# Linear, and fast: for what is not about the inversion.
FAST = SusceptibilityFit(inversion=tkd)


@cache
def truth() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return χ and total field [ppm], R2* [1/s] and the mask of a ball of brain with an air sinus below."""
    chi = sum((value * ball(SHAPE, SIZE, at, BALL_MM) for at, value in CHI.items()), torch.zeros(()))
    rate = torch.full(SHAPE, 18.0, dtype=torch.float64)
    for at, value in R2STAR.items():
        rate = torch.where(ball(SHAPE, SIZE, at, BALL_MM) > 0.5, value, rate)
    local = field_from_susceptibility(chi, SIZE, GEOMETRY.direction, background=0.0)
    sinus = 9.0 * field_of_ball(SHAPE, GEOMETRY, (4.0, 30.0, -26.0), 7.0)
    x, y, z = places(SHAPE, SIZE)
    return chi, local + sinus, rate, x**2 + y**2 + z**2 < RADIUS**2


def acquire(
    sigma: float = SIGMA, seed: int = 1, times: tuple[float, ...] = TIMES, sign: float = 1.0
) -> Acquisition:
    """Return echoes of 1 at TE = 0, with the phase of a coil."""
    _, total, rate, mask = truth()
    x, y, _ = places(SHAPE, SIZE)
    time = torch.tensor(times, dtype=torch.float64)
    omega = 2 * math.pi * GYROMAGNETIC_RATIO * FIELD * total
    phase = sign * ((0.5 + 0.01 * x - 0.008 * y)[..., None] + omega[..., None] * time)
    signal = torch.polar(mask[..., None] * torch.exp(-rate[..., None] * time), phase)
    if sigma:
        parts = torch.randn(
            (2, *signal.shape), generator=seeded_generator(seed, "noise"), dtype=torch.float64
        )
        signal = signal + sigma * torch.complex(parts[0], parts[1])
    affine = torch.diag(torch.tensor([*SIZE, 1.0], dtype=torch.float64))
    return Acquisition(
        signal=signal,
        protocol=protocol_from_values(field_strength=FIELD, echo_time=times),
        kind=SignalKind.COMPLEX,
        mask=mask,
        affine=affine,
    )


def known_local(
    field: Tensor, mask: Tensor, geometry: FieldGeometry, weight: Tensor | None = None
) -> LocalField:
    """Take the whole field away but that of the balls, as if removal were perfect."""
    chi, total, _, _ = truth()
    local = field_from_susceptibility(chi, SIZE, GEOMETRY.direction, background=0.0)
    box = box_around(truth()[3])
    return LocalField(torch.where(mask, field - box.cut(total - local).to(field), 0.0), mask)


@pytest.mark.parametrize(
    ("fit", "dtype"), [(SusceptibilityFit(), torch.complex64), (FAST, torch.complex128)], ids=["wtv", "tkd"]
)
def test_contract(fit: SusceptibilityFit, dtype: torch.dtype) -> None:
    """That of all estimators, but for half a mask: a convolution takes from all voxels."""
    acquisition = acquire()
    acquisition = replace(acquisition, signal=acquisition.signal.to(dtype), noise_sd=SIGMA)
    before = acquisition.signal.clone()
    maps = fit(acquisition)
    assert torch.equal(before, acquisition.signal)
    assert maps.specs == fit.parameters and [spec.name for spec in maps.specs] == ["Chi"]
    assert maps.specs[0].unit == "ppm" and "its mean over the mask" in str(maps.specs[0].description)
    assert maps.values.shape == maps.std.shape == (*SHAPE, 1)
    assert maps.status.shape == SHAPE
    assert maps.values.dtype == maps.std.dtype == acquisition.signal.real.dtype
    assert maps.values.device == acquisition.signal.device
    assert maps.affine is acquisition.affine and maps.noise_sd == SIGMA
    assert maps.misfit is not None and maps.misfit_meaning == PHASE_RESIDUAL
    assert bool((maps.std[~maps.failed] > 0).all()) and bool(maps.std[maps.failed].isnan().all())
    again = fit(acquisition)
    for one, two in ((maps.values, again.values), (maps.std, again.std), (maps.misfit, again.misfit)):
        assert one is not None and two is not None
        assert torch.equal(one.nan_to_num(), two.nan_to_num())
    assert torch.equal(maps.status, again.status)


def test_single_precision_suffices() -> None:
    """Rounding is 1 % of what the noise does."""
    acquisition = acquire()
    double = FAST(acquisition)
    single = FAST(replace(acquisition, signal=acquisition.signal.to(torch.complex64)))
    apart = (double.value("Chi") - single.value("Chi"))[double.usable & single.usable]
    assert float(apart.square().mean().sqrt()) < 0.01 * float(double.deviation("Chi").nanmean())


def test_sources_are_found_where_they_are_and_as_strong() -> None:
    """Noiseless, background removed by one who knows it: all that is left is scale and inversion.

    Measured: correlation 0.999, slope 0.997; total variation shrinks contrast a little.
    """
    chi, *_ = truth()
    maps = SusceptibilityFit(background=known_local)(acquire(sigma=0.0))
    known = maps.usable
    found = maps.value("Chi")[known]
    assert correlation(found, chi[known]) > 0.97
    assert slope(found, chi[known]) == pytest.approx(1.0, abs=0.05)


def test_sources_are_found_end_to_end() -> None:
    """V-SHARP takes much of the contrast: a head of 29 mm holds large spheres in its middle only.

    Measured: correlation 0.88, slope 0.58. In a real head most voxels are deeper.
    """
    chi, *_ = truth()
    maps = SusceptibilityFit()(acquire())
    known = maps.usable
    found = maps.value("Chi")
    assert correlation(found[known], chi[known]) > 0.8
    assert 0.45 < slope(found[known], chi[known]) < 1.0
    middle = {at: found[ball(SHAPE, SIZE, at, BALL_MM - 3) > 0.9].mean() for at in CHI}
    assert middle[IRON] > 0.04 > middle[FLUID] > -0.015 > middle[MYELIN]


def test_the_field_on_the_way() -> None:
    """The total field is the true one but for a constant that the phase of the coil takes."""
    _, total, _, mask = truth()
    made = FAST.reconstruct(acquire())
    known = ~made.total.isnan()
    assert bool((known <= mask).all()) and float(known.sum() / mask.sum()) > 0.99
    error = (made.total - total)[known]
    # σ = 0.01 over 20 ms is about 0.004 ppm.
    assert float((error - error.mean()).square().mean().sqrt()) < 0.006
    assert slope(made.total[known], total[known]) == pytest.approx(1.0, abs=0.005)
    assert torch.equal(~made.local.isnan(), ~made.maps.failed)


def test_the_field_lies_where_the_affine_says() -> None:
    """Stored with the axis along the field first, the head gives the same map."""
    acquisition = acquire()
    assert acquisition.affine is not None and acquisition.mask is not None
    order = [2, 0, 1]
    affine = acquisition.affine.clone()
    affine[:3, :3] = affine[:3, order]
    turned = replace(
        acquisition,
        signal=acquisition.signal.permute(*order, 3).contiguous(),
        mask=acquisition.mask.permute(order).contiguous(),
        affine=affine,
    )
    plain = FAST(acquisition).value("Chi").permute(order)

    def apart(maps: ParameterMaps) -> float:
        assert torch.equal(maps.failed, plain.isnan())
        return float((maps.value("Chi") - plain)[~maps.failed].square().mean().sqrt())

    # Whether a corner that lies on a sphere counts is decided by rounding, axis after axis: measured
    # 0.00015 ppm. The wrong axis makes 0.01 ppm.
    told = replace(FAST, direction=(2.0, 0.0, 0.0))
    assert apart(FAST(turned)) < 5e-4
    assert apart(told(replace(turned, affine=acquisition.affine))) < 5e-4
    assert apart(FAST(replace(turned, affine=acquisition.affine))) > 5e-3


def test_which_mean_is_called_zero() -> None:
    acquisition = acquire()
    maps = {how: replace(FAST, reference=how)(acquisition) for how in Reference}
    raw = maps[Reference.NONE].value("Chi")
    known = maps[Reference.NONE].usable
    fluid = ball(SHAPE, SIZE, FLUID, BALL_MM - 2) > 0.9
    for how, zero in ((Reference.MEAN, raw[known].mean()), (Reference.CSF, raw[fluid].mean())):
        shift = (raw - maps[how].value("Chi"))[known]
        assert float(shift.std()) < 1e-12
        # CSF is found by its decay: with its rim, where other balls' streaks count for more.
        assert float(shift.mean()) == pytest.approx(float(zero), abs=0.004)
    assert float(maps[Reference.MEAN].value("Chi")[known].mean()) == pytest.approx(0.0, abs=1e-12)
    described = {how: str(one.specs[0].description) for how, one in maps.items()}
    assert "no reference" in described[Reference.NONE] and "CSF" in described[Reference.CSF]


def test_voxels_of_bad_phase_are_told_and_filled() -> None:
    """Phase of later echoes off the line in a cube: suspect, with a value that its surroundings imply."""
    acquisition = acquire()
    signal = acquisition.signal.clone()
    cube = (slice(16, 19), slice(22, 25), slice(18, 21))
    bend = torch.tensor([0.0, 0.0, 1.5, -1.5, 1.5], dtype=torch.float64)
    signal[cube] *= torch.polar(torch.ones_like(bend), bend)
    made = FAST.reconstruct(replace(acquisition, signal=signal))
    maps = made.maps
    bad = maps.status == VoxelStatus.IMPLAUSIBLE
    assert int(bad.sum()) == 27 and bool(bad[cube].all())
    assert bool(torch.isfinite(maps.value("Chi")[bad]).all())
    assert bool(torch.isfinite(maps.deviation("Chi")[bad]).all())
    assert float(maps.value("Chi")[bad].abs().max()) < 0.1
    (note,) = made.notes
    lost = 100 * float(bad.sum() / truth()[3].sum())
    assert note.startswith(f"{lost:.2f} % of the mask excluded")
    kept = replace(FAST, quality_limit=math.inf)(replace(acquisition, signal=signal))
    assert not bool((kept.status == VoxelStatus.IMPLAUSIBLE).any())


def test_nothing_outside_the_mask() -> None:
    acquisition = acquire()
    made = FAST.reconstruct(acquisition)
    outside = ~truth()[3]
    assert bool((made.maps.status[outside] == VoxelStatus.MASKED).all())
    for volume in (made.maps.value("Chi"), made.maps.deviation("Chi"), made.total, made.local):
        assert bool(volume[outside].isnan().all())
    # V-SHARP takes a voxel all around, and says so by the same status.
    eroded = truth()[3] & made.maps.failed
    assert 0.1 < float(eroded.sum() / truth()[3].sum()) < 0.3
    assert bool((made.maps.status[eroded] == VoxelStatus.MASKED).all())


def test_silent_voxels_do_not_count() -> None:
    acquisition = acquire()
    signal = acquisition.signal.clone()
    signal[:10] = 0
    assert bool(FAST(replace(acquisition, signal=signal)).failed[:10].all())


def test_std_is_what_noise_does() -> None:
    """12 draws of noise, with the closed form that the std is made for. Measured: 0.97.

    TKD, which is linear too, has 1.16 of the std; total variation smooths what it takes for noise and has
    0.25, so that the std is an upper bound there. One voxel's spread over 12 draws is itself known to
    20 %: all voxels are taken together, and the middle one.
    """
    fit = SusceptibilityFit(inversion=tikhonov)
    draws = [fit(acquire(seed=seed)) for seed in range(10, 22)]
    values = torch.stack([one.value("Chi") for one in draws])
    known = ~values.isnan().any(0)
    spread = values.std(0)[known]
    said = torch.stack([one.deviation("Chi")[known] for one in draws]).square().mean(0).sqrt()
    whole = spread.square().mean().sqrt() / said.square().mean().sqrt()
    assert float(whole) == pytest.approx(1.0, abs=0.15)
    # V-SHARP and the noise's own correlation make it differ from place to place.
    middle = float((spread / said).median())
    assert 0.8 < middle < 1.2


def test_std_grows_with_the_noise() -> None:
    quiet, loud = (FAST(acquire(sigma=sigma)) for sigma in (0.005, 0.02))
    assert quiet.noise_sd == pytest.approx(0.005, rel=0.05)
    assert loud.noise_sd == pytest.approx(0.02, rel=0.05)
    known = quiet.usable & loud.usable
    ratio = (loud.deviation("Chi") / quiet.deviation("Chi"))[known].median()
    assert float(ratio) == pytest.approx(4.0, rel=0.1)


def test_two_echoes_with_known_noise() -> None:
    acquisition = replace(acquire(times=TIMES[:2]), noise_sd=SIGMA)
    made = FAST.reconstruct(acquisition)
    known = ~made.maps.failed
    assert bool((made.maps.std[known] > 0).all())
    # Two points are always on a line.
    assert made.maps.misfit is not None and float(made.maps.misfit[known].max()) < 1e-12


@pytest.mark.parametrize("times", [TIMES[:2], (0.02,)], ids=["two", "one"])
def test_noise_of_few_echoes_is_that_of_the_background(times: tuple[float, ...]) -> None:
    """They leave no residual to take it from; thousands of voxels of air tell it to 1 %."""
    maps = FAST(acquire(times=times))
    assert maps.noise_sd == pytest.approx(SIGMA, rel=0.03)
    assert bool((maps.std[~maps.failed] > 0).all())


def test_nothing_tells_the_noise() -> None:
    """Two echoes of a head that was cut out: values, and no standard deviation rather than a wrong one."""
    maps = FAST(acquire(sigma=0.0, times=TIMES[:2]))
    assert maps.noise_sd is None
    assert bool(maps.usable.any()) and bool(maps.std.isnan().all())


def test_one_echo() -> None:
    """Without an intercept the phase of the coil is in the field; its removal takes what is smooth."""
    chi, *_ = truth()
    maps = FAST(replace(acquire(times=(0.02,)), noise_sd=SIGMA))
    assert correlation(maps.value("Chi")[maps.usable], chi[maps.usable]) > 0.7
    assert bool((maps.std[~maps.failed] > 0).all())


def test_the_order_of_the_echoes_does_not_matter() -> None:
    acquisition = acquire()
    order = [3, 0, 4, 2, 1]
    shuffled = replace(
        acquisition, signal=acquisition.signal[..., order], protocol=acquisition.protocol.select(order)
    )
    here, there = FAST.reconstruct(acquisition), FAST.reconstruct(shuffled)
    assert torch.equal(here.maps.values.nan_to_num(), there.maps.values.nan_to_num())
    assert torch.equal(here.maps.std.nan_to_num(), there.maps.std.nan_to_num())
    assert torch.equal(here.maps.status, there.maps.status)
    assert here.notes == there.notes


def test_bipolar_readout_is_seen_said_and_corrected() -> None:
    acquisition = acquire()
    x, _, _ = places(SHAPE, SIZE)
    turn = torch.polar(torch.ones_like(x), 0.4 + 0.01 * x)
    signal = acquisition.signal.clone()
    signal[..., 1::2] *= turn[..., None]
    bipolar = replace(acquisition, signal=signal)
    made = FAST.reconstruct(bipolar)
    assert any("readout is treated as bipolar and corrected" in note for note in made.notes)
    plain = FAST(acquisition)
    known = plain.usable & made.maps.usable
    apart = (made.maps.value("Chi") - plain.value("Chi"))[known]
    # The alternating phase is fitted to noisy data: less than what the noise does in a voxel.
    assert float(apart.square().mean().sqrt()) < float(plain.deviation("Chi")[known].mean())
    assert FAST.reconstruct(acquisition).notes == ()
    assert not any("bipolar" in note for note in replace(FAST, bipolar=False).reconstruct(bipolar).notes)


def test_phase_of_the_other_sign_is_noticed() -> None:
    """Iron, where decay is fast, comes out diamagnetic."""
    made = FAST.reconstruct(acquire(sign=-1.0))
    (note,) = made.notes
    assert "the sign of the phase is probably reversed; see --invert-phase" in note
    upright = FAST(acquire(sigma=0.0)).value("Chi")
    turned = FAST(acquire(sigma=0.0, sign=-1.0)).value("Chi")
    torch.testing.assert_close(turned, -upright, rtol=0, atol=1e-6, equal_nan=True)


def test_progress_reaches_the_end() -> None:
    seen: list[tuple[int, int]] = []
    FAST(acquire(), lambda done, total: seen.append((done, total)))
    n_voxels = math.prod(SHAPE)
    assert seen[-1] == (n_voxels, n_voxels)
    assert seen == sorted(seen) and len(seen) > 3 and {total for _, total in seen} == {n_voxels}


def test_what_cannot_be_mapped_is_refused() -> None:
    acquisition = acquire(sigma=0.0)
    affine = acquisition.affine
    assert affine is not None
    sheared = affine.clone()
    sheared[0, 1] = 0.3
    magnitude = replace(acquisition, signal=acquisition.signal.abs(), kind=SignalKind.MAGNITUDE)
    nowhere = replace(acquisition, protocol=protocol_from_values(echo_time=TIMES))
    timeless = protocol_from_values(field_strength=FIELD, repetition_time=[0.03] * 5)
    refused = [
        (magnitude, ProtocolError, "needs the phase, and these are magnitude volumes"),
        (nowhere, ProtocolError, "needs the field strength, which is unknown"),
        (replace(acquisition, affine=None), ProtocolError, "3D images with an affine"),
        (replace(acquisition, affine=sheared), UsageError, "voxel axes are not orthogonal"),
        (replace(acquisition, protocol=timeless), ProtocolError, "susceptibility needs echo_time"),
    ]
    for wrong, error, message in refused:
        for call in (FAST.accept, FAST):
            with pytest.raises(error, match=message):
                call(wrong)
    FAST.accept(acquisition)
    with pytest.raises(InputError, match="the mask is empty"):
        FAST(replace(acquisition, mask=torch.zeros(SHAPE, dtype=torch.bool)))


def test_fluid_that_is_not_there() -> None:
    to_csf = replace(FAST, reference=Reference.CSF)
    acquisition = acquire()
    everywhere = replace(
        acquisition, signal=acquisition.signal * torch.exp(-20 * torch.tensor(TIMES, dtype=torch.float64))
    )
    with pytest.raises(InputError, match="no CSF was found in the middle of the brain"):
        to_csf(everywhere)
    with pytest.raises(ProtocolError, match="CSF cannot be located with a single echo"):
        to_csf(replace(acquire(times=(0.02,)), noise_sd=SIGMA))


def test_phase_that_follows_no_line() -> None:
    acquisition = acquire()
    turn = (
        2
        * math.pi
        * torch.rand(acquisition.signal.shape, generator=seeded_generator(5, "phase"), dtype=torch.float64)
    )
    noise = torch.polar(acquisition.signal.abs(), turn)
    with pytest.raises(InputError, match="the phase inside the mask is noise"):
        FAST(replace(acquisition, signal=noise))
    late = torch.cat([acquisition.signal[..., :2], noise[..., 2:]], dim=-1)
    with pytest.raises(InputError, match=r"linear in echo time to within 1e-05 rad"):
        replace(FAST, quality_limit=1e-5)(replace(acquisition, signal=late))


def test_a_brain_too_thin_for_spheres() -> None:
    sheet = torch.zeros(SHAPE, dtype=torch.bool)
    sheet[10:24, 10:24, 16] = True
    with pytest.raises(InputError, match="the mask is 1 voxel thick along its third axis"):
        replace(FAST, background=partial(vsharp, largest_mm=8.0))(replace(acquire(), mask=sheet))


def contrast(maps: ParameterMaps, at: tuple[float, float, float]) -> float:
    """Return the susceptibility of a ball over that of what lies around it."""
    chi = maps.value("Chi")
    x, y, z = places(SHAPE, SIZE)
    away = ((x - at[0]) ** 2 + (y - at[1]) ** 2 + (z - at[2]) ** 2).sqrt()
    known = torch.isfinite(chi)
    around = chi[known & (away > 11) & (away < 16)].median()
    return float(chi[known & (away < 6)].mean() - around)


def test_each_piece_of_a_mask_gets_the_values_of_the_whole() -> None:
    acquisition = acquire()
    x, _, _ = places(SHAPE, SIZE)
    halves = truth()[3] & (x.abs() > 1.5)
    whole = FAST(acquisition)
    found = FAST.reconstruct(replace(acquisition, mask=halves))
    for at in (IRON, MYELIN):
        assert contrast(found.maps, at) == pytest.approx(contrast(whole, at), rel=0.1)
    notes = " ".join(found.notes)
    assert "the mask has 2 separate parts" in notes
    assert "a part of the mask is 26 mm thick" in notes
    assert not bool((found.maps.status == VoxelStatus.AT_LIMIT).any())


def test_specks_of_a_mask_are_left_out_and_noted() -> None:
    acquisition = acquire()
    mask = truth()[3].clone()
    inside = int(mask.sum())
    signal = acquisition.signal.clone()
    mask[0, 0, 0] = True
    signal[0, 0, 0] = 1.0
    found = FAST.reconstruct(replace(acquisition, signal=signal, mask=mask))
    assert f"{100 / (inside + 1):.2g} % of the mask consists of small fragments" in " ".join(found.notes)
    torch.testing.assert_close(found.maps.values, FAST(acquisition).values, equal_nan=True)


def test_voxels_of_a_thin_slab_are_marked() -> None:
    acquisition = acquire()
    _, _, z = places(SHAPE, SIZE)
    found = FAST.reconstruct(replace(acquisition, mask=truth()[3] & (z.abs() < 6)))
    assert not bool(found.maps.usable.any())
    assert bool((found.maps.status == VoxelStatus.AT_LIMIT).any())
    assert "a part of the mask is 12 mm thick" in " ".join(found.notes)
    # What the note says: most of the difference is lost.
    assert contrast(found.maps, IRON) < 0.3 * CHI[IRON]
