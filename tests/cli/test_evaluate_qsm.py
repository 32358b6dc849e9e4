import csv
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.benchmark.qsm.test_heads import coarse_anatomy, use_coarse_head
from tests.bids.files import AFFINE, write_nifti
from unweight.benchmark.qsm import scores as qsm_scores
from unweight.cli.main import main
from unweight.core.seeding import seeded_generator
from unweight.metrics.scores import COLUMNS
from unweight.metrics.susceptibility import slope_through_regions, susceptibility_scores
from unweight.prepare import qsm_series

SHAPE = (20, 18, 16)
ORACLE_NAMES = ("nrmse", "nrmse_detrend", "correlation", "xsim", "coverage", "hfen")


def rows_of(out: Path) -> list[dict[str, str]]:
    with (out / "scores.tsv").open() as lines:
        return list(csv.DictReader(lines, delimiter="\t"))


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use a coarse head, one removal and one inversion."""
    use_coarse_head(monkeypatch, voxel_mm=4.5)
    monkeypatch.setattr(qsm_scores, "BACKGROUNDS", {"vsharp": qsm_series.BACKGROUNDS["vsharp"]})
    monkeypatch.setattr(qsm_scores, "INVERSIONS", {"tkd": qsm_series.INVERSIONS["tkd"]})


@pytest.mark.usefixtures("soon")
def test_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The table is long and complete: every number once, and pictures of each head beside it."""
    words = ["evaluate", "qsm", "-o", str(tmp_path), "--quick", "--datasets", "plain"]
    assert main([*words, "--methods", "vsharp+tkd"]) == 0
    rows = rows_of(tmp_path)
    assert tuple(rows[0]) == COLUMNS
    keys = [tuple(row[name] for name in COLUMNS[:5]) for row in rows]
    assert len(set(keys)) == len(keys)
    name = coarse_anatomy().subject
    assert {row["set"] for row in rows} == {f"plain {name}"}
    assert {row["parameter"] for row in rows} == {"R2star", "total field", "local field", "Chi"}
    assert {row["method"] for row in rows if row["parameter"] == "Chi"} == {
        "tkd from the true field",
        "vsharp+tkd",
    }
    shown = capsys.readouterr().out
    assert f"{name}, plain: 1 ways from images to susceptibility" in shown
    for title in (
        "bias of R2* in pure voxels",
        "each stage with true input",
        "mean susceptibility of structures",
    ):
        assert title in shown
    pictures = {path.name: path.read_bytes() for path in tmp_path.glob("*.png")}
    assert {f"qsm_{kind}_plain_{name}.png" for kind in ("inversion", "end_to_end")} <= set(pictures)
    assert all(content.startswith(b"\x89PNG\r\n\x1a\n") for content in pictures.values())
    assert all(str(tmp_path / one) in shown.replace("\n", "") for one in ("scores.tsv", *pictures))


def given(folder: Path) -> tuple[list[str], tuple[torch.Tensor, ...]]:
    """Write a map, its truth, a mask and labels; return the words that name them, and their values."""
    generator = seeded_generator(0, "given maps")
    labels = torch.full(SHAPE, 8)
    for number in range(1, 8):
        labels[2 * number : 2 * number + 2, 4:12, 4:12] = number
    truth = 0.02 * labels * (labels < 7) + 0.01 * torch.randn(SHAPE, generator=generator)
    chi = 0.8 * truth + 0.02 * torch.randn(SHAPE, generator=generator)
    mask = torch.zeros(SHAPE, dtype=torch.bool)
    mask[1:, 2:-1, 1:-2] = True
    chi[~mask] = math.nan
    values = {
        "chi": chi.float(),
        "truth": truth.float(),
        "chi-mask": mask.byte(),
        "chi-labels": labels.short(),
    }
    words = []
    for name, one in values.items():
        words += [f"--{name}", str(write_nifti(folder / f"{name}.nii.gz", one.numpy()))]
    return words, (chi.float(), truth.float(), mask, labels)


def found(out: Path) -> dict[str, float]:
    rows = rows_of(out)
    assert {(row["method"], row["set"], row["group"], row["parameter"]) for row in rows} == {
        ("given", "given", "brain", "Chi")
    }
    return {row["metric"]: math.nan if row["value"] == "n/a" else float(row["value"]) for row in rows}


