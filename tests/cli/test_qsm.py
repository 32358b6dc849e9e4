import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.bids.validator import validator_errors
from tests.cli.gradient_echoes import (
    AXIAL,
    QUICK,
    SHAPE,
    TIMES,
    UP,
    VOXEL,
    WORDS,
    apart,
    assert_same_bytes,
    echoes,
    edit_sidecars,
    head,
    image,
    run,
    sidecar,
    store,
    texts,
    write_mask,
    write_tree,
)
from tests.susceptibility.scenes import correlation, slope
from unweight.bids.derivatives.write import is_complete
from unweight.core.maps import VoxelStatus
from unweight.susceptibility.dipole import field_from_susceptibility

CAPTURE = pytest.CaptureFixture[str]
PRIVATE = {"PatientName": "Smith^John", "PatientID": "77-1234", "AcquisitionDate": "19991231"}
# Copies what it is given, keeps what it was called with, and inverts nothing.
PROGRAM = """#!{python}
import json, os, shutil, sys
words = sys.argv[1:]
with open(os.environ["CALLED"], "a") as file:
    file.write(json.dumps(words) + "\\n")
if os.environ.get("FAILS"):
    sys.stderr.write("one\\ntwo\\nthree\\nthe mask is bad\\n")
    sys.exit(3)
shutil.copy(words[2], words[words.index("--output") + 1])
if words[0] == "bgremove":
    shutil.copy(words[words.index("--mask") + 1], words[words.index("--output-mask") + 1])
"""


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("qsm") / "bids"
    write_tree(root, echoes(), {"sub": "01"})
    edit_sidecars(root, "*_MEGRE.json", PRIVATE | {"Manufacturer": "Siemens"})
    return root


@pytest.fixture(scope="session")
def mask(tree: Path) -> str:
    return write_mask(tree.parent / "mask.nii.gz")


@pytest.fixture(scope="session")
def maps(tree: Path, mask: str) -> Path:
    """Susceptibility as it is made by default, and R2* beside it."""
    out = tree.parent / "maps"
    for command in ("qsm", "r2star"):
        assert run(command, tree, "--mask", mask, "-o", out, "--quiet") == 0
    return out


def test_default_finds_the_susceptibility(maps: Path) -> None:
    chi = torch.from_numpy(image(maps, "Chimap"))
    known = torch.isfinite(chi)
    assert float(known.sum() / head().brain.sum()) > 0.7  # V-SHARP takes the outermost layer
    truth = head().chi
    assert correlation(chi[known], truth[known]) > 0.95
    # V-SHARP takes up to a fifth of the field of balls this large; a wrong unit would be far from this.
    assert 0.75 < slope(chi[known], truth[known]) < 1.05
    assert 0.13 < float(chi[head().iron].mean()) < 0.19


def test_all_images_and_sidecars_of_the_set(maps: Path) -> None:
    units = {
        **{"Chimap": "ppm", "desc-std_Chimap": "ppm", "desc-misfit_Chimap": "1"},
        **{
            "desc-total_fieldmap": "ppm",
            "desc-local_fieldmap": "ppm",
            "R2starmap": "1/s",
            "T2starmap": "s",
        },
    }
    for ending, unit in units.items():
        fields = sidecar(maps, ending)
        assert fields["Units"] == unit
        assert fields["MagneticFieldStrength"] == 3
        assert fields["Manufacturer"] == "Siemens"
        assert all(source.startswith("bids:raw:sub-01/anat/") for source in fields["Sources"])
    for ending in ("desc-Chi_mask", "desc-Chibrain_mask", "desc-Chiinvalid_mask", "desc-Chistatus_dseg"):
        assert set(np.unique(image(maps, ending))) <= {0, 1}
    told = sidecar(maps)["unweight"]
    assert told["Settings"]["BackgroundRemoval"]["Name"] == "vsharp"
    assert told["Settings"]["DipoleInversion"]["Name"] == "weighted_total_variation"
    assert told["Settings"]["B0Direction"] == list(UP)
    assert told["Settings"]["BrainMask"] == "given"
    assert told["Protocol"]["echo_time"] == pytest.approx(TIMES)


