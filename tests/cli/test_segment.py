"""`unweight segment`, with a network whose answer is known."""

from pathlib import Path

import pytest

from tests.learn.segmentation.test_segmenter import image
from tests.mapping.test_segment import save, segmenter
from unweight.cli.main import main


@pytest.fixture(autouse=True)
def known_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "unweight.cli.segment.image_segmenter",
        lambda options: segmenter(mask=options.mask, subject=options.subject),
    )


def test_an_image_with_its_mask(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scan = save(tmp_path / "sub-01_T1w.nii.gz", image())
    mask = save(tmp_path / "mask.nii.gz", (image() > 0).float())
    out = tmp_path / "out"
    assert main(["segment", str(scan), "--mask", str(mask), "-o", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "white matter" in shown and "intracranial" in shown
    labels = out / "sub-01" / "anat" / "sub-01_desc-T1w_dseg.nii.gz"
    page = out / "sub-01.html"
    assert shown.strip().splitlines()[-2:] == [str(labels), str(page)]
    assert 'id="segmentation"' in page.read_text()
    # Its labels and their names are what `regions` takes.
    assert main(["regions", str(scan), "--labels", str(labels), "-o", str(tmp_path / "regions.tsv")]) == 0
    assert "left_white_matter" in (tmp_path / "regions.tsv").read_text()


def test_one_image_that_fails_stops_no_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = save(tmp_path / "sub-01_T1w.nii.gz", image())
    bad = tmp_path / "sub-01_T2w.nii.gz"
    bad.write_bytes(b"nothing")
    assert main(["segment", str(bad), str(good), "-o", str(tmp_path / "out"), "--no-figures"]) == 1
    assert "sub-01_T2w" in capsys.readouterr().err
    assert (tmp_path / "out" / "sub-01" / "anat" / "sub-01_desc-T1w_dseg.nii.gz").is_file()


def test_one_mask_is_for_one_image(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = [str(save(tmp_path / f"sub-01_{name}.nii.gz", image())) for name in ("T1w", "T2w")]
    assert main(["segment", *images, "--mask", images[0], "-o", str(tmp_path / "out")]) == 2
    assert "mask" in capsys.readouterr().err
