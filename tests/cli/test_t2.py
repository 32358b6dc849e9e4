import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import unweight
from tests.cli.gradient_echoes import AXIAL, WORDS, apart, image, run, sidecar, store, write_mask
from unweight.bids.derivatives.write import is_complete
from unweight.bids.raw import write_raw
from unweight.core.acquisition import Acquisition
from unweight.core.protocol import protocol_from_values
from unweight.core.seeding import seeded_generator
from unweight.signals.epg import MULTI_ECHO_SPIN_ECHO

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
    words = ("t2", stored, "--te", *TIMES, "--mask", mask, "--method", "nonlinear", *WORDS)
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
        (("--skip-first", -1), "--skip-first -1"),
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


def trains(b1: Tensor) -> Tensor:
    """Magnitudes of a train with stimulated echoes, T1 of 1 s, without noise."""
    t2, inside = truth()
    theta = torch.stack((t2, torch.full(SHAPE, 1000.0), b1, torch.ones(SHAPE)), dim=-1).double()
    signal = MULTI_ECHO_SPIN_ECHO(theta, protocol_from_values(echo_time=list(TIMES)))
    return (signal.abs() * inside[..., None]).float()


def transmit() -> Tensor:
    """B1 from 0.7 to 0.95."""
    return torch.linspace(0.7, 0.95, SHAPE[1])[None, :, None].expand(SHAPE)


def test_a_train_is_fitted_with_stimulated_echoes(tmp_path: Path, mask: str) -> None:
    root = write_tree(tmp_path / "bids", trains(transmit()))
    assert run("t2", root, "--mask", mask, "-o", tmp_path / "out", *WORDS) == 0
    t2, inside = truth()
    found = image(tmp_path / "out", "T2map")
    np.testing.assert_allclose(found[inside], t2[inside], rtol=1e-3)
    np.testing.assert_allclose(image(tmp_path / "out", "TB1map")[inside], transmit()[inside], rtol=2e-3)
    settings = sidecar(tmp_path / "out", "T2map")["unweight"]["Settings"]
    assert settings["Method"] == "epg" and settings["SkipFirst"] == 0
    assert settings["SliceProfile"] == "uniform" and settings["Fixed"] == {"T1": 1.0}
    assert run("t2", root, "--mask", mask, "--method", "nonlinear", "-o", tmp_path / "one", *WORDS) == 0
    apart_from_truth = image(tmp_path / "one", "T2map")[inside] / t2[inside].numpy()
    assert np.abs(apart_from_truth - 1).max() > 0.02


def test_known_b1_in_percent_and_a_held_t1(tmp_path: Path, mask: str) -> None:
    root = write_tree(tmp_path / "bids", trains(transmit()))
    b1 = store(tmp_path / "b1.nii.gz", (100 * transmit()).numpy())
    words = ("t2", root, "--mask", mask, "--known", f"B1={b1}", "--fix", "T1=1.0", *WORDS)
    assert run(*words, "--percent", "B1", "-o", tmp_path / "out") == 0
    t2, inside = truth()
    np.testing.assert_allclose(image(tmp_path / "out", "T2map")[inside], t2[inside], rtol=1e-3)
    told = sidecar(tmp_path / "out", "T2map")
    assert told["unweight"]["Settings"]["Known"] == ["B1"]
    assert len(told["Sources"]) == len(TIMES) + 1


def test_arrays_and_files_with_a_known_map_give_the_same(tmp_path: Path) -> None:
    t2, inside = truth()
    signal, b1 = trains(transmit()), transmit().contiguous()
    mapped = unweight.map_t2(
        signal, echo_time=TIMES, mask=inside, known={"B1": b1}, fix={"T1": 1.0}, slice_profile="uniform"
    )
    np.testing.assert_allclose(mapped.value("T2")[inside], t2[inside], rtol=1e-3)
    images, file = store(tmp_path / "se.nii.gz", signal.numpy()), store(tmp_path / "b1.nii.gz", b1.numpy())
    files = unweight.map_t2(
        images,
        echo_time=TIMES,
        mask=write_mask(tmp_path / "mask.nii.gz", inside),
        known={"B1": file},
        refocusing=180,
        slice_profile="uniform",
    )
    assert torch.equal(files.value("T2").nan_to_num(), mapped.value("T2").nan_to_num())


def test_echoes_of_no_train_are_fitted_with_one_exponential(
    tmp_path: Path, mask: str, capsys: CAPTURE
) -> None:
    stored = store(tmp_path / "se.nii.gz", decays()[..., [0, 1, 3, 7]].numpy())
    times = [TIMES[place] for place in (0, 1, 3, 7)]
    words = ("t2", stored, "--te", *times, "--mask", mask, "--no-figures", "--no-report")
    assert run(*words, "-o", tmp_path / "out") == 0
    assert "one exponential, without stimulated echoes" in " ".join(capsys.readouterr().out.split())
    assert sidecar(tmp_path / "out", "T2map")["unweight"]["Settings"]["Method"] == "nonlinear"
    assert run(*words, "--method", "epg", "-o", tmp_path / "epg") == 2
    assert "echoes are missing in the middle of the train" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--method", "arlo", "--fix", "T1=1"), "arlo does not model stimulated echoes"),
        (("--slice-profile", "round"), "there is no slice profile round"),
        (("--slice-profile", "-1"), "refocusing width of -1"),
        (("--refocusing", 200), "not those of a spin echo"),
        (("--fix", "B=1.9"), "B cannot be fixed"),
        (("--percent", "B1"), "--percent B1: no map of B1 was given"),
        (("--known", "R1=x.nii.gz"), "a map of R1 is not used by t2"),
    ],
)
def test_impossible_trains_say_what_to_do(
    tmp_path: Path, mask: str, capsys: CAPTURE, words: tuple[object, ...], message: str
) -> None:
    root = write_tree(tmp_path / "bids", decays())
    assert run("t2", root, "--mask", mask, "-o", tmp_path / "out", *words, *WORDS) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_a_simulated_study_is_mapped(tmp_path: Path) -> None:
    """B1 of the simulator varies over the head."""
    study = tmp_path / "study"
    words = ("simulate", study, "--model", "multi-echo-spin-echo", "--te", *TIMES, "--slices", 1)
    assert run(*words, "--snr", 200, 200, "--quiet") == 0
    assert run("t2", study / "bids", "-o", tmp_path / "maps", *WORDS) == 0
    true, found = (image(root, "T2map", "sub-001") for root in (study / "truth", tmp_path / "maps"))
    tissue = np.isfinite(true) & np.isfinite(found) & (true > 0.05) & (true < 0.12)
    assert tissue.sum() > 2000
    assert abs(np.median(found[tissue] / true[tissue]) - 1) < 0.03
