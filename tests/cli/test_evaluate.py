import csv
from pathlib import Path

import nibabel as nib
import pytest

from tests.run.untrained import write_untrained
from unweight.benchmark.t1.datasets import SPHERE_NAMES
from unweight.benchmark.t1.stability import changed_images
from unweight.cli.main import main
from unweight.heads.source import ALL, TEST, TRAIN, VALIDATION, BrainwebHeads
from unweight.metrics.scores import COLUMNS
from unweight.registry import compared_names

SEVEN = ("phantom", "brains", "detail")


def rows_of(out: Path) -> list[dict[str, str]]:
    with (out / "scores.tsv").open() as lines:
        return list(csv.DictReader(lines, delimiter="\t"))


def test_stability_of_the_default_method(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, *_ = changed_images()
    monkeypatch.setattr("unweight.benchmark.t1.stability.changed_images", lambda: (first, second))
    words = ["evaluate", "t1", "-o", str(tmp_path), "--methods", "ml", "--datasets", "stability", "--quiet"]
    assert main(words) == 0
    assert {(row["method"], row["group"]) for row in rows_of(tmp_path)} == {("ml", second.name)}
    assert not list(tmp_path.glob("*.png"))


# The bins of the posterior's intervals take one map out of several; torch says that it copies it first.
@pytest.mark.filterwarnings("ignore:torch.searchsorted.*non-contiguous:UserWarning")
def test_everything_with_untrained_networks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The table is long and complete: each method on each set it accepts, every number once."""
    weights = write_untrained(tmp_path / "weights")
    out = tmp_path / "out"
    sets = [*SEVEN, "brains-other", "scattered"]
    words = ["evaluate", "t1", "-o", str(out), "--quick", "--weights", str(weights), "--datasets", *sets]
    assert main(words) == 0
    rows = rows_of(out)
    assert tuple(rows[0]) == COLUMNS
    keys = [(row["method"], row["set"], row["group"], row["metric"]) for row in rows]
    assert len(set(keys)) == len(keys)
    for row in rows:
        assert row["value"] == "n/a" or float(row["value"]) is not None
        assert int(row["n"]) >= 0 and row["unit"] in ("s", "1")
    told = {(row["method"], row["set"]) for row in rows}
    assert {(method, name) for method in compared_names("t1") for name in SEVEN} <= told
    assert {method for method, name in told if name == "brains-other"} == {"ml", "posterior"}
    assert {method for method, name in told if name == "scattered"} == {*compared_names("t1"), "exact"}
    metrics = ("mean", "sd", "bias", "rmse_ln", "coverage_90", "ence", "ause", "crps", "usable")
    for method in compared_names("t1"):
        assert {(method, "phantom", name, one) for name in SPHERE_NAMES for one in metrics} <= set(keys)
        for cost in ("seconds_per_slice", "network_evaluations"):
            assert (method, "brains", "all", cost) in keys
    assert ("posterior", "brains", "brain", "interval_90") in keys
    assert ("ml", "brains", "brain", "interval_90") not in keys
    shown = capsys.readouterr().out
    assert "brains-other: resnet is excluded: t1-resnet was trained for inversion times" in shown
    for word in (
        "Spheres of the phantom",
        "ResNet (published)",
        "4575 ± 1203",
        "150-500 ms",
        "sulcus of 1",
    ):
        assert word in shown
    pictures = {path.name for path in out.glob("*.png")}
    assert {"phantom_spheres.png", "brains_maps.png", "scattered_error_by_bin.png"} <= pictures


@pytest.mark.filterwarnings("ignore:torch.searchsorted.*non-contiguous:UserWarning")
def test_real_data_are_compared_with_the_fit(demo: Path, tmp_path: Path) -> None:
    weights = write_untrained(tmp_path / "weights", ("t1-posterior",))
    real = ["--datasets", "--phantom", str(demo / "bids"), "--phantom-version", "2"]
    words = ["evaluate", "t1", "-o", str(tmp_path), "--weights", str(weights), "--quiet", *real]
    assert main(words) == 0
    rows = rows_of(tmp_path)
    (name,) = {row["set"] for row in rows}
    assert name == f"real phantom {demo.name}/bids"
    spheres = [
        row for row in rows if row["group"].startswith("plate 5 sphere") and row["metric"] == "median"
    ]
    assert len(spheres) == 28
    first = next(row for row in spheres if row["method"] == "ml" and row["group"].endswith("sphere 1"))
    assert float(first["value"]) == pytest.approx(1.884, rel=0.03)
    compared = {row["method"] for row in rows if row["metric"] == "median_bias"}
    assert compared == {"posterior"}  # the fit is not compared with itself
    assert not [row for row in rows if row["metric"].startswith("coverage")]


def test_a_series_from_nifti(demo: Path, tmp_path: Path) -> None:
    images = sorted((demo / "bids").rglob("*IRT1.nii.gz"))
    for index, image in enumerate(images):
        nib.save(nib.load(image).slicer[:, :, 1:2], tmp_path / f"{index}.nii.gz")
    times = ["0.05", "0.1", "0.25", "0.5", "0.85", "1.5", "2.5"]
    given = [str(tmp_path / f"{index}.nii.gz") for index in range(7)]
    words = ["evaluate", "t1", "-o", str(tmp_path / "out"), "--methods", "ml", "--datasets", "--quiet"]
    assert main([*words, "--brain", *given, "--ti", *times, "--tr", "10"]) == 0
    value = {(row["group"], row["metric"]): row["value"] for row in rows_of(tmp_path / "out")}
    assert float(value["all", "usable"]) > 0.9


def test_heads_of_the_test_part_are_in_no_training(tmp_path: Path) -> None:
    for number in range(4, 24):
        (tmp_path / f"subject{number:02d}_crisp_v.mnc.gz").touch()
    heads = BrainwebHeads(tmp_path)
    tested = set(heads.names(TEST))
    assert tested and not tested & {*heads.names(TRAIN), *heads.names(VALIDATION)}
    assert len(heads.names(ALL)) == 20


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--methods", "rim", "--weights", "."], "no weights called t1-rim"),
        (["--phantom", "."], "real phantoms need --phantom-version"),
        (["--datasets"], "no data to evaluate"),
        (["--seeds", "0"], "--seeds 0"),
        (["--brainweb-dir", "."], "contains no BrainWeb head"),
        (["--datasets", "--brain", "nothing.nii.gz"], "nothing.nii.gz"),
    ],
)
def test_messages(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", "t1", "-o", "out", *words]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["t1", "--datasets", "phantom", "field"],
            "`evaluate t1` has no set called field. There are",
        ),
        (
            ["t1", "--methods", "unet", "ml"],
            "`evaluate t1` has no method called unet. There are ml, posterior",
        ),
        (
            ["maps", "--datasets", "brains"],
            "`evaluate maps` has no set called brains. There are internal, protocols",
        ),
        (["maps", "--methods", "ml"], "`evaluate maps` has no method called ml. There are physics, unet"),
        (
            ["maps", "--phantom-version", "2", "--ti", "0.1"],
            "--phantom-version, --ti cannot be used with",
        ),
        (["maps", "--seeds", "3"], "--seeds cannot be used with"),
        (["maps", "--draws", "3", "--steps", "3"], "--draws, --steps cannot be used with"),
        (["maps", "--datasets"], "no data to evaluate"),
    ],
)
def test_what_does_not_apply_is_refused(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    what, *rest = words
    assert main(["evaluate", what, "-o", str(tmp_path / "out"), *rest]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
