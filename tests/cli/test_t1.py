import json
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from unweight.bids.derivatives.read import find_maps, read_maps
from unweight.cli.main import main
from unweight.core.maps import VoxelStatus
from unweight.signals.inversion_recovery import PD, T1, B

MAPS = ("T1map", "PDmap", "IEmap")


def read(out: Path) -> "object":
    return read_maps(out, find_maps(out, "T1map")[0], (T1, PD, B))


def test_demo_makes_everything_a_user_needs(demo: Path) -> None:
    anat = demo / "maps" / "sub-phantom" / "anat"
    for suffix in MAPS:
        for desc in ("", "_desc-std"):
            assert (anat / f"sub-phantom{desc}_{suffix}.nii.gz").is_file()
            assert (anat / f"sub-phantom{desc}_{suffix}.json").is_file()
    for name in ("desc-status_dseg.nii.gz", "desc-status_dseg.tsv", "desc-invalid_mask.nii.gz"):
        assert (anat / f"sub-phantom_{name}").is_file()
    figures = demo / "maps" / "sub-phantom" / "figures"
    assert len(list(figures.glob("*.png"))) == 2
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in figures.glob("*.png"))


def test_derivatives_and_raw_data_pass_the_validator(demo: Path) -> None:
    program = Path(sys.executable).with_name("bids-validator-deno")
    if not program.exists():
        pytest.skip("bids-validator-deno is not installed")
    for folder in ("bids", "maps"):
        ended = subprocess.run(
            [str(program), str(demo / folder), "--json"], capture_output=True, text=True, check=False
        )
        issues = json.loads(ended.stdout)["issues"]["issues"]
        assert [issue for issue in issues if issue["severity"] == "error"] == []


def test_maps_are_right_and_in_seconds(demo: Path) -> None:
    stored = read(demo / "maps")
    t1 = stored.maps.value("T1")  # type: ignore[attr-defined]
    usable = stored.maps.usable  # type: ignore[attr-defined]
    assert 2.4 < float(t1[usable].median()) < 2.9  # the water around the spheres, 2.64 s
    assert stored.maps.noise_sd == pytest.approx(20.0, rel=0.03)  # type: ignore[attr-defined]
    assert stored.protocol.as_dict()["inversion_time"][-1] == 2.5  # type: ignore[attr-defined]


def test_nothing_private_and_no_path_in_any_text(demo: Path) -> None:
    for path in (demo / "maps").rglob("*"):
        if path.suffix in {".json", ".tsv", ".md"} or path.name == ".bidsignore":
            text = path.read_text()
            assert str(demo) not in text
            assert str(Path.home()) not in text


def test_nifti_series_with_times_on_the_command_line(demo: Path, tmp_path: Path) -> None:
    images = sorted((demo / "bids" / "sub-phantom" / "anat").glob("*_IRT1.nii.gz"))
    data = np.stack([np.asarray(nib.load(image).dataobj) for image in images], axis=-1)
    series = tmp_path / "ir.nii.gz"
    nib.save(nib.Nifti1Image(data.astype(np.float32), nib.load(images[0]).affine), series)
    words = ["t1", str(series), "--ti", "0.05", "0.1", "0.25", "0.5", "0.85", "1.5", "2.5", "--tr", "10"]
    assert main([*words, "-o", str(tmp_path / "maps"), "--quiet", "--no-figures"]) == 0
    mine, reference = read(tmp_path / "maps"), read(demo / "maps")
    a, b = mine.maps.value("T1"), reference.maps.value("T1")  # type: ignore[attr-defined]
    both = mine.maps.usable & reference.maps.usable  # type: ignore[attr-defined]
    assert float((a[both] / b[both] - 1).abs().max()) < 1e-3
    assert not list((tmp_path / "maps").rglob("*.png"))


def test_mask_and_held_efficiency(demo: Path, tmp_path: Path) -> None:
    image = next((demo / "bids" / "sub-phantom" / "anat").glob("*_IRT1.nii.gz"))
    grid = nib.load(image)
    mask = np.zeros(grid.shape, np.uint8)
    mask[100:140, 100:140, 1] = 1
    nib.save(nib.Nifti1Image(mask, grid.affine), tmp_path / "mask.nii.gz")
    words = ["t1", str(demo / "bids"), "-o", str(tmp_path / "maps"), "--quiet", "--no-figures"]
    assert main([*words, "--mask", str(tmp_path / "mask.nii.gz"), "--efficiency", "1.96"]) == 0
    maps = read(tmp_path / "maps").maps  # type: ignore[attr-defined]
    assert int((maps.status != VoxelStatus.MASKED).sum()) <= 1600
    assert float((maps.value("B")[maps.usable] - 1.96).abs().max()) < 1e-6


