"""T2 with stimulated echoes: truth, bound, known maps, noise floor, and real trains."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import scipy.io
import torch
from torch import Tensor

from unweight.bids.read import read_inputs
from unweight.core.acquisition import Acquisition, SignalKind
from unweight.core.errors import InputError, ProtocolError, UsageError
from unweight.core.maps import ParameterMaps, VoxelStatus
from unweight.core.protocol import protocol_from_values
from unweight.core.seeding import seeded_generator
from unweight.fit.echo_train import EchoTrainFit, train_models
from unweight.fit.nonlinear_decay import NonlinearDecay
from unweight.fit.relaxation import RelaxationFit
from unweight.phantom.facts import sphere_array
from unweight.phantom.plate_pose import plate_pose
from unweight.phantom.slice_plane import SlicePlane
from unweight.phantom.sphere_order import template_symmetries
from unweight.signals.epg import MULTI_ECHO_SPIN_ECHO, MultiEchoSpinEcho, sinc_profile
from unweight.signals.noise import Gaussian
from unweight.signals.parameters import T2
from unweight.signals.precision import cramer_rao_bound
from unweight.testing.check_estimator import check_estimator

Shared = Callable[[str], Path]
SIXTEEN = protocol_from_values(echo_time=[0.01 * number for number in range(1, 17)])
UNIFORM_ONLY = EchoTrainFit(models=train_models()[:1])
SINC = MultiEchoSpinEcho(profile=sinc_profile(1.25))


def tissue(count: int, b1: tuple[float, float] = (0.6, 0.95), t1: float = 1.0) -> Tensor:
    """Parameters with T2 of 30 to 180 ms."""
    uniform = torch.rand(count, 2, generator=seeded_generator(5, "tissue"), dtype=torch.float64)
    theta = torch.full((count, 4), t1, dtype=torch.float64)
    theta[:, 0] = 0.03 + 0.15 * uniform[:, 0]
    theta[:, 1] = 1000.0
    theta[:, 2] = b1[0] + (b1[1] - b1[0]) * uniform[:, 1]
    return theta


def acquire(
    theta: Tensor, sigma: float = 0.0, model: MultiEchoSpinEcho = MULTI_ECHO_SPIN_ECHO
) -> Acquisition:
    """Magnitudes with Rician noise."""
    signal = model(theta, SIXTEEN)
    parts = sigma * torch.randn(
        (2, *signal.shape), generator=seeded_generator(6, "noise"), dtype=torch.float64
    )
    magnitude = torch.hypot(signal + parts[0], parts[1])
    return Acquisition(signal=magnitude, protocol=SIXTEEN, noise_sd=sigma or None)


def test_contract() -> None:
    check_estimator(UNIFORM_ONLY, acquire(tissue(60), 5.0))


def test_noiseless_trains_become_the_truth() -> None:
    theta = tissue(400)
    maps = UNIFORM_ONLY(acquire(theta))
    assert maps.count() == {VoxelStatus.OK: 400}
    torch.testing.assert_close(maps.value("T2"), theta[:, 0], rtol=3e-4, atol=0)
    torch.testing.assert_close(maps.value("B1"), theta[:, 2], rtol=1e-3, atol=0)
    torch.testing.assert_close(maps.value("S0"), theta[:, 1], rtol=1e-3, atol=0)
    assert maps.values.dtype == torch.float64
    signal = acquire(theta).signal.float()
    assert UNIFORM_ONLY(replace(acquire(theta), signal=signal)).values.dtype == torch.float32


def test_spread_and_stated_deviations_are_the_bound() -> None:
    theta = tissue(4000, (0.75, 0.75))
    theta[:, 0] = 0.08
    maps = UNIFORM_ONLY(acquire(theta, 10.0))
    held = {"T1": torch.ones(1, dtype=torch.float64)}
    bound = cramer_rao_bound(MULTI_ECHO_SPIN_ECHO, theta[:1], SIXTEEN, Gaussian(sigma=10.0), held)[0]
    for place, name in ((0, "T2"), (2, "B1"), (1, "S0")):
        values = maps.value(name)[maps.usable]
        assert float(values.std()) == pytest.approx(float(bound[place]), rel=0.05)
        stated = float(maps.deviation(name)[maps.usable].median())
        assert stated == pytest.approx(float(bound[place]), rel=0.03)
    assert float(maps.usable.double().mean()) > 0.999
    # The mean of 4000 voxels is known to a 63rd of their deviation.
    assert abs(float(maps.value("T2")[maps.usable].mean()) - 0.08) < 0.06 * float(bound[0])


def test_near_180_degrees_the_deviation_still_holds() -> None:
    theta = tissue(3000, (0.97, 1.0))
    maps = UNIFORM_ONLY(acquire(theta, 10.0))
    z = ((maps.value("T2") - theta[:, 0]) / maps.deviation("T2"))[maps.usable]
    assert abs(float(z.mean())) < 0.2 and 0.9 < float(z.std()) < 1.1
    assert bool((maps.value("B1")[maps.usable] <= 1).all())


@pytest.mark.parametrize("noise", [None, 25.0])
def test_late_echoes_on_the_noise_floor_do_not_lengthen_t2(noise: float | None) -> None:
    """T2 of 40 ms at SNR 40: the signal of the last echo is below the noise."""
    theta = tissue(3000, (0.75, 0.9))
    theta[:, 0] = 0.04
    air = torch.zeros(1500, 4, dtype=torch.float64) + torch.tensor([0.04, 1e-6, 0.8, 1.0])
    acquisition = replace(acquire(torch.cat((theta, air)), 25.0), noise_sd=noise)
    maps = UNIFORM_ONLY(acquisition)
    usable = maps.usable[:3000]
    assert float(usable.double().mean()) > 0.99
    assert abs(float(maps.value("T2")[:3000][usable].median()) / 0.04 - 1) < 0.01
    assert int((maps.status[3000:] == VoxelStatus.NO_SIGNAL).sum()) > 1490
    assert maps.noise_sd == pytest.approx(25.0, rel=0.05)


def test_the_slice_profile_is_chosen_by_the_data() -> None:
    sliced = EchoTrainFit()(acquire(tissue(600), 5.0, SINC))
    assert sliced.notes["slice_profile"] == "sinc, refocusing 1.25 times as thick as excitation"
    ratio = sliced.value("T2") / tissue(600)[:, 0]
    assert abs(float(ratio[sliced.usable].median()) - 1) < 0.005
    assert EchoTrainFit()(acquire(tissue(600), 5.0)).notes["slice_profile"] == "uniform"


def test_known_maps_and_held_values_are_used() -> None:
    theta = tissue(300, t1=0.4)
    acquisition = acquire(theta, 5.0)
    known = {"B1": theta[:, 2], "T1": theta[:, 3]}
    given = UNIFORM_ONLY(replace(acquisition, known=known))
    free = EchoTrainFit(models=train_models()[:1], fixed={"T1": 0.4})(acquisition)
    both = EchoTrainFit(models=train_models()[:1], fixed={"T1": 0.4, "B1": 0.8})(acquisition)
    torch.testing.assert_close(given.value("B1"), theta[:, 2])
    assert bool((given.deviation("B1") == 0).all()) and bool((both.value("B1") == 0.8).all())
    spread = [float((maps.value("T2") / theta[:, 0] - 1).std()) for maps in (given, free, both)]
    assert spread[0] < 0.9 * spread[1] and 2 * spread[1] < spread[2]
    z = (given.value("T2") - theta[:, 0]) / given.deviation("T2")
    assert abs(float(z.mean())) < 0.2 and 0.85 < float(z.std()) < 1.15
    outside = UNIFORM_ONLY(replace(acquisition, known={"B1": torch.full_like(theta[:, 2], 1.7)}))
    assert not bool(outside.usable.any())


def test_values_with_a_sign_and_angles_of_every_pulse() -> None:
    angles = tuple(np.deg2rad([140.0, 120.0, *(100.0,) * 14]).tolist())
    model = MultiEchoSpinEcho(refocusing=angles)
    theta = tissue(500, (0.8, 1.2))
    noise = torch.randn(500, 16, generator=seeded_generator(7, "noise"), dtype=torch.float64)
    acquisition = Acquisition(
        signal=model(theta, SIXTEEN) + 5 * noise, protocol=SIXTEEN, kind=SignalKind.SIGNED
    )
    maps = EchoTrainFit(models=(model,))(acquisition)
    z = ((maps.value("T2") - theta[:, 0]) / maps.deviation("T2"))[maps.usable]
    assert len(z) > 480 and abs(float(z.mean())) < 0.2 and 0.85 < float(z.std()) < 1.15


def test_messages() -> None:
    three = acquire(tissue(5), 5.0)
    three = Acquisition(signal=three.signal[:, :3], protocol=SIXTEEN.select([0, 1, 2]))
    with pytest.raises(ProtocolError, match="3 echoes cannot determine T2, S0 and B1"):
        UNIFORM_ONLY(three)
    gap = [0, 1, 2, 3, 6, 7]
    with pytest.raises(ProtocolError, match="echoes are missing in the middle of the train"):
        UNIFORM_ONLY(Acquisition(signal=acquire(tissue(5)).signal[:, gap], protocol=SIXTEEN.select(gap)))
    with pytest.raises(ProtocolError, match="2 refocusing angles for 16 pulses"):
        EchoTrainFit(models=(MultiEchoSpinEcho(refocusing=(3.0, 2.0)),))(acquire(tissue(5)))
    with pytest.raises(InputError, match="no voxel to process"):
        UNIFORM_ONLY(replace(acquire(tissue(5)), mask=torch.zeros(5, dtype=torch.bool)))
    with pytest.raises(UsageError, match="T2 cannot be fixed"):
        EchoTrainFit(fixed={"T2": 0.1})
    with pytest.raises(UsageError, match="T1 cannot be fixed at 1000"):
        EchoTrainFit(fixed={"T1": 1000.0})


def sphere_medians(acquisition: Acquisition, maps: ParameterMaps, expected: tuple[float, ...]) -> Tensor:
    """Return T2 of each sphere, in the order that agrees best with what is expected."""
    assert acquisition.affine is not None
    size = acquisition.affine[:3, :3].norm(dim=0)
    plane = SlicePlane(axis=2, index=0, voxel_mm=(float(size[0]), float(size[1])))
    pose = plate_pose(acquisition.signal[:, :, 0].double(), plane.voxel_mm)
    assert pose is not None
    t2 = maps.value("T2")[:, :, 0]
    discs = plane.discs(t2.shape, pose.centres_mm, 4.5)
    medians = torch.stack([t2[disc].nanmedian() for disc in discs]).double()
    true = torch.tensor(expected, dtype=torch.float64)
    return min(
        (medians[order] for order in template_symmetries()),
        key=lambda t2: float((t2 / true).log().abs().sum()),
    )


def test_real_plate_at_3_tesla(shared_data: Shared) -> None:
    """23 echoes of 7 ms, coronal; the sequence makes the refocusing slice 1.25 times as thick as the other.

    Measured with stimulated echoes: −4.3 to +2.7 % from nominal in nine of the first twelve spheres; one
    exponential is 4 to 22 % too long in them. The other three, 1, 5 and 12, are +190, +29 and +9 % (see
    `docs/qsm.md`).
    """
    root = shared_data("nist_ir_freiburg")
    content = scipy.io.loadmat(root / "T2_mapping_images_reconstructed.mat")
    images = np.abs(next(value for name, value in content.items() if not name.startswith("_")))
    acquisition = Acquisition(
        signal=torch.from_numpy(1000 * images / images.max()).float()[:, :, None].contiguous(),
        protocol=protocol_from_values(echo_time=[0.007 * number for number in range(1, 24)]),
        affine=torch.diag(torch.tensor([250 / 128, 250 / 128, 6.0, 1.0], dtype=torch.float64)),
    )
    nominal = sphere_array(4, 2, 3.0).nominal.t2
    assert nominal is not None
    maps = EchoTrainFit()(acquisition)
    assert maps.notes["slice_profile"] == "sinc, refocusing 1.25 times as thick as excitation"
    away = sphere_medians(acquisition, maps, nominal) / torch.tensor(nominal, dtype=torch.float64) - 1
    others = [1, 2, 3, 5, 6, 7, 8, 9, 10]
    assert float(away[others].abs().max()) < 0.05 and float(away[others].abs().median()) < 0.02
    exponential = RelaxationFit(solver=NonlinearDecay(), quantity=T2, skip_first=1)(acquisition)
    longer = sphere_medians(acquisition, exponential, nominal) / torch.tensor(nominal).double() - 1
    assert float(longer[others].median()) > 0.1
    assert float(away[0]) > 1 and float(longer[0]) > 1 and float(away[4]) > 0.25 and float(longer[4]) > 0.25


def test_real_plate_at_one_and_a_half_tesla(shared_data: Shared) -> None:
    """32 echoes of 12.7 ms, slices of 5 mm: nearer to nominal than one exponential."""
    root = shared_data("nist_ir_hazen")
    (series,) = read_inputs([root / "T2" / "site1_20200218" / "plate4"])
    nominal = sphere_array(4, 1, 1.5).nominal.t2
    assert nominal is not None
    true = torch.tensor(nominal, dtype=torch.float64)
    both = []
    for fit in (EchoTrainFit(), RelaxationFit(solver=NonlinearDecay(), quantity=T2, skip_first=1)):
        away = sphere_medians(series.acquisition, fit(series.acquisition), nominal) / true - 1
        both.append(float(away[:12].abs().median()))
    assert both[0] < 0.09 and both[1] > 0.15


def test_real_brain(shared_data: Shared) -> None:
    """30 echoes of 12.8 ms: T2 of most tissue is 15 to 25 % below that of one exponential."""
    root = shared_data("mese_vfa_qmrust")
    facts = json.loads((root / "mono_t2.json").read_text())
    signal = torch.from_numpy(nib.load(root / "mono_t2.nii.gz").get_fdata(dtype=np.float32))
    mask = torch.from_numpy(nib.load(root / "mono_t2_mask.nii.gz").get_fdata() > 0)
    acquisition = Acquisition(
        signal=signal.clamp(min=0),
        protocol=protocol_from_values(echo_time=[item["EchoTime"] for item in facts["volume_ids"]]),
        mask=mask.reshape(signal.shape[:3]),
    )
    ours = EchoTrainFit()(acquisition)
    exponential = RelaxationFit(solver=NonlinearDecay(), quantity=T2, skip_first=1)(acquisition)
    tissue_voxels = ~ours.failed & ~exponential.failed
    assert float(tissue_voxels.sum() / acquisition.inside.sum()) > 0.8
    ratio = (ours.value("T2") / exponential.value("T2"))[tissue_voxels]
    assert 0.75 < float(ratio.median()) < 0.87
    assert 0.07 < float(ours.value("T2")[tissue_voxels].median()) < 0.09
