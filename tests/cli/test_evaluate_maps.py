import csv
from pathlib import Path

import pytest

from tests.run.heads import small_head
from tests.run.told_maps import ToldMaps
from unweight.cli.main import main
from unweight.metrics.scores import COLUMNS

METHODS = {
    "physics": ToldMaps(level=(1.0, 0.08, 0.75)),
    "unet": ToldMaps(level=(1.4, 0.1, 0.8), half_width=None, refuses=2.2),
}


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put two methods and a small head in the place of those that take long."""
    monkeypatch.setattr(
        "unweight.benchmark.weighted.methods.maps_methods",
        lambda names, weights: {name: METHODS[name] for name in names},
    )
    monkeypatch.setattr(
        "unweight.benchmark.weighted.datasets.procedural_heads", lambda n_heads: (small_head(),) * n_heads
    )


@pytest.mark.usefixtures("told")
def test_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The table is long and complete: each method on each set it accepts, every number once."""
    words = ["evaluate", "maps", "-o", str(tmp_path), "--quick", "--methods", "physics", "unet"]
    assert main([*words, "--datasets", "field", "internal"]) == 0
    with (tmp_path / "scores.tsv").open() as lines:
        rows = list(csv.DictReader(lines, delimiter="\t"))
    assert tuple(rows[0]) == COLUMNS
    keys = [tuple(row[name] for name in COLUMNS[:5]) for row in rows]
    assert len(set(keys)) == len(keys)
    assert {(row["method"], row["set"]) for row in rows} == {
        ("physics", "internal"),
        ("physics", "field"),
        ("unet", "internal"),
    }
    assert {row["parameter"] for row in rows} == {"T1", "T2", "PD", "n/a"}
    metrics = ("psnr", "ssim", "mae", "mape", "median_ape", "bias", "rmse", "missing", "interval_90")
    for name in ("T1", "T2", "PD"):
        assert {("physics", "field", name, "all", metric) for metric in (*metrics, "loss_db")} <= set(keys)
    assert ("physics", "internal", "T2", "all", "psnr_tissue") in keys
    assert ("physics", "internal", "n/a", "all", "seconds_per_examination") in keys
    value = {key: row["value"] for key, row in zip(keys, rows, strict=True)}
    assert float(value["physics", "internal", "T1", "white matter", "interval_90"]) <= 1
    shown = capsys.readouterr().out
    assert "field: unet is excluded: no weights for 2.2 T" in shown
    assert "internal: brain including CSF" in shown and "internal: median error in %" in shown
    pictures = {path.name for path in tmp_path.glob("*.png")}
    assert pictures == {
        f"{name}_{kind}.png" for name in ("internal", "field") for kind in ("maps", "coverage")
    }


def test_heads_that_are_none(tmp_path: Path, capsys: pytest.CaptureFixture[str], told: None) -> None:
    words = [
        "evaluate",
        "maps",
        "-o",
        str(tmp_path / "out"),
        "--methods",
        "physics",
        "--brainweb-dir",
        str(tmp_path),
    ]
    assert main(words) == 2
    assert "contains no BrainWeb head" in capsys.readouterr().err
