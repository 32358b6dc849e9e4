import dataclasses
import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from tests.bids.files import write_bids_series, write_inversion_series
from tests.bids.maps import SPECS, made_up_maps
from tests.bids.validator import validator_errors
from unweight.bids.derivatives.description import plain
from unweight.bids.derivatives.provenance import Provenance, copied_fields, provenance_of
from unweight.bids.derivatives.write import is_complete, write_maps
from unweight.bids.nifti.volume import open_volume
from unweight.bids.read import read_inputs, read_series
from unweight.core.errors import InputError, OutputError
from unweight.core.maps import VoxelStatus
from unweight.core.protocol import protocol_from_values
from unweight.files import atomic

ENTITIES = {"sub": "01", "ses": "a"}
PLAIN = Provenance(
    sources=("ir_1.nii", "ir_2.nii"),
    algorithm="Least squares",
    reference="Somebody, 2010",
    protocol=protocol_from_values(inversion_time=[0.05, 0.4]),
    settings={"n_steps": 60},
)
FORKER = """
import os, sys
from pathlib import Path
import torch
from tests.bids.maps import made_up_maps
from unweight.bids.derivatives.description import plain
from unweight.bids.derivatives.provenance import Provenance
from unweight.bids.derivatives.write import write_maps
torch.set_num_threads(1)
for line in sys.stdin:
    pid = os.fork()
    if pid:
        print(pid, flush=True)
        os.waitpid(pid, 0)
        print("gone", flush=True)
        continue
    for version in range(1, 10**6):
        maps = made_up_maps(value=float(version), voxels=(40, 40, 8))
        write_maps(maps, Path(line.strip()), {"sub": "01"}, Provenance(sources=(), algorithm="x"))
"""


def test_every_map_comes_back(tmp_path: Path) -> None:
    maps = made_up_maps()
    written = write_maps(maps, tmp_path, ENTITIES, PLAIN)
    folder = tmp_path / "sub-01" / "ses-a" / "anat"
    assert written.images["T1"] == folder / "sub-01_ses-a_T1map.nii.gz"
    assert written.images["PD std"] == folder / "sub-01_ses-a_desc-std_PDmap.nii.gz"
    assert written.images["T1 upper"] == folder / "sub-01_ses-a_desc-upper90_T1map.nii.gz"
    expected = {
        "misfit": maps.misfit,
        "status": maps.status.float(),
        **{spec.name: maps.value(spec.name) for spec in SPECS},
        **{f"{spec.name} std": maps.deviation(spec.name) for spec in SPECS},
    }
    for key, values in expected.items():
        volume = open_volume(written.images[key])
        torch.testing.assert_close(volume.data, values, equal_nan=True, rtol=0, atol=0)
        torch.testing.assert_close(volume.grid.affine, maps.affine)
    invalid = open_volume(written.images["invalid"]).data > 0
    trusted = {VoxelStatus.OK, VoxelStatus.MASKED, VoxelStatus.NO_SIGNAL}
    assert set(maps.status[~invalid].tolist()) == trusted
    assert not trusted & set(maps.status[invalid].tolist())


def test_sidecars_say_what_the_maps_are(tmp_path: Path) -> None:
    written = write_maps(made_up_maps(), tmp_path, ENTITIES, PLAIN)
    first = json.loads(written.sidecar.read_text())
    assert first["Units"] == "s"
    assert first["SkullStripped"] is False
    assert first["Sources"] == ["ir_1.nii", "ir_2.nii"]
    assert first["EstimationReference"] == "Somebody, 2010"
    ours = first["unweight"]
    assert ours["Protocol"]["inversion_time"] == [0.05, 0.4]
    assert ours["Settings"] == {"n_steps": 60}
    assert ours["Notes"] == {"Iterations": 12}
    assert ours["NoiseSD"] == 3.5
    assert set(ours["Voxels"]) == {status.name for status in VoxelStatus}
    for path in written.images.values():
        assert ours["SHA256"][path.name] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert path.with_name(path.name.replace(".nii.gz", ".json")).is_file()
    key = written.images["status"].with_name("sub-01_ses-a_desc-status_dseg.tsv").read_text()
    assert key.splitlines()[:2] == ["index\tname", "0\tOK"]
    lower = json.loads(
        written.images["T1 lower"].with_name("sub-01_ses-a_desc-lower90_T1map.json").read_text()
    )
    assert lower["Description"] == "Lower end of the 90 % interval of T1"


