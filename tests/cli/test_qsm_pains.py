"""What users of susceptibility mapping ask about again and again, each as a test.

The first two, numbers and grids of phase images, are in `test_qsm_phase_pains.py`.
"""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage

from tests.cli.gradient_echoes import (
    MM,
    QUICK,
    SHAPE,
    TIMES,
    VOXEL,
    WORDS,
    Array,
    Files,
    apart,
    call,
    echoes,
    edit_sidecars,
    head,
    image,
    remarks,
    run,
    sidecar,
    store,
    write_files,
    write_mask,
    write_tree,
)
from tests.susceptibility.scenes import correlation, places
from unweight.bids.derivatives.write import is_complete
from unweight.core.maps import VoxelStatus
from unweight.susceptibility.geometry import Triple

# Single precision, through unwrapping, division by small numbers and a plane wave or two.
ROUNDED = 2e-5
# An affine holds single precision; TKD turns a sign where the kernel is 0, and so sees the last digit.
SAME_DIRECTION = 2e-3
TE = ("--te", *TIMES)
CAPTURE = pytest.CaptureFixture[str]


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return write_files(tmp_path_factory.mktemp("files"))


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tree") / "bids"
    write_tree(root, echoes(), {"sub": "01"})
    return root


# 3 Masks.


def test_no_rim_along_the_edge_of_the_mask(tree: Path, files: Files, tmp_path: Path) -> None:
    assert run("qsm", tree, "--mask", files.mask, "-o", tmp_path, *WORDS) == 0
    chi = image(tmp_path, "Chimap")
    known = np.isfinite(chi)
    inner = ndimage.binary_erosion(known)
    rim = np.abs(chi[known & ~inner] - chi[known].mean())
    # Nothing lies along the edge in this head, and there is no noise; what is there is of the background.
    assert np.quantile(rim, 0.99) < 1.5 * chi[inner].std()
    assert rim.mean() < 0.5 * chi[inner].std()


@pytest.mark.parametrize("void", ["noise", "nothing"])
def test_tissue_whose_late_echoes_are_void_leaves_no_hole_around_it(
    files: Files, tmp_path: Path, void: str
) -> None:
    signal = echoes().clone()
    block = (slice(26, 29), slice(22, 25), slice(22, 25), slice(2, 4))
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn((2, 3, 3, 3, 2), generator=generator)
    signal[block] = torch.complex(noise[0], noise[1]) if void == "noise" else torch.zeros(())
    write_tree(tmp_path / "bids", signal, {"sub": "01"})
    assert run("qsm", tmp_path / "bids", "--mask", files.mask, "-o", tmp_path / "out", *QUICK) == 0
    chi = image(tmp_path / "out", "Chimap")
    status = image(tmp_path / "out", "desc-Chistatus_dseg")
    inside = np.zeros(SHAPE, bool)
    inside[block[:3]] = True
    new = np.isnan(chi) & ~np.isnan(files.chi)
    assert not new[~inside].any()
    doubted = np.isnan(chi) | (status == VoxelStatus.IMPLAUSIBLE)
    assert not (doubted & ~np.isnan(files.chi))[~inside].any()
    far = ~ndimage.binary_dilation(inside, iterations=4) & ~np.isnan(chi)
    # The block is smoothed over, which is a small change of the sources, seen from 16 mm away.
    assert np.abs(chi - files.chi)[far].max() < 0.1 * np.nanstd(files.chi)


# 4 What is called 0, and in which unit.


def test_references_differ_by_a_constant_and_unit_and_reference_are_told(
    tree: Path, files: Files, tmp_path: Path
) -> None:
    maps = {}
    for name, told in (("none", "nothing"), ("mean", "its mean over the mask"), ("csf", "CSF")):
        words = ("--mask", files.mask, "--reference", name, "-o", tmp_path / name)
        assert run("qsm", tree, *words, *QUICK) == 0
        maps[name] = image(tmp_path / name, "Chimap")
        fields = sidecar(tmp_path / name)
        assert fields["Units"] == "ppm"
        assert told in fields["Description"]
        assert fields["unweight"]["Settings"]["Reference"] == name
    known = np.isfinite(maps["none"])
    assert abs(maps["mean"][known].mean(dtype=np.float64)) < 1e-6
    for name in ("mean", "csf"):
        assert np.ptp((maps[name] - maps["none"])[known]) < 1e-6
    x, y, z = places(SHAPE, VOXEL)
    ventricle = ((x**2 + (y + 4) ** 2 + (z - 4) ** 2).sqrt() < 8).numpy()
    assert abs(maps["csf"][ventricle].mean()) < 0.01
    assert abs(maps["csf"][known].mean()) > 0.01


