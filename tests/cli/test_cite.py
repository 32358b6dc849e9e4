import shutil
from pathlib import Path

import pytest
import torch

from unweight.bids.derivatives.provenance import Provenance
from unweight.bids.derivatives.write import write_maps
from unweight.cli.main import main
from unweight.core.maps import ParameterMaps
from unweight.signals.parameters import R2STAR

REFERENCE = "Pei et al., Magn Reson Med 73:843, 2015"


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
        provenance = Provenance(sources=("a",), algorithm="R2star by ARLO", reference=REFERENCE)
        write_maps(maps, tmp_path, {"sub": label}, provenance)
    return tmp_path


def test_a_paragraph_once_and_bibtex(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cite", str(out)]) == 0
    lines = capsys.readouterr().out
    assert "\\n" not in lines
    printed = " ".join(lines.split())
    assert printed.count("R2* was estimated with unweight ") == 1
    assert "(R2* by ARLO)." in printed and f"Reference: {REFERENCE}." in printed
    text = (out / "CITATION.bib").read_text(encoding="utf-8")
    assert "@article{pei2015," in text and "The unweight developers" in text
    assert "CITATION.bib" in (out / ".bidsignore").read_text().split()


def test_no_image_is_read(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("an image was read")

    for name in ("open_volume", "fingerprint_of"):
        monkeypatch.setattr(f"unweight.bids.derivatives.stored.{name}", refuse)
    assert main(["cite", str(out), "--quiet"]) == 0
    assert (out / "CITATION.bib").is_file()


def test_a_raw_dataset_stays_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "sub-01" / "anat").mkdir(parents=True)
    assert main(["cite", str(tmp_path)]) == 2
    assert "contains no maps written by unweight" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "CITATION.bib").exists()


def test_an_unfinished_set_is_named_and_the_others_are_cited(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    anat = out / "sub-02" / "anat"
    (anat / "sub-02_R2starmap.nii.gz").write_bytes(b"of another set")
    mark = anat / ".sub-02_R2starmap.unfinished.json"
    mark.write_text('{"Files": ["sub-02_R2starmap.nii.gz"]}')
    assert main(["cite", str(out)]) == 1
    shown = capsys.readouterr()
    assert "the unfinished set sub-02_R2starmap" in shown.err and shown.err.count("\n") == 1
    assert "R2* was estimated" in shown.out
    assert (out / "CITATION.bib").is_file()
    shutil.rmtree(out / "sub-01")
    assert main(["cite", str(out)]) == 2
    assert "the unfinished set sub-02_R2starmap" in capsys.readouterr().err
