"""Segmentations as files and in memory, with a network whose answer is known."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from torch import Tensor

from tests.learn.segmentation.test_segmenter import SHAPE, ByLevel, affine, image
from unweight.bids.derivatives.whole_set import is_whole
from unweight.bids.nifti.grid import Grid, Placement
from unweight.core.errors import InputError, OutputError, UsageError
from unweight.learn.segmentation.segmenter import BrainSegmenter
from unweight.mapping.brain import MaskOptions
from unweight.mapping.segment import (
    ImageSegmenter,
    Segmentation,
    SegmentOptions,
    entities_of,
    segment,
)

GRID = Grid(shape=SHAPE, placement=Placement(affine=affine()), path=Path("image"))


def segmenter(**options: object) -> ImageSegmenter:
    return ImageSegmenter(
        options=SegmentOptions(**options),  # type: ignore[arg-type]
        segmenter=BrainSegmenter(network=ByLevel()),
        card={"Weights": "known", "WeightsSHA256": "0" * 64},
        finder=MaskOptions(),
    )


def segmented(mask: Tensor | None = None) -> Segmentation:
    scan = image()
    inside = scan > 0 if mask is None else mask
    return segmenter().segment_values(scan, GRID, inside, {"sub": "07", "desc": "T1w"}, "sub-07_T1w.nii.gz")


def save(path: Path, values: Tensor) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(values.numpy().astype(np.float32), affine().numpy()), path)
    return path


def test_volumes_are_voxels_times_their_size() -> None:
    result = segmented()
    scan = image()
    white_ml = float((scan == 1.0).sum()) / 1000
    assert result.volume("left_white_matter") + result.volume("right_white_matter") == pytest.approx(
        white_ml
    )
    assert result.volume("left_white_matter") == pytest.approx(white_ml / 2, rel=0.01)
    assert result.volume("intracranial") == pytest.approx(float((scan > 0).sum()) / 1000)
    assert result.volume("left_putamen") == 0
    assert "left_white_matter" in repr(result)
    with pytest.raises(UsageError, match="no structure"):
        result.volume("putamen")


def test_what_is_written(tmp_path: Path) -> None:
    labels = segmented().save(tmp_path)
    anat = tmp_path / "sub-07" / "anat"
    assert labels == anat / "sub-07_desc-T1w_dseg.nii.gz"
    names = {path.name for path in anat.iterdir()}
    stem = "sub-07_desc-T1w"
    assert names >= {
        *(f"{stem}_dseg{ending}" for ending in (".nii.gz", ".json", ".tsv")),
        *(f"{stem}_probseg{ending}" for ending in (".nii.gz", ".json")),
        *(f"{stem}_volumes{ending}" for ending in (".tsv", ".json")),
    }
    assert (tmp_path / "sub-07" / "figures" / f"{stem}_dseg.png").read_bytes()[:4] == b"\x89PNG"
    stored = nib.load(labels)
    assert np.array_equal(np.asarray(stored.dataobj), segmented().labels.numpy())
    rows = [line.split("\t") for line in (anat / f"{stem}_dseg.tsv").read_text().splitlines()]
    assert rows[0] == ["index", "name", "abbreviation", "color"]
    assert ["12", "left_putamen", "Pu_L", "#ec0db0"] in rows
    sidecar = json.loads((anat / f"{stem}_dseg.json").read_text())
    assert sidecar["Sources"] == ["sub-07_T1w.nii.gz"]
    assert sidecar["unweight"]["Weights"] == "known"
    listed = {f"{stem}_dseg.nii.gz", f"{stem}_probseg.nii.gz", f"{stem}_volumes.tsv"}
    assert set(sidecar["unweight"]["SHA256"]) == listed
    assert is_whole(labels.with_name(f"{stem}_dseg.json"))
    volumes = [line.split("\t") for line in (anat / f"{stem}_volumes.tsv").read_text().splitlines()]
    assert volumes[-1][:2] == ["n/a", "intracranial"]
    assert (tmp_path / "dataset_description.json").is_file()


def test_raw_data_are_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "dataset_description.json").write_text('{"Name": "raw", "BIDSVersion": "1.10.0"}')
    path = save(tmp_path / "sub-01" / "anat" / "sub-01_T1w.nii.gz", image())
    mask = save(tmp_path / "mask.nii.gz", (image() > 0).float())
    result = segmenter(mask=mask).segment(path)
    assert result.root == tmp_path
    with pytest.raises(OutputError):
        result.save(tmp_path / "sub-01")
    result.save(tmp_path / "derivatives" / "unweight", figures=False)


@pytest.mark.parametrize(
    ("name", "subject", "expected"),
    [
        ("sub-01_ses-2_T1w.nii.gz", None, {"sub": "01", "ses": "2", "desc": "T1w"}),
        ("sub-01_echo-2_part-mag_MEGRE.nii", None, {"sub": "01", "desc": "MEGREecho2"}),
        ("scan 3.nii.gz", None, {"sub": "01", "desc": "scan3"}),
        ("scan.nii.gz", "A", {"sub": "A", "desc": "scan"}),
        ("sub-01_FLAIR.nii.gz", "A", {"sub": "A", "desc": "FLAIR"}),
    ],
)
def test_names_of_derivatives(name: str, subject: str | None, expected: dict[str, str]) -> None:
    assert entities_of(Path(name), subject) == expected


def test_other_files_are_refused() -> None:
    with pytest.raises(InputError, match="not a NIfTI image"):
        entities_of(Path("image.mgz"), None)


def test_remarks_about_the_field_of_view_and_the_voxels() -> None:
    scan = image()
    cut = torch.zeros(SHAPE, dtype=torch.bool)
    cut[:, :, :] = scan > 0
    cut[:, 40:50, 0] = True
    assert any("field of view" in remark for remark in segmented(cut).remarks)
    assert segmented().remarks == ()


def test_an_empty_image_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "sub-01_T1w.nii.gz", torch.zeros(SHAPE))
    with pytest.raises(InputError, match="empty") as caught:
        segmenter().segment(path)
    assert caught.value.path == path


def test_arrays_need_three_axes_and_an_affine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unweight.mapping.segment.image_segmenter", lambda options: segmenter())
    scan = image()
    result = segment(scan.numpy(), affine=affine().numpy(), mask=(scan > 0).numpy(), subject="sub-3")
    assert result.entities == {"sub": "3", "desc": "image"}
    assert torch.equal(result.labels, segmented().labels)
    with pytest.raises(UsageError, match="affine"):
        segment(scan.numpy())
    with pytest.raises(InputError, match="axes"):
        segment(scan[None].numpy(), affine=affine().numpy())
    with pytest.raises(InputError, match="shape"):
        segment(scan.numpy(), affine=affine().numpy(), mask=np.ones((2, 2, 2)))
