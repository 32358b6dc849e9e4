from pathlib import Path

import numpy as np
import pytest
import torch

from tests.bids.files import AFFINE, ramp, write_inversion_series, write_nifti
from unweight.bids.inheritance import entry_beside
from unweight.bids.series.overrides import ProtocolOverrides
from unweight.bids.series.stack import Stack, stack
from unweight.core.acquisition import SignalKind
from unweight.core.errors import InputError, ProtocolError

TIMES = (1.1, 0.05, 0.4)


def stacked(paths: list[Path], **given: object) -> Stack:
    return stack([entry_beside(path) for path in paths], ProtocolOverrides(**given))  # type: ignore[arg-type]  # test data


def test_volumes_are_put_in_the_order_of_their_inversion_times(tmp_path: Path) -> None:
    acquisition = stacked(write_inversion_series(tmp_path, TIMES)).acquisition
    assert acquisition.signal.shape == (4, 3, 2, 3)
    assert acquisition.signal.dtype == torch.float32
    assert acquisition.signal[0, 0, 0].tolist() == [50.0, 400.0, 1100.0]
    times = acquisition.protocol.require("inversion_time", "test")
    assert times.dtype == torch.float64
    assert times.tolist() == [0.05, 0.4, 1.1]
    assert acquisition.kind is SignalKind.MAGNITUDE
    np.testing.assert_allclose(acquisition.affine, AFFINE)  # type: ignore[arg-type]  # a tensor will do


def test_one_file_with_a_fourth_axis(tmp_path: Path) -> None:
    fields = {"InversionTime": list(TIMES), "RepetitionTime": 5.0}
    path = write_nifti(tmp_path / "ir.nii.gz", ramp(4, 3, 2, 3), fields)
    told = stacked([path]).acquisition
    assert told.protocol.as_dict() == {"inversion_time": [0.05, 0.4, 1.1], "repetition_time": [5.0] * 3}
    np.testing.assert_array_equal(told.signal, ramp(4, 3, 2, 3)[..., [1, 2, 0]])
    given = stacked([path], inversion_time=(0.1, 0.2, 0.3), repetition_time=(2.0,)).acquisition
    assert given.protocol.as_dict() == {"inversion_time": [0.1, 0.2, 0.3], "repetition_time": [2.0] * 3}
    np.testing.assert_array_equal(given.signal, ramp(4, 3, 2, 3))


def test_one_inversion_time_for_many_volumes_is_refused(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "ir.nii", ramp(4, 3, 2, 3), {"InversionTime": 0.05, "EchoTime": 0.01})
    with pytest.raises(ProtocolError, match="one InversionTime for 3 volumes"):
        stacked([path])
    assert stacked([path], inversion_time=TIMES).acquisition.protocol.n_volumes == 3
    wrong = write_nifti(tmp_path / "b.nii", ramp(4, 3, 2, 3), {"InversionTime": [0.1, 0.2]})
    with pytest.raises(ProtocolError, match="lists 2 values for 3 volumes"):
        stacked([wrong])


def test_given_times_win_even_over_nonsense(tmp_path: Path) -> None:
    paths = write_inversion_series(tmp_path, (400, 50, 1100))
    with pytest.raises(ProtocolError, match="looks like milliseconds"):
        stacked(paths)
    found = stacked(paths, inversion_time=(0.4, 0.05, 1.1), readout_time=(0.2,)).acquisition.protocol
    assert found.as_dict()["inversion_time"] == [0.05, 0.4, 1.1]
    assert found.as_dict()["readout_time"] == [0.2] * 3


def test_given_times_in_another_order_than_the_files(tmp_path: Path) -> None:
    with pytest.raises(ProtocolError, match="not in the order of the files"):
        stacked(write_inversion_series(tmp_path, TIMES), inversion_time=(0.05, 0.4, 1.1))


def test_times_and_volumes_must_be_as_many(tmp_path: Path) -> None:
    with pytest.raises(ProtocolError, match="2 values of inversion_time for 3 volumes"):
        stacked(write_inversion_series(tmp_path, TIMES), inversion_time=(0.05, 0.4))
    with pytest.raises(ProtocolError, match="1 values of inversion_time for 3 volumes"):
        stacked(write_inversion_series(tmp_path, TIMES), inversion_time=(0.05,))


def test_grids_that_differ_name_both_files(tmp_path: Path) -> None:
    first, second, third = write_inversion_series(tmp_path, TIMES)
    fields = {"InversionTime": 0.4, "EchoTime": 0.01, "RepetitionTime": 5.0}
    shifted = AFFINE.copy()
    shifted[0, 3] += 0.2
    write_nifti(third, ramp(4, 3, 2), fields, affine=shifted)
    with pytest.raises(InputError, match="at a different position than ir_0.nii") as caught:  # noqa: RUF043  # a dot is a dot
        stacked([first, second, third])
    assert caught.value.path == third
    write_nifti(third, ramp(4, 4, 2), fields)
    with pytest.raises(InputError, match="has 4x4x2 voxels, but ir_0.nii has 4x3x2"):  # noqa: RUF043  # as above
        stacked([first, second, third])
    shifted[0, 3] = AFFINE[0, 3] + 0.05
    write_nifti(third, ramp(4, 3, 2), fields, affine=shifted)
    stacked([first, second, third])


