import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.cli.gradient_echoes import AXIAL, WORDS, apart, image, run, sidecar, store, write_mask
from unweight.bids.derivatives.write import is_complete
from unweight.bids.raw import write_raw
from unweight.core.acquisition import Acquisition
from unweight.core.protocol import protocol_from_values
from unweight.core.seeding import seeded_generator

SHAPE = (24, 22, 10)
TIMES = tuple(0.02 * (index + 1) for index in range(10))
SIGMA = 4.0
CAPTURE = pytest.CaptureFixture[str]


def truth() -> tuple[Tensor, Tensor]:
    """T2 between 40 ms and 110 ms [s], and where there is signal."""
    inside = torch.zeros(SHAPE, dtype=torch.bool)
    inside[5:-5, 5:-5, 2:-2] = True
    t2 = torch.linspace(0.04, 0.11, SHAPE[0])[:, None, None].expand(SHAPE)
    return t2, inside


def decays(sigma: float = 0.0, first: float = 1.0) -> Tensor:
    """Magnitudes of a spin echo; the first echo too weak by a factor, as without stimulated echoes."""
    t2, inside = truth()
    signal = 1000 * inside[..., None] * torch.exp(-torch.tensor(TIMES) / t2[..., None])
    signal[..., 0] *= first
    if sigma:
        parts = torch.randn((2, *signal.shape), generator=seeded_generator(3, "noise"))
        signal = torch.hypot(signal + sigma * parts[0], sigma * parts[1])
    return signal


def write_tree(root: Path, signal: Tensor) -> Path:
    measured = Acquisition(
        signal=signal,
        protocol=protocol_from_values(echo_time=list(TIMES), field_strength=3.0),
        affine=torch.from_numpy(AXIAL),
    )
    write_raw(measured, root, {"sub": "01"}, suffix="MESE")
    return root