def test_one_bad_subject_does_not_stop_the_others(
    small_tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = tmp_path / "bids"
    shutil.copytree(small_tree, tree)
    shutil.copytree(tree / "sub-phantom", tree / "sub-broken")
    for path in sorted((tree / "sub-broken" / "anat").iterdir()):
        path.rename(path.with_name(path.name.replace("sub-phantom", "sub-broken")))
    victim = next((tree / "sub-broken" / "anat").glob("*inv-3*.nii.gz"))
    victim.write_bytes(victim.read_bytes()[:2000])
    assert main(["validate", str(tree)]) == 1
    assert main(["t1", str(tree), "-o", str(tmp_path / "maps"), "--quiet", "--no-figures"]) == 1
    message = capsys.readouterr().err
    assert "sub-broken" in message
    assert victim.name in message
    assert "1 of 2 series failed" in message
    assert (tmp_path / "maps" / "sub-phantom" / "anat" / "sub-phantom_T1map.nii.gz").is_file()
    assert not (tmp_path / "maps" / "sub-broken").exists()


def test_same_input_same_bytes(small_tree: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        assert main(["t1", str(small_tree), "-o", str(tmp_path / name), "--quiet"]) == 0
    for path in (tmp_path / "a").rglob("*.*"):
        if path.is_file():
            other = tmp_path / "b" / path.relative_to(tmp_path / "a")
            assert path.read_bytes() == other.read_bytes(), path.name


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--signed", "--magnitude"], "--signed and --magnitude cannot be combined"),
        (["--efficiency", "96"], "an inversion efficiency of 96 is not possible"),
        (["--efficiency-range", "2", "1"], "range of inversion efficiency 2 to 1 is invalid"),
        (["--ti", "50", "100", "250", "500", "850", "1500", "2500"], "looks like milliseconds"),
        (["--ti", "0.05", "0.1"], "2 values of inversion_time for 7 volumes"),
        (["--device", "cuda"], "no CUDA device"),
    ],
)
def test_wrong_calls_say_what_to_do(
    small_tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    if "cuda" in words and __import__("torch").cuda.is_available():
        pytest.skip("there is a GPU here")
    assert main(["t1", str(small_tree), "-o", str(tmp_path / "maps"), *words]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "maps").exists()


def test_full_disk_keeps_the_older_result(
    small_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "maps"
    words = ["t1", str(small_tree), "-o", str(out), "--quiet", "--no-figures"]
    assert main(words) == 0
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    assert main([*words, "--efficiency", "1.9"]) == 3
    assert "No space left" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_maps_of_other_images_are_not_overwritten(
    small_tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Images outside a BIDS tree are all sub-01; and their file names stay out of the sidecars."""
    images = sorted((small_tree / "sub-phantom" / "anat").glob("*_IRT1.nii.gz"))
    times = ["--ti", "0.05", "0.1", "0.25", "0.5", "0.85", "1.5", "2.5", "--tr", "10", "--quiet"]
    data = np.stack([np.asarray(nib.load(image).dataobj) for image in images], axis=-1)
    for name, factor in (("Smith_John.nii", 1), ("other.nii", 2)):
        image = nib.Nifti1Image((factor * data).astype(np.float32), nib.load(images[0]).affine)
        nib.save(image, tmp_path / name)
    out = tmp_path / "maps"
    quick = ["--method", "ml", "--no-figures", "--no-report"]
    assert main(["t1", str(tmp_path / "Smith_John.nii"), *times, "-o", str(out), *quick]) == 0
    assert main(["t1", str(tmp_path / "Smith_John.nii"), *times, "-o", str(out), "--efficiency", "2"]) == 0
    assert main(["t1", str(tmp_path / "other.nii"), *times, "-o", str(out)]) == 3
    assert "already holds maps of other images" in capsys.readouterr().err
    assert not any(b"Smith" in path.read_bytes() for path in out.rglob("*") if path.is_file())