# 5 Series that differ in `acq` only.


def test_series_of_two_acquisitions_give_maps_of_two_names(files: Files, tmp_path: Path) -> None:
    for label, times in (("a", TIMES), ("b", TIMES[:3])):
        signal = echoes(times=times) * (1 if label == "a" else 0.5)
        write_tree(tmp_path / "bids", signal, {"sub": "01", "acq": label}, times)
    for command in (("qsm", *QUICK), ("r2star", *WORDS)):
        name, *more = command
        assert run(name, tmp_path / "bids", "--mask", files.mask, "-o", tmp_path / "out", *more) == 0
    for label, n_echoes in (("a", 4), ("b", 3)):
        stem = f"sub-01_acq-{label}"
        for ending in ("Chimap", "R2starmap"):
            fields = sidecar(tmp_path / "out", ending, stem)
            assert len(fields["unweight"]["Protocol"]["echo_time"]) == n_echoes
            assert all(f"_acq-{label}_" in source for source in fields["Sources"])
            assert np.isfinite(image(tmp_path / "out", ending, stem)).any()
            assert is_complete(tmp_path / "out", {"sub": "01", "acq": label}, ending)


# 6 Coils that were not combined.


def test_uncombined_coils_are_refused_with_their_shape(
    files: Files, tmp_path: Path, capsys: CAPTURE
) -> None:
    stored = store(tmp_path / "ph.nii.gz", np.zeros((4, 4, 4, 4, 2), np.float32))
    assert call(files, tmp_path / "out", stored) == 2
    said = capsys.readouterr().err
    assert "ph.nii.gz" in said and "has 5 dimensions (4x4x4x4x2)" in said


# 7 Every other echo read backwards.


def backwards() -> torch.Tensor:
    x, y, _ = places(SHAPE, VOXEL)
    surplus = (0.4 + 0.008 * x - 0.002 * y)[..., None] * torch.tensor([0.0, 1.0, 0.0, 1.0])
    return (echoes() * torch.polar(torch.ones_like(surplus), surplus)).to(torch.complex64)


def test_bipolar_readout_is_seen_said_and_corrected(files: Files, tmp_path: Path) -> None:
    write_tree(tmp_path / "bids", backwards(), {"sub": "01"})
    words = ("qsm", tmp_path / "bids", "--mask", files.mask, *QUICK)
    for choice in ("auto", "yes", "no"):
        assert run(*words, "-o", tmp_path / choice, "--bipolar", choice) == 0
    assert "the readout is treated as bipolar and corrected" in remarks(tmp_path / "auto")
    assert "bipolar" not in remarks(tmp_path / "no")
    assert "bipolar" not in remarks(files.folder / "plain")
    assert apart(image(tmp_path / "auto", "Chimap"), image(tmp_path / "yes", "Chimap")) == 0
    assert apart(image(tmp_path / "auto", "Chimap"), files.chi) < ROUNDED
    left_in = image(tmp_path / "no", "Chimap")
    assert np.nanmax(np.abs(left_in - files.chi)) > 0.5 * np.nanstd(files.chi)
    left, right = (image(tmp_path / name, "desc-misfit_Chimap") for name in ("no", "auto"))
    assert np.nanmedian(left) > 0.05 > np.nanmedian(right)


def test_two_echoes_of_a_bipolar_readout_are_refused(files: Files, tmp_path: Path, capsys: CAPTURE) -> None:
    write_tree(tmp_path / "bids", echoes()[..., :2], {"sub": "01"}, TIMES[:2])
    words = ("qsm", tmp_path / "bids", "--mask", files.mask, *QUICK, "-o", tmp_path / "out")
    assert run(*words, "--bipolar", "yes") == 2
    assert "2 echoes of a bipolar readout" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert run(*words) == 0


# 8 What R2* is made from.