def test_a_map_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words, (chi, truth, mask, _) = given(tmp_path)
    assert main(["evaluate", "qsm", "-o", str(tmp_path / "out"), *words[:6]]) == 0
    value = found(tmp_path / "out")
    assert "slope" not in value
    expected = susceptibility_scores(chi, truth, mask)
    # Numbers of a table have six digits.
    for name in ("nrmse", "nrmse_detrended", "correlation", "xsim", "coverage", "hfen"):
        assert value[name] == pytest.approx(getattr(expected, name), rel=1e-5)
    shown = capsys.readouterr().out
    assert "chi.nii.gz" in shown and f"{expected.nrmse:.4g}" in shown
    benchmark = pytest.importorskip("qsm_ci.qsm_eval", reason="the benchmark's own scorer is not installed")
    numbers, _ = benchmark.score_arrays(
        torch.where(mask, chi, 0.0).double().numpy(), truth.double().numpy(), mask.numpy(), kind="chi"
    )
    ours = ("nrmse", "nrmse_detrended", "correlation", "xsim", "coverage", "hfen")
    for name, theirs in zip(ours, ORACLE_NAMES, strict=True):
        assert value[name] == pytest.approx(numbers[theirs], rel=1e-5)


def test_a_map_of_ones_own_with_labels(tmp_path: Path) -> None:
    words, (chi, truth, mask, labels) = given(tmp_path)
    assert main(["evaluate", "qsm", "-o", str(tmp_path / "out"), "--quiet", *words]) == 0
    value = found(tmp_path / "out")
    agreed = slope_through_regions(chi, truth, labels, mask)
    assert value["slope"] == pytest.approx(agreed.slope, rel=1e-5)
    assert value["r"] == pytest.approx(agreed.correlation, rel=1e-5)
    assert value["mae"] == pytest.approx(agreed.mean_absolute_error, rel=1e-5)
    # The map is 0.8 of the truth; the mean of 128 voxels has a deviation of 0.002 of 0.1 ppm.
    assert value["slope"] == pytest.approx(0.8, abs=0.1)
    expected = susceptibility_scores(chi, truth, mask, labels)
    assert value["nrmse_deep_grey"] == pytest.approx(expected.nrmse_deep_grey, rel=1e-5)
    assert math.isnan(value["calcification_moment"])


@pytest.mark.parametrize("kept", [slice(0, 2), slice(2, 6), slice(6, 8), slice(0, 4)])
def test_maps_of_ones_own_come_in_threes(
    kept: slice, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words, _ = given(tmp_path)
    assert main(["evaluate", "qsm", "-o", str(tmp_path / "out"), *words[kept]]) == 2
    assert "--chi, --truth and --chi-mask" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["truth", "chi-mask", "chi-labels"])
def test_maps_of_ones_own_lie_on_one_grid(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words, _ = given(tmp_path)
    elsewhere = AFFINE.copy()
    elsewhere[0, 3] += 5
    write_nifti(tmp_path / f"{name}.nii.gz", np.ones(SHAPE, dtype=np.float32), affine=elsewhere)
    assert main(["evaluate", "qsm", "-o", str(tmp_path / "out"), *words]) == 2
    assert f"{name}.nii.gz" in capsys.readouterr().err


def test_series_are_not_one_map(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words, _ = given(tmp_path)
    write_nifti(tmp_path / "chi.nii.gz", np.ones((*SHAPE, 2), dtype=np.float32))
    assert main(["evaluate", "qsm", "-o", str(tmp_path / "out"), *words]) == 2
    message = capsys.readouterr().err
    assert "chi.nii.gz" in message and "dimensions instead of 3" in message


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["qsm", "--methods", "physics"], "`evaluate qsm` has no method called physics. There are vsharp"),
        (
            ["qsm", "--datasets", "internal"],
            "`evaluate qsm` has no set called internal. There are plain",
        ),
        (["qsm", "--phantom", "."], "--phantom cannot be used with `evaluate qsm`"),
        (["maps", "--chi", "a.nii"], "--chi cannot be used with `evaluate maps`"),
        (
            ["t1", "--truth", "a.nii", "--chi-mask", "b.nii"],
            "--truth, --chi-mask cannot be used with `evaluate t1`",
        ),
        (["maps", "--methods", "vsharp+tkd"], "`evaluate maps` has no method called vsharp+tkd"),
        (["qsm", "--brainweb-dir", "."], "contains no BrainWeb head"),
    ],
)
def test_what_does_not_apply_is_refused(
    words: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    what, *rest = words
    assert main(["evaluate", what, "-o", str(tmp_path / "out"), *rest]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
