import json
import shutil
from pathlib import Path

import pytest

from unweight.cli.main import main


def test_good_tree_is_described(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", str(demo / "bids")]) == 0
    shown = capsys.readouterr().out
    assert "sub-phantom" in shown
    assert "TI 0.05 to 2.5 s (7), TR 10 s, 3 T" in " ".join(shown.split())
    assert "1 of 1 series can be read; can be mapped: 1 by t1" in shown


def test_milliseconds_are_refused_with_the_file(
    demo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = tmp_path / "bids"
    shutil.copytree(demo / "bids", tree)
    sidecar = next((tree / "sub-phantom" / "anat").glob("*inv-7*.json"))
    sidecar.write_text(json.dumps(json.loads(sidecar.read_text()) | {"InversionTime": 2500}))
    assert main(["validate", str(tree)]) == 2
    message = capsys.readouterr().err
    assert sidecar.name in message
    assert "looks like milliseconds" in message


def test_magic_of_empty_images(shared_data, capsys: pytest.CaptureFixture[str]) -> None:
    """The examples with 0-byte images name the first file; nothing else happens."""
    tree = shared_data("bids_qmri_cc0") / "qmri_mp2rage"
    assert main(["validate", str(tree)]) == 2
    assert "series in this BIDS dataset" in capsys.readouterr().err