def test_total_field_is_that_of_the_truth(maps: Path) -> None:
    """In ppm, positive where the field is higher; a mean and a slope of the coil's phase are not known."""
    total, brain = torch.from_numpy(image(maps, "desc-total_fieldmap")), head().brain
    expected = echoes()[..., 3] * echoes()[..., 2].conj()
    rate = torch.angle(expected) / (TIMES[3] - TIMES[2])
    ppm = rate / (2 * np.pi * 42.577478518 * 3.0)
    # Where the phase does not turn between two late echoes it tells the field by itself.
    calm = brain & (rate.abs() * (TIMES[3] - TIMES[2]) < 1)
    assert float(calm.sum() / brain.sum()) > 0.5
    assert float((total - ppm)[calm].abs().max()) < 0.01
    local = torch.from_numpy(image(maps, "desc-local_fieldmap"))
    known = torch.isfinite(local)
    inner = field_from_susceptibility(head().chi, VOXEL, UP, background=0.0)
    # Of the exact field of balls this large V-SHARP leaves 0.95 of correlation.
    assert correlation(local[known], inner[known]) > 0.94


def test_two_sets_share_a_folder_and_both_are_whole(maps: Path) -> None:
    for suffix in ("Chimap", "R2starmap"):
        assert is_complete(maps, {"sub": "01"}, suffix)
    assert {path.name for path in maps.rglob("*.png")} == {"sub-01_Chimap.png", "sub-01_R2starmap.png"}


def test_derivatives_pass_the_validator(maps: Path, tree: Path) -> None:
    assert validator_errors(maps) == []
    assert validator_errors(tree) == []


def test_nothing_private_and_no_path_in_any_file(maps: Path, tree: Path) -> None:
    found = texts(maps)
    assert len(found) > 10
    for word in (*PRIVATE, *PRIVATE.values(), str(tree.parent), str(Path.home()) + os.sep):
        assert not [path for path, text in found.items() if word in text], word
    for path in maps.rglob("*.png"):
        assert str(tree.parent).encode() not in path.read_bytes()


def test_names_of_files_outside_a_tree_are_not_told(mask: str, tmp_path: Path) -> None:
    values = echoes().abs().numpy()
    values[0, 0, 0, 0] = np.nan  # which is noted, with the name of the file
    magnitude = store(tmp_path / "Smith_John.nii.gz", values)
    phase = store(tmp_path / "Smith_John_ph.nii.gz", echoes().angle().numpy())
    words = ("--te", *TIMES, "--field", 3, "--mask", mask, "-o", tmp_path / "out")
    assert run("qsm", "--mag", magnitude, "--phase", phase, *words, *QUICK) == 0
    assert not any("Smith" in text for text in texts(tmp_path / "out").values())


def test_same_input_same_bytes(tree: Path, mask: str, maps: Path) -> None:
    again = maps.with_name("again")
    for command in ("qsm", "r2star"):
        assert run(command, tree, "--mask", mask, "-o", again, "--quiet") == 0
    assert_same_bytes(maps, again)


def test_files_give_what_the_tree_gives(tree: Path, mask: str, tmp_path: Path) -> None:
    assert run("qsm", tree, "--mask", mask, "-o", tmp_path / "a", *QUICK) == 0
    expected = image(tmp_path / "a", "Chimap")
    magnitude = [
        store(tmp_path / f"e{index}.nii.gz", echoes()[..., index].abs().numpy()) for index in range(4)
    ]
    phase = [
        store(tmp_path / f"ph{index}.nii.gz", echoes()[..., index].angle().numpy()) for index in range(4)
    ]
    words = ("--mag", *magnitude, "--phase", *phase, "--te", *TIMES, "--mask", mask, *QUICK)
    assert run("qsm", *words, "--field", 3, "-o", tmp_path / "b") == 0
    assert apart(image(tmp_path / "b", "Chimap"), expected) == 0
    assert not list(tmp_path.rglob("*.png"))
    # Twice the field strength with the same phase is half the susceptibility.
    assert run("qsm", *words, "--field", 6, "-o", tmp_path / "c") == 0
    assert apart(2 * image(tmp_path / "c", "Chimap"), expected) < 1e-5


def test_folder_as_dcm2niix_leaves_it(mask: str, tmp_path: Path) -> None:
    """Its names and sidecars tell the parts; a mask in the same folder is none of the images."""
    folder = tmp_path / "nifti"
    for index, time in enumerate(TIMES):
        echo = echoes()[..., index]
        parts = {f"gre_e{index + 1}": echo.abs(), f"gre_e{index + 1}_ph": echo.angle()}
        for stem, values in parts.items():
            store(folder / f"{stem}.nii.gz", values.numpy())
            kind = ["ORIGINAL", "PRIMARY", "P" if stem.endswith("_ph") else "M"]
            fields = {"EchoTime": time, "MagneticFieldStrength": 3, "ImageType": kind}
            (folder / f"{stem}.json").write_text(json.dumps(fields))
    own = shutil.copy(mask, folder / "mask.nii.gz")
    for command, ending in (("qsm", "Chimap"), ("r2star", "R2starmap")):
        more = QUICK if command == "qsm" else WORDS
        assert run(command, folder, "--mask", own, "-o", tmp_path / "out", *more) == 0
        assert np.isfinite(image(tmp_path / "out", ending)).any()
    rate, brain = image(tmp_path / "out", "R2starmap"), head().brain.numpy()
    assert np.abs(rate - head().r2star.numpy())[brain].max() < 1e-3
    chi = torch.from_numpy(image(tmp_path / "out", "Chimap"))
    known = torch.isfinite(chi)
    # TKD leaves streaks.
    assert correlation(chi[known], head().chi[known]) > 0.85


