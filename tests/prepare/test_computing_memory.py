"""What a command will take is compared with what is free, before anything is computed or written."""

import gzip
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from tests.cli.small_tree import write_small_tree
from unweight.cli.main import main
from unweight.core import memory
from unweight.core.errors import TooLargeError
from unweight.prepare.computing_memory import check_memory, computing_bytes
from unweight.registry import commands, method, pipeline
from unweight.registry.records import Demand

GIB = 2**30
MEASURED_WITHIN = 1.5  # blocks of voxels, and what libraries keep, do not grow with the image
PROBE = """
import sys
from pathlib import Path
from unweight.cli.process import keep_memory
from unweight.cli.main import main
from unweight.core import memory
from unweight.prepare import computing_memory
def status(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(name))
def begin(needed, what, remedy):
    memory._return_unused()
    Path("/proc/self/clear_refs").write_text("5")  # the highest mark begins anew
    begin.held, begin.needed = status("VmRSS"), needed
computing_memory.check_free = begin
keep_memory()
code = main(sys.argv[1:])
print("PROBE", code, status("VmHWM") - begin.held, begin.needed)
"""


def free(monkeypatch: pytest.MonkeyPatch, size: float) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda: int(size))


def test_a_demand_is_a_least_and_what_voxels_and_values_take(monkeypatch: pytest.MonkeyPatch) -> None:
    ml = replace(method("ml", "t1"), demand=Demand(voxel=1, least=0))
    t1 = replace(pipeline("t1"), demand=Demand(voxel=100, value=10, least=1000))
    monkeypatch.setattr("unweight.prepare.computing_memory.methods", lambda _: (ml,))
    monkeypatch.setattr("unweight.prepare.computing_memory.pipeline", lambda _: t1)
    assert computing_bytes("t1", 50, 4) == 1000 + 50 * (100 + 4 * 10)
    assert computing_bytes("t1", 50, 4, "posterior") == computing_bytes("t1", 50, 4)
    assert computing_bytes("t1", 50, 4, "ml") == 50


def test_what_does_not_fit_is_refused_with_both_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    needed = computing_bytes("qsm", 200**3, 8)
    free(monkeypatch, needed)
    check_memory("qsm", (200, 200, 200, 8))
    free(monkeypatch, needed - 1)
    said = rf"qsm of 8 volumes of 200 x 200 x 200 voxels needs {needed / GIB:.3g} GiB"
    with pytest.raises(TooLargeError, match=said) as raised:
        check_memory("qsm", (200, 200, 200, 8))
    assert "crop the images" in raised.value.remedy and raised.value.exit_code == 1
    check_memory("qsm", (200, 200, 200, 8), torch.device("meta"))  # nothing is known of other devices


def write_files(folder: Path) -> dict[str, list[str]]:
    """Write small images, and return the words of a call of each command."""
    generator, size = np.random.default_rng(0), (12, 12, 8)
    for name in ("T1w", "T2w", "FLAIR", "mask"):
        values = np.ones(size) if name == "mask" else generator.uniform(100, 900, size)
        nib.save(nib.Nifti1Image(values.astype(np.float32), np.eye(4)), folder / f"{name}.nii")
    for name, low, high in (("mag", 100, 900), ("phase", -3.1, 3.1), ("ir", 100, 900)):
        values = generator.uniform(low, high, (*size, 4))
        nib.save(nib.Nifti1Image(values.astype(np.float32), np.eye(4)), folder / f"{name}.nii")
    mag, phase, mask = (str(folder / f"{name}.nii") for name in ("mag", "phase", "mask"))
    echoes = ["--te", "0.004", "0.008", "0.012", "0.016", "--mask", mask]
    parts = ["--mag", mag, "--phase", phase, "--field", "3", *echoes]
    weighted = [f"--t1w={folder}/T1w.nii", f"--t2w={folder}/T2w.nii", f"--flair={folder}/FLAIR.nii"]
    times = "--t1w-tr .5 --t1w-te .01 --t2w-tr 5 --t2w-te .1 --flair-tr 9 --flair-te .1 --flair-ti 2.5"
    readouts = [f"--{name}-readout=spin-echo" for name in ("t1w", "t2w", "flair")]
    return {
        "t1": [f"{folder}/ir.nii", "--ti", "0.05", "0.4", "1.1", "2.5", "--tr", "2.55"],
        "maps": [*weighted, *times.split(), *readouts, "--field", "3", "--mask", mask],
        "r2star": [mag, *echoes],
        "t2": [mag, *echoes],
        "vfa": [f"{folder}/ir.nii", "--flip", "3", "8", "15", "25", "--tr", "0.02"],
        "qsm": parts,
        "mprage": [*parts, "--flip", "15", "--tr", "0.036"],
        "segment": [f"{folder}/T1w.nii", "--mask", mask],
    }


