"""`unweight fit` and `simulate --model`: from the registry's signal models to derivatives."""

import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from unweight.bids.derivatives.read import read_maps
from unweight.bids.raw import fields_of
from unweight.cli.main import main
from unweight.core.protocol import protocol_from_values
from unweight.registry import models
from unweight.run.plan import plan_run
from unweight.signals.flair import Flair
from unweight.signals.model import SignalModel
from unweight.signals.mprage import Mprage
from unweight.signals.parameters import M0, S0, T1, T2

CAPTURE = pytest.CaptureFixture[str]
QUIET = ("--quiet", "--no-figures", "--no-report")
ANGLES = ("--flip", "3", "8", "20", "--tr", "0.02")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("study")
    words = ["simulate", str(out), "--model", "variable-flip-angle", *ANGLES]
    assert main([*words, "--slices", "1", "--snr", "300", "300", "--quiet"]) == 0
    return out


def test_a_simulated_study_is_fitted_and_planned(study: Path, tmp_path: Path) -> None:
    b1 = study / "truth/sub-001/anat/sub-001_TB1map.nii.gz"
    words = ["vfa", str(study / "bids"), "--known", f"B1={b1}", "-o", str(tmp_path), "--quiet"]
    assert main(words) == 0
    anat = tmp_path / "sub-001" / "anat"
    names = {path.name.removeprefix("sub-001_") for path in anat.glob("*.nii.gz")}
    assert {"T1map.nii.gz", "desc-std_T1map.nii.gz", "M0map.nii.gz", "desc-status_dseg.nii.gz"} <= names
    assert "T1 from variable flip angles" in (tmp_path / "sub-001.html").read_text()
    truth, maps = (
        read_maps(root, root / "sub-001/anat/sub-001_T1map.json", (T1, M0)).maps
        for root in (study / "truth", tmp_path)
    )
    # White matter has a short component that no single T1 explains; grey matter has none.
    grey = truth.usable & maps.usable & (truth.value("T1") > 1.3) & (truth.value("T1") < 1.7)
    assert int(grey.sum()) > 1000
    ratio = maps.value("T1")[grey] / truth.value("T1")[grey]
    assert abs(float(ratio.median()) - 1) < 0.05
    (step,) = plan_run(study / "bids").steps
    assert step.pipeline == "vfa"
    assert len(step.inputs[""]) == 3


def test_beside_inversion_recovery_the_maps_have_names_of_their_own(study: Path, tmp_path: Path) -> None:
    anat = tmp_path / "sub-001" / "anat"
    anat.mkdir(parents=True)
    for path in (study / "bids" / "sub-001" / "anat").iterdir():
        (anat / path.name).write_bytes(path.read_bytes())
        for number in (1, 2, 3):
            name = path.name.replace("flip-1_VFA", f"inv-{number}_IRT1")
            if name != path.name:
                (anat / name).write_bytes(path.read_bytes())
    steps = {step.pipeline: step for step in plan_run(tmp_path).steps}
    assert steps["vfa"].extra == ("--rec", "vfa")
    assert steps["vfa"].entities["rec"] == "vfa"
    assert steps["t1"].extra == ()


def store(folder: Path, values: np.ndarray, name: str) -> str:
    image = nib.Nifti1Image(values.astype(np.float32), np.diag([-1.0, 1.0, 1.0, 1.0]))
    nib.save(image, folder / name)
    return str(folder / name)


