import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from unweight.core.errors import InputError, UsageError
from unweight.core.seeding import seeded_generator
from unweight.heads.source import (
    ALL,
    TEST,
    TRAIN,
    VALIDATION,
    BrainwebHeads,
    LabelImageHead,
    Mni152Head,
    ProceduralHeads,
    head_source,
    whole_heads,
)
from unweight.synth.anatomy.labels import Anatomy
from unweight.synth.tissue.materials import INDEX


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(4, 24):
        (tmp_path / f"subject{number:02d}_crisp_v.mnc.gz").touch()
    return tmp_path


def test_each_brainweb_head_is_in_one_part(folder: Path) -> None:
    heads = BrainwebHeads(folder)
    parts = [heads.names(part) for part in (TRAIN, VALIDATION, TEST)]
    assert all(parts) and sorted(name for part in parts for name in part) == sorted(heads.names(ALL))
    assert heads.subjects(ALL)[0] == "brainweb04"
    assert heads.record((TRAIN, TEST)) == {TRAIN: list(parts[0]), TEST: list(parts[2])}


def test_heads_are_read_when_their_turn_comes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []

    def anatomy(path: Path) -> Anatomy:
        read.append(path.name)
        labels = torch.zeros(4, 4, 4, dtype=torch.uint8)
        return Anatomy(labels=labels, voxel_mm=(1.0, 1.0, 1.0), subject=path.name, affine=torch.eye(4))

    monkeypatch.setattr("unweight.heads.source.read_brainweb", anatomy)
    monkeypatch.setattr("unweight.heads.source.with_nuclei", lambda head: head)
    heads = BrainwebHeads(folder)
    given = heads.heads(TEST)
    assert not read
    assert next(given).subject == heads.names(TEST)[0] and len(read) == 1
    assert len(list(heads.heads(TEST, 2))) == 2


def test_too_few_heads_and_none(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        BrainwebHeads(tmp_path).names(ALL)
    (tmp_path / "subject04_crisp_v.mnc.gz").touch()
    with pytest.raises(UsageError, match="1 heads leave none"):
        BrainwebHeads(tmp_path).record((TRAIN, VALIDATION, TEST))


def test_a_procedural_head_is_the_same_each_time_and_another_in_another_part() -> None:
    heads = whole_heads(0, {TEST: 2, TRAIN: 1}, coarser=12)
    first = heads.read(TEST, 0)
    assert first.voxel_mm == (6.0, 6.0, 6.0) and first.labels.shape == (30, 36, 30)
    assert first.labels.equal(heads.read(TEST, 0).labels)
    assert not first.labels.equal(heads.read(TEST, 1).labels)
    assert not first.labels.equal(heads.read(TRAIN, 0).labels)
    assert heads.record((TEST,)) is None


def test_coarser_voxels_keep_the_field_of_view() -> None:
    for coarser in (12, 18):
        (head,) = whole_heads(0, {TEST: 1}, coarser=coarser).heads(TEST)
        extent = [count * size for count, size in zip(head.labels.shape, head.voxel_mm, strict=True)]
        assert extent == [180.0, 216.0, 180.0]


def test_a_label_image(tmp_path: Path) -> None:
    image, materials = tmp_path / "someone.nii.gz", tmp_path / "names.json"
    labels = np.zeros((4, 5, 6), dtype=np.uint8)
    labels[1:3] = 2
    nibabel.save(nibabel.Nifti1Image(labels, np.eye(4)), image)
    materials.write_text(json.dumps({"0": "background", "2": "white_matter"}))
    (head,) = LabelImageHead(image=image, materials=materials).heads(ALL)
    assert head.subject == "someone" and int((head.labels == INDEX["white_matter"]).sum()) == 2 * 5 * 6


def test_mni152_is_one_head() -> None:
    assert Mni152Head().names(ALL) == ("mni152",)


def test_a_folder_takes_precedence(folder: Path) -> None:
    drawn = ProceduralHeads(
        generator=lambda part, index: seeded_generator(0, part, index),
        counts={ALL: 1},
        shape=(8, 8, 8),
        voxel_mm=(20.0, 20.0, 20.0),
        centre_mm=(0.0, 0.0, 0.0),
    )
    assert head_source(None, drawn) is drawn and head_source(folder, drawn) == BrainwebHeads(folder)
