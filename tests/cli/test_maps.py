"""From weighted images to maps on the command line: a simulated study, files, masks, and refusals."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from unweight.bids.derivatives.read import read_maps
from unweight.cli.main import main
from unweight.core.maps import VoxelStatus
from unweight.learn.weighted.estimator import SPECS


def plain(root: Path, suffix: str) -> Path:
    """Return the map itself, not what is said about it."""
    return next(p for p in root.glob(f"sub-*/anat/*_{suffix}.nii.gz") if "desc" not in p.name)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("routine")
    words = ["simulate", str(out), "--contrast", "routine", "--slices", "3", "--snr", "60", "60", "--quiet"]
    assert main(words) == 0
    return out


@pytest.fixture(scope="module")
def masked(study: Path) -> dict[str, str]:
    """The files of the one subject, with a mask of what has T1 in the truth of a brain."""
    anat = next((study / "bids").glob("sub-*/anat"))
    files = {
        name: str(next(anat.glob(f"*_{suffix}.nii.gz")))
        for name, suffix in (("t1w", "T1w"), ("t2w", "T2w"), ("flair", "FLAIR"))
    }
    truth, density = (nib.load(plain(study / "truth", suffix)) for suffix in ("T1map", "PDmap"))
    t1, pd = np.asarray(truth.dataobj), np.asarray(density.dataobj)
    middle = np.zeros(t1.shape, dtype=np.uint8)
    x, y = (n // 4 for n in t1.shape[:2])
    middle[x:-x, y:-y] = (np.nan_to_num(t1)[x:-x, y:-y] > 0.6) & (np.nan_to_num(pd)[x:-x, y:-y] > 0)
    path = study / "mask.nii.gz"
    nib.save(nib.Nifti1Image(middle, truth.affine), path)
    return files | {"mask": str(path)}


def words_of(masked: dict[str, str], out: Path, *more: str) -> list[str]:
    given = [word for name, path in masked.items() for word in (f"--{name}", path)]
    return ["maps", *given, "-o", str(out), "--quiet", *more]


@pytest.mark.parametrize("method", ["embedding", "physics"])
def test_files_become_maps_near_the_truth(
    study: Path, masked: dict[str, str], tmp_path: Path, method: str
) -> None:
    assert main(words_of(masked, tmp_path, "--method", method)) == 0
    sidecar = next(path for path in tmp_path.glob("sub-*/anat/*_T1map.json") if "desc" not in path.name)
    maps = read_maps(tmp_path, sidecar, SPECS).maps
    mask = np.asarray(nib.load(masked["mask"]).dataobj) > 0
    # Nothing outside the mask has a value, and the maps lie on the grid of the images.
    assert bool((maps.status[~mask] == VoxelStatus.MASKED).all())
    assert np.allclose(maps.affine.numpy(), nib.load(masked["t1w"]).affine, atol=1e-4)
    truth = np.asarray(nib.load(plain(study / "truth", "T1map")).dataobj)
    found = maps.value("T1").numpy()
    brain = mask & (truth < 2.0) & np.isfinite(found)
    away = np.median(np.abs(found[brain] / truth[brain] - 1))
    assert away < (0.15 if method == "embedding" else 0.6)
    fields = json.loads(sidecar.read_text())
    settings = fields["unweight"]["Settings"]
    assert settings["Images"]["FLAIR"]["InversionTime"] == 2.5
    assert settings["BrainMask"] == "given"
    assert settings["MadeAgain"]["T1w"]["Correlation"] > 0.3
    assert fields["MagneticFieldStrength"] == 3.0
    assert list(tmp_path.glob("sub-*/figures/*_T1map.png"))
    brain = nib.load(next(tmp_path.glob("sub-*/anat/*_desc-brain_mask.nii.gz")))
    assert np.array_equal(np.asarray(brain.dataobj) > 0, mask)


def test_two_images_are_enough(masked: dict[str, str], tmp_path: Path) -> None:
    two = {name: path for name, path in masked.items() if name != "t2w"}
    assert main(words_of(two, tmp_path, "--no-figures")) == 0
    assert not list(tmp_path.glob("sub-*/figures/*.png"))


def test_one_image_is_not(
    masked: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = {name: masked[name] for name in ("t1w", "mask")}
    assert main(words_of(one, tmp_path)) == 2
    assert "need at least two images" in capsys.readouterr().err
    assert not list(tmp_path.glob("sub-*"))


def test_what_no_sidecar_tells_is_asked_for(
    masked: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = tmp_path / "bare.nii.gz"
    shutil.copy(masked["flair"], bare)
    assert main(words_of(masked | {"flair": str(bare)}, tmp_path / "out")) == 2
    said = capsys.readouterr().err
    assert "bare.nii.gz" in said and "RepetitionTime" in said and "--flair-tr" in said


def test_timings_beyond_the_training_are_refused(
    masked: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words_of(masked, tmp_path, "--t2w-te", "0.18")) == 2
    said = capsys.readouterr().err
    assert "TE of the T2w (turbo-spin-echo) is 0.18 s" in said and "the weights of" in said


def test_images_on_another_axis_order_give_maps_on_theirs(masked: dict[str, str], tmp_path: Path) -> None:
    turned = {}
    for name, path in masked.items():
        image = nib.load(path)
        kept = nib.as_closest_canonical(image).slicer[::1]
        data = np.asarray(kept.dataobj)[::-1].transpose(1, 0, 2)
        swap = np.array([[0, -1, 0, data.shape[1] - 1], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
        new = tmp_path / Path(path).name
        nib.save(nib.Nifti1Image(np.ascontiguousarray(data), kept.affine @ swap), new)
        beside = Path(path.replace(".nii.gz", ".json"))
        if beside.exists():
            shutil.copy(beside, tmp_path)
        turned[name] = str(new)
    words = ["--field", "3"]
    assert main(words_of(masked, tmp_path / "a", "--no-figures", *words)) == 0
    assert main(words_of(turned, tmp_path / "b", "--no-figures", *words)) == 0
    first, second = (
        nib.as_closest_canonical(nib.load(plain(tmp_path / name, "T1map"))) for name in ("a", "b")
    )
    assert np.allclose(first.affine, second.affine, atol=1e-3)
    assert np.allclose(first.get_fdata(), second.get_fdata(), rtol=1e-3, equal_nan=True)


def test_a_tree_with_too_little_is_said_and_the_rest_is_done(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = tmp_path / "bids"
    shutil.copytree(study / "bids", tree)
    subject = next(tree.glob("sub-*"))
    for path in subject.glob("anat/*_T2w.*"):
        path.unlink()
    for path in subject.glob("anat/*_FLAIR.*"):
        path.unlink()
    assert main(["maps", str(tree), "-o", str(tmp_path / "out"), "--quiet"]) == 2
    assert "has T1w only" in capsys.readouterr().err


def test_a_tree_and_files_exclude_each_other(
    study: Path, masked: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words_of(masked, tmp_path), str(study / "bids")]) == 2
    assert "either a BIDS dataset, a folder or files" in capsys.readouterr().err


def test_of_several_images_of_a_contrast_one_is_chosen_and_recorded(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A second run and an image after a contrast agent are left out, with the reason."""
    tree = tmp_path / "bids"
    shutil.copytree(study / "bids", tree)
    label = next(tree.glob("sub-*")).name
    for entity in ("run-2", "ce-gd"):
        for path in sorted((tree / label / "anat").glob(f"{label}_T1w.*")):
            shutil.copy(path, path.with_name(path.name.replace("_T1w", f"_{entity}_T1w")))
    words = ["maps", str(tree / label), "-o", str(tmp_path / "out"), "--no-figures", "--method", "physics"]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert f"T1w left out: {label}_run-2_T1w.nii.gz" in shown
    assert f"T1w left out: {label}_ce-gd_T1w.nii.gz, it was acquired after a contrast agent" in shown
    sidecar = next(
        path for path in (tmp_path / "out").glob("sub-*/anat/*_T1map.json") if "desc" not in path.name
    )
    choice = json.loads(sidecar.read_text())["unweight"]["Settings"]["Choice"]
    assert choice["T1w"]["Image"] == f"{label}_T1w.nii.gz"
    assert len(choice["LeftOut"]) == 2
    page = (tmp_path / "out" / f"{label}.html").read_text()
    assert "after a contrast agent (ce-gd)" in page


def test_derivatives_pass_the_validator(masked: dict[str, str], tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("bids-validator-deno")
    if not program.exists():
        pytest.skip("bids-validator-deno is not installed")
    assert main(words_of(masked, tmp_path)) == 0
    ended = subprocess.run(
        [str(program), str(tmp_path), "--json"], capture_output=True, text=True, check=False
    )
    issues = json.loads(ended.stdout)["issues"]["issues"]
    assert [issue for issue in issues if issue["severity"] == "error"] == []