def test_timings_that_do_not_belong_together(tmp_path: Path) -> None:
    paths = write_inversion_series(tmp_path, TIMES)
    write_nifti(paths[1], ramp(4, 3, 2), {"InversionTime": 0.05, "EchoTime": 0.02, "RepetitionTime": 5.0})
    with pytest.raises(ProtocolError, match=r"echo_time is .* not volumes of one series"):
        stacked(paths)
    write_nifti(paths[1], ramp(4, 3, 2), {"InversionTime": 0.05, "RepetitionTime": 5.0})
    with pytest.raises(ProtocolError, match="echo_time is known for 2 of 3 volumes") as caught:
        stacked(paths)
    assert caught.value.path == paths[1]
    strong = write_inversion_series(tmp_path, TIMES, MagneticFieldStrength=3)
    write_nifti(
        strong[0],
        ramp(4, 3, 2),
        {"InversionTime": 1.1, "EchoTime": 0.01, "RepetitionTime": 5.0, "MagneticFieldStrength": 1.5},
    )
    with pytest.raises(ProtocolError, match="field strengths"):
        stacked(strong)


def test_repetition_times_may_differ(tmp_path: Path) -> None:
    paths = write_inversion_series(tmp_path, (0.05, 0.4))
    write_nifti(paths[1], ramp(4, 3, 2), {"InversionTime": 0.4, "EchoTime": 0.01, "RepetitionTime": 7.5})
    assert stacked(paths).acquisition.protocol.as_dict()["repetition_time"] == [5.0, 7.5]


def test_no_timing_at_all(tmp_path: Path) -> None:
    with pytest.raises(ProtocolError, match="no timing is known"):
        stacked([write_nifti(tmp_path / "a.nii", ramp(4, 3, 2))])


def test_negative_values_must_be_explained(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "ir.nii", ramp(4, 3, 2, 2) - 10, {"InversionTime": [0.1, 0.5]})
    with pytest.raises(InputError, match="negative values, and it is not identified") as caught:
        stacked([path])
    assert "--signed" in caught.value.remedy
    assert stacked([path], kind=SignalKind.SIGNED).acquisition.kind is SignalKind.SIGNED
    labelled = {"InversionTime": [0.1, 0.5], "ImageType": ["ORIGINAL", "PRIMARY", "R", "REAL"]}
    write_nifti(tmp_path / "ir.nii", ramp(4, 3, 2, 2) - 10, labelled)
    assert stacked([path]).acquisition.kind is SignalKind.SIGNED
    write_nifti(tmp_path / "ir.nii", ramp(4, 3, 2, 2) - 10, labelled | {"ImageType": ["M"]})
    with pytest.raises(InputError, match="labelled as a magnitude image"):
        stacked([path])


def test_small_negative_values_of_a_magnitude_image_are_interpolation(tmp_path: Path) -> None:
    values = ramp(4, 3, 2, 2) + 100.0
    values[0, 0, 0, 0] = -1.0
    path = write_nifti(tmp_path / "ir.nii", values, {"InversionTime": [0.1, 0.5]})
    with pytest.raises(InputError, match="negative values") as caught:
        stacked([path])
    assert "--magnitude" in caught.value.remedy
    read = stacked([path], kind=SignalKind.MAGNITUDE)
    assert float(read.acquisition.signal.min()) == 0.0
    assert any("small negative values (1" in note for note in read.notes)
    values[0, 0, 0, 0] = -50.0
    write_nifti(path, values, {"InversionTime": [0.1, 0.5]})
    with pytest.raises(InputError, match="negative values"):
        stacked([path], kind=SignalKind.MAGNITUDE)


def test_magnitude_is_taken_if_both_are_there_and_said(tmp_path: Path) -> None:
    magnitude = write_inversion_series(tmp_path, TIMES, ImageType=["M"])
    real = write_inversion_series(tmp_path, TIMES, stem="re", ImageType=["R"])
    both = stacked([*magnitude, *real])
    assert both.acquisition.kind is SignalKind.MAGNITUDE
    assert both.notes == ("magnitude images are used; real images are ignored",)
    assert [entry.path.name for entry in both.entries] == ["ir_1.nii", "ir_2.nii", "ir_0.nii"]
    asked = stacked([*magnitude, *real], kind=SignalKind.SIGNED)
    assert [entry.path.name for entry in asked.entries] == ["re_1.nii", "re_2.nii", "re_0.nii"]
    with pytest.raises(InputError, match=r"no magnitude images.*only real images"):
        stacked(real, kind=SignalKind.MAGNITUDE)


