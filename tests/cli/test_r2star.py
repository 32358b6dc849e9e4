import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.cli.gradient_echoes import (
    SHAPE,
    TIMES,
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
from unweight.bids.derivatives.write import is_complete
from unweight.core.maps import VoxelStatus
from unweight.core.seeding import seeded_generator

SUFFIXES = {"R2starmap": "1/s", "T2starmap": "s", "S0map": "arbitrary"}
ROUNDED = 1e-3  # of a rate of some 50 1/s from single precision
CAPTURE = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("r2star") / "bids"
    write_tree(root, echoes().abs(), {"sub": "01"})
    return root


@pytest.fixture(scope="module")
def mask(tree: Path) -> str:
    return write_mask(tree.parent / "mask.nii.gz")


@pytest.fixture(scope="module")
def maps(tree: Path, mask: str) -> Path:
    out = tree.parent / "maps"
    assert run("r2star", tree, "--mask", mask, "-o", out, "--quiet") == 0
    return out


def test_tree_becomes_maps_that_are_right_and_in_their_units(maps: Path) -> None:
    rate, time = image(maps, "R2starmap"), image(maps, "T2starmap")
    brain = head().brain.numpy()
    assert np.array_equal(np.isfinite(rate), brain)
    assert np.abs(rate - head().r2star.numpy())[brain].max() < ROUNDED
    np.testing.assert_allclose(time[brain], 1 / rate[brain], rtol=1e-6)
    assert np.isnan(time[~brain]).all()
    for suffix, unit in SUFFIXES.items():
        for desc in ("", "desc-std_"):
            assert sidecar(maps, desc + suffix)["Units"] == unit
    told = sidecar(maps, "R2starmap")
    assert told["MagneticFieldStrength"] == 3
    assert told["unweight"]["Protocol"]["echo_time"] == pytest.approx(TIMES)
    assert told["unweight"]["Settings"]["Method"] == "log-linear"
    assert is_complete(maps, {"sub": "01"}, "R2starmap")
    pictures = list(maps.rglob("*.png"))
    assert [path.name for path in pictures] == ["sub-01_R2starmap.png"]


def test_standard_deviation_of_t2star_follows_from_that_of_r2star(maps: Path) -> None:
    rate, sd = image(maps, "R2starmap"), image(maps, "desc-std_R2starmap")
    brain = head().brain.numpy()
    expected = sd[brain] / rate[brain] ** 2
    np.testing.assert_allclose(image(maps, "desc-std_T2starmap")[brain], expected, rtol=1e-5)


def test_rate_at_nothing_has_no_time(tmp_path: Path, mask: str) -> None:
    """A rate may be negative within its noise, and stands; a time may not."""
    brain = head().brain
    signal = (200.0 * brain)[..., None].expand(*SHAPE, 4).clone()
    noise = torch.randn(signal.shape, generator=seeded_generator(1, "noise"))
    write_tree(tmp_path / "bids", signal + 2 * noise * brain[..., None], {"sub": "01"})
    assert run("r2star", tmp_path / "bids", "--mask", mask, "-o", tmp_path / "out", *WORDS) == 0
    rate, time = image(tmp_path / "out", "R2starmap"), image(tmp_path / "out", "T2starmap")
    below = np.isfinite(rate) & (rate <= 0)
    assert below.sum() > 1000
    assert np.isnan(time[below]).all()
    above = rate > 0
    np.testing.assert_allclose(time[above] * rate[above], 1, rtol=1e-5)


@pytest.mark.parametrize("method", ["log-linear", "arlo", "nonlinear"])
def test_files_with_times_on_the_command_line(maps: Path, mask: str, tmp_path: Path, method: str) -> None:
    # ARLO wants echoes evenly spaced, which these are.
    volumes = [
        store(tmp_path / f"Smith_John{index}.nii.gz", echoes()[..., index].abs().numpy())
        for index in range(4)
    ]
    words = ("r2star", *volumes, "--te", *TIMES, "--mask", mask, "--method", method)
    assert run(*words, "-o", tmp_path / "out", *WORDS) == 0
    rate, expected = image(tmp_path / "out", "R2starmap"), image(maps, "R2starmap")
    # ARLO integrates by Simpson's rule, which at ΔTE·R = 0.3 is off by a few in ten thousand.
    assert apart(rate, expected) < (0.2 if method == "arlo" else 5e-3)
    assert sidecar(tmp_path / "out", "R2starmap")["unweight"]["Settings"]["Method"] == method
    assert not list((tmp_path / "out").rglob("*.png"))
    assert not any(b"Smith" in path.read_bytes() for path in (tmp_path / "out").rglob("*.*"))


def test_four_dimensional_file_and_times_in_its_sidecar(maps: Path, mask: str, tmp_path: Path) -> None:
    stored = store(tmp_path / "gre.nii.gz", echoes().abs().numpy())
    (tmp_path / "gre.json").write_text(f'{{"EchoTime": {list(TIMES)}}}')
    assert run("r2star", stored, "--mask", mask, "-o", tmp_path / "out", *WORDS) == 0
    assert apart(image(tmp_path / "out", "R2starmap"), image(maps, "R2starmap")) == 0


def test_a_series_that_fails_does_not_stop_the_others(
    tree: Path, mask: str, tmp_path: Path, capsys: CAPTURE
) -> None:
    root = tmp_path / "bids"
    shutil.copytree(tree, root)
    write_tree(root, echoes().abs(), {"sub": "00"})
    victim = next(root.rglob("sub-00_echo-3_*.nii.gz"))
    victim.write_bytes(victim.read_bytes()[:2000])
    assert run("r2star", root, "--mask", mask, "-o", tmp_path / "out", *WORDS) == 1
    said = capsys.readouterr().err
    assert victim.name in said
    assert "1 of 2 series failed: sub-00_MEGRE" in said
    assert is_complete(tmp_path / "out", {"sub": "01"}, "R2starmap")
    assert not (tmp_path / "out" / "sub-00").exists()


def test_maps_of_other_images_are_not_overwritten(mask: str, tmp_path: Path, capsys: CAPTURE) -> None:
    magnitude = echoes().abs().numpy()
    words = ("--te", *TIMES, "--mask", mask, "-o", tmp_path / "out", *WORDS)
    first = store(tmp_path / "one.nii.gz", magnitude)
    second = store(tmp_path / "two.nii.gz", 2 * magnitude)
    assert run("r2star", first, *words) == 0
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.*")}
    assert run("r2star", second, *words) == 3
    assert "already holds maps of other images" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.*")} == before
    assert run("r2star", first, *words, "--method", "nonlinear") == 0


def test_same_input_same_bytes(tree: Path, mask: str, maps: Path) -> None:
    again = maps.with_name("again")
    assert run("r2star", tree, "--mask", mask, "-o", again, "--quiet") == 0
    assert_same_bytes(maps, again)


def test_picture_of_an_earlier_call_does_not_stay_beside_newer_maps(
    tree: Path, mask: str, tmp_path: Path
) -> None:
    words = ("r2star", tree, "--mask", mask, "-o", tmp_path, "--quiet")
    assert run(*words) == 0
    assert len(list(tmp_path.rglob("*.png"))) == 1
    assert run(*words, "--no-figures") == 0
    assert not list(tmp_path.rglob("*.png"))


def test_nothing_private_and_no_path_in_any_text(mask: str, tmp_path: Path) -> None:
    root = tmp_path / "bids"
    write_tree(root, echoes().abs(), {"sub": "01"})
    private = {"PatientName": "Smith^John", "PatientID": "77-1234", "AcquisitionDate": "19991231"}
    edit_sidecars(root, "*_MEGRE.json", private | {"Manufacturer": "Siemens"})
    assert run("r2star", root, "--mask", mask, "-o", tmp_path / "out", *WORDS) == 0
    found = texts(tmp_path / "out")
    assert any("Siemens" in text for text in found.values())
    for word in (*private, *private.values(), str(tmp_path), str(Path.home()) + os.sep):
        assert not [path for path, text in found.items() if word in text], word


@pytest.mark.parametrize(
    ("n_echoes", "message"),
    [(1, "1 echo cannot determine the decay"), (2, "2 echoes cannot determine the decay and the noise")],
)
def test_too_few_echoes_are_refused(
    mask: str, tmp_path: Path, capsys: CAPTURE, n_echoes: int, message: str
) -> None:
    write_tree(tmp_path / "bids", echoes()[..., :n_echoes].abs(), {"sub": "01"}, TIMES[:n_echoes])
    words = ("r2star", tmp_path / "bids", "--mask", mask, "-o", tmp_path / "out", *WORDS)
    assert run(*words) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    if n_echoes == 2:
        assert run(*words, "--noise-sd", 1) == 0
        rate, brain = image(tmp_path / "out", "R2starmap"), head().brain.numpy()
        assert np.abs(rate - head().r2star.numpy())[brain].max() < ROUNDED


def test_two_echoes_take_their_noise_from_the_air(mask: str, tmp_path: Path) -> None:
    sigma = 4.0
    signal = echoes()[..., [0, 3]]
    parts = torch.randn((2, *signal.shape), generator=seeded_generator(2, "noise"))
    noisy = (signal + sigma * torch.complex(parts[0], parts[1])).abs()
    write_tree(tmp_path / "bids", noisy, {"sub": "01"}, (TIMES[0], TIMES[3]))
    assert run("r2star", tmp_path / "bids", "--mask", mask, "-o", tmp_path / "out", *WORDS) == 0
    told = sidecar(tmp_path / "out", "R2starmap")["unweight"]["NoiseSD"]
    # Some 100 000 numbers in air tell it to 1 %; how the air is told from tissue adds a little.
    assert told == pytest.approx(sigma, rel=0.05)
    away = (image(tmp_path / "out", "R2starmap") - head().r2star.numpy())[head().brain.numpy()]
    expected = image(tmp_path / "out", "desc-std_R2starmap")[head().brain.numpy()]
    # 13 000 voxels; their noise is not quite Gaussian.
    assert float(np.std(away / expected)) == pytest.approx(1, rel=0.1)


def test_fast_decay_is_right_or_has_no_value(tmp_path: Path, capsys: CAPTURE) -> None:
    """Iron of 50 to 1000 1/s at SNR 100; 300 1/s were 185, with half of the true deviation."""
    rates = (50.0, 100.0, 200.0, 300.0, 1000.0)
    sigma, shape = 10.0, (40, 32, 6)
    times = tuple(0.004 * (echo + 1) for echo in range(8))
    box = torch.zeros(shape)
    box[:, 6:26] = 1
    rate = torch.tensor(rates).repeat_interleave(8)[:, None, None, None]
    signal = 1000 * box[..., None] * torch.exp(-torch.tensor(times) * rate)
    parts = torch.randn((2, *signal.shape), generator=seeded_generator(5, "noise"))
    measured = torch.hypot(signal + sigma * parts[0], sigma * parts[1]).numpy()
    for name, values in (("air", measured), ("zeros", measured * box[..., None].numpy())):
        stored = store(tmp_path / f"{name}.nii.gz", values)
        assert run("r2star", stored, "--te", *times, "-o", tmp_path / name, "--no-figures") == 0
        found, sd = (image(tmp_path / name, ending) for ending in ("R2starmap", "desc-std_R2starmap"))
        status = image(tmp_path / name, "desc-R2starstatus_dseg")
        for index, true in enumerate(rates[:4]):
            block = np.s_[8 * index : 8 * index + 8, 6:26]
            ok = status[block] == VoxelStatus.OK
            assert ok.mean() > 0.98
            assert np.median(found[block][ok]) == pytest.approx(true, rel=0.02)
            assert 0.9 < np.median(sd[block][ok]) / np.std(found[block][ok]) < 1.1
        assert (status[32:, 6:26] != VoxelStatus.OK).all()
        assert (status[:, :6] == VoxelStatus.NO_SIGNAL).all()
        told = sidecar(tmp_path / name, "R2starmap")["unweight"]
        assert told["Settings"]["NoiseFloor"] == pytest.approx(sigma * np.sqrt(np.pi / 2), rel=0.05)
        source = "the background" if name == "air" else "the residuals of the fit, as of one channel"
        assert told["Notes"]["noise_floor_from"] == source
        assert f"from {source}" in capsys.readouterr().out


def test_noise_that_is_told_is_the_noise(tree: Path, mask: str, tmp_path: Path) -> None:
    for sigma in (1, 2):
        words = ("--noise-sd", sigma, "-o", tmp_path / str(sigma), *WORDS)
        assert run("r2star", tree, "--mask", mask, *words) == 0
    one, two = (image(tmp_path / name, "desc-std_R2starmap") for name in ("1", "2"))
    brain = head().brain.numpy()
    np.testing.assert_allclose(two[brain], 2 * one[brain], rtol=1e-5)


def test_without_a_mask_air_has_no_signal(tree: Path, tmp_path: Path) -> None:
    assert run("r2star", tree, "-o", tmp_path, *WORDS) == 0
    status = image(tmp_path, "desc-R2starstatus_dseg")
    brain = head().brain.numpy()
    assert (status[~brain] == VoxelStatus.NO_SIGNAL).all()
    assert (status[brain] == VoxelStatus.OK).all()


def test_tree_without_echoes_and_sidecars_without_times_are_said(
    tree: Path, tmp_path: Path, capsys: CAPTURE
) -> None:
    assert run("t2", tree, "-o", tmp_path / "out") == 2
    assert "no MESE series in this BIDS dataset" in capsys.readouterr().err
    root = tmp_path / "bids"
    write_tree(root, echoes().abs(), {"sub": "01"})
    for path in root.rglob("*_MEGRE.json"):
        path.write_text("{}")
    assert run("r2star", root, "-o", tmp_path / "out") == 2
    assert "no sidecar gives EchoTime" in capsys.readouterr().err
