"""A BIDS tree of many subjects with a few voxels each: inversion recovery, from its equation."""

import gzip
import json
from pathlib import Path

import nibabel as nib
import numpy as np

TIMES = (0.05, 0.1, 0.25, 0.5, 0.85, 1.5, 2.5)
SIZE = (12, 12, 3)


def write_small_tree(root: Path, n_subjects: int, size: tuple[int, int, int] = SIZE) -> None:
    """Write `n_subjects` with seven inversion times each, SNR about 75."""
    root.mkdir(parents=True)
    (root / "dataset_description.json").write_text('{"Name": "small", "BIDSVersion": "1.10.0"}')
    shared = {"RepetitionTime": 10.0, "EchoTime": 0.014, "MagneticFieldStrength": 3.0}
    (root / "IRT1.json").write_text(json.dumps(shared))
    for number in range(n_subjects):
        generator = np.random.default_rng(number)
        folder = root / f"sub-{number:03d}" / "anat"
        folder.mkdir(parents=True)
        t1 = generator.uniform(0.5, 2.0, size)
        density = generator.uniform(500.0, 1000.0, size)
        for index, time in enumerate(TIMES, start=1):
            signal = density * (1 - 1.9 * np.exp(-time / t1) + 0.9 * np.exp(-10 / t1))
            noisy = np.abs(signal + generator.normal(0, 10, size)).astype(np.float32)
            image = nib.Nifti1Image(noisy, np.diag([2.0, 2.0, 2.0, 1.0]))
            stem = f"sub-{number:03d}_inv-{index}_IRT1"
            (folder / f"{stem}.nii.gz").write_bytes(gzip.compress(image.to_bytes(), 3, mtime=0))
            (folder / f"{stem}.json").write_text(json.dumps({"InversionTime": time}))