def test_field_strength_is_not_guessed(mask: str, tmp_path: Path, capsys: CAPTURE) -> None:
    magnitude = store(tmp_path / "mag.nii.gz", echoes().abs().numpy())
    phase = store(tmp_path / "ph.nii.gz", echoes().angle().numpy())
    words = ("--mag", magnitude, "--phase", phase, "--te", *TIMES, "--mask", mask)
    assert run("qsm", *words, "-o", tmp_path / "out", *QUICK) == 2
    said = capsys.readouterr().err
    assert "needs the field strength" in said and "--field" in said


def test_brain_is_found_where_no_mask_is_given(tree: Path, tmp_path: Path) -> None:
    assert run("qsm", tree, "-o", tmp_path, *QUICK) == 0
    found, brain = image(tmp_path, "desc-Chibrain_mask") > 0, head().brain.numpy()
    overlap = 2 * (found & brain).sum() / (found.sum() + brain.sum())
    # A layer of 2 mm is taken off, half a voxel here.
    assert overlap > 0.85
    how = sidecar(tmp_path)["unweight"]["Settings"]["BrainMask"]
    assert how.startswith("segmented by a network for images of any contrast (weights brain-mask, SHA-256 ")
    assert how.endswith("), -1 mm from its surface")


def test_a_series_that_fails_does_not_stop_the_others(
    tree: Path, mask: str, tmp_path: Path, capsys: CAPTURE
) -> None:
    root = tmp_path / "bids"
    shutil.copytree(tree, root)
    write_tree(root, echoes(), {"sub": "00"})
    victim = next(root.rglob("sub-00_echo-3_part-phase_*.nii.gz"))
    victim.write_bytes(victim.read_bytes()[:2000])
    assert run("qsm", root, "--mask", mask, "-o", tmp_path / "out", *QUICK) == 1
    said = capsys.readouterr().err
    assert victim.name in said
    assert "1 of 2 series failed: sub-00_MEGRE" in said
    assert is_complete(tmp_path / "out", {"sub": "01"}, "Chimap")
    assert not (tmp_path / "out" / "sub-00").exists()


def test_maps_of_other_images_are_not_overwritten(mask: str, tmp_path: Path, capsys: CAPTURE) -> None:
    phase = store(tmp_path / "ph.nii.gz", echoes().angle().numpy())
    words = ("--phase", phase, "--te", *TIMES, "--field", 3, "--mask", mask, "-o", tmp_path / "out", *QUICK)
    one, other = (store(tmp_path / f"{k}.nii.gz", k * echoes().abs().numpy()) for k in (1, 2))
    assert run("qsm", "--mag", one, *words) == 0
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.*")}
    assert run("qsm", "--mag", other, *words) == 3
    assert "already holds maps of other images" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.*")} == before
    assert run("qsm", "--mag", one, *words, "--reference", "none") == 0


def test_images_of_an_earlier_set_do_not_stay(tree: Path, mask: str, tmp_path: Path) -> None:
    words = ("qsm", tree, "--mask", mask, "-o", tmp_path, "--quiet", "--inversion", "tkd")
    assert run(*words) == 0
    assert len(list(tmp_path.rglob("*.png"))) == 1
    assert run(*words, "--no-figures", "--background", "resharp") == 0
    assert not list(tmp_path.rglob("*.png"))
    assert sidecar(tmp_path)["unweight"]["Settings"]["BackgroundRemoval"]["Name"] == "resharp"
    assert is_complete(tmp_path, {"sub": "01"}, "Chimap")


