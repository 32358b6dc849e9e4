"""Every way a series of Philips images may be scaled ends in one unit, or is refused."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

import dcm2niix
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.bids.files import write_header, write_nifti
from tests.cli.outcome import called
from tests.dicom_maker import Order, Quantity, Scales, Storage, signal, write_dicom
from unweight.bids.inheritance import entry_beside
from unweight.bids.nifti.philips import check_one_unit
from unweight.bids.nifti.volume import open_volume
from unweight.bids.read import read_inputs
from unweight.bids.series.overrides import ProtocolOverrides
from unweight.bids.series.stack import stack
from unweight.core.acquisition import SignalKind
from unweight.core.errors import InputError

Volumes = NDArray[np.float64]
# (RS, RI, SS, real-world slope and intercept), as they differ from volume to volume
SCALES = ((0.8, 0.0, 0.0034, 2.0, 0.0), (1.9, -30.0, 0.0017, 0.7, 4.0), (1.9, -30.0, 0.0025, 0.7, 4.0))
TIMES = (0.1, 0.4, 1.2)
KINDS = ("precise", "displayed", "world")
NEW, OLD = "v1.0.20260724", "v1.0.20201102"
PHILIPS = {
    "Manufacturer": "Philips Medical Systems",
    "ImageType": ["ORIGINAL", "PRIMARY", "M_SE", "M", "SE"],
}
FACTORS = (1.0, 1.6, 0.7, 1.3, 0.5, 0.9)
SHAPE = (12, 12, 3)


def stored(index: int) -> NDArray[np.int16]:
    """Return stored numbers of 12 bits that differ from volume to volume."""
    return np.random.default_rng(index).integers(20, 4000, SHAPE).astype("i2")


def precise(index: int) -> Volumes:
    rs, ri, ss, *_ = SCALES[index]
    return (stored(index) * rs + ri) / (rs * ss)


def line(kind: str, index: int) -> tuple[float, float]:
    """Return slope and intercept of what an image holds."""
    rs, ri, ss, ws, wi = SCALES[index]
    return {"precise": (1 / ss, ri / (rs * ss)), "displayed": (rs, ri), "world": (ws, wi)}[kind]


def fields(index: int, *, world: bool = True, **more: object) -> dict[str, object]:
    rs, ri, ss, ws, wi = SCALES[index]
    told: dict[str, object] = {
        "Manufacturer": "Philips",
        "InversionTime": TIMES[index],
        "PhilipsRescaleSlope": rs,
        "PhilipsRescaleIntercept": ri,
        "PhilipsScaleSlope": ss,
        "UsePhilipsFloatNotDisplayScaling": 1,
        "ConversionSoftwareVersion": NEW,
    }
    if world:
        told |= {"PhilipsRWVSlope": ws, "PhilipsRWVIntercept": wi}
    return {name: value for name, value in (told | more).items() if value is not None}


def with_slope(
    path: Path, data: NDArray[np.generic], slope: float, intercept: float, **told: object
) -> Path:
    """Write an image with a scaling in its header, and its sidecar."""
    path.with_suffix(".json").write_text(json.dumps(told))
    return write_header(path, data, scl_slope=slope, scl_inter=intercept)


def values(paths: Sequence[Path]) -> Volumes:
    return stack([entry_beside(path) for path in paths]).acquisition.signal.double().numpy()


def check_in_one_unit(found: Volumes) -> None:
    expected = np.stack([precise(index) for index in range(len(SCALES))], axis=-1)
    np.testing.assert_allclose(found / found.mean(), expected / expected.mean(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("done", [0, 1, None])
@pytest.mark.parametrize("kind", KINDS)
def test_the_header_says_what_was_done_whatever_the_sidecar_says(
    tmp_path: Path, kind: str, done: int | None
) -> None:
    paths = [
        with_slope(
            tmp_path / f"{index}.nii",
            stored(index),
            *line(kind, index),
            **fields(index, UsePhilipsFloatNotDisplayScaling=done),
        )
        for index in range(len(SCALES))
    ]
    check_in_one_unit(values(paths))


@pytest.mark.parametrize("done", [0, 1])
@pytest.mark.parametrize("kind", KINDS)
def test_the_step_between_floats_says_it_too(tmp_path: Path, kind: str, done: int) -> None:
    paths = []
    for index in range(len(SCALES)):
        slope, intercept = line(kind, index)
        data = (stored(index) * slope + intercept).astype("f4")
        told = fields(index, UsePhilipsFloatNotDisplayScaling=done)
        paths.append(write_nifti(tmp_path / f"{index}.nii", data, told))
    check_in_one_unit(values(paths))


def filtered(tmp_path: Path, kind: str, **more: object) -> list[Path]:
    """Write volumes that another program multiplied by a smooth field, so that no step is left."""
    field = np.linspace(0.9, 1.1, int(np.prod(SHAPE))).reshape(SHAPE)
    paths = []
    for index in range(len(SCALES)):
        slope, intercept = line(kind, index)
        data = ((stored(index) * slope + intercept) * field).astype("f4")
        paths.append(write_nifti(tmp_path / f"{index}.nii", data, fields(index, **more)))
    return paths


@pytest.mark.parametrize(
    ("kind", "done", "world", "version"),
    [
        ("precise", 1, False, None),
        ("displayed", 0, False, None),
        ("precise", 1, True, NEW),
        ("precise", True, True, NEW),
        ("world", 1, True, OLD),
    ],
)
def test_values_another_program_rewrote_are_what_the_sidecar_says(
    tmp_path: Path, kind: str, done: int, world: bool, version: str | None
) -> None:
    told = {"UsePhilipsFloatNotDisplayScaling": done, "ConversionSoftwareVersion": version}
    found = values(filtered(tmp_path, kind, world=world, **told))
    field = np.linspace(0.9, 1.1, int(np.prod(SHAPE))).reshape(SHAPE)[..., None]
    if kind == "precise":
        check_in_one_unit(found / field)
        return
    # The intercept was multiplied too, which cannot be undone; without it, the volumes are in one unit.
    np.testing.assert_allclose((found / field)[..., 0], precise(0), rtol=1e-3)


def test_rewritten_values_of_an_unknown_kind_are_refused(tmp_path: Path) -> None:
    for told in (
        {"UsePhilipsFloatNotDisplayScaling": None, "world": False},
        {"ConversionSoftwareVersion": None},
        {"PhilipsScaleSlope": None},
    ):
        with pytest.raises(InputError, match="scaled differently") as caught:
            paths = filtered(tmp_path, "precise", **told)
            if "PhilipsScaleSlope" in told:
                paths[0].with_suffix(".json").write_text(json.dumps(fields(0)))
            values(paths)
        assert "Convert the DICOM again" in caught.value.remedy


def test_stored_numbers_without_any_scaling_are_refused_where_it_differs(tmp_path: Path) -> None:
    paths = [write_nifti(tmp_path / f"{index}.nii", stored(index), fields(index)) for index in range(3)]
    with pytest.raises(InputError, match="scaled differently"):
        values(paths)
    alike = [
        write_nifti(tmp_path / f"a{index}.nii", stored(index), fields(0, InversionTime=0.1 + index))
        for index in range(3)
    ]
    np.testing.assert_array_equal(values(alike)[..., 1], stored(1))


@pytest.mark.parametrize("maker", ["Philips", "Siemens", None])
@pytest.mark.parametrize("scale", [True, False])
def test_other_programs_choose_a_slope_for_each_file(
    tmp_path: Path, maker: str | None, scale: bool
) -> None:
    """The whole range of the integers is used, and the values stand as they are."""
    paths = []
    for index in range(3):
        true = precise(index)
        slope = true.max() / 32767
        told = fields(index, Manufacturer=maker)
        if not scale or maker != "Philips":
            told = {name: value for name, value in told.items() if not name.startswith("Philips")}
        paths.append(
            with_slope(tmp_path / f"{index}.nii", np.rint(true / slope).astype("i2"), slope, 0.0, **told)
        )
    check_in_one_unit(values(paths))


@pytest.mark.parametrize("maker", ["Siemens", "Canon", "UIH", None])
def test_slopes_of_other_makes_are_what_they_say(tmp_path: Path, maker: str | None) -> None:
    told = [{"InversionTime": time} | ({"Manufacturer": maker} if maker else {}) for time in TIMES]
    paths = [
        with_slope(tmp_path / f"{index}.nii", stored(index), *line("precise", index), **told[index])
        for index in range(3)
    ]
    check_in_one_unit(values(paths))


@pytest.mark.parametrize("as_float", [False, True])
def test_slopes_of_the_display_alone_are_refused(tmp_path: Path, as_float: bool) -> None:
    paths = []
    for index, time in enumerate(TIMES):
        told = {"Manufacturer": "Philips", "InversionTime": time}
        slope, intercept = line("displayed", index)
        path = tmp_path / f"{index}.nii"
        if as_float:
            paths.append(write_nifti(path, (stored(index) * slope + intercept).astype("f4"), told))
        else:
            paths.append(with_slope(path, stored(index), slope, intercept, **told))
    with pytest.raises(InputError, match=r"different slopes \(0.8, 1.9\)") as caught:
        values(paths)
    assert "(2005,100E)" in caught.value.remedy
    same = stack([entry_beside(path) for path in paths[1:]]).acquisition.signal.numpy()
    np.testing.assert_allclose(same[..., 0], stored(1) * 1.9 - 30, rtol=1e-5)


def test_real_and_imaginary_parts_are_brought_to_one_unit_together(tmp_path: Path) -> None:
    """Where all real parts are scaled one way and all imaginary parts another, the phase would turn."""
    paths = []
    for echo in (1, 2):
        for index, part in enumerate(("REAL", "IMAGINARY")):
            told = fields(index, InversionTime=None, EchoTime=0.004 * echo, ImageType=["ORIGINAL", part])
            data = stored(index) // echo
            path = tmp_path / f"{part}{echo}.nii"
            paths.append(with_slope(path, data, *line("displayed", index), **told))
    found = stack(
        [entry_beside(path) for path in paths], ProtocolOverrides(kind=SignalKind.COMPLEX)
    ).acquisition.signal
    expected = precise(0) + 1j * precise(1)
    np.testing.assert_allclose(torch.view_as_real(found[..., 0]).numpy()[..., 1], expected.imag, rtol=1e-3)
    np.testing.assert_allclose(found[..., 0].real.numpy(), expected.real, rtol=1e-3)


# From here on through the converter.


def scales(*, private: bool = True, intercept: float = 0.0) -> list[Scales]:
    reverse = FACTORS[::-1]
    return [
        Scales(scale=0.0031 * a, rescale=1.7 * b, intercept=intercept, private=private)
        for a, b in zip(FACTORS, reverse, strict=True)
    ]


def examination(**more: object) -> Order:
    return Order(quantity=Quantity.T1, tags=PHILIPS, **more)  # type: ignore[arg-type]  # test data


def convert(folder: Path, target: Path, *options: str) -> list[Path]:
    target.mkdir()
    words = [str(dcm2niix.bin), "-ba", "y", "-z", "n", "-f", "%s", *options, "-o", str(target), str(folder)]
    subprocess.run(words, check=True, capture_output=True)
    return sorted(target.glob("*.nii"))


@pytest.mark.parametrize("options", ["-p y", "-p n", "-l y", "-p n -l y", "-l n"])
@pytest.mark.parametrize("world", [False, True])
def test_options_of_the_converter(tmp_path: Path, options: str, world: bool) -> None:
    order = examination(scales=scales(intercept=-40.0))
    if world:
        slopes = [one.rescale for one in order.scales]
        order = examination(scales=order.scales, world_slopes=slopes)
    found = values(convert(write_dicom(tmp_path / "dicom", order), tmp_path / "nifti", *options.split()))
    true = np.stack(signal(order), axis=-1)[:, ::-1]
    ratio = found / true
    bright = true > 0.2 * true.max()
    np.testing.assert_allclose(ratio[bright] / np.median(ratio), 1, rtol=5e-3)


@pytest.mark.parametrize("options", ["-m y -p y", "-m y -p n"])
@pytest.mark.parametrize("private", [True, False])
def test_volumes_merged_into_one_file_are_refused(tmp_path: Path, options: str, private: bool) -> None:
    order = Order(
        quantity=Quantity.R2STAR, one_series=True, tags=PHILIPS, scales=scales(private=private)[:5]
    )
    (path,) = convert(write_dicom(tmp_path / "dicom", order), tmp_path / "nifti", *options.split())
    with pytest.raises(InputError, match="scaled differently") as caught:
        stack([entry_beside(path)], ProtocolOverrides(echo_time=order.times))
    assert "DICOM folder itself" in caught.value.remedy


def test_one_enhanced_file_of_all_times_is_refused(tmp_path: Path) -> None:
    order = examination(scales=scales(), storage=Storage.ENHANCED, one_file=True)
    folder = write_dicom(tmp_path / "dicom", order)
    with pytest.raises(InputError, match="6 inversion times in 24 frames"):
        read_inputs([folder], ProtocolOverrides(inversion_time=order.times))


@pytest.mark.parametrize("one_series", [False, True])
@pytest.mark.parametrize("world", [False, True])
def test_a_scale_slope_that_was_stripped(tmp_path: Path, one_series: bool, world: bool) -> None:
    stripped = scales(private=False)
    slopes = [one.rescale for one in stripped] if world else []
    order = examination(scales=stripped, one_series=one_series, world_slopes=slopes)
    folder = write_dicom(tmp_path / "dicom", order)
    for command in (("t1", folder, "-o", tmp_path / "out"), ("validate", folder)):
        outcome = called(command)
        assert outcome.code == 2
        assert "different slopes" in " ".join(outcome.err.split())
        assert "(2005,100E)" in outcome.err
    assert not (tmp_path / "out").exists()


def test_a_series_displayed_alike_needs_no_scale_slope(tmp_path: Path) -> None:
    order = examination(scales=[Scales(scale=0.0031, rescale=1.7, private=False)] * 6)
    (series,) = read_inputs([write_dicom(tmp_path / "dicom", order)])
    true = np.stack(signal(order), axis=-1)[:, ::-1]
    ratio = series.acquisition.signal.numpy() / true
    np.testing.assert_allclose(ratio[true > 0.2 * true.max()] / np.median(ratio), 1, rtol=5e-3)


def test_slices_scaled_differently_are_refused_in_a_single_image_too(tmp_path: Path) -> None:
    slopes = np.array([0.5, 0.8, 1.1])
    path = write_nifti(tmp_path / "t1w.nii", (stored(0) * slopes).astype("f4"), {"Manufacturer": "Philips"})
    even = write_nifti(tmp_path / "even.nii", (stored(0) * 0.5).astype("f4"), {"Manufacturer": "Philips"})
    check_one_unit(entry_beside(even).sidecar, open_volume(even))
    with pytest.raises(InputError, match=r"different scaling \(0.5, 0.8, 1.1\)"):
        check_one_unit(entry_beside(path).sidecar, open_volume(path))
    other = write_nifti(tmp_path / "other.nii", (stored(0) * slopes).astype("f4"), {"Manufacturer": "GE"})
    check_one_unit(entry_beside(other).sidecar, open_volume(other))
