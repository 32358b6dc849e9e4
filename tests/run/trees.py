"""Small BIDS trees for the tests of whole runs: names as BIDS gives them, and little in the files."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tests.bids.files import nifti_bytes, ramp, write_nifti
from unweight.bids.names import parse_stem, subject_folder
from unweight.core.seeding import seeded_generator

SHAPE = (4, 3, 2)
SMALL = nifti_bytes(ramp(*SHAPE))
TIMES = (0.05, 0.4, 1.1, 2.5)
REPETITION = 10.0
EFFICIENCY = 2.0  # of a complete inversion
T1 = np.linspace(0.6, 1.8, 24, dtype=np.float64).reshape(SHAPE)


def put(root: Path, *stems: str, content: bytes = SMALL) -> list[Path]:
    """Write images under these names, each in the folder of its subject and session."""
    paths = []
    for stem in stems:
        name = parse_stem(stem)
        assert name is not None
        folder = subject_folder(root, name.entities) / "anat"
        folder.mkdir(parents=True, exist_ok=True)
        paths.append(folder / f"{stem}.nii")
        paths[-1].write_bytes(content)
    return paths


def inversions(subject: str, count: int = 3, middle: str = "") -> list[str]:
    """Return the names of an inversion recovery."""
    return [f"sub-{subject}{middle}_inv-{n}_IRT1" for n in range(1, count + 1)]


def echoes(subject: str, *parts: str, count: int = 3, middle: str = "", suffix: str = "MEGRE") -> list[str]:
    """Return the names of a multi-echo series, of these parts or of none."""
    labels = [f"_part-{part}" if part else "" for part in parts or ("",)]
    return [f"sub-{subject}{middle}_echo-{n}{one}_{suffix}" for one in labels for n in range(1, count + 1)]


def write_study(root: Path, subjects: int = 3) -> Path:
    """Write a study of complete inversions, whose T1 is `T1`, with noise of 1 in 1000."""
    root.mkdir(parents=True, exist_ok=True)
    described = {"Name": "x", "BIDSVersion": "1.10.0", "Authors": ["A"], "License": "CC0"}
    (root / "dataset_description.json").write_text(json.dumps(described))
    (root / "README").write_text("Simulated images for a test.\n" * 10)
    shared = {"RepetitionTime": REPETITION, "EchoTime": 0.01, "MagneticFieldStrength": 3.0}
    (root / "IRT1.json").write_text(json.dumps(shared))
    for number in range(1, subjects + 1):
        generator = np.random.default_rng(seeded_generator(number, "study").initial_seed())
        for index, time in enumerate(TIMES, start=1):
            signal = 1 - EFFICIENCY * np.exp(-time / T1) + np.exp(-REPETITION / T1)
            measured = np.abs(1000 * signal + generator.normal(0, 1, SHAPE)).astype(np.float32)
            stem = f"sub-{number:02d}_inv-{index}_IRT1.nii.gz"
            write_nifti(root / f"sub-{number:02d}" / "anat" / stem, measured, {"InversionTime": time})
    return root


def content_of(folder: Path) -> Mapping[str, bytes]:
    """Return what a folder holds, by path; what is empty counts too."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b""
        for path in sorted(folder.rglob("*"))
    }