def test_r2star_needs_no_phase_and_knows_slope_and_scale(files: Files, tmp_path: Path) -> None:
    magnitude = echoes().abs().numpy()
    steps = np.round(magnitude / 0.05).astype(np.int16)
    stored = {
        "float": store(tmp_path / "float.nii.gz", magnitude),
        "slope": store(tmp_path / "slope.nii.gz", steps, slope=0.05),
        "large": store(tmp_path / "large.nii.gz", 1000 * magnitude),
    }
    for name, path in stored.items():
        assert run("r2star", path, *TE, "--mask", files.mask, "-o", tmp_path / name, *WORDS) == 0
    rate = image(tmp_path / "float", "R2starmap")
    truth, brain = head().r2star.numpy(), head().brain.numpy()
    assert np.abs(rate - truth)[brain].max() < 1e-3
    assert apart(image(tmp_path / "large", "R2starmap"), rate) < 1e-3
    # Half a step of 0.025 in a late echo of some 200, over 18 ms: 0.007 1/s for one echo.
    assert apart(image(tmp_path / "slope", "R2starmap"), rate) < 0.05
    first, second = (image(tmp_path / name, "S0map") for name in ("float", "slope"))
    np.testing.assert_allclose(first[brain], second[brain], rtol=1e-3)
    ratio = image(tmp_path / "large", "S0map")[brain] / first[brain]
    np.testing.assert_allclose(ratio, 1000, rtol=1e-4)


# 9 Oblique slices.

TILT = math.radians(25)
OBLIQUE: Triple = (0.0, math.sin(TILT), math.cos(TILT))


def turned() -> Array:
    """An affine whose slices are turned about x; in its voxel axes the field is OBLIQUE."""
    cosine, sine = math.cos(TILT), math.sin(TILT)
    rotation = np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])
    affine = np.eye(4)
    affine[:3, :3] = MM * rotation
    affine[:3, 3] = -rotation @ [80, 88, 72]
    return affine


