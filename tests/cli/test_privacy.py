"""No identifier that was planted in DICOM or in sidecars is found in anything that comes out."""

import gzip
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest

from tests.cli.gradient_echoes import edit_sidecars
from tests.cli.outcome import called
from tests.cli.test_within import raw_tree

PLANTED = {
    "PatientName": "Zelenka^Jadwiga",
    "PatientID": "PID480011",
    "PatientBirthDate": "19310417",
    "AccessionNumber": "ACC990133",
    "InstitutionName": "Klinikum Quellbrunn",
    "InstitutionAddress": "Wiesengrund 77",
    "ReferringPhysicianName": "Ostrowski^Ewa",
    "OperatorsName": "Brandauer",
    "StationName": "ROOMNINE",
    "DeviceSerialNumber": "SN5550123",
    "StudyDescription": "Kopf Zelenka",
    "SeriesDescription": "irse of Zelenka",
    "ProtocolName": "Zelenkaprotokoll",
    "PatientComments": "daughter called Miroslava",
    "StudyDate": "20110913",
    "SeriesDate": "20110914",
    "AcquisitionDate": "20110915",
    "ContentDate": "20110916",
    "ManufacturerModelName": "Zelenkatron",
    "SoftwareVersions": "syngo Zelenka",
}
SECRETS = ("zelenka", "jadwiga", "480011", "19310417", "990133", "quellbrunn", "wiesengrund", "ostrowski")
SECRETS += ("brandauer", "roomnine", "5550123", "irse of", "miroslava", "20110913", "20110914", "20110915")
SECRETS += ("20110916", "2011-09", "1931-04", "hiddenfolder")


def everything(out: Path) -> str:
    """Return names and content of all files, decompressed."""
    held = []
    for path in sorted(out.rglob("*")):
        held.append(str(path.relative_to(out)))
        if path.is_file():
            content = path.read_bytes()
            content = gzip.decompress(content) if path.suffix == ".gz" else content
            held.append(content.decode("latin-1"))
    return "\n".join(held).lower()


def check_nothing_told(out: Path, said: str, *folders: Path) -> None:
    told = everything(out)
    assert len(told) > 10000
    for secret in SECRETS:
        assert secret not in told, secret
        if secret != "hiddenfolder":  # the paths of the call are said on the terminal
            assert secret not in said.lower(), secret
    for folder in (*folders, Path.home()):
        assert f"{folder}/".lower() not in told


def test_a_dicom_run_tells_nothing(shared_data: Callable[[str], Path], tmp_path: Path) -> None:
    folder = tmp_path / "hiddenfolder" / "dicom"
    folder.mkdir(parents=True)
    source = shared_data("nist_ir_hazen") / "T1" / "site1_20200218" / "plate5"
    for number, path in enumerate(sorted(source.iterdir())):
        image = pydicom.dcmread(path)
        for name, value in PLANTED.items():
            setattr(image, name, value)
        image.save_as(folder / f"Zelenka_{number:03d}.dcm")
    out = tmp_path / "out"
    outcome = called(["t1", folder, "-o", out, "--method", "ml"])
    assert outcome.code == 0, outcome.err
    check_nothing_told(out, outcome.out + outcome.err, folder, tmp_path)


def test_a_bids_run_tells_nothing(tmp_path: Path) -> None:
    raw = raw_tree(tmp_path / "hiddenfolder" / "study")
    words = (
        "Manufacturer",
        "MRAcquisitionType",
        "PulseSequenceType",
        "ScanningSequence",
        "SequenceVariant",
    )
    numbers = ("SliceThickness", "PixelBandwidth", "EchoTrainLength", "ParallelReductionFactorInPlane")
    free = {"ManufacturersModelName": "/data/hiddenfolder/zelenka", "Nested": {"Name": "Zelenka"}}
    planted = PLANTED | free | dict.fromkeys(words, "Siemens Zelenka") | dict.fromkeys(numbers, 19310417)
    edit_sidecars(raw, "*_IRT1.json", planted)
    out = tmp_path / "out"
    outcome = called(["t1", raw, "-o", out, "--method", "ml"])
    assert outcome.code == 0, outcome.err
    check_nothing_told(out, outcome.out + outcome.err, raw, tmp_path)


@pytest.mark.parametrize("suffix", [".nii.gz"])
def test_images_named_after_a_person_tell_nothing(tmp_path: Path, suffix: str) -> None:
    raw = raw_tree(tmp_path / "raw")
    folder = tmp_path / "hiddenfolder"
    folder.mkdir()
    for path in sorted((raw / "sub-01" / "anat").iterdir()):
        path.rename(folder / path.name.replace("sub-01_inv", "Zelenka"))
    outcome = called(["t1", folder, "-o", tmp_path / "out", "--method", "ml", "--quiet"])
    assert outcome.code == 0, outcome.err
    assert list(folder.glob(f"*{suffix}"))
    check_nothing_told(tmp_path / "out", "", folder, tmp_path)
