"""Small files for the tests of the file door."""

import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray

AFFINE = np.array([[-1.5, 0, 0, 10], [0, 2, 0, -20], [0, 0, 3, 5], [0, 0, 0, 1.0]])


def ramp(*shape: int) -> NDArray[np.float32]:
    """Values that differ from voxel to voxel, none of them 0."""
    return np.arange(1, np.prod(shape) + 1, dtype=np.float32).reshape(shape)


def nifti_bytes(data: NDArray[np.generic], affine: NDArray[np.float64] = AFFINE) -> bytes:
    image = nibabel.Nifti1Image(data, affine)
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    image.header.set_xyzt_units("mm", "sec")
    return image.to_bytes()


def write_nifti(
    path: Path,
    data: NDArray[np.generic],
    fields: Mapping[str, object] | None = None,
    affine: NDArray[np.float64] = AFFINE,
) -> Path:
    """Write an image, and its sidecar if there are fields."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = nifti_bytes(data, affine)
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)
    if fields is not None:
        stem = path.name.removesuffix(".gz").removesuffix(".nii")
        (path.parent / f"{stem}.json").write_text(json.dumps(fields))
    return path


def write_header(path: Path, data: NDArray[np.generic], **fields: object) -> Path:
    """Write an image whose header fields are then set as told, right or wrong."""
    content = nifti_bytes(data)
    header = nibabel.Nifti1Header(content[:348], check=False)
    for name, value in fields.items():
        header[name] = value
    path.write_bytes(header.binaryblock + content[348:])
    return path


def write_inversion_series(
    folder: Path,
    times: Sequence[float],
    *,
    stem: str = "ir",
    shape: tuple[int, ...] = (4, 3, 2),
    **fields: object,
) -> list[Path]:
    """Write one image for each inversion time; the voxels of the k-th all hold its time in ms."""
    return [
        write_nifti(
            folder / f"{stem}_{index}.nii",
            np.full(shape, 1000 * time, dtype=np.float32),
            {"InversionTime": time, "EchoTime": 0.01, "RepetitionTime": 5.0, **fields},
        )
        for index, time in enumerate(times)
    ]


def write_bids_series(
    root: Path, subject: str = "01", times: Sequence[float] = (0.05, 0.4, 1.1), session: str | None = None
) -> list[Path]:
    """Write an IRT1 series with times in each sidecar, the rest inherited from the root."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "dataset_description.json").write_text(json.dumps({"Name": "x", "BIDSVersion": "1.10.0"}))
    (root / "IRT1.json").write_text(json.dumps({"RepetitionTimeExcitation": 2.5, "EchoTime": 0.012}))
    prefix = f"sub-{subject}" + (f"_ses-{session}" if session else "")
    folder = root / f"sub-{subject}" / (f"ses-{session}" if session else "") / "anat"
    return [
        write_nifti(
            folder / f"{prefix}_inv-{index}_IRT1.nii.gz",
            np.full((4, 3, 2), 1000 * time, dtype=np.float32),
            {"InversionTime": time},
        )
        for index, time in enumerate(times, start=1)
    ]
