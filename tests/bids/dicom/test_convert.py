import contextlib
import copy
import subprocess
from collections.abc import Callable
from pathlib import Path

import dcm2niix
import numpy as np
import pydicom
import pytest
import torch
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from unweight.bids.dicom.convert import converted
from unweight.bids.dicom.folder import looks_like_dicom
from unweight.bids.dicom.header import read_image, starts_like_dicom
from unweight.bids.read import Series, read_inputs
from unweight.bids.series.overrides import ProtocolOverrides
from unweight.core.acquisition import SignalKind
from unweight.core.errors import InputError

SITES = {
    "site1_20200218/plate5": (SignalKind.MAGNITUDE, (192, 192, 1, 6), True),
    "site2_20180925/plate5": (SignalKind.SIGNED, (192, 192, 1, 6), True),
    "site3_ge/plate4": (SignalKind.MAGNITUDE, (256, 256, 1, 6), False),
    "site3_ge/plate5": (SignalKind.MAGNITUDE, (256, 256, 1, 6), False),
}
TIMES = [0.05, 0.1, 0.2, 0.4, 0.6, 0.8]
Find = Callable[[str], Path]


def read(folder: Path, **given: object) -> Series:
    (series,) = read_inputs([folder], ProtocolOverrides(**given))  # type: ignore[arg-type]  # test data
    return series


@pytest.mark.parametrize("site", SITES)
def test_the_phantom_of_three_sites(shared_data: Find, site: str) -> None:
    folder = shared_data("nist_ir_hazen") / "T1" / site
    kind, shape, varying = SITES[site]
    assert looks_like_dicom(folder)
    series = read(folder)
    acquisition = series.acquisition
    assert acquisition.kind is kind
    assert tuple(acquisition.signal.shape) == shape
    timing = acquisition.protocol.as_dict()
    assert timing["inversion_time"] == TIMES
    assert timing["repetition_time"] == ([1.0, 1.0, 1.0, 1.26, 1.86, 2.46] if varying else [1.0] * 6)
    assert timing["field_strength"] == 1.5
    assert bool((acquisition.signal < 0).any()) == (kind is SignalKind.SIGNED)
    assert acquisition.saturated is not None
    assert not bool(acquisition.saturated.any())
    for path in folder.iterdir():  # the values are those of another reader, in another order of voxels
        image = pydicom.dcmread(path)
        values = image.pixel_array * float(image.get("RescaleSlope", 1)) + float(
            image.get("RescaleIntercept", 0)
        )
        index = TIMES.index(float(image.InversionTime) / 1000)
        ours = acquisition.signal[..., index].flatten().sort().values
        np.testing.assert_array_equal(ours, np.sort(values.ravel()).astype("f4"))


def test_multi_echo_spin_echo(shared_data: Find) -> None:
    series = read(shared_data("nist_ir_hazen") / "T2" / "site3_ge" / "plate5")
    echoes = series.acquisition.protocol.as_dict()["echo_time"]
    np.testing.assert_allclose(echoes, 0.00964 * np.arange(1, 9))


def test_field_map_series(shared_data: Find) -> None:
    series = read(shared_data("fmap_dcm_qa") / "dicom_siemens")
    assert series.acquisition.protocol.as_dict()["echo_time"] == [0.00519, 0.00765]
    assert series.notes == ("magnitude images are used; phase images are ignored",)


def phantom(find: Find, site: str = "site1_20200218/plate5") -> list[Dataset]:
    return [pydicom.dcmread(path) for path in sorted((find("nist_ir_hazen") / "T1" / site).iterdir())]