@pytest.fixture(scope="session")
def oblique(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    root = tmp_path_factory.mktemp("oblique")
    write_tree(root / "bids", echoes(OBLIQUE), {"sub": "01"}, affine=turned())
    return root / "bids", write_mask(root / "mask.nii.gz", affine=turned())


def test_oblique_slices_give_the_susceptibility_of_axial_ones(
    oblique: tuple[Path, str], files: Files, tmp_path: Path
) -> None:
    tree, mask = oblique
    assert run("qsm", tree, "--mask", mask, "-o", tmp_path / "right", *QUICK) == 0
    words = ("--b0-direction", 0, 0, 1, "-o", tmp_path / "wrong")
    assert run("qsm", tree, "--mask", mask, *QUICK, *words) == 0
    told = sidecar(tmp_path / "right")["unweight"]["Settings"]["B0Direction"]
    assert told == pytest.approx(OBLIQUE, abs=1e-5)
    right, wrong = (image(tmp_path / name, "Chimap") for name in ("right", "wrong"))
    known = np.isfinite(right)
    truth = head().chi[torch.from_numpy(known)]
    away = [float(np.std(one[known] - truth.numpy())) for one in (files.chi, right, wrong)]
    # Streaks of TKD lie elsewhere, so the maps are not the same; their error is.
    assert away[1] < 1.1 * away[0]
    assert away[2] > 1.5 * away[1]


def test_direction_on_the_command_line_wins_over_the_sidecar_which_wins_over_the_affine(
    oblique: tuple[Path, str], files: Files, tmp_path: Path
) -> None:
    tree, mask = oblique
    assert run("qsm", tree, "--mask", mask, "-o", tmp_path / "affine", *QUICK) == 0
    expected = image(tmp_path / "affine", "Chimap")
    root = tmp_path / "bids"
    write_tree(root, echoes(OBLIQUE), {"sub": "01"})  # the affine says axial
    edit_sidecars(root, "*_MEGRE.json", {"B0_dir": list(OBLIQUE)})
    words = ("qsm", root, "--mask", files.mask, *QUICK)
    assert run(*words, "-o", tmp_path / "told") == 0
    assert apart(image(tmp_path / "told", "Chimap"), expected) < SAME_DIRECTION
    edit_sidecars(root, "*_MEGRE.json", {"B0_dir": [1, 0, 0]})
    assert run(*words, "-o", tmp_path / "given", "--b0-direction", *OBLIQUE) == 0
    assert apart(image(tmp_path / "given", "Chimap"), expected) < SAME_DIRECTION


# 10 A mask of one's own.


def test_own_mask_is_honoured(tree: Path, tmp_path: Path) -> None:
    mask = head().brain.clone()
    mask[24:] = False
    path = write_mask(tmp_path / "mask.nii.gz", mask)
    assert run("qsm", tree, "--mask", path, "-o", tmp_path / "out", *QUICK) == 0
    outside = ~mask.numpy()
    for ending in ("Chimap", "desc-std_Chimap", "desc-total_fieldmap", "desc-local_fieldmap"):
        values = image(tmp_path / "out", ending)
        assert np.isnan(values[outside]).all()
        assert np.isfinite(values).any()
    assert np.array_equal(image(tmp_path / "out", "desc-Chibrain_mask") > 0, mask.numpy())
    known = image(tmp_path / "out", "desc-Chi_mask") > 0
    assert np.array_equal(known, np.isfinite(image(tmp_path / "out", "Chimap")))


# 11 Names.


def renamed(root: Path, labels: tuple[str, ...]) -> None:
    """Give the echoes other labels, after a run."""
    for path in sorted(root.rglob("*_MEGRE.*")):
        for index, label in enumerate(labels):
            if f"_echo-{index + 1}_" in path.name:
                path.rename(path.with_name(path.name.replace(f"echo-{index + 1}_", f"run-1_echo-{label}_")))
                break


@pytest.mark.parametrize("labels", [("01", "02", "03", "04"), ("8", "9", "10", "11")])
def test_run_before_echo_and_any_number_of_digits_are_read_in_order(
    files: Files, tmp_path: Path, labels: tuple[str, ...]
) -> None:
    """Only the order of the files tells the echo times here."""
    root = tmp_path / "bids"
    write_tree(root, echoes(), {"sub": "01"})
    renamed(root, labels)
    for path in root.rglob("*_MEGRE.json"):
        path.write_text('{"Units": "rad"}')
    words = ("qsm", root, "--mask", files.mask, *QUICK, *TE, "--field", 3)
    assert run(*words, "-o", tmp_path / "out") == 0
    assert apart(image(tmp_path / "out", "Chimap", "sub-01_run-1"), files.chi) < ROUNDED
    sources = sidecar(tmp_path / "out", stem="sub-01_run-1")["Sources"]
    found = [next(label for label in labels if f"_echo-{label}_" in one) for one in sources]
    assert tuple(found) == 2 * labels


def test_files_named_real_and_imag_are_read(files: Files, tmp_path: Path) -> None:
    root = tmp_path / "bids"
    write_tree(root, echoes(), {"sub": "01"})
    for index in range(4):
        for old, new, values in (("mag", "real", echoes().real), ("phase", "imag", echoes().imag)):
            stem = f"sub-01_echo-{index + 1}_part-{old}_MEGRE"
            path = root / "sub-01" / "anat" / f"{stem}.nii.gz"
            path.unlink()
            store(path.with_name(path.name.replace(old, new)), values[..., index].numpy())
            beside = path.with_name(f"{stem}.json")
            beside.rename(beside.with_name(beside.name.replace(old, new)))
    for command, ending in (("qsm", "Chimap"), ("r2star", "R2starmap")):
        more = QUICK if command == "qsm" else WORDS
        assert run(command, root, "--mask", files.mask, "-o", tmp_path / "out", *more) == 0
        expected = files.chi if command == "qsm" else np.where(head().brain, head().r2star, np.nan)
        assert apart(image(tmp_path / "out", ending), expected) < (ROUNDED if command == "qsm" else 1e-3)


def test_magnitude_without_phase_is_refused_with_what_is_missing(tmp_path: Path, capsys: CAPTURE) -> None:
    root = tmp_path / "bids"
    write_tree(root, echoes(), {"sub": "01"})
    victims = sorted(root.rglob("*part-phase*"))
    for path in victims[:2]:
        path.unlink()
    assert run("qsm", root, "-o", tmp_path / "out", *QUICK) == 2
    assert "found 4 magnitude, 3 phase" in capsys.readouterr().err
    for path in victims[2:]:
        path.unlink()
    assert run("qsm", root, "-o", tmp_path / "out", *QUICK) == 2
    said = capsys.readouterr().err
    assert "complex images need magnitude and phase" in said and "found 4 magnitude" in said
    assert "part-phase" in said
    assert not (tmp_path / "out").exists()


# 12 A single echo.


def test_single_echo_gives_susceptibility_but_no_r2star(
    files: Files, tmp_path: Path, capsys: CAPTURE
) -> None:
    write_tree(tmp_path / "bids", echoes()[..., 2:3], {"sub": "01"}, TIMES[2:3])
    words = (tmp_path / "bids", "--mask", files.mask, "-o", tmp_path / "out")
    assert run("r2star", *words, *WORDS) == 2
    assert "1 echo cannot determine the decay" in capsys.readouterr().err
    assert run("qsm", *words, *QUICK, "--reference", "csf") == 2
    assert "CSF cannot be located with a single echo" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert run("qsm", *words, *QUICK) == 0
    chi = image(tmp_path / "out", "Chimap")
    known = np.isfinite(chi)
    assert np.array_equal(known, np.isfinite(files.chi))
    # The smooth phase of the coil is not known from one echo; background removal takes nearly all of it.
    found = correlation(torch.from_numpy(chi[known]), torch.from_numpy(files.chi[known]))
    assert found > 0.98