def test_phase_that_follows_no_line_is_put_aside(mask: str, tmp_path: Path, capsys: CAPTURE) -> None:
    signal = echoes().clone()
    block = (slice(26, 29), slice(22, 25), slice(22, 25))
    signal[(*block, 1)] *= 1j
    signal[(*block, 2)] *= -1
    write_tree(tmp_path / "bids", signal, {"sub": "01"})
    words = ("qsm", tmp_path / "bids", "--mask", mask, *QUICK)
    assert run(*words, "-o", tmp_path / "out") == 0
    doubted = image(tmp_path / "out", "desc-Chistatus_dseg") == VoxelStatus.IMPLAUSIBLE
    inside = np.zeros(SHAPE, bool)
    inside[block] = True
    assert np.array_equal(doubted, inside)
    assert np.isfinite(image(tmp_path / "out", "Chimap"))[inside].all()
    assert "of the mask excluded" in " ".join(sidecar(tmp_path / "out")["unweight"]["Remarks"])
    assert run(*words, "-o", tmp_path / "none", "--quality-limit", 0) == 2
    assert "must be positive" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "give either a BIDS dataset, a folder or files, or --mag (with --phase)"),
        (("TREE", "--mag", "a.nii", "--phase", "b.nii"), "give either a BIDS dataset"),
        (("--mag", "a.nii"), "--mag together with --phase"),
        (("TREE", "--phase-range", "3", "-3"), "--phase-range: 3"),
        (("TREE", "--b0-direction", "0", "0", "0"), "the field direction is a zero vector"),
        (("--mag", "a.nii", "--phase", "b.nii"), "there is no such file"),
    ],
)
def test_wrong_calls_say_what_to_do(
    tree: Path, mask: str, tmp_path: Path, capsys: CAPTURE, words: tuple[str, ...], message: str
) -> None:
    called = [str(tree) if word == "TREE" else word for word in words]
    assert run("qsm", *called, "--mask", mask, "-o", tmp_path / "out", *QUICK) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


# An installed qsmxt.


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a program of this name on the path, and return where it keeps what it was called with."""
    path = tmp_path / "bin" / "qsmxt"
    path.parent.mkdir()
    path.write_text(PROGRAM.format(python=sys.executable))
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{path.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("CALLED", str(tmp_path / "called"))
    return tmp_path / "called"


def test_qsmxt_does_background_and_inversion(tree: Path, mask: str, tmp_path: Path, program: Path) -> None:
    words = ("--qsmxt", "--background", "pdf", "--reference", "none", "-o", tmp_path / "out", *WORDS)
    assert run("qsm", tree, "--mask", mask, *words) == 0
    first, second = program.read_text().splitlines()
    assert '"bgremove", "pdf"' in first and '"invert", "rts"' in second
    chi, total = image(tmp_path / "out", "Chimap"), image(tmp_path / "out", "desc-total_fieldmap")
    assert apart(chi, total) < 1e-7
    settings = sidecar(tmp_path / "out")["unweight"]["Settings"]
    assert settings["BackgroundRemoval"] == {"Name": "qsmxt_background", "method": "pdf"}
    assert settings["DipoleInversion"] == {"Name": "qsmxt_inversion", "method": "rts"}
    assert not any(str(tmp_path) in text for text in texts(tmp_path / "out").values())


def test_qsmxt_sees_images_mirrored_so_that_the_field_points_forwards(
    mask: str, tmp_path: Path, program: Path
) -> None:
    upside_down = AXIAL.copy()
    upside_down[2] *= -1
    write_tree(tmp_path / "bids", echoes(), {"sub": "01"}, affine=upside_down)
    own = write_mask(tmp_path / "mask.nii.gz", affine=upside_down)
    words = ("--qsmxt", "--reference", "none", "-o", tmp_path / "out", *WORDS)
    assert run("qsm", tmp_path / "bids", "--mask", own, *words) == 0
    for line in program.read_text().splitlines():
        assert '"--b0-direction", "0.000000", "0.000000", "1.000000"' in line
    assert sidecar(tmp_path / "out")["unweight"]["Settings"]["B0Direction"] == [0, 0, -1]
    chi, total = image(tmp_path / "out", "Chimap"), image(tmp_path / "out", "desc-total_fieldmap")
    assert apart(chi, total) < 1e-7


def test_qsmxt_that_is_missing_or_fails_is_said(
    tree: Path,
    mask: str,
    tmp_path: Path,
    program: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: CAPTURE,
) -> None:
    words = ("qsm", tree, "--mask", mask, "--qsmxt", "-o", tmp_path / "out", *WORDS)
    monkeypatch.setenv("FAILS", "1")
    assert run(*words) == 2
    said = capsys.readouterr().err
    assert "qsmxt bgremove vsharp failed (exit code 3): two three the mask is bad" in said
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run(*words) == 2
    said = capsys.readouterr().err
    assert "no program called qsmxt is on the path" in said and "leave out --qsmxt" in said
    assert not (tmp_path / "out").exists()