@pytest.mark.parametrize("command", commands())
def test_every_command_looks_before_it_computes(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = write_files(tmp_path)[command]
    real = memory.is_free
    monkeypatch.setattr(memory, "is_free", lambda needed: real(needed) and needed < 2**25)
    device = [] if command == "segment" else ["--device", "cpu"]
    assert main([command, *words, "-o", str(tmp_path / "out"), *device]) == 1
    said = capsys.readouterr().err
    assert "12 x 12 x 8 voxels needs 0." in said and said.count("\n") == 1, said
    assert not list((tmp_path / "out").rglob("*"))


def test_of_several_series_those_that_fit_are_mapped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_small_tree(tmp_path / "bids", 1)
    write_small_tree(tmp_path / "large", 2, (24, 24, 3))
    (tmp_path / "large" / "sub-001").rename(tmp_path / "bids" / "sub-001")
    limit = (computing_bytes("t1", 12 * 12 * 3, 7, "ml") + computing_bytes("t1", 24 * 24 * 3, 7, "ml")) / 2
    free(monkeypatch, limit)
    monkeypatch.setattr("unweight.cli.main.is_free", lambda _: True)
    out = tmp_path / "maps"
    assert main(["t1", str(tmp_path / "bids"), "-o", str(out), "--method", "ml", "--no-report", "-q"]) == 1
    said = capsys.readouterr().err
    assert (
        "sub-001_IRT1: t1 of 7 volumes of 24 x 24 x 3 voxels needs" in said
        and "1 of 2 series failed" in said
    )
    assert (out / "sub-000").is_dir() and not (out / "sub-001").exists()


def test_a_limit_of_the_address_space(tmp_path: Path) -> None:
    """11 million voxels, which a few kilobytes hold, under `ulimit -v` of 4 GiB."""
    image = nib.Nifti1Image(np.full((224, 224, 224, 4), 100, np.int16), np.eye(4))
    path = tmp_path / "ir.nii.gz"
    path.write_bytes(gzip.compress(image.to_bytes(), 1))
    words = f"t1 {path} --ti 0.05 0.4 1.1 2.5 --tr 2.55 -o {tmp_path / 'out'} --method ml --device cpu"
    call = f"ulimit -v {4 * 2**20}; exec {sys.executable} -m unweight {words}"
    done = subprocess.run(["sh", "-c", call], capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert "t1 of 4 volumes of 224 x 224 x 224 voxels needs 4.5" in done.stderr
    assert "Traceback" not in done.stderr and not list((tmp_path / "out").rglob("*"))


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is not told by /proc here")
def test_a_demand_is_what_was_measured(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(0, 5, (80, 80, 80, 4))
    values = 900 * np.exp(-30 * np.array([0.004, 0.008, 0.012, 0.016])) + noise
    nib.save(nib.Nifti1Image(values.astype(np.float32), np.eye(4)), tmp_path / "mag.nii")
    words = ["r2star", tmp_path / "mag.nii", "--te", 0.004, 0.008, 0.012, 0.016, "-o", tmp_path / "out"]
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *map(str, words), "--no-report", "--device", "cpu"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    code, taken, needed = (float(word) for word in done.stdout.rsplit("PROBE", 1)[1].split())
    assert code == 0
    assert needed / MEASURED_WITHIN < taken < needed * MEASURED_WITHIN