def test_settings_and_notes_of_any_kind_become_json(tmp_path: Path) -> None:
    settings = {
        "path": tmp_path / "secret" / "weights.bin",
        "kind": VoxelStatus.OK,
        "nested": {"bad": float("inf"), "list": (1, 2.5, None)},
        "object": torch.float32,
    }
    assert plain(settings) == {
        "path": "weights.bin",
        "kind": 0,
        "nested": {"bad": None, "list": [1, 2.5, None]},
        "object": "torch.float32",
    }
    maps = dataclasses.replace(made_up_maps(), notes={"worst": float("nan")}, noise_sd=float("nan"))
    written = write_maps(maps, tmp_path, ENTITIES, dataclasses.replace(PLAIN, settings=settings))
    assert json.loads(written.sidecar.read_text())["unweight"]["Notes"] == {"worst": None}


def test_many_may_write_into_one_dataset_at_once(tmp_path: Path) -> None:
    subjects = [f"{index:02d}" for index in range(12)]
    with ThreadPoolExecutor(6) as pool:
        jobs = [
            pool.submit(write_maps, made_up_maps(), tmp_path, {"sub": subject}, PLAIN)
            for subject in subjects
        ]
        for job in jobs:
            job.result()
    assert all(is_complete(tmp_path, {"sub": subject}) for subject in subjects)
    assert validator_errors(tmp_path) == []
    assert not list(tmp_path.rglob("*unfinished"))


