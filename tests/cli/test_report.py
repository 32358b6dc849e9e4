from pathlib import Path

import pytest
import torch

from unweight.bids.derivatives.provenance import Provenance
from unweight.bids.derivatives.write import write_maps
from unweight.cli.main import main
from unweight.core.maps import ParameterMaps
from unweight.signals.parameters import R2STAR


@pytest.fixture
def out(tmp_path: Path) -> Path:
    for label in ("01", "02"):
        maps = ParameterMaps(
            specs=(R2STAR,),
            values=torch.full((4, 4, 4, 1), 20.0),
            std=torch.ones(4, 4, 4, 1),
            status=torch.zeros(4, 4, 4, dtype=torch.uint8),
            affine=torch.eye(4),
        )
        write_maps(maps, tmp_path, {"sub": label}, Provenance(sources=("a",), algorithm="none"))
    return tmp_path


def test_a_page_for_each_subject(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(out)]) == 0
    assert capsys.readouterr().out.split() == [str(out / f"sub-{label}.html") for label in ("01", "02")]
    assert "sub-02" in (out / "sub-02.html").read_text()


def test_only_those_asked_for(out: Path) -> None:
    assert main(["report", str(out), "--participant-label", "sub-02", "--quiet"]) == 0
    assert [path.name for path in out.glob("*.html")] == ["sub-02.html"]


def test_messages(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(out), "--participant-label", "07"]) == 2
    assert "no maps of subject 07" in capsys.readouterr().err
    assert main(["report", str(out / "nowhere")]) == 2
    assert "is not a folder" in capsys.readouterr().err


def test_demo_ends_with_pages(demo: Path) -> None:
    page = (demo / "maps" / "sub-phantom.html").read_text()
    assert "Spheres of the system phantom" in page
