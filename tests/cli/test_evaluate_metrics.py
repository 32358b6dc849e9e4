"""A metric that is one function and one line of the registry is scored in every evaluation that can."""

import csv
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.cli.test_evaluate_maps import told
from tests.cli.test_evaluate_mprage import made, weights
from tests.cli.test_evaluate_qsm import given, soon
from unweight import registry
from unweight.cli.main import main
from unweight.registry.records import OF_MAP, Inputs, Metric, Records

__all__ = ["made", "soon", "told", "weights"]  # fixtures

SOURCE = """
def largest_error(estimate, truth, inside):
    return float((estimate - truth)[inside].nan_to_num().abs().max())

def share_above(estimate, truth):
    return float((estimate > truth).double().mean())

def shared_voxels(estimate, truth):
    return float((estimate & truth).sum())
"""
TOY = (
    Metric(name="toy image", inputs=Inputs.IMAGE, target="toy_metric:largest_error", unit=OF_MAP),
    Metric(name="toy voxels", inputs=Inputs.VOXELS, target="toy_metric:share_above"),
    Metric(name="toy labels", inputs=Inputs.LABELS, target="toy_metric:shared_voxels"),
)


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "toy_metric.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    records = registry.joined(registry.records(), Records(metrics=TOY))
    monkeypatch.setattr(registry, "records", lambda: records)


def scored(out: Path, words: Sequence[object], *metrics: str) -> list[dict[str, str]]:
    """Evaluate, and return the rows of the table."""
    called = ["evaluate", words[0], "-o", out, *words[1:], "--quiet", "--metrics", *metrics]
    assert main([str(word) for word in called]) == 0
    with (out / "scores.tsv").open() as lines:
        return list(csv.DictReader(lines, delimiter="\t"))


def names(rows: Sequence[dict[str, str]]) -> set[tuple[str, str, str]]:
    return {(row["parameter"], row["metric"], row["unit"]) for row in rows}


@pytest.mark.usefixtures("toy")
def test_t1(tmp_path: Path) -> None:
    words = ("t1", "--quick", "--methods", "ml", "--sets", "scattered")
    rows = scored(tmp_path, words, "toy image", "toy voxels", "rmse_ln")
    assert names(rows) == {
        ("T1", "toy image", "s"),
        ("T1", "toy voxels", "1"),
        ("T1", "rmse_ln", "1"),
    }
    share = {row["group"]: float(row["value"]) for row in rows if row["metric"] == "toy voxels"}
    assert 0.3 < share["all"] < 0.7 and "0.5-1.1 s" in share
    assert {row["method"] for row in rows} == {"ml", "exact"}


@pytest.mark.usefixtures("toy", "told")
def test_maps(tmp_path: Path) -> None:
    words = ("maps", "--quick", "--methods", "physics", "--sets", "internal")
    rows = scored(tmp_path, words, "toy image", "toy voxels")
    units = {"T1": "s", "T2": "s", "PD": "1"}
    assert names(rows) == {
        *((name, "toy image", unit) for name, unit in units.items()),
        *((name, "toy image_sd", unit) for name, unit in units.items()),
        *((name, "toy voxels", "1") for name in units),
    }


@pytest.mark.usefixtures("toy", "soon")
def test_qsm(tmp_path: Path) -> None:
    words = ("qsm", "--quick", "--methods", "vsharp+tkd", "--sets", "plain")
    rows = scored(tmp_path / "heads", words, "toy image", "toy voxels")
    units = {"R2star": "1/s", "total field": "ppm", "local field": "ppm", "Chi": "ppm"}
    assert names(rows) == {
        *((name, "toy image", unit) for name, unit in units.items()),
        *((name, "toy voxels", "1") for name in units),
    }
    words, _ = given(tmp_path)
    rows = scored(tmp_path / "own", ("qsm", *words), "toy image", "nrmse")
    assert [(row["metric"], row["group"]) for row in rows] == [("nrmse", "brain"), ("toy image", "brain")]


@pytest.mark.usefixtures("toy")
def test_mprage(tmp_path: Path, weights: Path, made: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    words = ("mprage", "--weights", weights, "--workers", 1, "--quick", "--sets", "healthy", "--people", 1)
    rows = scored(tmp_path, (*words, "--methods", "unet"), "toy image", "toy voxels", "toy labels", "ssim")
    assert len(made) == 1
    assert {(row["metric"], row["group"]) for row in rows if row["method"] == "unet"} >= {
        ("toy image", "brain"),
        ("toy voxels", "brain"),
        ("ssim", "brain"),
        ("toy labels", "white_matter"),
    }
    assert {row["metric"] for row in rows} == {"toy image", "toy voxels", "toy labels", "ssim"}
    # Records of other metrics do not hold these.
    called = ["evaluate", *(str(word) for word in words), "-o", str(tmp_path), "--quiet"]
    assert main(called) == 2
    assert "or other metrics" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("what", "name", "message"),
    [
        ("t1", "magic", "no metric is called magic. There are usable, mean"),
        ("qsm", "dice", "no metric is called dice. There are seconds, bias"),
    ],
)
def test_names_that_nobody_has(
    what: str, name: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", what, "-o", str(tmp_path / "out"), "--metrics", name]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