def save(folder: Path, images: list[Dataset]) -> Path:
    """Write images under new identities."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images, start=1):
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        image.InstanceNumber = number
        image.save_as(folder / f"{number:03d}.dcm")
    return folder


def test_one_series_of_many_inversion_times_is_taken_apart(shared_data: Find, tmp_path: Path) -> None:
    images = phantom(shared_data)
    slices = []
    for image in images:
        for name in ("SeriesInstanceUID", "SeriesNumber", "StudyTime", "SeriesTime", "AcquisitionNumber"):
            setattr(image, name, getattr(images[0], name))
        image.RepetitionTime = 3000
        for index in range(2):
            one = copy.deepcopy(image)
            x, y, z = (float(value) for value in image.ImagePositionPatient)
            one.ImagePositionPatient = [x, y + 5 * index, z]
            slices.append(one)
    series = read(save(tmp_path / "dicom", slices))
    assert tuple(series.acquisition.signal.shape) == (192, 192, 2, 6)
    assert series.acquisition.protocol.as_dict()["inversion_time"] == TIMES
    assert series.acquisition.protocol.as_dict()["repetition_time"] == [3.0] * 6
    separate = read(shared_data("nist_ir_hazen") / "T1" / "site1_20200218/plate5")
    for index in range(2):
        assert torch.equal(series.acquisition.signal[:, :, index], separate.acquisition.signal[:, :, 0])


def test_magnitude_and_real_images_side_by_side(shared_data: Find, tmp_path: Path) -> None:
    magnitude, real = phantom(shared_data), phantom(shared_data, "site2_20180925/plate5")
    for number, (one, other) in enumerate(zip(magnitude, real, strict=True)):
        other.ImagePositionPatient, other.ImageOrientationPatient = (
            one.ImagePositionPatient,
            one.ImageOrientationPatient,
        )
        one.SeriesNumber, other.SeriesNumber = 2 * number + 1, 2 * number + 2
    folder = save(tmp_path, [*magnitude, *real])
    default = read(folder)
    assert default.acquisition.kind is SignalKind.MAGNITUDE
    assert "magnitude images are used; real images are ignored" in default.notes
    signed = read(folder, kind=SignalKind.SIGNED)
    assert signed.acquisition.kind is SignalKind.SIGNED
    assert float(signed.acquisition.signal.min()) < 0


def test_two_slices_in_folders_of_their_own_are_one_volume(shared_data: Find) -> None:
    both = read(shared_data("nist_ir_hazen") / "T1" / "site3_ge").acquisition
    plates = [
        read(shared_data("nist_ir_hazen") / "T1" / "site3_ge" / f"plate{k}").acquisition for k in (4, 5)
    ]
    assert tuple(both.signal.shape) == (256, 256, 2, 6)
    found = {float(both.signal[:, :, index].double().sum()) for index in range(2)}
    assert found == {float(plate.signal.double().sum()) for plate in plates}


def test_two_series_in_one_folder_are_refused(shared_data: Find, tmp_path: Path) -> None:
    images = phantom(shared_data) + phantom(shared_data, "site3_ge/plate5")
    with pytest.raises(InputError, match="more than one series, on 2 grids") as caught:
        read(save(tmp_path, images))
    assert caught.value.path == tmp_path


def test_nothing_that_names_a_person_comes_out(shared_data: Find, tmp_path: Path) -> None:
    images = phantom(shared_data)
    for image in images:
        image.PatientName, image.PatientID, image.PatientBirthDate = "Doe^Jane", "ID4711", "19700101"
        image.AccessionNumber = "ACC0815"
    folder = save(tmp_path, images)
    with converted(folder) as conversion:
        paths = [image.path for image in conversion.images]
        text = "".join(path.with_suffix(".json").read_text() for path in paths)
        text += "".join(path.name for path in paths) + repr(conversion.notes)
    series = read(folder)
    text += repr(series.sidecar) + repr(series.sources) + repr(series.entities)
    for secret in ("Doe", "Jane", "ID4711", "19700101", "ACC0815"):
        assert secret not in text


def test_facts_agree_with_another_reader(shared_data: Find, tmp_path: Path) -> None:
    paths = [*(shared_data("nist_ir_hazen") / "T1").rglob("*"), *shared_data("fmap_dcm_qa").rglob("*.dcm")]
    for path in paths:
        if starts_like_dicom(path):
            image, facts = pydicom.dcmread(path), read_image(path)
            assert facts is not None
            assert facts.series == image.SeriesInstanceUID
            assert facts.inversion_times == tuple(
                float(time) for time in [image.get("InversionTime")] if time is not None
            )
    nested = phantom(shared_data)[0]
    nested.ReferencedImageSequence = [Dataset(), Dataset()]
    nested.ReferencedImageSequence[0].ReferencedSOPInstanceUID = generate_uid()
    nested["ReferencedImageSequence"].is_undefined_length = True
    save(tmp_path / "nested", [nested])
    facts = read_image(tmp_path / "nested" / "001.dcm")
    assert facts is not None
    assert facts.inversion_times == (50.0,)


def test_damaged_headers_are_refused_with_a_reason(shared_data: Find, tmp_path: Path) -> None:
    source = next(
        iter((shared_data("nist_ir_hazen") / "T1" / "site3_ge" / "plate5").iterdir())
    ).read_bytes()
    generator = np.random.default_rng(0)
    path = tmp_path / "a.dcm"
    for _ in range(300):
        content = bytearray(source[:6000])
        for position in generator.integers(0, 6000, 20):
            content[position] = generator.integers(0, 256)
        path.write_bytes(content[: generator.integers(1, 6000)])
        with contextlib.suppress(InputError):
            read_image(path)


def test_folders_without_usable_images(tmp_path: Path) -> None:
    assert not looks_like_dicom(tmp_path)
    (tmp_path / "a.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"garbage" * 100)
    assert looks_like_dicom(tmp_path)
    with pytest.raises(InputError, match=r"DICOM|dcm2niix") as caught:
        read(tmp_path)
    assert caught.value.path == tmp_path


def test_a_converter_that_fails(shared_data: Find, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = shared_data("nist_ir_hazen") / "T1" / "site3_ge" / "plate5"
    for binary, problem in (
        ("/bin/false", "failed with exit code 1"),
        ("/nonexistent", "could not be started"),
    ):
        monkeypatch.setattr(dcm2niix, "bin", binary)
        with pytest.raises(InputError, match=problem):
            read(folder)

    def endless(*_: object, **__: object) -> None:
        raise subprocess.TimeoutExpired("dcm2niix", 1.0)

    monkeypatch.setattr(subprocess, "run", endless)
    with pytest.raises(InputError, match="took more than"):
        read(folder)