def spoiled(folder: Path, degrees: tuple[float, ...], b1: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Images by the Ernst equation, T1 from 0.5 s to 2 s, and a border without signal."""
    t1 = np.linspace(0.5, 2.0, b1.shape[0])[:, None, None] * np.ones(b1.shape)
    e = np.exp(-0.02 / t1)
    files = []
    for place, angle in enumerate(degrees):
        alpha = np.radians(angle) * b1
        signal = 5000 * np.sin(alpha) * (1 - e) / (1 - np.cos(alpha) * e)
        noise = np.random.default_rng(place).normal(0, 0.05, signal.shape)
        files.append(store(folder, np.abs(signal + noise), f"image{place}.nii.gz"))
    return files, t1


def test_timings_and_a_b1_map_in_percent_from_the_call(tmp_path: Path, capsys: CAPTURE) -> None:
    shape = (16, 12, 4)
    b1 = np.linspace(0.7, 1.2, shape[1])[None, :, None] * np.ones(shape)
    files, t1 = spoiled(tmp_path, (4.0, 18.0), b1)
    percent = store(tmp_path, 100 * b1, "b1.nii.gz")
    words = ["fit", "variable-flip-angle", *files, "--flip", "4", "18", "--tr", "0.02", "--known"]
    assert main([*words, f"B1={percent}", "-o", str(tmp_path / "a"), *QUIET]) == 2
    assert "--percent B1" in capsys.readouterr().err
    out = tmp_path / "b"
    assert main([*words, f"B1={percent}", "--percent", "B1", "-o", str(out), "--no-report"]) == 0
    assert "from the differences of neighbouring voxels" in capsys.readouterr().out.replace("\n", " ")
    maps = read_maps(out, out / "sub-01/anat/sub-01_T1map.json", (T1, M0)).maps
    np.testing.assert_allclose(maps.value("T1").numpy(), t1, rtol=0.01)
    np.testing.assert_allclose(maps.value("M0").numpy(), 5000, rtol=0.01)


def write_vfa(folder: Path, b1: np.ndarray, session: str = "") -> np.ndarray:
    """A visit with two flip angles in a BIDS tree; T1 is returned."""
    protocol = protocol_from_values(flip_angle=np.radians([4.0, 18.0]).tolist(), repetition_time=[0.02] * 2)
    anat = folder / "sub-01" / session / "anat"
    anat.mkdir(parents=True)
    (folder / "dataset_description.json").write_text('{"Name": "small", "BIDSVersion": "1.10.0"}')
    files, t1 = spoiled(folder, (4.0, 18.0), b1)
    for place, file in enumerate(files):
        stem = "_".join(part for part in ("sub-01", session, f"flip-{place + 1}_VFA") if part)
        Path(file).rename(anat / f"{stem}.nii.gz")
        (anat / f"{stem}.json").write_text(json.dumps(fields_of(protocol, place, "VFA")))
    return t1


def write_b1_map(
    folder: Path, values: np.ndarray, step: float, fields: dict[str, object], name: str
) -> None:
    """A B1 map whose voxels are `step` of those of the images, in the same place."""
    fmap = folder / "sub-01" / "fmap"
    fmap.mkdir(exist_ok=True)
    affine = np.diag([-step, step, step, 1.0])
    affine[:3, 3] = (step - 1) / 2 * np.array([-1.0, 1.0, 1.0])
    nib.save(nib.Nifti1Image(values.astype(np.float32), affine), fmap / f"{name}_TB1map.nii.gz")
    (fmap / f"{name}_TB1map.json").write_text(json.dumps(fields))


def visit_with_b1(bids: Path, factor: float, unit: str) -> tuple[np.ndarray, np.ndarray]:
    """A visit whose B1 map has voxels of twice the size; T1 and the values of the map are returned."""
    shape = (16, 12, 4)
    b1 = np.linspace(0.7, 1.2, shape[1])[None, :, None] * np.ones(shape)
    t1 = write_vfa(bids, b1)
    coarse = factor * b1.reshape(8, 2, 6, 2, 2, 2).mean((1, 3, 5))
    write_b1_map(bids, coarse, 2.0, {"Units": unit}, "sub-01")
    return t1, coarse


INNER = np.s_[2:-2, 2:-2, 1:-1]


def t1_over_truth(out: Path, t1: np.ndarray) -> np.ndarray:
    maps = read_maps(out, out / "sub-01/anat/sub-01_T1map.json", (T1, M0)).maps
    return maps.value("T1").numpy()[INNER] / t1[INNER]


def test_run_gives_the_fit_the_b1_map_of_the_visit(tmp_path: Path) -> None:
    bids, out = tmp_path / "bids", tmp_path / "out"
    t1, coarse = visit_with_b1(bids, 100.0, "percent")
    words = ["run", str(bids), str(out), "participant", "--workers", "1", "--no-report", "--quiet"]
    assert main(words) == 0
    # Noise alone is within 1 %; splines between large voxels add to it.
    np.testing.assert_allclose(t1_over_truth(out, t1), 1.0, atol=0.02)
    fields = json.loads((out / "sub-01/anat/sub-01_T1map.json").read_text())
    assert "bids:raw:sub-01/fmap/sub-01_TB1map.nii.gz" in fields["Sources"]
    assert any("was resampled onto the grid" in remark for remark in fields["unweight"]["Remarks"])
    # Another map is another input: the step is done again.
    write_b1_map(bids, coarse / 2, 2.0, {"Units": "percent"}, "sub-01")
    assert main(words) == 0
    # T1 goes with 1/B1² for small angles, as the apparent T1 does with B1².
    assert np.nanmedian(t1_over_truth(out, t1)) == pytest.approx(4, rel=0.1)


def test_a_b1_map_on_another_grid_with_the_unit_of_its_sidecar(tmp_path: Path) -> None:
    bids, out = tmp_path / "bids", tmp_path / "out"
    t1, _ = visit_with_b1(bids, 1.0, "arbitrary")
    (step,) = plan_run(bids).steps
    assert step.inputs["--b1-map"] == ("sub-01/fmap/sub-01_TB1map.nii.gz",)
    assert main([*step.words(bids, out), *QUIET]) == 0
    np.testing.assert_allclose(t1_over_truth(out, t1), 1.0, atol=0.02)


def test_of_several_b1_maps_the_one_intended_for_the_images_is_taken(tmp_path: Path) -> None:
    b1 = np.ones((6, 5, 4))
    write_vfa(tmp_path, b1)
    for name in ("sub-01_acq-a", "sub-01_acq-b"):
        write_b1_map(tmp_path, b1, 1.0, {}, name)
    plan = plan_run(tmp_path)
    assert plan.steps == ()
    (refusal,) = plan.refusals
    assert refusal.fault and "2 TB1map" in refusal.reason and "IntendedFor" in refusal.reason
    write_b1_map(tmp_path, b1, 1.0, {"IntendedFor": "anat/sub-01_flip-1_VFA.nii.gz"}, "sub-01_acq-b")
    (step,) = plan_run(tmp_path).steps
    assert step.inputs["--b1-map"] == ("sub-01/fmap/sub-01_acq-b_TB1map.nii.gz",)


def test_two_maps_of_b1_are_refused(tmp_path: Path, capsys: CAPTURE) -> None:
    words = ["vfa", "a.nii", "--flip", "4", "18", "--tr", "0.02", "--b1-map", "b1.nii"]
    assert main([*words, "--known", "B1=b1.nii", "-o", str(tmp_path)]) == 2
    assert "B1 is given twice" in capsys.readouterr().err


def test_a_b1_map_of_another_place_is_refused(tmp_path: Path, capsys: CAPTURE) -> None:
    b1 = np.ones((6, 5, 4))
    files, _ = spoiled(tmp_path, (4.0, 18.0), b1)
    far = nib.Nifti1Image(b1.astype(np.float32), np.diag([-1.0, 1.0, 1.0, 1.0]) + np.eye(4, k=3) * 500)
    nib.save(far, tmp_path / "far.nii.gz")
    words = ["vfa", *files, "--flip", "4", "18", "--tr", "0.02", "--b1-map", str(tmp_path / "far.nii.gz")]
    assert main([*words, "-o", str(tmp_path / "maps"), *QUIET]) == 2
    assert "does not overlap image0.nii.gz" in " ".join(capsys.readouterr().err.split())


def test_echoes_are_fitted_by_their_model(tmp_path: Path) -> None:
    times = [0.01 * n for n in range(1, 9)]
    t2 = np.linspace(0.03, 0.12, 10)[:, None, None] * np.ones((10, 9, 2))
    signal = 800 * np.exp(-np.array(times) / t2[..., None])
    file = store(tmp_path, signal + np.random.default_rng(0).normal(0, 0.1, signal.shape), "echoes.nii.gz")
    words = ["fit", "t2-decay", file, "--te", *map(str, times), "-o", str(tmp_path / "maps"), *QUIET]
    assert main(words) == 0
    root = tmp_path / "maps"
    maps = read_maps(root, root / "sub-01/anat/sub-01_T2map.json", (T2, S0)).maps
    np.testing.assert_allclose(maps.value("T2").numpy(), t2, rtol=0.01)


MANY = ("0.02", "0.04", "0.06", "0.08", "0.1", "0.12", "0.14", "0.16")
CALLS = {
    "inversion-recovery": ("--ti", "0.1", "0.4", "0.9", "1.6", "2.5", "--tr", "5"),
    "variable-flip-angle": ("--flip", "3", "8", "15", "25", "--tr", "0.02"),
    "variable-flip-angle-mpm": ("--flip", "6", "21", "15", "--tr", "0.025"),
    "t2-decay": ("--te", "0.02", "0.05", "0.08", "0.12"),
    "r2star-decay": ("--te", "0.004", "0.012", "0.02", "0.03"),
    "gradient-echo": ("--te", "0.004", "0.012", "0.02", "--tr", "0.04", "--flip", "15", "--fix", "T1=1.2"),
    "spin-echo": ("--te", "0.02", "0.05", "0.08", "0.12", "--fix", "T1=1.2"),
    "multi-echo-spin-echo": ("--te", *MANY, "--fix", "T1=1.2"),
}


# Images of BIDS suffixes that stand alone are no series; below they come as files.
ALONE = ("flair", "mprage")


@pytest.mark.parametrize("name", [item.name for item in models() if item.name not in ALONE])
def test_every_model_is_simulated_and_fitted(name: str, tmp_path: Path) -> None:
    call = list(CALLS[name])
    held = call[call.index("--fix") :] if "--fix" in call else []
    timings = call[: len(call) - len(held)]
    study, out = tmp_path / "study", tmp_path / "maps"
    words = ["simulate", str(study), "--model", name, *timings, "--slices", "1", "--snr", "200", "200"]
    assert main([*words, "--quiet"]) == 0
    mask = tmp_path / "mask.nii.gz"
    image = nib.load(next((study / "bids" / "sub-001" / "anat").glob("*.nii.gz")))
    inside = np.zeros(image.shape, dtype=np.uint8)
    inside[80:100, 100:120] = 1
    nib.save(nib.Nifti1Image(inside, image.affine), mask)
    words = ["fit", name, str(study / "bids"), "-o", str(out), "--mask", str(mask), *held, *QUIET]
    assert main(words) == 0
    images = list((out / "sub-001" / "anat").glob("*map.nii.gz"))
    assert len(images) >= 2
    for path in images:
        values = nib.load(path).get_fdata()
        assert np.isfinite(values[80:100, 100:120]).mean() > 0.5
        assert np.isnan(values[:40]).all()


TIMES = {"inversion_time": [0.3, 0.7, 1.2, 2.5], "repetition_time": [6.0] * 4}
TRAIN = {"echo_spacing": [0.007] * 4, "train_length": [40.0] * 4, "centre_index": [20.0] * 4}


@pytest.mark.parametrize(
    ("name", "model", "timings", "held"),
    [
        ("flair", Flair(), {**TIMES, "echo_time": [0.1] * 4}, "T2=0.08"),
        (
            "mprage",
            Mprage(),
            {**TIMES, **TRAIN, "echo_time": [0.003] * 4, "flip_angle": [0.15] * 4},
            "R2star=20",
        ),
    ],
)
def test_inversion_images_come_as_files_with_sidecars(
    name: str, model: SignalModel, timings: dict[str, list[float]], held: str, tmp_path: Path
) -> None:
    protocol = protocol_from_values(**timings)
    t1 = torch.linspace(0.5, 3.0, 10, dtype=torch.float64)[:, None, None].expand(10, 9, 2)
    other = torch.full_like(t1, float(held.partition("=")[2]))
    by_name = {"T1": t1, "T2": other, "R2star": other, "PD": torch.full_like(t1, 900.0)}
    theta = torch.stack([by_name[spec.name] for spec in model.parameters], dim=-1)
    signal = model(theta, protocol).numpy()
    files = []
    for place in range(4):
        noise = np.random.default_rng(place).normal(0, 0.05, signal.shape[:-1])
        files.append(store(tmp_path, np.abs(signal[..., place] + noise), f"{place}.nii.gz"))
        (tmp_path / f"{place}.json").write_text(json.dumps(fields_of(protocol, place, "T1w")))
    out = tmp_path / "maps"
    assert main(["fit", name, *files, "--fix", held, "-o", str(out), *QUIET]) == 0
    maps = read_maps(out, out / "sub-01/anat/sub-01_T1map.json", (T1,)).maps
    np.testing.assert_allclose(maps.value("T1").numpy(), t1.numpy(), rtol=0.01)


PLUGIN = '''
from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace

import torch


from unweight.registry.records import Model
from unweight.signals.model import SeparableModel
from unweight.signals.parameters import PD, T2

RECORDS = SimpleNamespace(
    models=(Model(name="toy", target="toy_plugin:Toy", summary="bell-shaped echoes", suffixes=("MESE",)),)
)


@dataclass(frozen=True, kw_only=True)
class Toy(SeparableModel):
    """S = PD exp(-(TE/T2)^2)."""

    @property
    def parameters(self):
        return (T2, PD)

    @property
    def timings(self):
        return ("echo_time",)

    @property
    def amplitude(self):
        return (PD,)

    @property
    def before_modulus(self):
        return self

    def __call__(self, theta, protocol, known=None):
        echo_time = protocol.require("echo_time", "Toy").to(theta)
        return theta[..., 1:2] * torch.exp(-((echo_time / theta[..., 0:1]) ** 2))
'''


def test_a_model_of_a_plug_in_is_simulated_and_fitted(tmp_path: Path) -> None:
    """The package is two files on the path, and the entry point that an installer would write."""
    (tmp_path / "toy_plugin.py").write_text(PLUGIN)
    info = tmp_path / "toy_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[unweight.plugins]\ntoy = toy_plugin:RECORDS\n")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])

    study, out = tmp_path / "study", tmp_path / "maps"
    times = [str(0.02 * n) for n in range(1, 7)]
    words = ("--model", "toy", "--te", *times, "--slices", "1", "--snr", "500", "500")
    simulate = ["simulate", str(study), *words]
    fit = ["fit", "toy", str(study / "bids"), "-o", str(out), *QUIET]
    code = f"from unweight.cli.main import main\nraise SystemExit(main({simulate}) or main({fit}))"
    ended = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    truth, maps = (
        read_maps(root, root / "sub-001/anat/sub-001_T2map.json", (T2,)).maps
        for root in (study / "truth", out)
    )
    tissue = truth.usable & maps.usable & (truth.value("T2") > 0.05) & (truth.value("T2") < 0.13)
    assert int(tissue.sum()) > 3000
    ratio = maps.value("T2")[tissue] / truth.value("T2")[tissue]
    assert abs(float(ratio.median()) - 1) < 0.03


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--te", "0.01"), "Give --model"),
        (("--model", "variable-flip-angle", "--flip", "3", "20"), "repetition_time"),
    ],
)
def test_a_simulation_without_its_timings_is_refused(
    words: tuple[str, ...], message: str, tmp_path: Path, capsys: CAPTURE, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unweight.cli.simulate.ProceduralHeads", None)  # before any head is made
    assert main(["simulate", str(tmp_path / "study"), *words]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--known", "T9=b1.nii.gz"), "T9"),
        (("--known", "B1=nowhere.nii.gz"), "no such file"),
        (("--percent", "B1"), "--percent B1: no map of B1 was given"),
        (("--fix", "T9=1"), "no parameter T9"),
        (("--signed", "--complex"), "cannot be combined"),
    ],
)
def test_what_makes_no_sense_is_refused(
    words: tuple[str, ...], message: str, tmp_path: Path, capsys: CAPTURE
) -> None:
    files, _ = spoiled(tmp_path, (3.0, 8.0, 20.0), np.ones((8, 8, 2)))
    call = ["fit", "variable-flip-angle", *files, *ANGLES, *words, "-o", str(tmp_path / "maps")]
    assert main(call) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "maps").exists()


def test_angles_in_the_wrong_order_are_refused(study: Path, tmp_path: Path, capsys: CAPTURE) -> None:
    files = sorted(str(path) for path in (study / "bids/sub-001/anat").glob("*.nii.gz"))
    call = ["fit", "variable-flip-angle", *files, "--flip", "20", "8", "3", "-o", str(tmp_path), *QUIET]
    assert main(call) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "not in the order of the files" in said
    assert "3 degrees" in said