@pytest.fixture(scope="module")
def mask(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_mask(tmp_path_factory.mktemp("t2") / "mask.nii.gz", truth()[1])


@pytest.mark.parametrize("method", ["nonlinear", "log-linear", "arlo"])
def test_noiseless_tree_becomes_the_truth_in_seconds(tmp_path: Path, mask: str, method: str) -> None:
    root = write_tree(tmp_path / "bids", decays(first=0.8))
    words = ("--mask", mask, "--method", method, "-o", tmp_path / "out", "--quiet")
    pictured = method == "nonlinear"
    assert run("t2", root, *words, *(() if pictured else ("--no-figures",))) == 0
    found, (t2, inside) = image(tmp_path / "out", "T2map"), truth()
    assert np.array_equal(np.isfinite(found), inside.numpy())
    # ARLO integrates by Simpson's rule, which at ΔTE/T2 = 0.5 is off by a few per mille.
    accuracy = 5e-3 if method == "arlo" else 1e-4
    np.testing.assert_allclose(found[inside], t2[inside], rtol=accuracy)
    told = sidecar(tmp_path / "out", "T2map")
    assert told["Units"] == "s"
    assert told["unweight"]["Settings"]["SkipFirst"] == 1
    assert is_complete(tmp_path / "out", {"sub": "01"}, "T2map")
    assert (tmp_path / "out" / "sub-01" / "figures" / "sub-01_T2map.png").is_file() == pictured


def test_floor_of_the_noise_is_measured_and_does_not_look_like_a_long_t2(tmp_path: Path, mask: str) -> None:
    root = write_tree(tmp_path / "bids", decays(sigma=SIGMA))
    t2, inside = truth()
    for method in ("nonlinear", "log-linear", "arlo"):
        words = ("--mask", mask, "--method", method, "-o", tmp_path / method, *WORDS)
        assert run("t2", root, *words) == 0
        found = torch.from_numpy(image(tmp_path / method, "T2map"))
        usable = inside & torch.isfinite(found) & (t2 < 0.06)
        assert abs(float((found / t2 - 1)[usable].median())) < 0.01
    floor = sidecar(tmp_path / "nonlinear", "T2map")["unweight"]["Settings"]["NoiseFloor"]
    # Some 4000 voxels of air tell it to 1 %; the mean of Rayleigh noise is σ·√(π/2).
    assert floor == pytest.approx(SIGMA * math.sqrt(math.pi / 2), rel=0.05)


@pytest.mark.parametrize("method", ["nonlinear", "log-linear", "arlo"])
def test_without_air_residuals_tell_the_floor(tmp_path: Path, mask: str, method: str) -> None:
    """Of a brain that was cut out, zeros around it, and of another that fills its images."""
    t2, inside = truth()
    noisy = decays(sigma=SIGMA)
    cut = store(tmp_path / "cut.nii.gz", (noisy * inside[..., None]).numpy())
    full = store(tmp_path / "full.nii.gz", noisy[5:-5, 5:-5, 2:-2].numpy())
    for stored, true in ((cut, t2), (full, t2[5:-5, 5:-5, 2:-2])):
        out = tmp_path / method / stored.name
        assert run("t2", stored, "--te", *TIMES, "--method", method, "-o", out, *WORDS) == 0
        ratio = torch.from_numpy(image(out, "T2map")) / true
        assert abs(float(ratio[torch.isfinite(ratio) & (true < 0.06)].median()) - 1) < 0.01
        told = sidecar(out, "T2map")["unweight"]
        assert told["Settings"]["NoiseFloor"] == pytest.approx(SIGMA * math.sqrt(math.pi / 2), rel=0.05)
        assert told["Notes"]["noise_floor_from"] == "the residuals of the fit, as of one channel"


def test_noise_that_is_told_sets_the_floor(tmp_path: Path, mask: str) -> None:
    root = write_tree(tmp_path / "bids", decays(sigma=SIGMA))
    words = ("--mask", mask, "--noise-sd", 3, "-o", tmp_path / "out", *WORDS)
    assert run("t2", root, *words) == 0
    floor = sidecar(tmp_path / "out", "T2map")["unweight"]["Settings"]["NoiseFloor"]
    assert floor == pytest.approx(3 * math.sqrt(math.pi / 2))


def test_first_echo_is_left_out_unless_it_is_wanted(tmp_path: Path, mask: str) -> None:
    stored = store(tmp_path / "se.nii.gz", decays(first=0.8).numpy())
    words = ("t2", stored, "--te", *TIMES, "--mask", mask, *WORDS)
    found = {}
    for skip in (0, 1):
        assert run(*words, "--skip-first", skip, "-o", tmp_path / str(skip)) == 0
        found[skip] = image(tmp_path / str(skip), "T2map")
    t2, inside = truth()
    np.testing.assert_allclose(found[1][inside], t2[inside], rtol=1e-4)
    wrong = found[0][inside] / t2[inside].numpy()
    assert np.median(wrong) > 1.1


def test_files_and_tree_give_the_same(tmp_path: Path, mask: str) -> None:
    root = write_tree(tmp_path / "bids", decays())
    stored = store(tmp_path / "se.nii.gz", decays().numpy())
    assert run("t2", root, "--mask", mask, "-o", tmp_path / "a", *WORDS) == 0
    assert run("t2", stored, "--te", *TIMES, "--mask", mask, "-o", tmp_path / "b", *WORDS) == 0
    assert apart(image(tmp_path / "a", "T2map"), image(tmp_path / "b", "T2map")) == 0
    assert not list(tmp_path.rglob("*.png"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--skip-first", -1), "-1 echoes left out"),
        (("--skip-first", 9), "1 echo cannot determine the decay"),
        (("--te", 20, 40), "2 values of echo_time for 10 volumes"),
        (("--te", *(1000 * time for time in TIMES)), "looks like milliseconds"),
    ],
)
def test_wrong_calls_say_what_to_do(
    tmp_path: Path, mask: str, capsys: CAPTURE, words: tuple[object, ...], message: str
) -> None:
    root = write_tree(tmp_path / "bids", decays())
    assert run("t2", root, "--mask", mask, "-o", tmp_path / "out", *words, *WORDS) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
