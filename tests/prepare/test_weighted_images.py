"""Files become one examination on one upright grid, or one clear sentence."""

import json
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.prepare.published import transform_of
from unweight.bids.nifti.volume import open_volume
from unweight.bids.series.weighted import GivenWeighting
from unweight.core.errors import InputError, ProtocolError, UsageError
from unweight.prepare.lattice import VoxelGrid
from unweight.prepare.resample import resampled_mask
from unweight.prepare.weighted_images import MapsFiles, read_examination

SHAPE = (20, 24, 16)
AFFINE = np.diag([2.0, 2.0, 3.0, 1.0])
TIMES = {
    "T1w": {"RepetitionTime": 0.6, "EchoTime": 0.01, "ScanningSequence": "SE"},
    "T2w": {"RepetitionTime": 5.0, "EchoTime": 0.1, "ScanningSequence": "SE"},
    "FLAIR": {"RepetitionTime": 9.0, "EchoTime": 0.1, "InversionTime": 2.5, "ScanningSequence": "SE"},
}


def written(
    folder: Path,
    name: str,
    data: NDArray[np.float64] | None = None,
    affine: NDArray[np.float64] = AFFINE,
    **fields: object,
) -> Path:
    folder.mkdir(exist_ok=True, parents=True)
    values = ball(SHAPE) * 100 if data is None else data
    path = folder / f"{name}.nii.gz"
    nib.save(nib.Nifti1Image(values.astype(np.float32), affine), path)
    told = TIMES.get(name, {}) | {"MagneticFieldStrength": 3.0} | fields
    (folder / f"{name}.json").write_text(json.dumps(told))
    return path


def ball(shape: tuple[int, int, int], radius: float = 0.8) -> NDArray[np.float64]:
    """A smooth ball with a brighter core to one side, so that a turn shows."""
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    level = sum(axis**2 for axis in axes) ** 0.5
    return (level < radius) * (1.5 - level + 0.3 * axes[0] + 0.2 * axes[1])


def files(folder: Path, **changes: object) -> MapsFiles:
    images = {name: written(folder, name) for name in TIMES}
    mask = folder / "mask.nii.gz"
    nib.save(nib.Nifti1Image((ball(SHAPE) > 0).astype(np.uint8), AFFINE), mask)
    return MapsFiles(**({"images": images, "mask": mask} | changes))  # type: ignore[arg-type]


def test_images_of_one_grid_are_taken_as_they_are(tmp_path: Path) -> None:
    read = read_examination(files(tmp_path))
    assert [one.name for one in read.examination.images] == ["T1w", "T2w", "FLAIR"]
    assert read.examination.field_strength == 3.0
    assert torch.equal(
        read.turn.undo(read.examination.images[0].signal), torch.tensor(ball(SHAPE) * 100).float()
    )
    assert read.settings["Registered"] == {} and read.settings["BrainMask"] == "given"
    assert len(read.sources) == 3 and read.entities == {"sub": "01"}


def test_other_grid_without_registration_is_resampled(tmp_path: Path) -> None:
    given = files(tmp_path, register=False)
    fine = tuple(2 * n for n in SHAPE)
    affine = AFFINE.copy()
    affine[:3, :3] /= 2
    affine[:3, 3] = -np.diag(AFFINE)[:3] / 4
    written(tmp_path, "T2w", ball(fine) * 100, affine)
    read = read_examination(given)
    one, two = (image.signal for image in read.examination.images[:2])
    inside = read.examination.inside
    assert float((one - two)[inside].abs().median()) < 3.0
    assert read.settings["Registered"] == {"T2w": "resampled only"}