def test_a_mask_on_the_same_grid(tmp_path: Path) -> None:
    paths = write_inversion_series(tmp_path, TIMES)
    inside = (ramp(4, 3, 2) > 5).astype("u1")
    mask = write_nifti(tmp_path / "mask.nii.gz", inside)
    found = stacked(paths, mask=mask).acquisition
    np.testing.assert_array_equal(found.mask, inside > 0)  # type: ignore[arg-type]  # a tensor will do
    for data, problem in (
        (ramp(4, 3, 3), "voxels"),
        (0 * ramp(4, 3, 2), "0 everywhere"),
        (ramp(4, 3, 2, 2), "3D volume"),
    ):
        write_nifti(mask, data)
        with pytest.raises(InputError, match=problem):
            stacked(paths, mask=mask)


def test_a_mask_with_its_axes_in_another_order(tmp_path: Path) -> None:
    paths = write_inversion_series(tmp_path, TIMES)
    inside = np.isin(ramp(4, 3, 2), (3, 8, 9, 20)).astype("u1")
    turn = np.array([[0, -1, 0, 3], [0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1.0]])
    # Voxel (a, b, c) of the mask is voxel (3 - b, c, a) of the images.
    stored = inside[::-1].transpose(2, 0, 1)
    mask = write_nifti(tmp_path / "mask.nii", stored, affine=AFFINE @ turn)
    found = stacked(paths, mask=mask).acquisition.mask
    np.testing.assert_array_equal(found, inside > 0)  # type: ignore[arg-type]  # a tensor will do
    turn[0, 3] = 3.5
    write_nifti(mask, stored, affine=AFFINE @ turn)
    with pytest.raises(InputError, match="has 2x4x3 voxels"):
        stacked(paths, mask=mask)


def test_a_mask_of_shares_is_cut_at_a_half(tmp_path: Path) -> None:
    paths = write_inversion_series(tmp_path, TIMES)
    inside = (ramp(4, 3, 2) > 5).astype("f4")
    mask = write_nifti(tmp_path / "mask.nii", np.where(inside > 0, 0.7, 1e-6).astype("f4"))
    found = stacked(paths, mask=mask).acquisition.mask
    np.testing.assert_array_equal(found, inside > 0)  # type: ignore[arg-type]  # a tensor will do
    write_nifti(mask, 3.7 * inside)  # no shares: what is not 0 is inside
    found = stacked(paths, mask=mask).acquisition.mask
    np.testing.assert_array_equal(found, inside > 0)  # type: ignore[arg-type]  # as above


def test_clipped_voxels_of_any_volume_are_flagged(tmp_path: Path) -> None:
    data = ramp(10, 10, 4).astype("i2")
    series = np.stack([data, data, data], axis=-1)
    series[:2, :3, 0, 1] = 4095
    path = write_nifti(tmp_path / "ir.nii", series, {"InversionTime": list(TIMES)})
    saturated = stacked([path]).acquisition.saturated
    assert saturated is not None
    np.testing.assert_array_equal(saturated, series[..., 1] == 4095)


def test_philips_volumes_of_different_scale_are_brought_to_one(tmp_path: Path) -> None:
    paths = []
    for index, (rs, ss) in enumerate(((0.8, 0.0034), (1.9, 0.0017))):
        fields = {
            "InversionTime": 0.1 + index,
            "PhilipsRescaleSlope": rs,
            "PhilipsScaleSlope": ss,
            "UsePhilipsFloatNotDisplayScaling": 0,
        }
        true = 1000 * ramp(4, 3, 2)
        paths.append(write_nifti(tmp_path / f"p{index}.nii", (true * rs * ss).astype("f4"), fields))
    signal = stacked(paths).acquisition.signal
    np.testing.assert_allclose(signal[..., 0], 1000 * ramp(4, 3, 2), rtol=1e-5)
    np.testing.assert_allclose(signal[..., 1], 1000 * ramp(4, 3, 2), rtol=1e-5)


def test_only_zeros_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="all volumes are 0"):
        stacked([write_nifti(tmp_path / "a.nii", 0 * ramp(4, 3, 2), {"EchoTime": 0.01})])


@pytest.mark.parametrize("pair", [("M", "P"), ("R", "I")])
def test_complex_series_from_two_parts(tmp_path: Path, pair: tuple[str, str]) -> None:
    phase = np.linspace(-3.1, 3.1, 24).reshape(4, 3, 2).astype("f4")
    paths = []
    for echo in (1, 2):
        value = echo * ramp(4, 3, 2) * np.exp(1j * phase)
        parts = {"M": np.abs(value), "P": phase, "R": value.real, "I": value.imag}
        for part in pair:
            fields = {"EchoTime": 0.004 * echo, "ImageType": ["ORIGINAL", part]}
            paths.append(write_nifti(tmp_path / f"{part}{echo}.nii", parts[part].astype("f4"), fields))
    acquisition = stacked(paths[::-1], kind=SignalKind.COMPLEX).acquisition
    assert acquisition.kind is SignalKind.COMPLEX
    expected = np.stack([echo * ramp(4, 3, 2) * np.exp(1j * phase) for echo in (1, 2)], axis=-1)
    np.testing.assert_allclose(acquisition.signal, expected, rtol=1e-5)
    with pytest.raises(InputError, match="complex images need"):
        stacked(paths[:-1], kind=SignalKind.COMPLEX)