def test_the_validator_finds_no_error(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    write_bids_series(raw, session="a")
    (series,) = read_inputs([raw])
    out = raw / "derivatives" / "unweight"
    write_maps(made_up_maps(), out, series.entities, provenance_of(series, algorithm="Least squares"))
    write_maps(made_up_maps(), out, {"sub": "02", "acq": "x", "run": "1"}, PLAIN)
    (out / "sub-01" / "figures").mkdir()
    (out / "sub-01" / "figures" / "a.png").write_bytes(b"")
    (out / "sub-01.html").write_text("x")
    assert validator_errors(out) == []
    sidecar = json.loads((out / "sub-01" / "ses-a" / "anat" / "sub-01_ses-a_T1map.json").read_text())
    assert sidecar["Sources"][0] == "bids:raw:sub-01/ses-a/anat/sub-01_ses-a_inv-1_IRT1.nii.gz"
    assert json.loads((out / "dataset_description.json").read_text())["DatasetLinks"] == {"raw": "../.."}


def test_the_same_bytes_each_time(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_maps(made_up_maps(), tmp_path / name, ENTITIES, PLAIN)
    files = [path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file()]
    assert len(files) > 30
    for path in files:
        assert (tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes()


def test_only_fields_that_name_nobody_are_copied(tmp_path: Path) -> None:
    secrets = {
        "PatientName": "Doe^Jane",
        "InstitutionName": "Hospital",
        "InstitutionAddress": "Street 1",
        "DeviceSerialNumber": "4711",
        "StationName": "MR1",
        "AcquisitionTime": "12:34:56",
        "SeriesDescription": "jane second visit",
        "ProtocolName": "jane",
        "Manufacturer": "x" * 200,
        "FlipAngle": 90,
        "MRAcquisitionType": "2D",
    }
    assert copied_fields(secrets) == {"FlipAngle": 90, "MRAcquisitionType": "2D"}
    series = read_series(write_inversion_series(tmp_path / "in_jane", (0.05, 0.4), **secrets))
    out = tmp_path / "out"
    write_maps(made_up_maps(), out, series.entities, provenance_of(series, algorithm="x"))
    text = "".join(path.read_text() for path in out.rglob("*") if path.suffix in (".json", ".md", ".tsv"))
    for secret in ("Doe", "Hospital", "Street", "4711", "MR1", "12:34", "jane", "xxxx", str(tmp_path)):
        assert secret not in text


def test_completeness(tmp_path: Path) -> None:
    assert not is_complete(tmp_path, ENTITIES)
    written = write_maps(made_up_maps(), tmp_path, ENTITIES, PLAIN)
    assert is_complete(tmp_path, ENTITIES)
    assert not is_complete(tmp_path, {"sub": "01"})
    for path in written.images.values():
        content = path.read_bytes()
        path.write_bytes(content[:-1])
        assert not is_complete(tmp_path, ENTITIES)
        path.unlink()
        assert not is_complete(tmp_path, ENTITIES)
        path.write_bytes(content)
    assert is_complete(tmp_path, ENTITIES)
    written.sidecar.write_text("{")
    assert not is_complete(tmp_path, ENTITIES)


def test_a_new_set_replaces_the_old_one_whole(tmp_path: Path) -> None:
    first = write_maps(made_up_maps(), tmp_path, ENTITIES, PLAIN)
    other = first.sidecar.with_name("notes_of_the_user.txt")
    other.write_text("keep")
    second = write_maps(made_up_maps(intervals=False), tmp_path, ENTITIES, PLAIN)
    assert is_complete(tmp_path, ENTITIES)
    assert other.read_text() == "keep"
    assert first.images["T1 lower"].exists() is False
    images = set(first.sidecar.parent.glob("*.nii.gz"))
    assert images == set(second.images.values())
    assert len(list(first.sidecar.parent.glob("*.json"))) == len(images)


def test_a_full_disk_leaves_the_older_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_maps(made_up_maps(value=1.0), tmp_path, ENTITIES, PLAIN)
    write_through, calls = atomic._write_through, []

    def full(path: Path, content: bytes) -> None:
        calls.append(path)
        if len(calls) > 7:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write_through(path, content)

    monkeypatch.setattr(atomic, "_write_through", full)
    with pytest.raises(OutputError, match="No space left"):
        write_maps(made_up_maps(value=2.0), tmp_path, ENTITIES, PLAIN)
    assert is_complete(tmp_path, ENTITIES)
    assert not list(tmp_path.rglob("*unfinished"))
    volume = open_volume(tmp_path / "sub-01" / "ses-a" / "anat" / "sub-01_ses-a_T1map.nii.gz")
    assert float(volume.data.nan_to_num().max()) == 1.0


def test_labels_and_foreign_folders_are_refused(tmp_path: Path) -> None:
    for entities in ({"sub": "../x"}, {"ses": "a"}, {"sub": "01", "ses": "a/b"}):
        with pytest.raises(InputError):
            write_maps(made_up_maps(), tmp_path, entities, PLAIN)
    assert not list(tmp_path.iterdir())
    write_bids_series(tmp_path)
    with pytest.raises(OutputError, match="describes another dataset"):
        write_maps(made_up_maps(), tmp_path, ENTITIES, PLAIN)


def test_a_process_killed_while_writing_maps_leaves_whole_images(tmp_path: Path) -> None:
    root = Path(__file__).parents[3]
    parent = subprocess.Popen(
        [sys.executable, "-c", FORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root
    )
    assert parent.stdin is not None
    assert parent.stdout is not None
    for attempt in range(8):
        out = tmp_path / str(attempt)
        parent.stdin.write(f"{out}\n")
        parent.stdin.flush()
        writer = int(parent.stdout.readline())
        primary = out / "sub-01" / "anat" / "sub-01_T1map.json"
        while not primary.exists():
            time.sleep(0.01)
        time.sleep(0.037 * attempt)
        os.kill(writer, signal.SIGKILL)
        assert parent.stdout.readline() == "gone\n"
        _check_whole(out)
    parent.stdin.close()
    assert parent.wait(timeout=30) == 0
    parent.stdout.close()


def _check_whole(out: Path) -> None:
    """Every image is whole; the set is complete, or seen to be a mixture of two sets one apart."""
    folder = out / "sub-01" / "anat"
    versions = set()
    for path in folder.glob("sub-01_*map.nii.gz"):
        version = round(float(np.nanmax(nib.load(path).get_fdata())))  # also of an unfinished set
        if not any(word in path.name for word in ("std", "lower", "upper", "misfit")):
            versions.add(version)
    assert max(versions) - min(versions) <= 1
    if len(versions) > 1:
        assert not is_complete(out, {"sub": "01"})
    for path in folder.glob("*.json"):
        json.loads(path.read_text())
    write_maps(made_up_maps(), out, {"sub": "01"}, PLAIN)
    assert is_complete(out, {"sub": "01"})
