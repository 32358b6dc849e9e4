"""What users of susceptibility mapping ask about phase images, each as a test."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.cli.gradient_echoes import (
    AXIAL,
    QUICK,
    SHAPE,
    TIMES,
    Files,
    apart,
    call,
    echoes,
    head,
    image,
    map_files,
    phase,
    remarks,
    run,
    store,
    write_files,
    write_tree,
)
from tests.susceptibility.scenes import correlation

SIEMENS_STEP = 2 * math.pi / 4096
# Half a step of 12 bits is 0.8 mrad, 3e-4 ppm over these echoes; TKD multiplies by up to 5.
QUANTISED = 2e-3
# Single precision, through unwrapping and division by small numbers.
ROUNDED = 2e-5
TE = ("--te", *TIMES)
CAPTURE = pytest.CaptureFixture[str]


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return write_files(tmp_path_factory.mktemp("files"))


# 1 What the numbers of phase images stand for.


def test_phase_in_radians_is_recognised_and_the_map_is_near_the_truth(files: Files) -> None:
    assert "taken for radians" in remarks(files.folder / "plain")
    known = np.isfinite(files.chi)
    truth = head().chi.numpy()[known]
    # TKD leaves streaks; a wrong sign or scale would be far from this.
    assert correlation(torch.from_numpy(files.chi[known]), torch.from_numpy(truth)) > 0.85


@pytest.mark.parametrize(
    ("slope", "intercept", "name"),
    [(1.0, 0.0, "Siemens integers, 0 to 4095"), (2.0, -4096.0, "Siemens integers, -4096 to 4094")],
)
def test_siemens_integers_with_and_without_slope_give_the_same_map(
    files: Files, tmp_path: Path, slope: float, intercept: float, name: str
) -> None:
    steps = np.round((phase() + np.pi) / SIEMENS_STEP).astype(np.int16) % 4096
    stored = store(tmp_path / "ph.nii.gz", steps, slope=slope, intercept=intercept)
    assert apart(map_files(files, tmp_path / "out", stored), files.chi) < QUANTISED
    assert name in remarks(tmp_path / "out")


def test_philips_milliradians_give_the_same_map(files: Files, tmp_path: Path) -> None:
    stored = store(tmp_path / "ph.nii.gz", 1000 * phase())
    assert apart(map_files(files, tmp_path / "out", stored), files.chi) < ROUNDED
    assert "milliradians, as Philips writes" in remarks(tmp_path / "out")


def test_philips_float_with_a_slope_gives_the_same_map(files: Files, tmp_path: Path) -> None:
    slope = 1000 * np.pi / 2047
    steps = np.round(1000 * phase() / slope).astype(np.int16)
    stored = store(tmp_path / "ph.nii.gz", steps, slope=slope)
    assert apart(map_files(files, tmp_path / "out", stored), files.chi) < QUANTISED


def test_turned_sign_of_ge_is_noticed_and_can_be_turned_back(files: Files, tmp_path: Path) -> None:
    stored = store(tmp_path / "ph.nii.gz", -phase())
    turned = map_files(files, tmp_path / "wrong", stored)
    assert apart(-turned, files.chi) < ROUNDED
    assert "the sign of the phase is probably reversed" in remarks(tmp_path / "wrong")
    right = map_files(files, tmp_path / "right", stored, "--invert-phase")
    assert apart(right, files.chi) < ROUNDED
    assert "inverted" in remarks(tmp_path / "right")
    assert "the sign of the phase" not in remarks(tmp_path / "right")


def test_real_and_imaginary_parts_give_the_same_map(files: Files, tmp_path: Path) -> None:
    parts = {"real": echoes().real.numpy(), "imaginary": echoes().imag.numpy()}
    paths = [store(tmp_path / f"gre_{name}.nii.gz", values) for name, values in parts.items()]
    words = (*paths, *TE, "--field", 3, "--mask", files.mask, *QUICK)
    assert run("qsm", *words, "-o", tmp_path / "out") == 0
    assert apart(image(tmp_path / "out", "Chimap"), files.chi) < ROUNDED


def test_unknown_range_of_phase_is_refused_until_it_is_told(
    files: Files, tmp_path: Path, capsys: CAPTURE
) -> None:
    stored = store(tmp_path / "ph.nii.gz", 100 * phase())
    assert call(files, tmp_path / "out", stored) == 2
    said = capsys.readouterr().err
    assert "ph.nii.gz" in said and "range from -314.159 to 314.159" in said and "--phase-range" in said
    assert not (tmp_path / "out").exists()
    for name, words in {
        "told": ("--phase-range", -100 * math.pi, 100 * math.pi),
        "whole": ("--phase-full-range",),
    }.items():
        assert apart(map_files(files, tmp_path / name, stored, *words), files.chi) < ROUNDED
        assert "used as a full cycle, as given" in remarks(tmp_path / name)
    assert call(files, tmp_path / "out", stored, "--phase-full-range", "--phase-range", 0, 1) == 2
    assert "--phase-full-range cannot be combined" in capsys.readouterr().err


def test_phase_of_exactly_nothing_or_half_a_turn_is_a_phase_like_any_other(
    files: Files, tmp_path: Path
) -> None:
    """No random numbers stand in for it: nothing changes but as the neighbouring number changes it."""
    maps = []
    for name, nudge in (("exact", 0.0), ("again", 0.0), ("near", 1e-6)):
        exact = phase()
        exact[14:17, 20, 18, 1], exact[20:23, 20, 18, 2] = nudge, np.pi - nudge
        stored = store(tmp_path / f"{name}.nii.gz", exact)
        maps.append(map_files(files, tmp_path / name, stored, "--quality-limit", "inf"))
    assert apart(maps[0], maps[1]) == 0
    assert apart(maps[0], maps[2]) < ROUNDED


def test_slices_that_ge_turned_are_turned_back_and_it_is_said(files: Files, tmp_path: Path) -> None:
    sign = 1 - 2 * (torch.arange(SHAPE[2]) % 2)
    write_tree(tmp_path / "bids", echoes() * sign[:, None], {"sub": "01"})
    assert run("qsm", tmp_path / "bids", "--mask", files.mask, "-o", tmp_path / "out", *QUICK) == 0
    assert apart(image(tmp_path / "out", "Chimap"), files.chi) < ROUNDED
    assert "alternate slices had a phase offset" in remarks(tmp_path / "out")


# 2 Images that do not fit each other.


@pytest.mark.parametrize("how", ["smaller", "elsewhere"])
def test_phase_on_another_grid_than_magnitude_is_said(
    files: Files, tmp_path: Path, capsys: CAPTURE, how: str
) -> None:
    moved = AXIAL.copy()
    moved[0, 3] += 4 * (how == "elsewhere")
    values = phase()[:, :, 1:] if how == "smaller" else phase()
    stored = store(tmp_path / "ph.nii.gz", values, moved)
    assert call(files, tmp_path / "out", stored) == 2
    said = capsys.readouterr().err
    wanted = (
        "has 40x44x35 voxels, but mag.nii.gz has 40x44x36"
        if how == "smaller"
        else "is at a different position"
    )
    assert "ph.nii.gz" in said and wanted in said and "one grid" in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["qsm", "r2star"])
def test_echo_times_unlike_the_number_of_volumes_are_said(
    files: Files, tmp_path: Path, capsys: CAPTURE, command: str
) -> None:
    stored = store(tmp_path / "gre_ph.nii.gz", phase())
    names = (files.magnitude,) if command == "r2star" else ("--mag", files.magnitude, "--phase", stored)
    assert run(command, *names, "--te", *TIMES[:3], "-o", tmp_path / "out", "--quiet") == 2
    said = capsys.readouterr().err
    assert "mag.nii.gz" in said and "3 values of echo_time for 4 volumes" in said
    assert not (tmp_path / "out").exists()


def test_fewer_volumes_of_phase_than_of_magnitude_are_said(
    files: Files, tmp_path: Path, capsys: CAPTURE
) -> None:
    stored = store(tmp_path / "ph.nii.gz", phase()[..., :3])
    assert call(files, tmp_path / "out", stored) == 2
    said = capsys.readouterr().err
    assert "ph.nii.gz" in said and "for 3 volumes" in said
