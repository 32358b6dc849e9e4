from pathlib import Path

import nibabel as nib
import numpy as np
import torch

from tests.report.conftest import SHAPE
from unweight.bids.derivatives.stored import StoredSet, stored_subject
from unweight.core.maps import VoxelStatus, failed_voxels
from unweight.report.shown_set import show_set


def set_of(folder: Path, suffix: str, **entities: str) -> StoredSet:
    for one in stored_subject(folder, "01").sets:
        told = {key: label for key, label in one.name.entities.items() if key not in ("sub", "desc")}
        if one.name.suffix == suffix and told == entities:
            return one
    raise AssertionError(f"no {suffix}")


def test_every_voxel_keeps_its_place_and_value(derivatives: Path) -> None:
    """Turned upright and cut, the place of a voxel still leads to the same number in the file."""
    stored = set_of(derivatives, "T1map", acq="ir")
    shown = show_set(stored)
    image = nib.load(stored.images[0].path)
    data = np.asarray(image.dataobj)
    assert shown.shape == SHAPE
    assert shown.status.numel() < data.size
    there = (~failed_voxels(shown.status)).nonzero()
    assert len(there) == np.isfinite(data).sum()  # nothing with a value was cut off
    for index in there[:: len(there) // 50]:
        place = shown.affine @ torch.cat([index.double(), torch.ones(1)])
        voxel = np.rint(np.linalg.inv(image.affine) @ place.numpy())[:3].astype(int)
        assert float(shown.maps[0].value.values[tuple(index)]) == data[tuple(voxel)]
    assert bool((shown.affine[:3, :3].diagonal() > 0).all())


def test_counts_and_shares(derivatives: Path) -> None:
    shown = show_set(set_of(derivatives, "T1map", acq="ir"))
    assert shown.counts[VoxelStatus.IMPLAUSIBLE] == 4
    assert shown.counts[VoxelStatus.NOT_CONVERGED] == 4
    usable, suspect, failed = shown.shares
    assert suspect == failed == 4 / shown.inside
    assert usable == 1 - 8 / shown.inside
    assert shown.slab is None
    assert [one.quantity.symbol for one in shown.maps] == ["T1", "PD", "B"]


def test_made_image_has_no_value_outside_the_brain(derivatives: Path) -> None:
    shown = show_set(set_of(derivatives, "T1w"))
    assert bool(shown.maps[0].value.values[failed_voxels(shown.status)].isnan().all())
    assert shown.misfit is None


def test_what_is_missing_is_said(derivatives: Path) -> None:
    folder = derivatives / "sub-01" / "anat"
    (folder / "sub-01_desc-R2starstatus_dseg.nii.gz").unlink()
    (folder / "sub-01_desc-misfit_R2starmap.nii.gz").write_bytes(b"nothing")
    shown = show_set(set_of(derivatives, "R2starmap"))
    told = " ".join(shown.problems)
    assert "sub-01_desc-R2starstatus_dseg.nii.gz is missing" in told
    assert "sub-01_desc-misfit_R2starmap.nii.gz" in told
    assert "every voxel with a value counts as usable" in told
    assert shown.maps[0].value.values.isfinite().any()
    assert shown.misfit is None


def test_no_map_at_all(derivatives: Path) -> None:
    (derivatives / "sub-01" / "anat" / "sub-01_Chimap.nii.gz").unlink()
    shown = show_set(set_of(derivatives, "Chimap"))
    assert shown.maps == ()
    assert "none of its maps could be read" in shown.problems