def test_registration_finds_a_shift(tmp_path: Path) -> None:
    pytest.importorskip("SimpleITK")
    shape, affine = (48, 56, 40), np.diag([3.0, 3.0, 3.0, 1.0])
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    texture = 1 + 0.5 * np.sin(9 * axes[0]) * np.cos(7 * axes[1]) + 0.3 * np.sin(8 * axes[2] + 4 * axes[0])
    head = ball(shape) * texture * 100
    images = {name: written(tmp_path, name, head, affine) for name in ("T1w", "T2w")}
    moved = affine.copy()
    moved[:3, 3] += (3.0, -2.0, 1.5)
    written(tmp_path, "T2w", head, moved)
    mask = tmp_path / "mask.nii.gz"
    nib.save(nib.Nifti1Image((ball(shape) > 0).astype(np.uint8), affine), mask)
    read = read_examination(MapsFiles(images=images, mask=mask))
    one, two = (image.signal for image in read.examination.images)
    inside = read.examination.inside
    assert float(torch.corrcoef(torch.stack([one[inside], two[inside]]))[0, 1]) > 0.97
    assert "shift" in str(read.settings["Registered"])


def single_slice(folder: Path, name: str) -> Path:
    """Write the middle slice of the ball with voxels of 1 mm."""
    n = SHAPE[2] // 2
    affine = np.eye(4)
    affine[2, 3] = n + 0.5
    return written(folder, name, ball(SHAPE)[:, :, n : n + 1] * 100, affine)


def test_a_single_slice_is_too_thin_for_a_brain_mask(tmp_path: Path) -> None:
    images = {name: single_slice(tmp_path, name) for name in TIMES}
    with pytest.raises(InputError, match="too thin to find a brain") as refused:
        read_examination(MapsFiles(images=images))
    assert refused.value.path == images["T1w"] and "1 slice" in refused.value.problem
    assert "--mask" in refused.value.remedy


@pytest.mark.parametrize("thin", ["T1w", "T2w"])
def test_a_single_slice_is_too_thin_to_register(tmp_path: Path, thin: str) -> None:
    pytest.importorskip("SimpleITK")
    given = files(tmp_path)
    single_slice(tmp_path, thin)
    with pytest.raises(InputError, match="single slice") as refused:
        read_examination(MapsFiles(images={name: given.images[name] for name in ("T1w", "T2w")}))
    assert refused.value.path == given.images["T2w"]
    assert "cannot be registered to T1w.nii.gz" in refused.value.problem
    assert "--no-register" in refused.value.remedy


def test_the_file_without_signal_is_named(tmp_path: Path) -> None:
    images = {name: written(tmp_path, name) for name in TIMES}
    written(tmp_path, "T2w", np.zeros(SHAPE))
    with pytest.raises(InputError, match="no positive value") as refused:
        read_examination(MapsFiles(images=images))
    assert refused.value.path == images["T2w"]
    away = AFFINE.copy()
    away[:3, 3] = 500.0
    written(tmp_path, "T2w", None, away)
    with pytest.raises(InputError, match=r"does not overlap T1w\.nii\.gz") as refused:
        read_examination(MapsFiles(images=images, register=False))
    assert refused.value.path == images["T2w"]


