"""What a whole run writes, with all its commands, is a BIDS dataset."""

import json
import shutil
from pathlib import Path

import pytest

from tests.bids.validator import validator_errors
from tests.cli.gradient_echoes import echoes, write_tree
from tests.run.trees import write_study
from unweight.cli.catalogue import COMMANDS
from unweight.cli.main import main

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One subject with inversion recovery, one with gradient echoes, one with routine images."""
    root = tmp_path_factory.mktemp("all")
    words = [
        "simulate",
        str(root),
        "--contrast",
        "routine",
        "--slices",
        "3",
        "--snr",
        "60",
        "60",
        "--quiet",
    ]
    assert main(words) == 0
    tree = root / "bids"
    write_tree(tree, echoes(), {"sub": "echoes"})
    study = write_study(root / "study", 1)
    shutil.copytree(study / "sub-01", tree / "sub-01")
    shutil.copy(study / "IRT1.json", tree)
    return tree


def test_derivatives_pass_the_validator(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tree.with_name("maps")
    pages = () if "report" in COMMANDS else ("--no-report",)
    assert main(["run", str(tree), str(out), "participant", *pages]) == 0, capsys.readouterr().err
    assert main(["run", str(tree), str(out), "group"]) == 0, capsys.readouterr().err
    made = {path.name for path in out.rglob("*") if path.is_file()}
    assert "sub-01_T1map.nii.gz" in made and "sub-echoes_Chimap.nii.gz" in made
    assert "sub-echoes_R2starmap.nii.gz" in made and "sub-echoes_desc-synth_T1w.nii.gz" in made
    assert any(name.endswith("_T2map.nii.gz") for name in made)
    assert {"study.html", "group_desc-qc.tsv", "group_desc-failures.tsv", "sub-01_t1.json"} <= made
    assert list(out.glob("logs/config-*.json"))
    if "report" in COMMANDS:
        assert {"sub-01.html", "sub-echoes.html"} <= made
    assert json.loads((out / "dataset_description.json").read_text())["DatasetType"] == "derivative"
    assert validator_errors(out) == []