def test_mask_on_another_grid_is_brought_over(tmp_path: Path) -> None:
    given = files(tmp_path)
    small = tuple(n // 2 for n in SHAPE)
    affine = AFFINE.copy()
    affine[:3, :3] *= 2
    affine[:3, 3] = np.diag(AFFINE)[:3] / 2
    nib.save(nib.Nifti1Image((ball(small) > 0).astype(np.uint8), affine), given.mask)
    mask = read_examination(given).examination.mask.numpy()
    true = ball(SHAPE) > 0
    assert 2 * (mask & true).sum() / (mask.sum() + true.sum()) > 0.85


def test_messages(tmp_path: Path) -> None:
    given = files(tmp_path)
    with pytest.raises(UsageError, match="at least two images"):
        read_examination(MapsFiles(images={"T1w": given.images["T1w"]}))
    with pytest.raises(UsageError, match="reference FLAIR is not given"):
        read_examination(
            MapsFiles(images={name: given.images[name] for name in ("T1w", "T2w")}, reference="FLAIR")
        )
    written(tmp_path, "T2w", MagneticFieldStrength=1.5)
    with pytest.raises(ProtocolError, match=r"different field strengths: T1w 3 T, T2w 1.5 T"):
        read_examination(given)
    for name in TIMES:
        written(tmp_path, name, MagneticFieldStrength=None)
    with pytest.raises(ProtocolError, match=r"MagneticFieldStrength of these images is unknown.*--field"):
        read_examination(given)
    written(tmp_path, "T1w", ball(SHAPE) * 100 - 60)
    with pytest.raises(InputError, match=r"far below 0.*magnitude"):
        read_examination(given)
    written(tmp_path, "T1w", np.stack([ball(SHAPE)] * 2, axis=-1))
    with pytest.raises(InputError, match="contains 2 volumes instead of one"):
        read_examination(given)


def test_ringing_at_the_edge_of_a_stripped_brain_is_taken_as_0(tmp_path: Path) -> None:
    given = files(tmp_path)
    ringing = ball(SHAPE) * 100
    ringing[0, 0, :3] = -20.0
    written(tmp_path, "T1w", ringing)
    assert float(read_examination(given).examination.images[0].signal.min()) == 0.0


def test_what_is_no_magnitude_is_refused(tmp_path: Path) -> None:
    given = files(tmp_path)
    written(tmp_path, "T2w", ImageType=["ORIGINAL", "PRIMARY", "P", "ND"])
    with pytest.raises(InputError, match=r"T2w.nii.gz: is a phase image\. Give the magnitude"):
        read_examination(given)


def test_what_was_made_after_a_contrast_agent_is_refused(tmp_path: Path) -> None:
    given = files(tmp_path)
    written(tmp_path, "T1w", ContrastBolusIngredient="GADOLINIUM")
    with pytest.raises(InputError, match=r"after a contrast agent.*--contrast-agent"):
        read_examination(given)


def test_scanner_and_field_are_told(tmp_path: Path) -> None:
    given = files(tmp_path)
    for name in TIMES:
        written(tmp_path, name, Manufacturer="Siemens", MagneticFieldStrength=2.89)
    read = read_examination(given)
    assert read.acquired["Manufacturer"] == "Siemens"
    assert read.acquired["MagneticFieldStrength"] == 2.89
    assert "EchoTime" not in read.acquired


@pytest.mark.parametrize(("around", "stripped"), [(0.0, True), (40.0, False)])
def test_whether_more_than_the_brain_is_shown(tmp_path: Path, around: float, stripped: bool) -> None:
    given = files(tmp_path)
    for name in TIMES:
        written(tmp_path, name, ball(SHAPE) * 100 + around * (ball(SHAPE) == 0))
    assert read_examination(given).skull_stripped is stripped


@pytest.mark.slow
def test_raw_images_of_a_patient_come_together(shared_data: Callable[[str], Path]) -> None:
    """2D images on three grids, no sidecars: brought onto the FLAIR, and the brain found in all three."""
    pytest.importorskip("SimpleITK")
    folder = shared_data("ms_lesjak") / "longitudinal" / "patient01"
    files = {"T1w": "T1W", "T2w": "T2W", "FLAIR": "FLAIR"}
    read = read_examination(
        MapsFiles(
            images={name: folder / f"study1_{file}.nii.gz" for name, file in files.items()},
            given={
                "T1w": GivenWeighting(repetition_time=0.5, echo_time=0.01),
                "T2w": GivenWeighting(repetition_time=5.0, echo_time=0.1),
                "FLAIR": GivenWeighting(repetition_time=9.0, echo_time=0.1, inversion_time=2.5),
            },
            field_strength=3.0,
            reference="FLAIR",
        )
    )
    home = open_volume(folder / "study1_FLAIR.nii.gz")
    x, y, z = home.grid.shape
    published = open_volume(folder / "brainmask.nii.gz")
    a, b, c = published.grid.shape
    brain = resampled_mask(
        published.data > 0,
        VoxelGrid(shape=(a, b, c), affine=published.grid.affine),
        VoxelGrid(shape=(x, y, z), affine=home.grid.affine),
        torch.linalg.inv(transform_of(folder / "study1_FLAIR_to_common_space.txt")),
    )
    found = read.turn.undo(read.examination.mask)
    assert 2 * float((found & brain).sum()) / float(found.sum() + brain.sum()) > 0.92
    assert set(read.settings["Registered"]) == {"T1w", "T2w"}  # type: ignore[call-overload]
    assert torch.equal(read.turn.undo(read.examination.images[2].signal), home.data.float())
    assert float(read.examination.inside.sum()) > 0.85 * float(read.examination.mask.sum())
